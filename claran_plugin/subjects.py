"""Fields of view: where to look, cutting them out, and the way between their pixels and the image's."""

from typing import NamedTuple

import numpy as np
from astropy.nddata import CCDData
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from claran_plugin.contours import NoiseMap, noise, noise_map
from claran_plugin.images import beam_pix, pixel_scale

PIXELS_PER_BEAM = 4.0
"""Sampling of a field of view."""
FIELD_PIXELS = 132
"""Side of a field of view, pixels; 33 beams, which is 3' for FIRST."""
NEAR_FIELDS = 6 / 33
"""What is in a field of view is no farther from its middle than this share of its side (6 beams)."""
ALIKE_BEAMS = 1.0
"""Boxes whose middles and sides differ by less are seen alike."""
PAIR_FIELDS = (8 / 33, 30 / 33)
"""Separations of two components between which a field of view is put, in sides of a field (8 to 30 beams)."""
WIDEST_STRICT = 0.85
"""A box up to this share of a field's side lies inside one; if larger ones did, a crowd would need too many fields."""
SMALL_IMAGE_BEAMS = 120.0
"""An image up to this side has one noise level; a larger one has a map."""
UNRESOLVED = 1.3
"""A component whose fitted width is below this many beams is unresolved."""
CLEAR_SIGMA = 10.0
"""A component whose peak exceeds the noise by this much is unlikely to be a sidelobe."""


class Subject(NamedTuple):
    """A field of view.

    Attributes
    ----------
    centre : (2,) array
        Pixel (x, y) of the image in the middle of the field.
    step : float
        Pixels of the image per pixel of the field.
    radio, infrared : (132, 132) arrays
        Brightness in units of the noise; infrared as it is, NaN where there is nothing, or None.
    """

    centre: NDArray
    step: float
    radio: NDArray
    infrared: NDArray | None

    def to_image(self, boxes: NDArray) -> NDArray:
        """Carry boxes (..., 4), xyxy in pixels of the field, to pixels of the image."""
        return to_image(boxes, self.centre, self.step)


def to_image(boxes: NDArray, centre: NDArray, step: float) -> NDArray:
    """Carry boxes (..., 4), xyxy in pixels of the field of view around `centre`, to pixels of the image."""
    return (np.asarray(boxes, float) - (FIELD_PIXELS - 1) / 2) * step + np.tile(centre, 2)


class Sky:
    """An image that fields of view are cut from.

    Parameters
    ----------
    radio : CCDData
    infrared : CCDData, optional
        On the radio image's grid.
    field_arcsec : float, optional
        Side of the fields of view; by default 33 beams.
    """

    def __init__(self, radio: CCDData, infrared: CCDData | None = None, *, field_arcsec: float | None = None) -> None:
        self.beam_pix = beam_pix(radio)
        pixel_arcsec = pixel_scale(radio)
        self.field_arcsec = field_arcsec or FIELD_PIXELS / PIXELS_PER_BEAM * self.beam_pix * pixel_arcsec
        self.step = self.field_arcsec / pixel_arcsec / FIELD_PIXELS
        self.radio = radio
        self.infrared = infrared
        small = max(radio.shape) <= SMALL_IMAGE_BEAMS * self.beam_pix
        if small:
            pixels = np.asarray(radio.data)
            filled = float(np.isfinite(pixels).mean())
            self.rms = NoiseMap.constant(noise(pixels) or float(np.nanstd(pixels)), radio.shape, filled)
        else:
            self.rms = noise_map(radio.data, self.beam_pix)

    @property
    def field_pix(self) -> float:
        """Side of a field of view in pixels of the image."""
        return FIELD_PIXELS * self.step

    def noise_at(self, xy: NDArray) -> float:
        """Give the noise around a pixel, Jy/beam: the median of the map over a field of view."""
        if self.rms.grid.size == 1:
            return float(self.rms.grid[0, 0])
        half = self.field_pix / 2
        x, y = np.asarray(xy, float)
        ny, nx = self.radio.shape
        (y0, y1), (x0, x1) = np.clip([y - half, y + half + 1], 0, ny), np.clip([x - half, x + half + 1], 0, nx)
        part = self.rms[int(y0) : int(y1), int(x0) : int(x1)]
        part = part[part > 0]
        return float(np.median(part)) if part.size else self.rms.median

    def snr(self, ys: slice, xs: slice) -> NDArray:
        """Give a window of the image in units of the local noise; blank pixels are 0."""
        return without_blank(self.radio.data[ys, xs]) / np.maximum(self.rms[ys, xs], 1e-30)

    def cut(self, centre: NDArray) -> Subject:
        """Cut out the field of view around a pixel (x, y); outside the image there is no signal."""
        radio = resample(self.radio.data, centre, self.step, FIELD_PIXELS) / max(self.noise_at(centre), 1e-30)
        infrared = None
        if self.infrared is not None:
            infrared = resample(self.infrared.data, centre, self.step, FIELD_PIXELS, blank=np.nan)
        return Subject(np.asarray(centre, float), self.step, radio, infrared)


def without_blank(pixels: NDArray) -> NDArray:
    """Put 0 where pixels are NaN."""
    return np.where(np.isnan(pixels), 0, pixels)


def resample(data: NDArray, centre: NDArray, step: float, size: int, *, order: int = 1, blank: float = 0.0) -> NDArray:
    """Sample a square of an image on another pixel scale.

    Parameters
    ----------
    data : (ny, nx) array
        NaN where blank.
    centre : (2,) array
        Pixel (x, y) of the image in the middle of the square.
    step : float
        Pixels of the image per pixel of the square.
    size : int
        Side of the square, pixels.
    order : int
        Of the interpolation: 0 nearest, 1 linear.
    blank : float
        0: blank pixels and what is outside count as 0. NaN: they stay blank, and leave their neighbours as they are.

    Returns
    -------
    (size, size) array
    """
    offset = np.asarray(centre, float)[::-1] - step * (size - 1) / 2
    low = np.maximum(np.floor(offset).astype(int) - 1, 0)
    high = np.maximum(np.ceil(offset + step * (size - 1)).astype(int) + 2, low + 1)
    part = np.asarray(data[low[0] : high[0], low[1] : high[1]], float)
    if not part.size:
        return np.full((size, size), blank)

    def sampled(values: NDArray) -> NDArray:
        return ndimage.affine_transform(values, [step, step], offset - low, (size, size), order=order, mode='constant')

    result = sampled(without_blank(part))
    if blank == 0:
        return result
    known = sampled(np.isfinite(part).astype(float))
    return np.divide(result, known, out=np.full(result.shape, blank), where=known > 0.5)


def isolated(xy: NDArray, width_pix: NDArray, peak: NDArray, sky: Sky) -> NDArray:
    """Find the components that need no look: alone within half a field of view, unresolved, and no mere artefacts.

    Parameters
    ----------
    xy : (n, 2) array
        Pixels of the components.
    width_pix : (n,) array
        Fitted FWHM (major axis), pixels; NaN counts as resolved.
    peak : (n,) array
        Peak brightness, Jy/beam; NaN counts as faint.

    Returns
    -------
    (n,) bool array
    """
    if not len(xy):
        return np.zeros(0, bool)
    nearest = cKDTree(xy).query(xy, k=2)[0][:, 1] if len(xy) > 1 else np.full(1, np.inf)
    alone = (nearest > sky.field_pix / 2) & (width_pix < UNRESOLVED * sky.beam_pix)
    for index in np.flatnonzero(alone):
        alone[index] = peak[index] > CLEAR_SIGMA * sky.noise_at(xy[index])
    return alone


def choose_centres(outlines: NDArray, sky: Sky, whole: NDArray | None = None) -> NDArray:
    """Choose overlapping fields of view that show what is to be looked at whole, and near the middle.

    Parameters
    ----------
    outlines : (n, 4) array
        Boxes of components, xyxy in pixels of the image. Each lies in a field, and so does each pair of them whose
        separation is in `PAIR_FIELDS`.
    sky : Sky
    whole : (k, 4) array, optional
        More boxes, of islands of several components, that lie in a field each.

    Returns
    -------
    (m, 2) array of pixels (x, y)
    """
    if not len(outlines):
        return np.empty((0, 2))
    least, most = np.array(PAIR_FIELDS) * sky.field_pix
    single = unlike(outlines, sky)
    wanted = [outlines, boxes_of_pairs(single, least, most)]
    if whole is not None and len(whole):
        wanted.append(whole)
    return covering_centres(unlike(np.concatenate(wanted), sky), sky.field_pix, NEAR_FIELDS * sky.field_pix)


def boxes_of_pairs(boxes: NDArray, least: float, most: float, one_of: NDArray | None = None) -> NDArray:
    """Give the boxes (p, 4) around each two of some (n, 4) whose middles are `least` to `most` apart.

    With `one_of` (n,) bool, at least one of the two is one of these.
    """
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    pairs = cKDTree(middles).query_pairs(most, output_type='ndarray')
    if one_of is not None:
        pairs = pairs[one_of[pairs].any(axis=1)]
    separation = np.linalg.norm(middles[pairs[:, 0]] - middles[pairs[:, 1]], axis=1)
    one, other = boxes[pairs[separation > least].T]
    return np.concatenate([np.minimum(one, other)[:, :2], np.maximum(one, other)[:, 2:]], axis=1)


def unlike(boxes: NDArray, sky: Sky) -> NDArray:
    """Give those of some boxes (n, 4) that are not much like an earlier one, as crowded images have any number."""
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    side = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True)
    cells = np.floor(np.concatenate([middle, side], axis=1) / (ALIKE_BEAMS * sky.beam_pix))
    return boxes[np.sort(np.unique(cells, axis=0, return_index=True)[1])]


def covering_centres(boxes: NDArray, side: float, most: float) -> NDArray:
    """Choose fields of view such that each of some boxes lies inside one, near the middle; large boxes come first.

    Parameters
    ----------
    boxes : (n, 4) array
        xyxy, pixels. Of one that is larger than `WIDEST_STRICT`, the edge may be outside.
    side : float
        Of a field, pixels.
    most : float
        Distance of a box's middle from the field's, pixels.

    Returns
    -------
    (m, 2) array of pixels (x, y)
    """
    if not len(boxes):
        return np.empty((0, 2))
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).max(axis=1) / 2
    extent = np.minimum(half, WIDEST_STRICT * side / 2)
    tree = cKDTree(middles)
    waiting = np.ones(len(boxes), bool)
    chosen = []
    for index in np.argsort(-half, kind='stable'):
        if waiting[index]:
            chosen.append(index)
            waiting[index] = False
            near = np.array(tree.query_ball_point(middles[index], most))
            reach = np.abs(middles[near] - middles[index]).max(axis=1) + extent[near]
            waiting[near[reach <= side / 2]] = False
    return middles[chosen]

"""What is seen of a source on the image: its components and peaks, counted as Radio Galaxy Zoo did, and where they are.

The contours that counts follow start at so many times the noise, and by a few per cent of it a faint peak has a contour
of its own or has not. Volunteers saw 3' around a position that nobody else knows, so the noise of what they saw is
uncertain by 2 %. Therefore it is counted with levels of the noise a little lower and higher, too (`NOISE_TRIED`).

A source that was found on a far coarser sky is measured there: the lobes of a giant, many beams wide, are patches at
the image's own beam, and the detector saw it, and was taught to class it, at the coarser one. At twice the beam it is
not: there FIRST's sources that reach beyond what volunteers saw are still classed by these at the beam itself.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from claran_plugin.claimed import Components, members_of
from claran_plugin.contours import noise
from claran_plugin.counting_window import NOISE_TRIED, Window
from claran_plugin.footprints import FWHM
from claran_plugin.grids import from_coarser, to_coarser
from claran_plugin.hosts import RadioShape
from claran_plugin.hypotheses import FAR_COARSER
from claran_plugin.listed_emission import ListedEmission
from claran_plugin.morphology import Counts, ManyCounts, peak_positions, source_box
from claran_plugin.scales import on_coarser
from claran_plugin.subjects import Sky, resample

COUNTING_PIXELS_PER_BEAM = 9.0
"""Sampling on which components and peaks are counted: 0.45" for FIRST, where the counts agree best with RGZ's."""
LARGEST_COUNTED = 2376
"""Pixels on a side, at most; a source that is larger is counted on coarser ones."""
MARGIN_BEAMS = 3.0
"""Sky around a source that is cut out with it."""
WIDE_BEAMS = 5.0
"""A component wider than this, in beams of the image, is a lobe whose faint outskirts the noise makes islands of. On
FIRST's labelled images none is wider than 4.2."""
MOST_RAISED = 1.5
"""Sources in the 33 beams around a point raise the noise that is measured there to this many times the map's at most:
it is 1.05 times in the median on FIRST's images, 1.37 at most. One that fills much of them would hide itself."""
INNER = 0.8
"""The inner part of ClaRAN's box, in which the middles of all components lie: those of the outermost ones are 0.68 to
0.74 of half a side from its middle (`morphology.source_box`)."""


class Measured(NamedTuple):
    """What is seen of a source, in pixels of the image.

    Attributes
    ----------
    counts : Counts
    tried : ManyCounts
        (K,): what is counted with each level of `NOISE_TRIED`.
    box : (4,) array or None
        ClaRAN's box around what was counted; None where nothing was.
    shape : RadioShape
        Of what was counted, otherwise of the catalogue's components.
    unlisted : bool
        Whether emission was counted that no component of the catalogue stands for.
    """

    counts: Counts
    tried: ManyCounts
    box: NDArray | None
    shape: RadioShape
    unlisted: bool = False

    def from_coarser(self, scale: int) -> 'Measured':
        """Bring what was measured on a coarser sky, in its pixels, onto the image."""
        shape = RadioShape(*(from_coarser(part, scale) for part in self.shape))
        return self._replace(box=None if self.box is None else from_coarser(self.box, scale), shape=shape)


class Measuring:
    """Measures the sources that components are divided into.

    Parameters
    ----------
    skies : mapping of int to Sky
        The image, by 1, and the far coarser skies, by their beam in beams of the image, that sources were found on.
    components : Components
        n components, on the image.
    labels : (n,) int array
        Their sources, from 0.
    boxes : (S, 4) array, optional
        The detector's boxes of the sources, xyxy, pixels of the image; NaN where there is none.
    """

    def __init__(
        self, skies: Mapping[int, Sky], components: Components, labels: NDArray, boxes: NDArray | None = None
    ) -> None:
        self._skies, self._components, self._labels = skies, components, labels
        self._members = members_of(labels)
        self._boxes = np.full((0, 4), np.nan) if boxes is None else np.asarray(boxes, float)
        self._on_skies: dict[int, _OnSky] = {}

    def source(self, label: int, box: NDArray | None = None, scale: int = 1) -> Measured:
        """Count components and peaks of one source.

        Islands above the threshold belong to the source whose component they hold; one that holds components of
        several sources is divided among them by nearness. Where the detector's box (xyxy, pixels of the image) is
        given, islands in its inner part that no other source's component stands for, as those of a lobe that the
        source finder left out, belong to the source, too; to one source only, that whose box has the island nearest to
        its middle, in units of the box. `scale` is the beam of the sky on which the source was found, in beams of the
        image, and on which it is measured if that is far coarser (`hypotheses.FAR_COARSER`).
        """
        scale = scale if scale >= FAR_COARSER else 1
        if scale not in self._on_skies:
            components = self._components if scale == 1 else on_coarser(self._components, scale)
            is_wide = _fwhm(self._components) > WIDE_BEAMS * self._skies[1].beam_pix
            self._on_skies[scale] = _OnSky(self._skies[scale], components, self._labels, is_wide)
        on_sky = self._on_skies[scale]
        if box is None:
            return on_sky.source(label, self._members[label]).from_coarser(scale)
        is_inside = partial(self._is_inside, label, box, scale)
        inner = to_coarser(_scaled(box, INNER), scale)
        return on_sky.source(label, self._members[label], inner, is_inside).from_coarser(scale)

    def _is_inside(self, label: int, box: NDArray, scale: int, points: NDArray) -> NDArray:
        """Tell which points (k, 2) of a sky lie in the inner part of a source's box, and farther out in all others."""
        points = from_coarser(points, scale)
        depth = _depth(box[None], points)[:, 0]
        inside = depth < INNER
        if inside.any() and len(self._boxes):
            others = _depth(np.delete(self._boxes, label, axis=0), points[inside])
            inside[inside] = depth[inside] <= np.fmin.reduce(others, axis=1, initial=np.inf)
        return inside


class _OnSky:
    """Measures sources on one sky, in its pixels; parameters as for `Measuring`, `is_wide` (n,) as for `Window`."""

    def __init__(self, sky: Sky, components: Components, labels: NDArray, is_wide: NDArray) -> None:
        self._sky, self._components, self._labels, self._is_wide = sky, components, labels, is_wide
        self._tree = cKDTree(components.xy)
        self._listed = ListedEmission(sky, components)

    def source(
        self,
        label: int,
        members: NDArray,
        inner: NDArray | None = None,
        is_inside: Callable[[NDArray], NDArray] | None = None,
    ) -> Measured:
        """Measure a source of some components; `is_inside` tells of what is seen in a box `inner` whether it counts."""
        window = self._window(label, members, inner, is_inside)
        if window is None:
            tried = ManyCounts(*np.zeros((2, len(NOISE_TRIED)), int))
            return Measured(Counts(0, 0), tried, None, _shape_of_components(self._components, members, self._sky))
        own, n_own, unlisted = window.components()
        if not n_own:
            shape = _shape_of_components(self._components, members, self._sky)
            return Measured(Counts(0, 0), window.tried(Counts(0, 0)), None, shape)
        peaks = peak_positions(window.snr, own > 0)
        counts = Counts(n_own, len(peaks))
        outline = source_box(own, np.arange(1, n_own + 1), counts.peaks)
        y, x = np.nonzero(own)
        centroid = np.average(np.stack([x, y], axis=-1), axis=0, weights=window.snr[y, x])
        bounds = np.array([x.min() - 0.5, y.min() - 0.5, x.max() + 0.5, y.max() + 0.5])
        shape = RadioShape(*(window.on_image(each) for each in (centroid, bounds, peaks)))
        return Measured(counts, window.tried(counts), window.on_image(outline), shape, unlisted)

    def _window(
        self, label: int, members: NDArray, inner: NDArray | None, is_inside: Callable[[NDArray], NDArray] | None
    ) -> Window | None:
        """Cut out what is around a source; None where that is off the image."""
        sky = self._sky
        xy = self._components.xy[members]
        extent = 3 * np.sqrt(np.max(np.einsum('nii->ni', self._components.covariance[members])))
        low, high = xy.min(axis=0) - extent, xy.max(axis=0) + extent
        if inner is not None:
            low, high = np.minimum(low, inner[:2]), np.maximum(high, inner[2:])
        margin = MARGIN_BEAMS * sky.beam_pix
        low, high = np.floor(low - margin), np.ceil(high + margin)
        side = (high - low).max()
        step = max(_whole_steps(sky.beam_pix / COUNTING_PIXELS_PER_BEAM), side / LARGEST_COUNTED)
        size = int(np.ceil(side / step)) + 1
        centre = low + step * (size - 1) / 2  # so that pixels of the image are pixels of the window
        if np.any(centre + step * size / 2 < 0) or np.any(centre - step * size / 2 > sky.radio.shape[::-1]):
            return None
        snr = resample(sky.radio.data, centre, step, size)
        snr /= counting_noise(sky, _flux_centroid(self._components, members))
        near = np.array(self._tree.query_ball_point(centre, step * size))
        xy, is_own, is_wide = self._components.xy[near], self._labels[near] == label, self._is_wide[near]
        return Window(snr, centre, step, sky.beam_pix / step, xy, is_own, is_wide, members, is_inside, self._listed)


def counting_noise(sky: Sky, centre: NDArray) -> float:
    """Give the noise that Radio Galaxy Zoo's contours start from, Jy/beam: that of the 33 beams around a point.

    The source itself raises it a little, which leaves out the faintest peaks, as the noise of a larger image would not
    (docs/accuracy.md, *How Radio Galaxy Zoo counted*). It is taken from the image's own pixels, as interpolation would
    smooth it. The point is the mean of the components, weighted by flux: of those tried, the one
    nearest to the middle of what volunteers saw. With it five more of the 136 are counted as they did than with the
    middle of the bounding box. It is limited by `MOST_RAISED`.
    """
    low = np.maximum(np.rint(centre - sky.field_pix / 2).astype(int), 0)
    high = np.maximum(np.rint(centre + sky.field_pix / 2).astype(int) + 1, low + 1)
    sigma = noise(sky.radio.data[low[1] : high[1], low[0] : high[0]])
    of_map = max(sky.noise_at(centre), 1e-30)
    return min(sigma, MOST_RAISED * of_map) if sigma > 0 else of_map


def _fwhm(components: Components) -> NDArray:
    """Give the major axes (n,) of components, FWHM in pixels."""
    return FWHM * np.sqrt(np.linalg.eigvalsh(components.covariance)[:, 1])


def _whole_steps(step: float) -> float:
    """Round a step, pixels of the image, so that pixels of the image are hit: to a whole number, or one over such."""
    return float(round(step)) if step > 1 else 1 / round(1 / step)


def _depth(boxes: NDArray, points: NDArray) -> NDArray:
    """Give how far from the middles of boxes (b, 4) points (k, 2) are, (k, b): 1 is at the edge, NaN without a box."""
    middle, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    return np.abs((points[:, None] - middle) / half).max(axis=-1)


def _scaled(box: NDArray, factor: float) -> NDArray:
    """Give a box (xyxy) with the same middle and other sides."""
    middle, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * factor
    return np.concatenate([middle - half, middle + half])


def _flux_centroid(components: Components, members: NDArray) -> NDArray:
    """Give the mean position (2,) of some components, weighted by their fluxes where any is known and positive."""
    flux = np.nan_to_num(components.flux[members]).clip(0)
    return np.average(components.xy[members], axis=0, weights=flux if flux.any() else None)


def _shape_of_components(components: Components, members: NDArray, sky: Sky) -> RadioShape:
    """Describe a source by the catalogue alone."""
    xy, flux = components.xy[members], np.nan_to_num(components.flux[members])
    half = np.maximum(2 * np.sqrt(np.einsum('nii->ni', components.covariance[members])), sky.beam_pix)
    box = np.concatenate([(xy - half).min(axis=0), (xy + half).max(axis=0)])
    return RadioShape(_flux_centroid(components, members), box, xy[np.argsort(-flux, kind='stable')])

"""What is seen of a source on the image: its components and peaks, counted as Radio Galaxy Zoo did, and where they are.

The contours that counts follow start at so many times the noise, and by a few per cent of it a faint peak has a contour
of its own or has not. Volunteers saw 3' around a position that nobody else knows, so the noise of what they saw is
uncertain by 2 %. Therefore it is counted with levels of the noise a little lower and higher, too (`NOISE_TRIED`).
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from claran_plugin.claimed import Components, members_of
from claran_plugin.contours import noise
from claran_plugin.hosts import RadioShape
from claran_plugin.listed_emission import ListedEmission
from claran_plugin.morphology import (
    COMPONENT_SIGMA,
    Counts,
    ManyCounts,
    component_labels,
    local_maxima,
    peak_positions,
    source_box,
)
from claran_plugin.subjects import Sky, resample

COUNTING_PIXELS_PER_BEAM = 9.0
"""Sampling on which components and peaks are counted: 0.45" for FIRST, where the counts agree best with RGZ's."""
LARGEST_COUNTED = 2376
"""Pixels on a side, at most; a source that is larger is counted on coarser ones."""
MARGIN_BEAMS = 3.0
"""Sky around a source that is cut out with it."""
NOISE_TRIED = (1.0, 0.97, 1.03)
"""Levels of the noise with which it is counted, in units of what is measured: that one, the lowest, and others."""
CLEAR = 1.5 * COMPONENT_SIGMA
"""A source as bright as this, in units of the noise, is above the threshold with any of them."""
INNER = 0.8
"""The inner part of ClaRAN's box, in which the middles of all components lie: those of the outermost ones are 0.68 to
0.74 of half a side from its middle (`morphology.source_box`)."""


class Measured(NamedTuple):
    """What is seen of a source on the image.

    Attributes
    ----------
    counts : Counts
    tried : ManyCounts
        (K,): what is counted with each level of `NOISE_TRIED`.
    box : (4,) array or None
        ClaRAN's box around what was counted, pixels of the image; None where nothing was.
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


class Measuring:
    """Measures the sources that components are divided into.

    Parameters
    ----------
    sky : Sky
    components : Components
        n components.
    labels : (n,) int array
        Their sources.
    """

    def __init__(self, sky: Sky, components: Components, labels: NDArray) -> None:
        self._sky, self._components, self._labels = sky, components, labels
        self._members = members_of(labels)
        self._tree = cKDTree(components.xy)
        self._listed = ListedEmission(sky, components)

    def source(self, label: int, box: NDArray | None = None) -> Measured:
        """Count components and peaks of one source on the image.

        Islands above the threshold belong to the source whose component they hold; one that holds components of
        several sources is divided among them by nearness. Where the detector's box (xyxy, pixels of the image) is
        given, islands in its inner part that no other source's component stands for, as those of a lobe that the
        source finder left out, belong to the source, too.
        """
        members = self._members[label]
        window = self._window(label, box)
        own, n_own, unlisted = window.components() if window else (np.zeros((0, 0), int), 0, False)
        if window is None or not n_own:
            tried = ManyCounts(*np.zeros((2, len(NOISE_TRIED)), int))
            return Measured(Counts(0, 0), tried, None, _shape_of_components(self._components, members, self._sky))
        peaks = peak_positions(window.snr, own > 0)
        counts = Counts(n_own, len(peaks))
        outline = source_box(own, np.arange(1, n_own + 1), counts.peaks)
        y, x = np.nonzero(own)
        centroid = np.average(np.stack([x, y], axis=-1), axis=0, weights=window.snr[y, x])
        bounds = np.array([x.min() - 0.5, y.min() - 0.5, x.max() + 0.5, y.max() + 0.5])
        shape = RadioShape(*(window.on_image(each) for each in (centroid, bounds, peaks)))
        return Measured(counts, window.tried(counts), window.on_image(outline), shape, unlisted)

    def _window(self, label: int, box: NDArray | None) -> '_Window | None':
        """Cut out what is around a source; None where that is off the image."""
        sky, members = self._sky, self._members[label]
        xy = self._components.xy[members]
        extent = 3 * np.sqrt(np.max(np.einsum('nii->ni', self._components.covariance[members])))
        low, high = xy.min(axis=0) - extent, xy.max(axis=0) + extent
        if box is not None:
            box = _scaled(box, INNER)
            low, high = np.minimum(low, box[:2]), np.maximum(high, box[2:])
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
        xy, is_own = self._components.xy[near], self._labels[near] == label
        return _Window(snr, centre, step, sky.beam_pix / step, xy, is_own, members, box, self._listed)


@dataclass(frozen=True, eq=False)
class _Window:
    """A square of the image around a source.

    Attributes
    ----------
    snr : (size, size) array
        Brightness in units of the noise.
    centre : (2,) array
        Its middle, pixels of the image.
    step : float
        Pixels of the image per pixel of the window.
    sampling : float
        Pixels of the window per beam.
    xy : (k, 2) array
        Components of the catalogue that lie near, pixels of the image.
    is_own : (k,) bool array
        Which of them are the source's.
    members : int array
        The source's components, numbers of the catalogue.
    box : (4,) array or None
        Inner part of the detector's box, pixels of the image.
    listed : ListedEmission
    """

    snr: NDArray
    centre: NDArray
    step: float
    sampling: float
    xy: NDArray
    is_own: NDArray
    members: NDArray
    box: NDArray | None
    listed: ListedEmission

    def on_image(self, points: NDArray) -> NDArray:
        """Bring points (..., 2) or boxes (..., 4) of the window onto the image."""
        return (points - (len(self.snr) - 1) / 2) * self.step + np.tile(self.centre, np.shape(points)[-1] // 2)

    def inside(self, points: NDArray) -> NDArray:
        """Bring points (..., 2) of the image into the window."""
        return (points - self.centre) / self.step + (len(self.snr) - 1) / 2

    def tried(self, counts: Counts) -> ManyCounts:
        """Count with all levels of the noise, (K,); `counts` are those with the first."""
        each = [counts]
        for level in NOISE_TRIED[1:]:
            own, n_own, _ = self.components(level)
            brightness = np.where(own > 0, self.snr / level, 0)
            is_one = n_own == 1 and brightness.max() > CLEAR and len(local_maxima(brightness)) == 1
            if is_one and counts == (1, 1) and level == min(NOISE_TRIED):
                each = [counts] * len(NOISE_TRIED)  # a higher level leaves the top of what the lowest one shows
                break
            each.append(Counts(n_own, len(peak_positions(brightness, own > 0))))
        return ManyCounts(*np.array(each).T)

    def components(self, level: float = 1.0) -> tuple[NDArray, int, bool]:
        """Label the source's components with a level of the noise.

        Returns
        -------
        labels : (size, size) int array
            From 1 on, 0 elsewhere.
        n : int
        unlisted : bool
            Whether there is emission among them that no component of the catalogue stands for.
        """
        snr = self.snr / level
        islands, n = component_labels(snr, self.sampling)
        places = np.rint(self.inside(self.xy)).astype(int)
        own = self._touched(islands, n, places[self.is_own])
        if not own.any():
            return np.zeros_like(islands), 0, False
        others = self._touched(islands, n, places[~self.is_own])
        added, unlisted = self._added(snr, islands, own | others)
        whole, shared = (own & ~others) | added, own & others
        if not shared.any():
            return np.where(whole, np.cumsum(whole), 0)[islands], int(whole.sum()), unlisted
        footprint = whole[islands]
        y, x = np.nonzero(shared[islands])
        footprint[y, x] = self.is_own[cKDTree(self.inside(self.xy)).query(np.stack([x, y], axis=-1))[1]]
        return *component_labels(np.where(footprint, snr, 0), self.sampling), unlisted

    def _touched(self, islands: NDArray, n: int, places: NDArray) -> NDArray:
        """Tell which of n islands have some places (k, 2) on them, or within half a beam: (n + 1,) bool."""
        touched = np.zeros(n + 1, bool)
        reach = max(int(self.sampling / 2), 1)
        for x, y in places[np.all((places >= -reach) & (places < len(islands) + reach), axis=1)].tolist():
            touched[islands[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1]] = True
        touched[0] = False
        return touched

    def _added(self, snr: NDArray, islands: NDArray, touched: NDArray) -> tuple[NDArray, bool]:
        """Find the islands in the inner part of the detector's box that no other source's component stands for.

        Returns
        -------
        added : (n + 1,) bool array
            Which islands these are; those with a component on them, which are `touched`, are none.
        unlisted : bool
            Whether there is one that the source's own components do not stand for, either.
        """
        added, unlisted = np.zeros(len(touched), bool), False
        free = np.flatnonzero(~touched)[1:]
        if self.box is None or not len(free):
            return added, unlisted
        middles = self.on_image(np.array(ndimage.center_of_mass(snr, islands, free))[:, ::-1])
        for number in free[np.all((middles > self.box[:2]) & (middles < self.box[2:]), axis=1)]:
            y, x = np.nonzero(islands == number)
            standing = self.listed.standing_for(self.on_image(np.stack([x, y], axis=-1)))
            added[number] = np.isin(standing, self.members).all()
            unlisted |= not len(standing)
        return added, unlisted


def counting_noise(sky: Sky, centre: NDArray) -> float:
    """Give the noise that Radio Galaxy Zoo's contours start from, Jy/beam: that of the 33 beams around a point.

    The source itself raises it a little, which leaves out the faintest peaks, as the noise of a larger image would not
    (docs/accuracy.md, *How Radio Galaxy Zoo counted*). It is taken from the image's own pixels, as interpolation would
    smooth it. The point is the mean of the components, weighted by flux: of those tried, the one
    nearest to the middle of what volunteers saw. With it five more of the 136 are counted as they did than with the
    middle of the bounding box.
    """
    low = np.maximum(np.rint(centre - sky.field_pix / 2).astype(int), 0)
    high = np.maximum(np.rint(centre + sky.field_pix / 2).astype(int) + 1, low + 1)
    sigma = noise(sky.radio.data[low[1] : high[1], low[0] : high[0]])
    return sigma if sigma > 0 else max(sky.noise_at(centre), 1e-30)


def _whole_steps(step: float) -> float:
    """Round a step, pixels of the image, so that pixels of the image are hit: to a whole number, or one over such."""
    return float(round(step)) if step > 1 else 1 / round(1 / step)


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

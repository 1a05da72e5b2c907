"""What is the emission of a source in a cut-out of the image around it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from claran_plugin.listed_emission import ListedEmission
from claran_plugin.morphology import (
    COMPONENT_SIGMA,
    EIGHT_CONNECTED,
    Counts,
    ManyCounts,
    component_labels,
    local_maxima,
    peak_positions,
)

NOISE_TRIED = (1.0, 0.97, 1.03)
"""Levels of the noise with which it is counted, in units of what is measured: that one, the lowest, and others."""
CLEAR = 1.5 * COMPONENT_SIGMA
"""A source as bright as this, in units of the noise, is above the threshold with any of them."""
CONNECTED_SIGMA = 3.0
"""Emission is connected with what is brighter above this, as source finders' islands are (PyBDSF's `thresh_isl`)."""


@dataclass(frozen=True, eq=False)
class Window:
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
    is_own, is_wide : (k,) bool arrays
        Which of them are the source's, and which are so wide that the noise makes islands of their outskirts.
    members : int array
        The source's components, numbers of the catalogue.
    is_inside : callable or None
        Tells which points (k, 2), pixels of the image, may be the source's where no component stands for them.
    listed : ListedEmission
    """

    snr: NDArray
    centre: NDArray
    step: float
    sampling: float
    xy: NDArray
    is_own: NDArray
    is_wide: NDArray
    members: NDArray
    is_inside: Callable[[NDArray], NDArray] | None
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
        wide = self._touched(islands, n, places[self.is_wide])
        added, unlisted = self._added(snr, islands, own | others, wide)
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

    def _added(self, snr: NDArray, islands: NDArray, touched: NDArray, wide: NDArray) -> tuple[NDArray, bool]:
        """Find the islands that may be the source's and that no other source's component stands for.

        None is added that is connected with an island on which a `wide` component lies: it is a bump at the outskirts
        of that one.

        Returns
        -------
        added : (n + 1,) bool array
            Which islands these are; those with a component on them, which are `touched`, are none.
        unlisted : bool
            Whether there is one that the source's own components do not stand for, either.
        """
        added, unlisted = np.zeros(len(touched), bool), False
        free = np.flatnonzero(~touched)[1:]
        if self.is_inside is None or not len(free):
            return added, unlisted
        middles = self.on_image(np.array(ndimage.center_of_mass(snr, islands, free))[:, ::-1])
        free = free[self.is_inside(middles)]
        if not len(free):
            return added, unlisted
        connected, n = ndimage.label(snr > CONNECTED_SIGMA, EIGHT_CONNECTED)
        is_bump = np.zeros(n + 1, bool)
        is_bump[connected[wide[islands]]] = True
        for number in free:
            y, x = np.nonzero(islands == number)
            if is_bump[connected[y[0], x[0]]]:
                continue
            standing = self.listed.standing_for(self.on_image(np.stack([x, y], axis=-1)))
            added[number] = np.isin(standing, self.members).all()
            unlisted |= not len(standing)
        return added, unlisted

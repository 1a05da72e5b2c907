"""What emission the components of a catalogue stand for; the rest, a lobe for example, the source finder left out."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from claran_plugin.claimed import Components
from claran_plugin.footprints import FWHM
from claran_plugin.subjects import Sky


class ListedEmission:
    """What the components of a catalogue stand for: what lies within half of the maximum of one, or half a beam of it.

    Parameters
    ----------
    sky : Sky
    components : Components
    """

    def __init__(self, sky: Sky, components: Components) -> None:
        self._beam_pix, self._xy = sky.beam_pix, components.xy
        self._inverse = np.linalg.inv(components.covariance)
        width = np.sqrt(np.einsum('nii->ni', components.covariance)).max(axis=1, initial=0) * FWHM / 2
        self._reach = np.maximum(width, sky.beam_pix / 2)
        self._tree = cKDTree(components.xy)

    def standing_for(self, xy: NDArray) -> NDArray:
        """Find the components that stand for some of the points (k, 2), pixels of the image: their numbers."""
        low, high = xy.min(axis=0), xy.max(axis=0)
        middle, half_side = (low + high) / 2, (high - low) / 2
        farthest = np.linalg.norm(half_side) + self._reach.max(initial=0) * np.sqrt(2)
        near = np.array(self._tree.query_ball_point(middle, farthest), int)
        near = near[np.all(np.abs(self._xy[near] - middle) <= half_side + self._reach[near, None], axis=1)]
        way = xy - self._xy[near, None]  # (components, k, 2)
        within_half = np.einsum('cki,cij,ckj->ck', way, self._inverse[near], way) < (FWHM / 2) ** 2
        is_near = np.abs(way).max(axis=-1) <= self._beam_pix / 2
        return near[(within_half | is_near).any(axis=1)]

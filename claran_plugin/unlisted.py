"""Emission in a source's box that no component of the catalogue stands for: a lobe that the source finder left out."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from claran_plugin.claimed import Components
from claran_plugin.footprints import FWHM
from claran_plugin.morphology import component_labels
from claran_plugin.subjects import Sky

MARGIN_BEAMS = 3.0
"""Sky around a box that is looked at with it."""


class ListedEmission:
    """What the components of a catalogue stand for.

    Parameters
    ----------
    sky : Sky
    components : Components
    """

    def __init__(self, sky: Sky, components: Components) -> None:
        self._sky, self._xy = sky, components.xy
        self._inverse = np.linalg.inv(components.covariance)
        width = np.sqrt(np.einsum('nii->ni', components.covariance)).max(axis=1, initial=0) * FWHM / 2
        self._reach = np.maximum(width, sky.beam_pix / 2)
        self._tree = cKDTree(components.xy) if len(components.xy) else None

    def lacks_some(self, box: NDArray) -> bool:
        """Tell whether a box (xyxy, pixels) holds a component of emission that none of the catalogue stands for.

        Emission is counted as a source's is (`morphology.component_labels`), on the image's own pixels. A component of
        the catalogue stands for what lies within half of its maximum, or half a beam of its middle.
        """
        margin = MARGIN_BEAMS * self._sky.beam_pix
        limit = np.array(self._sky.radio.shape[::-1])
        low = np.clip(np.floor(box[:2] - margin).astype(int), 0, limit)
        high = np.clip(np.ceil(box[2:] + margin).astype(int) + 1, low, limit)
        snr = self._sky.snr(slice(low[1], high[1]), slice(low[0], high[0]))
        labels, n = component_labels(snr, self._sky.beam_pix)
        if not n:
            return False
        middles = np.array(ndimage.center_of_mass(snr, labels, np.arange(1, n + 1)))[:, ::-1] + low
        inside = np.all((middles > box[:2]) & (middles < box[2:]), axis=1)
        wanted = np.flatnonzero(inside) + 1
        if not len(wanted):
            return False
        y, x = np.nonzero(np.isin(labels, wanted))
        is_listed = self._are_listed(np.stack([x, y], axis=-1) + low)
        return not np.isin(wanted, labels[y, x][is_listed]).all()

    def _are_listed(self, xy: NDArray) -> NDArray:
        """Tell which pixels (n, 2) some component of the catalogue stands for."""
        listed = np.zeros(len(xy), bool)
        if self._tree is None:
            return listed
        low, high = xy.min(axis=0), xy.max(axis=0)
        middle, half_side = (low + high) / 2, (high - low) / 2
        near = np.array(self._tree.query_ball_point(middle, np.linalg.norm(half_side) + self._reach.max()), int)
        reaches = np.all(np.abs(self._xy[near] - middle) <= half_side + self._reach[near, None], axis=1)
        for number in near[reaches]:
            way = xy - self._xy[number]
            half = np.einsum('ni,ij,nj->n', way, self._inverse[number], way) < (FWHM / 2) ** 2
            listed |= half | (np.abs(way).max(axis=1) <= self._sky.beam_pix / 2)
        return listed

"""The association as an operation of PyBDSF: its image object then holds physical sources.

>>> img = bdsf.process_image('field.fits')
>>> OpClaran(infrared='field_w1.fits')(img)
>>> img.write_catalog(format='bbs', catalog_type='gaul', bbs_patches='source')
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from claran_plugin.components import contained, pybdsf_rows
from claran_plugin.errors import InputError
from claran_plugin.hooks.carried_over import carry_over


class OpClaran:
    """Group PyBDSF's sources into physical sources, in memory.

    Afterwards ``img.write_catalog`` writes the physical sources in every format and list that PyBDSF knows, and
    ``img.claran`` holds the association with its component and source tables. PyBDSF's own modules, those of spectral
    indices and polarisation among them, belong before it: ``img.process`` finds PyBDSF's sources anew, so that this is
    to be called again.

    Parameters
    ----------
    associate : callable, optional
        Takes PyBDSF's image object and the options and returns an object whose ``labels`` (int, one per row of
        ``from_pybdsf(img, 'srl')``) say which sources belong together; by default
        `claran_plugin.pipeline.associate_pybdsf`.
    **options
        Passed to it: ``infrared``, ``model``, ``device``, ...
    """

    def __init__(self, *, associate: Callable[..., Any] | None = None, **options: Any) -> None:
        self.associate = associate
        self.options = options

    def __call__(self, img: Any) -> Any:
        """Associate and regroup; an image object without sources stays as it is.

        Raises
        ------
        InputError
            Where PyBDSF has not run to its end.
        """
        _check_processed(img)
        associate = self.associate
        if associate is None:
            from claran_plugin.pipeline import associate_pybdsf as associate
        with np.errstate(divide='warn', over='warn', under='ignore', invalid='warn'):  # `import bdsf` changes them
            found = associate(img, **self.options)
        regroup(img, found.labels)
        img.claran = found
        return img


def regroup(img: Any, labels: ArrayLike) -> None:
    """Make one PyBDSF source of all those that have the same label.

    The Gaussians stay as they are, apart from their source. A source that stands alone keeps its object, so that
    labels that are all different change nothing. A merged source has the island id of its brightest part; its island's
    noise, residual and flux are those of all its islands together.

    Parameters
    ----------
    img : bdsf.image.Image
        After ``bdsf.process_image``; changed in place.
    labels : (n,) int array
        One per source of ``img``, in their order.

    Raises
    ------
    InputError
        Where PyBDSF has not run to its end.
    ValueError
        Where there is not one label per source.
    """
    _check_processed(img)
    sources = pybdsf_rows(img, 'srl')
    labels = np.asarray(labels, dtype=int)
    if labels.shape != (len(sources),):
        raise ValueError(f'labels must have shape ({len(sources)},), one per PyBDSF source, got {labels.shape}')
    groups: dict[int, list[Any]] = {}
    for label, source in zip(labels.tolist(), sources, strict=True):
        groups.setdefault(label, []).append(source)
    # Merging writes to the Gaussians, which are to be as they were if it ends early.
    before = [(gaussian, gaussian.source_id, gaussian.code) for source in sources for gaussian in source.gaussians]
    try:
        with contained():
            regrouped = [members[0] if len(members) == 1 else merge(img, members) for members in groups.values()]
    except BaseException:
        for gaussian, source_id, code in before:
            gaussian.source_id, gaussian.code = source_id, code
        raise
    for number, source in enumerate(regrouped):
        source.source_id = number
        for gaussian in source.gaussians:
            gaussian.source_id = number
    for island in img.islands:
        island.sources = []
    for source in regrouped:
        img.islands[source.island_id].sources.append(source)
    img.sources, img.nsrc = regrouped, len(regrouped)
    img.completed_Ops.append('claran')
    img._prev_opts = None  # by which PyBDSF would go on from these sources as if they were its own


def merge(img: Any, members: list[Any]) -> Any:
    """Make one PyBDSF source of several, measured by PyBDSF's own moments of their Gaussians."""
    from bdsf.gaul2srl import Op_gaul2srl

    brightest = max(members, key=lambda source: source.total_flux)
    gaussians = [gaussian for source in members for gaussian in source.gaussians]
    islands = [img.islands[i] for i in sorted({gaussian.island_id for gaussian in gaussians})]
    island = _union(img, islands, brightest.island_id)
    grouping = Op_gaul2srl()
    corner = [side.start for side in island.bbox]
    nx, ny = island.mask_active.shape
    model = grouping.make_subim(nx, ny, gaussians, corner)
    mask = grouping.make_mask(island, nx, ny, 1, 0, gaussians, corner)
    _, source = grouping.process_Multiple(img, gaussians, mask, -1, 0, model, island, corner, nx, ny)
    source.rms_isl, source.mean_isl = island.rms, island.mean
    source.total_flux_isl = sum(part.total_flux for part in islands)
    source.total_flux_islE = float(np.sqrt(sum(part.total_fluxE**2 for part in islands)))
    residual = img.resid_gaus_arr[tuple(island.bbox)][~island.mask_active]
    source.gresid_rms, source.gresid_mean = np.std(residual), np.mean(residual)
    carry_over(source, members, brightest, img)
    return source


def _union(img: Any, islands: list[Any], island_id: int) -> Any:
    """Make one island of several; its bounding box may hold other islands, which stay outside its mask."""
    from bdsf.islands import Island

    sides = [[island.bbox[axis] for island in islands] for axis in (0, 1)]
    bbox = [slice(min(side.start for side in both), max(side.stop for side in both)) for both in sides]
    outside: NDArray = np.ones([side.stop - side.start for side in bbox], bool)
    for island in islands:
        own = tuple(slice(s.start - b.start, s.stop - b.start) for s, b in zip(island.bbox, bbox, strict=True))
        outside[own] &= island.mask_active
    box = tuple(bbox)
    return Island(
        img.ch0_arr[box], outside, img.mean_arr[box], img.rms_arr[box], None, bbox, island_id, img.pixel_beamarea(),
        copy=True,
    )  # fmt: skip


def _check_processed(img: Any) -> None:
    missing = {'gaul2srl', 'make_residimage'} - set(getattr(img, 'completed_Ops', ()))
    if missing:
        name = getattr(img, 'filename', img)
        raise InputError(
            f'{name}: PyBDSF has not run to its end; call bdsf.process_image, without stop_at, before OpClaran'
        )

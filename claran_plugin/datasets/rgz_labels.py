"""Radio Galaxy Zoo's catalogue of sources, in the form of ClaRAN's subset of its first data release.

A subject is known by its ``first_id``, such as ``FIRSTJ074535.0+335754``; what volunteers saw is 3' around it.
"""

import csv
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.nddata import CCDData
from numpy.typing import NDArray

from claran_plugin.contours import noise
from claran_plugin.images import beam_pix, pixel_scale
from claran_plugin.labelled import N_FOLDS
from claran_plugin.morphology import component_labels, extent_factor

_NEEDED = ('first_id', 'num_cpnts', 'num_peaks', 'cpnts_ras', 'cpnts_decs', 'ang_extent')
"""Columns of the Radio Galaxy Zoo catalogue."""


class LabelledSource(NamedTuple):
    """A source of the Radio Galaxy Zoo catalogue; consensus level and published set where the catalogue has them."""

    positions: SkyCoord
    n_components: int
    n_peaks: int
    extent_arcsec: float
    consensus: float = float('nan')
    training: bool | None = None


def read_rgz_catalogue(path: str | Path) -> dict[str, list[LabelledSource]]:
    """Read ClaRAN's subset of the RGZ DR1 catalogue: the sources of each subject, by its ``first_id``."""
    subjects = defaultdict(list)
    seen = set()
    with open(path, newline='', encoding='utf-8-sig') as file:
        reader = csv.DictReader(file)
        for row in _rows(reader):
            if any(row[key] is None for key in _NEEDED):
                raise ValueError(f'line {reader.line_num} is cut short')
            name = row['first_id']
            try:
                source = _labelled_source(row)
            except ValueError as err:
                raise ValueError(f'line {reader.line_num}, {name}: {err}') from err
            said = (row.get('cl'), *(row[key] for key in _NEEDED))
            if said in seen:
                raise ValueError(f'line {reader.line_num}, {name}: a source is listed twice')
            seen.add(said)
            subjects[name].append(source)
    return dict(subjects)


def _labelled_source(row: dict[str, str]) -> LabelledSource:
    ra, dec = ([float(value) for value in row[key].split(';')] for key in ('cpnts_ras', 'cpnts_decs'))
    if len(ra) != len(dec):
        raise ValueError(f'{len(ra)} right ascensions, but {len(dec)} declinations')
    if not (np.isfinite([*ra, *dec]).all() and 0 < float(row['ang_extent']) < np.inf):
        raise ValueError('a position or ang_extent is no number, or not above 0')
    training = row.get('training')
    if training and int(training) not in (0, 1):
        raise ValueError(f'training is {training}, neither 1 nor 0')
    return LabelledSource(
        SkyCoord(ra, dec, unit='deg'),
        int(row['num_cpnts']),
        int(row['num_peaks']),
        float(row['ang_extent']),
        float(row.get('cl') or 'nan'),
        bool(int(training)) if training else None,
    )


def _rows(reader: csv.DictReader) -> Iterator[dict[str, str]]:
    try:
        yield from reader
    except csv.Error as err:
        raise ValueError(f'after line {reader.line_num}: {err}') from err


def subject_position(name: str) -> SkyCoord:
    """Read the position out of a name such as ``FIRSTJ074535.0+335754``."""
    ra, dec = name[6:14], name[14:21]
    try:
        return SkyCoord(f'{ra[:2]}h{ra[2:4]}m{ra[4:]}s {dec[:3]}d{dec[3:5]}m{dec[5:]}s')
    except ValueError as err:
        raise ValueError(f'first_id {name}: holds no position, as FIRSTJ074535.0+335754 does') from err


def fold_numbers(positions: SkyCoord, *, link_arcmin: float = 10.0) -> NDArray:
    """Deal subjects into folds so that overlapping images are always in the same one.

    Parameters
    ----------
    positions : (n,) SkyCoord

    Returns
    -------
    (n,) int array of 0 ... 4, the same for subjects linked by less than `link_arcmin`
    """
    near = positions[:, None].separation(positions[None]) < link_arcmin * u.arcmin
    group = np.arange(len(positions))
    for i, row in enumerate(near):
        group[np.isin(group, group[row])] = group[i]
    _, number = np.unique(group, return_inverse=True)
    shuffled = np.random.default_rng(5).permutation(number.max() + 1)
    return shuffled[number] % N_FOLDS


def label_box(source: LabelledSource, image: CCDData) -> NDArray:
    """Give the box that ClaRAN's training set draws around a labelled source, (4,) xyxy in pixels of an image.

    Its side follows from the catalogue's angular extent; its centre is that of the components' islands.
    """
    islands, _ = component_labels(np.nan_to_num(image.data) / noise(image.data), beam_pix(image))
    xy = np.stack(image.wcs.world_to_pixel(source.positions), axis=-1)
    members = islands_at(islands, xy, 6)
    middle = middle_of(islands, members) if members else xy.mean(axis=0)
    side = extent_factor(source.n_components, source.n_peaks) * source.extent_arcsec / pixel_scale(image)
    return np.concatenate([middle - side / 2, middle + side / 2])


def islands_at(labels: NDArray, xy: NDArray, reach_pix: int = 8) -> list[int]:
    """Give the labels of the islands that lie at, or next to, positions (n, 2)."""
    found = set()
    for x, y in np.round(xy).astype(int):
        if not (0 <= x < labels.shape[1] and 0 <= y < labels.shape[0]):
            continue
        near = labels[max(y - reach_pix, 0) : y + reach_pix + 1, max(x - reach_pix, 0) : x + reach_pix + 1]
        if labels[y, x]:
            found.add(int(labels[y, x]))
        elif near.any():
            found.add(int(np.bincount(near[near > 0]).argmax()))
    return sorted(found)


def middle_of(islands: NDArray, members: list[int]) -> NDArray:
    """Give the middle, xy, of the box around some islands of a picture of labels."""
    y, x = np.nonzero(np.isin(islands, members))
    return np.array([x.min() + x.max(), y.min() + y.max()]) / 2

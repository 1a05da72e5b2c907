"""The images' tables -> one catalogue, in which a source that several images show is listed once.

Where images overlap, two of their sources are the same where they have a component in common: components of two
images, each other's nearest, closer than half a beam. Sources that hang together in this way are taken from one image
only, with all their components: from the one in which the fewest of them are cut by an edge or blank pixels, and among
those from the one whose middle is nearest, where a pointing is deepest. What the other images say of them stays in
their own tables.

Only the tables of images that overlap with the one in hand are in memory.
"""

import shutil
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord, search_around_sky
from astropy.table import Table
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from claran_plugin.catalogue import MorphFlag
from claran_plugin.catalogue_reading import standardise
from claran_plugin.catalogue_writing import output_paths
from claran_plugin.survey.work import Row

MATCHING_BEAMS = 0.5
TABLES = ('components', 'sources')
CUT = MorphFlag.EDGE | MorphFlag.BLANK_PIXELS
TABLES_IN_MEMORY = 16


class Merged(NamedTuple):
    """What came of it: rows of the merged tables, and sources left out because another image has them."""

    components: int
    sources: int
    left_out: int


class _Image(NamedTuple):
    """What deciding needs of an image's tables.

    `coords` and `owner` are of its n components, the sources' rows being numbered from 0; `middle` (S,) is the distance
    of its S sources from its middle, deg, and `cut` (S,) bool whether they are cut.
    """

    coords: SkyCoord
    owner: NDArray
    middle: NDArray
    cut: NDArray


def merge(folder: str | Path, rows: Sequence[Row]) -> Merged:
    """Write ``components.parquet`` and ``sources.parquet``, folders with a part for each image.

    Parameters
    ----------
    folder : path
        Of the survey; the images' tables are in its folder ``images``.
    rows : sequence of dict
        Rows of the manifest of the images that are done, in the order in which their parts are wanted.

    Returns
    -------
    Merged
    """
    folder = Path(folder)

    @lru_cache(TABLES_IN_MEMORY)
    def image(name: str) -> _Image:
        return _read(folder, by_name[name])

    by_name = {row['name']: row for row in rows}
    dropped = _dropped(rows, image)
    temporary = {table: folder / f'.{table}.parquet' for table in TABLES}
    for path in temporary.values():
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
    numbers = dict.fromkeys(TABLES, 0)
    for number, row in enumerate(rows):
        lost = np.array(sorted(dropped.get(row['name'], ())), int)
        for table, path in zip(TABLES, output_paths(folder / 'images', row['name']), strict=True):
            part = Table.read(path)
            keep = ~np.isin(np.asarray(part['Assoc_id']), lost) if table == 'components' else _without(len(part), lost)
            part = part[keep]
            part['Image'] = np.full(len(part), row['name'])
            part['Image'].description = 'image of the survey that the row is from'
            part.write(temporary[table] / f'part-{number:05d}.parquet', format='parquet')
            numbers[table] += len(part)
    for table, path in temporary.items():
        final = folder / f'{table}.parquet'
        shutil.rmtree(final, ignore_errors=True)
        path.rename(final)
    return Merged(numbers['components'], numbers['sources'], sum(len(lost) for lost in dropped.values()))


def _without(n: int, lost: NDArray) -> NDArray:
    keep = np.ones(n, bool)
    keep[lost] = False
    return keep


def _read(folder: Path, row: Row) -> _Image:
    path, sources_path = output_paths(folder / 'images', row['name'])
    components, sources = standardise(Table.read(path), str(path)), Table.read(sources_path)
    owner = np.asarray(Table.read(path)['Assoc_id'])
    middle = SkyCoord(float(row['ra']), float(row['dec']), unit='deg')
    places = SkyCoord(sources['RA'], sources['DEC'], unit='deg')
    cut = (np.asarray(sources['Morph_Flag']) & int(CUT)) != 0
    return _Image(SkyCoord(components['RA'], components['DEC']), owner, places.separation(middle).deg, cut)


def _dropped(rows: Sequence[Row], image: Callable[[str], _Image]) -> dict[str, set[int]]:
    """Find the sources of each image, by their rows, that another image's table is to list."""
    numbers: dict[tuple[int, int], int] = {}
    cut: list[bool] = []
    middle: list[float] = []
    edges: list[tuple[int, int]] = []

    def node(place: int, own: _Image, source: int) -> int:
        if (place, source) not in numbers:
            numbers[place, source] = len(numbers)
            cut.append(bool(own.cut[source]))
            middle.append(float(own.middle[source]))
        return numbers[place, source]

    for first, second in _overlapping(rows):
        a, b = image(rows[first]['name']), image(rows[second]['name'])
        near = MATCHING_BEAMS * max(float(rows[first]['beam']), float(rows[second]['beam']))
        for i, j in _mutual_nearest(a.coords, b.coords, near):
            edges.append((node(first, a, int(a.owner[i])), node(second, b, int(b.owner[j]))))
    if not edges:
        return {}
    graph = coo_array((np.ones(len(edges)), tuple(np.array(edges).T)), shape=(len(numbers), len(numbers)))
    group = connected_components(graph, directed=False)[1]
    together: dict[int, dict[int, list[tuple[int, int]]]] = defaultdict(lambda: defaultdict(list))
    for (place, source), number in numbers.items():
        together[int(group[number])][place].append((source, number))
    dropped: dict[str, set[int]] = defaultdict(set)
    for by_image in together.values():

        def rank(place: int, by_image: dict[int, list[tuple[int, int]]] = by_image) -> tuple[int, float, int]:
            own = [number for _, number in by_image[place]]
            return sum(cut[number] for number in own), float(np.mean([middle[number] for number in own])), place

        best = min(by_image, key=rank)
        for place, sources in by_image.items():
            if place != best:
                dropped[rows[place]['name']] |= {source for source, _ in sources}
    return dropped


def _overlapping(rows: Sequence[Row]) -> list[tuple[int, int]]:
    """Give pairs of images whose circles around their corners overlap, sorted."""
    if len(rows) < 2:
        return []
    middles = SkyCoord([float(row['ra']) for row in rows], [float(row['dec']) for row in rows], unit='deg')
    radius = np.array([float(row['radius']) for row in rows])
    first, second, separation, _ = search_around_sky(middles, middles, min(2 * radius.max(), 180) * u.deg)
    near = (first < second) & (separation.deg < radius[first] + radius[second])
    return sorted(zip(first[near].tolist(), second[near].tolist(), strict=True))


def _mutual_nearest(a: SkyCoord, b: SkyCoord, limit_deg: float) -> list[tuple[int, int]]:
    """Match positions that are each other's nearest and closer than a limit."""
    if not len(a) or not len(b):
        return []
    to_b, separation, _ = a.match_to_catalog_sky(b)
    to_a, _, _ = b.match_to_catalog_sky(a)
    matched = np.flatnonzero((separation.deg < limit_deg) & (to_a[to_b] == np.arange(len(a))))
    return list(zip(matched.tolist(), np.asarray(to_b)[matched].tolist(), strict=True))

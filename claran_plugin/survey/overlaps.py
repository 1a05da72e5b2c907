"""Which sources several images show, and which image's word is taken.

Two components of two images are one where they are each other's nearest and closer than half a beam. A component that
has no such partner is one with the nearest in the other image if the middle of either lies within the other's ellipse
at half power, as where a source finder fits one Gaussian to what it fits two in the other image. Sources with such
components in common belong together. Of a group of these, the images are asked in turn: first those that show the most
of the group's components, then those in which the fewest of its sources are cut by an edge or blank pixels, then those
whose middle is nearest, where a pointing is deepest. A source is taken if none of its components is in a source that
has been taken before.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord, search_around_sky
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from claran_plugin.catalogue import MorphFlag
from claran_plugin.survey.work import Row

MATCHING_BEAMS = 0.5
CUT = MorphFlag.EDGE | MorphFlag.BLANK_PIXELS
"""Flags of a source that its image does not show as a whole."""
Component = tuple[int, int]
"""Number of the image, and row in its component table."""
Source = tuple[int, int]
"""Number of the image, and row in its source table."""


class Shown(NamedTuple):
    """What deciding needs of an image's tables.

    Attributes
    ----------
    coords : SkyCoord
        Of its n components.
    shape : (n, 3) array
        Their axes at half power and position angles, deg; NaN where unknown.
    owner : (n,) int array
        Row of the source table that each component belongs to.
    distance : (S,) array
        Of its S sources from its middle, deg.
    flags : (S,) int array
        ``Morph_Flag``.
    """

    coords: SkyCoord
    shape: NDArray
    owner: NDArray
    distance: NDArray
    flags: NDArray


class _Seen(NamedTuple):
    """What is remembered of a source in an overlap."""

    components: tuple[int, ...]
    is_cut: bool
    distance: float


def repeated_sources(rows: Sequence[Row], image: Callable[[int], Shown]) -> dict[int, set[int]]:
    """Find the sources that another image's table is to list.

    Parameters
    ----------
    rows : sequence of dict
        Rows of the manifest.
    image : callable
        Gives what the image of a row shows, by the row's number.

    Returns
    -------
    dict of int to set of int
        Rows of the source table to leave out, by the number of the image.
    """
    seen: dict[Source, _Seen] = {}
    matches: list[tuple[Component, Component]] = []
    for first, second in _overlapping(rows):
        a, b = image(first), image(second)
        near = MATCHING_BEAMS * max(float(rows[first]['beam']), float(rows[second]['beam']))
        for i, j in _same_components(a, b, near):
            matches.append(((first, i), (second, j)))
            _remember(seen, first, a, int(a.owner[i]))
            _remember(seen, second, b, int(b.owner[j]))
    if not matches:
        return {}
    components = {(place, one): 0 for (place, _), source in seen.items() for one in source.components}
    same = dict(zip(components, _joined(components, matches), strict=True))
    of_component = {(place, one): (place, row) for (place, row), source in seen.items() for one in source.components}
    group = _joined(seen, [(of_component[a], of_component[b]) for a, b in matches])
    together: dict[int, list[Source]] = defaultdict(list)
    for source, number in zip(seen, group, strict=True):
        together[int(number)].append(source)
    repeated: dict[int, set[int]] = defaultdict(set)
    for sources in together.values():
        for place, row in _not_taken(sources, seen, same):
            repeated[place].add(row)
    return repeated


def _remember(seen: dict[Source, _Seen], place: int, shown: Shown, row: int) -> None:
    if (place, row) not in seen:
        members = tuple(np.flatnonzero(shown.owner == row).tolist())
        seen[place, row] = _Seen(members, bool(shown.flags[row] & int(CUT)), float(shown.distance[row]))


def _not_taken(sources: list[Source], seen: dict[Source, _Seen], same: dict[Component, int]) -> list[Source]:
    """Give the sources of one group that are left out."""
    by_image: dict[int, list[Source]] = defaultdict(list)
    for source in sources:
        by_image[source[0]].append(source)

    def classes(some: Iterable[Source]) -> set[int]:
        return {int(same[source[0], one]) for source in some for one in seen[source].components}

    def rank(place: int) -> tuple[int, int, float, int]:
        own = by_image[place]
        n_cut = sum(seen[source].is_cut for source in own)
        return -len(classes(own)), n_cut, float(np.mean([seen[source].distance for source in own])), place

    taken: set[int] = set()
    left_out = []
    for place in sorted(by_image, key=rank):
        free = [source for source in by_image[place] if taken.isdisjoint(classes([source]))]
        left_out += [source for source in by_image[place] if source not in free]
        taken |= classes(free)
    return left_out


def _joined(nodes: Iterable[tuple[int, int]], edges: Sequence[tuple[tuple[int, int], tuple[int, int]]]) -> NDArray:
    """Number nodes so that those that edges connect have one number."""
    number = {node: index for index, node in enumerate(nodes)}
    ends = np.array([(number[a], number[b]) for a, b in edges]).reshape(-1, 2)
    graph = coo_array((np.ones(len(ends)), tuple(ends.T)), shape=(len(number), len(number)))
    return connected_components(graph, directed=False)[1]


def _overlapping(rows: Sequence[Row]) -> list[tuple[int, int]]:
    """Give pairs of images whose circles around their corners overlap, sorted."""
    if len(rows) < 2:
        return []
    middles = SkyCoord([float(row['ra']) for row in rows], [float(row['dec']) for row in rows], unit='deg')
    radius = np.array([float(row['radius']) for row in rows])
    first, second, separation, _ = search_around_sky(middles, middles, min(2 * radius.max(), 180) * u.deg)
    near = (first < second) & (separation.deg < radius[first] + radius[second])
    return sorted(zip(first[near].tolist(), second[near].tolist(), strict=True))


def _same_components(a: Shown, b: Shown, limit_deg: float) -> list[tuple[int, int]]:
    """Match the components of two images: each other's nearest closer than a limit, others by their ellipses."""
    if not len(a.coords) or not len(b.coords):
        return []
    to_b, separation, _ = a.coords.match_to_catalog_sky(b.coords)
    to_a, _, _ = b.coords.match_to_catalog_sky(a.coords)
    one_to_one = (separation.deg < limit_deg) & (to_a[to_b] == np.arange(len(a.coords)))
    matched = np.flatnonzero(one_to_one)
    rest_a, rest_b = np.flatnonzero(~one_to_one), np.setdiff1d(np.arange(len(b.coords)), to_b[matched])
    pairs = [(matched, to_b[matched]), (rest_a, to_b[rest_a]), (to_a[rest_b], rest_b)]
    i, j = (np.concatenate(ends).astype(int) for ends in zip(*pairs, strict=True))
    same = _within(a, i, b, j) | _within(b, j, a, i)
    same[: len(matched)] = True
    return sorted(set(zip(i[same].tolist(), j[same].tolist(), strict=True)))


def _within(inner: Shown, rows: NDArray, outer: Shown, others: NDArray) -> NDArray:
    """Tell which of some components have their middle within the ellipse of one of another image each."""
    middle, angle = outer.coords[others], outer.shape[others, 2]
    distance = middle.separation(inner.coords[rows]).deg
    bearing = middle.position_angle(inner.coords[rows]).rad - np.radians(angle)
    semi = outer.shape[others, :2].T / 2
    with np.errstate(invalid='ignore', divide='ignore'):
        radius = np.hypot(distance * np.cos(bearing) / semi[0], distance * np.sin(bearing) / semi[1])
    return radius < 1

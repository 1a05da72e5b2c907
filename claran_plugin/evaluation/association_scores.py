"""How well components were grouped into sources, and friends-of-friends, the simplest grouping, to compare with."""

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree


def exact_recovery(
    truth_sets: Sequence[Collection[int]], labels: ArrayLike, ignored: ArrayLike | None = None
) -> NDArray:
    """Tell which true sources came back whole: all their components together, and no other one with them.

    Parameters
    ----------
    truth_sets : sequence of t sets of int
        Components (or islands) of each true source, none of them empty; they do not share any.
    labels : (n,) int array
        Group of each component.
    ignored : (n,) bool array, optional
        Components that are nobody's, such as artefacts, and spoil no group.

    Returns
    -------
    (t,) bool array

    Raises
    ------
    ValueError
        Where a set is empty.
    """
    labels = np.asarray(labels)
    counted = np.ones(len(labels), bool) if ignored is None else ~np.asarray(ignored, bool)
    recovered = np.zeros(len(truth_sets), bool)
    for number, members in enumerate(truth_sets):
        index = np.array(sorted(members), int)
        if not index.size:
            raise ValueError(f'true source {number} has no components; leave out what was not found')
        group = np.flatnonzero((labels == labels[index[0]]) & counted)
        recovered[number] = np.array_equal(group, index)
    return recovered


def friends_of_friends(xy: ArrayLike, length: float) -> NDArray:
    """Group points that are linked by steps of at most a length.

    Parameters
    ----------
    xy : (n, 2) array
        Positions, in a plane.
    length : float
        Linking length, in the same unit.

    Returns
    -------
    (n,) int array, the group of each point, from 0
    """
    points = np.asarray(xy, float).reshape(-1, 2)
    if not len(points):
        return np.empty(0, int)
    pairs = cKDTree(points).query_pairs(length, output_type='ndarray')
    links = coo_array((np.ones(len(pairs)), pairs.T), shape=(len(points), len(points)))
    return connected_components(links, directed=False)[1]


def linked_islands(xy: ArrayLike, flux: ArrayLike, islands: ArrayLike, length: float) -> NDArray:
    """Group islands by friends-of-friends on the flux-weighted means of their components.

    Parameters
    ----------
    xy : (n, 2) array
        Positions of components, in a plane.
    flux : (n,) array
        Blank and negative ones count little.
    islands : (n,) int array
        Island of each.
    length : float
        Linking length, in the unit of `xy`.

    Returns
    -------
    (n,) int array, the group of each component
    """
    weight = np.maximum(np.nan_to_num(flux), 1e-12)
    _, number = np.unique(islands, return_inverse=True)
    total = np.bincount(number, weight)
    centres = np.stack([np.bincount(number, weight * axis) / total for axis in np.asarray(xy, float).T], -1)
    return friends_of_friends(centres, length)[number]


def true_source_of(xy: ArrayLike, label_image: NDArray, reach_pix: float) -> NDArray:
    """Find the true source at each position.

    Parameters
    ----------
    xy : (n, 2) array
        Pixels.
    label_image : (ny, nx) int array
        Number of the source of every pixel, 0 for none, -1 for noise and artefacts.
    reach_pix : float
        Positions without a source take the nearest one within this distance.

    Returns
    -------
    (n,) int array of numbers of sources; 0 where there is none
    """
    pixels = np.rint(np.asarray(xy, float)).astype(int).reshape(-1, 2)
    source = np.zeros(len(pixels), int)
    inside = np.all((pixels >= 0) & (pixels < label_image.shape[::-1]), axis=1)
    if not label_image.any():
        return source
    distance, (y, x) = ndimage.distance_transform_edt(label_image == 0, return_indices=True)
    own = pixels[inside, 1], pixels[inside, 0]
    nearest = label_image[y[own], x[own]]
    source[inside] = np.where(distance[own] <= reach_pix, np.maximum(nearest, 0), 0)
    return source


def truth_sets(source_of: ArrayLike) -> list[set[int]]:
    """List the components of each source that has any.

    Parameters
    ----------
    source_of : (n,) int array
        True source of each component, above 0; 0 for none.
    """
    source_of = np.asarray(source_of)
    return [set(np.flatnonzero(source_of == number).tolist()) for number in np.unique(source_of[source_of > 0])]

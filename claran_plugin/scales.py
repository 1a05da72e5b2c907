"""Sources larger than a field of view: the sky at twice, four times, ... the beam, and what is seen there.

A coarser sky is the same image at half the resolution. Its fields of view have the same 33 beams and show twice as much
of the sky, so the detector need not know. There the source finder's islands are joined where they lie on one island of
the smoothed image and are only a part of what is seen there; a coarser view speaks only of sets that are too
large for the finer ones.
"""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from astropy.nddata import CCDData
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from claran_plugin.boxes import boxes_around
from claran_plugin.claimed import Components, members_of
from claran_plugin.claims import Wanted
from claran_plugin.division import Surroundings
from claran_plugin.embedding import light_around
from claran_plugin.emission import Emission, find_emission
from claran_plugin.footprints import FWHM, counted_emission
from claran_plugin.grids import coarser_wcs, from_coarser, to_coarser
from claran_plugin.hypotheses import Hypotheses
from claran_plugin.images import beam
from claran_plugin.morphology import COMPONENT_SIGMA
from claran_plugin.pixels import WindowedPixels, average_pixels, values_at
from claran_plugin.subjects import Sky, boxes_of_pairs, covering_centres, unlike

FACTOR = 2
"""Between the resolutions of one scale and the next."""
WANTED_SIDE = (0.37, 0.75)
"""Sides of what a coarser field of view is put around, in sides of the field; a finer one shows what is smaller, a
coarser one what is larger, ..."""
LARGEST_OF_ALL = 0.85
"""... up to this on the coarsest sky."""
LARGEST_FINER = 0.72
"""A set whose components span more than this part of a field of view is left to the next coarser one."""
JOINING_SIGMA = 3.0
"""Islands of the source finder are joined where they lie on one island of the smoothed image above this, of which some
is counted."""
MOST_COMPONENTS = 1000
"""A set of more is no source but what the smoothed image of a crowded sky blends."""
EMBEDDED = 1.2
"""A component lies in extended emission where it is so bright around it, in units of the noise (`light_around`): 95 %
of the compact fragments of simulated lobes have more than 1.7, 95 % of unrelated sources less than 0.8."""
RESOLVED_AREA = 1.6
"""An island that covers this many times what a point source of its brightness would is resolved."""
MOST_PIXELS_IN_MEMORY = 2**27
"""A larger coarser sky (512 MiB) is computed window by window, again for each use."""
BEAM_AREA = np.pi / (4 * np.log(2))
"""Of a Gaussian, in squares of its FWHM."""


class Coarse(NamedTuple):
    """A coarser sky, with the components in its pixels.

    Attributes
    ----------
    sky : Sky
    components : Components
        In pixels of the coarser sky; `island` numbers the joined islands.
    boxes : dict of int to (4,) array
        Bounding box of each joined island of the smoothed image, xyxy.
    resolved : set of int
        Those joined islands that are larger than the coarser beam.
    once_resolved : set of int
        Those that are, or have a component that is on such an island of a finer one of the coarser skies.
    bare : set of int
        Those whose components are no larger than the coarser beam and lie in no extended emission.
    scale : int
        Pixels of the image per pixel of the coarser sky.
    """

    sky: Sky
    components: Components
    boxes: dict[int, NDArray]
    resolved: set[int]
    once_resolved: set[int]
    bare: set[int]
    scale: int


def coarser_skies(sky: Sky, components: Components) -> Iterator[Coarse]:
    """Give the sky at twice the beam, at four times, ... until a field of view shows the whole image."""
    if sky.field_pix >= max(sky.radio.shape):
        return
    finest, scale = _beam_area(sky), 1
    is_embedded = light_around(sky, components.xy, components.covariance) > EMBEDDED
    embedded = set(components.island[is_embedded].tolist())
    once_resolved = np.zeros(len(components.xy), bool)
    while sky.field_pix < max(sky.radio.shape):
        sky, scale = coarser(sky), scale * FACTOR
        coarse = _described(sky, components, scale, _beam_area(sky) / finest, embedded)
        island = coarse.components.island
        once_resolved |= np.isin(island, list(coarse.resolved))
        yield coarse._replace(once_resolved=set(island[once_resolved].tolist()))


def on_coarser(components: Components, scale: int) -> Components:
    """Bring components onto a sky with pixels that are so many times as large."""
    return components._replace(xy=to_coarser(components.xy, scale), covariance=components.covariance / scale**2)


def coarser(sky: Sky) -> Sky:
    """Give the same sky at half the resolution, with half as many pixels on each side.

    Pixels keep their unit, brightness per beam of the finest image, though the beam in `meta` is the new one: a point
    source has a quarter of its peak. The noise is measured anew. There is no infrared image: its detector looks at
    none.
    """
    sigma = sky.beam_pix * np.sqrt(FACTOR**2 - 1) / FWHM
    wide = beam(sky.radio)
    added = (FACTOR**2 - 1) * wide.major * wide.minor
    meta = sky.radio.meta.copy()
    meta['BMAJ'], meta['BMIN'] = (float(np.sqrt(axis**2 + added).to_value('deg')) for axis in (wide.major, wide.minor))
    radio = _halved(sky.radio, sigma)
    radio.meta = meta
    return Sky(radio, field_arcsec=FACTOR * sky.field_arcsec)


def _halved(image: CCDData, sigma: float) -> CCDData:
    """Smooth by a Gaussian (sigma in pixels) and average squares of pixels; blank stays blank."""
    margin = FACTOR * int(np.ceil((4 * sigma + 1) / FACTOR))  # the Gaussian ends at 4 sigma
    shape = tuple(-(-n // FACTOR) for n in image.shape)

    def half(ys: slice, xs: slice) -> NDArray:
        wide, own = [], []
        for part, n in zip((ys, xs), image.shape, strict=True):
            low, high = max(part.start * FACTOR - margin, 0), min(part.stop * FACTOR + margin, n)
            wide.append(slice(low, high))
            own.append(slice(part.start - low // FACTOR, part.stop - low // FACTOR))
        data = _smoothed(np.asarray(image.data[wide[0], wide[1]], np.float32), sigma)
        data = np.pad(data, [(0, -size % FACTOR) for size in data.shape], constant_values=np.nan)
        return average_pixels(data, image.wcs, FACTOR)[0][own[0], own[1]]

    pixels: NDArray | WindowedPixels = WindowedPixels(shape, half)
    if pixels.size <= MOST_PIXELS_IN_MEMORY:
        pixels = np.asarray(pixels)
    return CCDData(pixels, unit=image.unit, wcs=coarser_wcs(image.wcs, FACTOR), meta=dict(image.meta))


def _smoothed(data: NDArray, sigma: float) -> NDArray:
    """Smooth with a Gaussian; blank pixels are left out and stay blank."""
    blank = ~np.isfinite(data)
    data = ndimage.gaussian_filter(np.where(blank, 0, data), sigma)
    if blank.any():
        seen = ndimage.gaussian_filter((~blank).astype(np.float32), sigma)
        data = data / np.maximum(seen, 0.1)
    return np.where(blank, np.nan, data)


def _beam_area(sky: Sky) -> float:
    """Give the product of the beam's axes, deg^2."""
    axes = beam(sky.radio)
    return float((axes.major * axes.minor).to_value('deg2'))


def _described(sky: Sky, components: Components, scale: int, beam_ratio: float, embedded: Set[int]) -> Coarse:
    """Bring the components onto a coarser sky and join their islands there; some are embedded in extended emission."""
    moved = on_coarser(components, scale)
    xy = moved.xy
    emission = counted_emission(sky, xy)
    faint = find_emission(sky, JOINING_SIGMA, xy=xy, reach=max(sky.beam_pix / 2, 1))
    lying_on = _islands_on_emission(moved, sky, faint, beam_ratio, embedded)
    moved = moved._replace(island=_joined(components.island, lying_on))
    is_resolved = _are_resolved(emission, sky.beam_pix)
    boxes, resolved, bare = {}, set(), set()
    half = np.full(2, sky.beam_pix / 2)
    half_widths = FWHM / 2 * np.sqrt(np.einsum('nii->ni', moved.covariance))
    for number, members in members_of(moved.island).items():
        parts = [member for member in members if lying_on[int(components.island[member])]]
        touched: set[int] = set().union(*(emission.near[member] for member in parts))
        shapes = [emission.bounds[label] for label in touched]
        shapes += [np.concatenate([xy[members].min(axis=0) - half, xy[members].max(axis=0) + half])]
        boxes[number] = boxes_around(np.array(shapes))
        if is_resolved[list(touched)].any():
            resolved.add(number)
        reach = half_widths[members]
        extent = (xy[members] + reach).max(axis=0) - (xy[members] - reach).min(axis=0)
        if extent.max() < sky.beam_pix and embedded.isdisjoint(components.island[members].tolist()):
            bare.add(number)
    return Coarse(sky, moved, boxes, resolved, resolved, bare, scale)


def _islands_on_emission(
    components: Components, sky: Sky, emission: Emission, beam_ratio: float, embedded: Set[int]
) -> dict[int, set[int]]:
    """Find the islands of the smoothed image that each of the source finder's islands is a part of.

    One that is smaller than the beam is so where it has most of that island's flux, or where it is embedded in extended
    emission and less than half of what is seen in its place is its own; otherwise, a stranger beside a lobe for
    example, it is itself and nothing else.
    """
    # per beam of the image -> per beam of the coarser sky
    whole = emission.total * beam_ratio / (BEAM_AREA * sky.beam_pix**2)
    ny, nx = sky.radio.shape
    inside = np.rint(np.clip(components.xy, 0, (nx - 1, ny - 1))).astype(int)
    brightness = np.nan_to_num(values_at(sky.radio.data, inside)) * beam_ratio
    half = FWHM / 2 * np.sqrt(np.einsum('nii->ni', components.covariance))
    lying_on = {}
    for island, members in members_of(components.island).items():
        found = set().union(*(emission.near[member] for member in members))
        flux = float(np.nan_to_num(components.flux[members]).clip(0).sum())
        place, reach = components.xy[members], half[members]
        low, high = (place - reach).min(axis=0), (place + reach).max(axis=0)
        stands_out = island not in embedded or brightness[members].max() < 2 * flux
        if stands_out and (high - low).max() < sky.beam_pix:
            found = {label for label in found if flux > whole[label] / 2}
        lying_on[island] = {label for label in found if emission.peak[label] > COMPONENT_SIGMA}
    return lying_on


def _joined(island: NDArray, lying_on: Mapping[int, set[int]]) -> NDArray:
    """Number islands (n,) anew, one number for those that lie on the same labels."""
    names, own = np.unique(island, return_inverse=True)
    pairs = [(k, len(names) + label) for k, name in enumerate(names) for label in lying_on[int(name)]]
    row, column = np.array(pairs, int).reshape(-1, 2).T
    size = int(column.max(initial=len(names))) + 1
    graph = coo_array((np.ones(len(row)), (row, column)), shape=(size, size))
    return connected_components(graph, directed=False)[1][own]


def _are_resolved(emission: Emission, beam_pix: float) -> NDArray:
    """Tell which islands of emission are larger than the beam, (L,) bool."""
    ratio = emission.peak / COMPONENT_SIGMA
    point = np.pi / 4 * beam_pix**2 * np.maximum(np.log2(ratio), 0.25)  # a Gaussian's area above the threshold
    return emission.area > RESOLVED_AREA * point


def coarse_centres(coarse: Coarse) -> NDArray:
    """Choose fields of view around what may be a source too large for the finer ones.

    That is a resolved island of the right size, or a pair of which one is resolved, and the other here or on a finer
    one of the coarser skies: of two lobes far apart, one may be compact.

    Returns
    -------
    (m, 2) array of pixels (x, y) of the coarser sky
    """
    islands = sorted(coarse.once_resolved)
    boxes = np.array([coarse.boxes[number] for number in islands]).reshape(-1, 4)
    if not len(boxes):
        return np.empty((0, 2))
    resolved = np.isin(islands, list(coarse.resolved))
    low, high = np.array(WANTED_SIDE) * coarse.sky.field_pix
    if coarse.sky.field_pix >= max(coarse.sky.radio.shape):
        high = LARGEST_OF_ALL * coarse.sky.field_pix
    found = np.concatenate([boxes[resolved], boxes_of_pairs(boxes, 0, high, resolved)])
    side = (found[:, 2:] - found[:, :2]).max(axis=1)
    wanted = unlike(found[(side > low) & (side < high)], coarse.sky)
    return covering_centres(wanted, coarse.sky.field_pix, coarse.sky.field_pix / 2)


def large_sets(coarse: Coarse) -> Wanted:
    """Give what tells which sets of joined islands are too large for finer fields of view, and no mere crowd."""
    least = LARGEST_FINER * coarse.sky.field_pix / FACTOR
    size = {number: len(members) for number, members in members_of(coarse.components.island).items()}

    def is_large(islands: Sequence[int]) -> bool:
        if sum(size[number] for number in islands) > MOST_COMPONENTS:
            return False
        whole = boxes_around(np.array([coarse.boxes[number] for number in islands]))
        return bool((whole[2:] - whole[:2]).max() > least)

    return is_large


def with_coarse(around: Surroundings, coarse: Coarse) -> Surroundings:
    """Add what a coarser sky tells of the joined islands to what its image tells."""
    return around._replace(resolved=frozenset(coarse.resolved), bare=frozenset(coarse.bare))


def likeliest_variants(found: Hypotheses, coarse: Coarse) -> Hypotheses:
    """Keep, of sets that differ in islands only that are not resolved, the one with the most evidence.

    Each has the evidence that there is such a source at all (`division.Division.shares`), so that they would be taken
    for parts of one another.
    """
    best: dict[frozenset[int] | int, int] = {}
    for number, members in enumerate(found.sets()):
        large = frozenset(coarse.components.island[list(members)].tolist()) & coarse.resolved
        name = large or number  # without any, a set is a variant of no other
        if name not in best or found.evidence[number] > found.evidence[best[name]]:
            best[name] = number
    return found[np.array(sorted(best.values()), int)]


def on_the_image(found: Hypotheses, coarse: Coarse) -> Hypotheses:
    """Bring what was found on a coarser sky onto the image."""
    return replace(
        found,
        box=from_coarser(found.box, coarse.scale),
        scale=np.full_like(found.scale, coarse.scale),
    )

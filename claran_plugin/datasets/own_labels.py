"""Labelled images of one's own (`claran_plugin.labelled`) as packed subjects."""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from claran_plugin.calibration import nearest_class
from claran_plugin.celestial import to_sky
from claran_plugin.datasets.packed_subjects import WIDE, PackedSubject, about_middle, drawn_infrared
from claran_plugin.fusion import GREY_PERCENTILES
from claran_plugin.grids import to_coarser
from claran_plugin.images import pixel_scale
from claran_plugin.labelled import UNKNOWN, LabelledImage, folds_on_sky
from claran_plugin.morphology import CLASSES, class_name, component_labels, count, source_box
from claran_plugin.scales import coarser
from claran_plugin.subjects import PIXELS_PER_BEAM, Sky, resample
from claran_plugin.truth import true_sources

LARGEST_SIDE = 1.2
"""A source larger than so many sides of a field of view is ignored there: no field shows it."""
LEAST_SIDE = 0.25
"""A coarser sky is packed around sources of at least so many sides of its field of view."""
APART_BEAMS = 10.0
"""A source of one component gets a subject of its own only so far from the middles of others."""
HALF_BEAM = int(PIXELS_PER_BEAM / 2)
NOBODY, UNTOLD = -2, -1
"""Emission without a component in the catalogue, or with one whose source is not known."""


def own_subjects(images: Iterable[LabelledImage], *, infrared_rng: Generator | None = None) -> list[PackedSubject]:
    """Pack the labelled sources of some images: a subject around each of several components, and around others.

    Sources larger than a quarter of the next larger field of view are packed as coarser skies show them, too. Folds
    follow from the position on the sky, so that one part of it is all in the same.

    Parameters
    ----------
    images : iterable of LabelledImage
    infrared_rng : Generator, optional
        Give each subject an infrared image, drawn where the image has none of its own. Then there are none of coarser
        skies, as the detector that looks at infrared images is not shown these.
    """
    found = [one for image in images for one in chain.from_iterable(_of_image(image, infrared_rng))]
    if not found:
        return []
    positions = SkyCoord([(one.middle.ra.deg, one.middle.dec.deg) for one in found], unit='deg')
    width = np.array([one.width_arcsec for one in found])
    folds = folds_on_sky(positions, float(np.median(width)) / WIDE * PIXELS_PER_BEAM)
    near = _near_folds(positions, width, folds)
    return [
        one.subject._replace(fold=int(fold), near=others) for one, fold, others in zip(found, folds, near, strict=True)
    ]


class _Found(NamedTuple):
    """A subject, the middle of its cut-out, and how wide that is."""

    subject: PackedSubject
    middle: SkyCoord
    width_arcsec: float


def _near_folds(positions: SkyCoord, width_arcsec: NDArray, folds: NDArray) -> list[tuple[int, ...]]:
    """Give the other folds that each of some cut-outs (n,) overlaps with."""
    one, other, separation, _ = positions.search_around_sky(positions, width_arcsec.max() * u.arcsec)
    overlaps = separation.arcsec < (width_arcsec[one] + width_arcsec[other]) / 2
    near: list[set[int]] = [set() for _ in folds]
    for index, fold in zip(one[overlaps].tolist(), folds[other[overlaps]].tolist(), strict=True):
        near[index].add(fold)
    return [tuple(sorted(others - {int(fold)})) for others, fold in zip(near, folds, strict=True)]


def _of_image(image: LabelledImage, infrared_rng: Generator | None) -> Iterator[Iterator[_Found]]:
    """Give the subjects of an image, scale by scale."""
    truth = true_sources(image)
    side = (truth.boxes[:, 2:] - truth.boxes[:, :2]).max(axis=1)
    middle = (truth.boxes[:, :2] + truth.boxes[:, 2:]) / 2
    chosen = _spread(middle, [len(rows) for rows in truth.members], APART_BEAMS * image.sky.beam_pix)
    sky, scale = image.sky, 1
    while True:
        fields = side / sky.field_pix / scale
        wanted = np.flatnonzero((fields <= LARGEST_SIDE) & (chosen if scale == 1 else fields > LEAST_SIDE))
        yield _of_sky(image, sky, scale, middle[wanted], fields > LARGEST_SIDE, infrared_rng)
        is_last = not (fields > 2 * LEAST_SIDE).any() or sky.field_pix >= max(sky.radio.shape)
        if is_last or infrared_rng is not None:
            return
        sky, scale = coarser(sky), 2 * scale


def _spread(middle: NDArray, n_members: list[int], apart: float) -> NDArray:
    """Choose sources (t,) bool: all of several components, and others that are far from those that were chosen."""
    chosen = np.array([number > 1 for number in n_members], bool)
    tree = cKDTree(middle)
    for index in np.flatnonzero(~chosen):
        chosen[index] = not chosen[tree.query_ball_point(middle[index], apart)].any()
    return chosen


def _of_sky(
    image: LabelledImage, sky: Sky, scale: int, middles: NDArray, too_large: NDArray, infrared_rng: Generator | None
) -> Iterator[_Found]:
    """Cut subjects around some pixels (k, 2) of the image out of it, or out of the same sky at a coarser beam."""
    rows = to_coarser(image.components.xy, scale)
    tree = cKDTree(rows)
    for number, centre in enumerate(to_coarser(middles, scale)):
        snr = resample(sky.radio.data, centre, sky.step, WIDE) / max(sky.noise_at(centre), 1e-30)
        # As far as a source reaches that begins in the cut-out, and that a field of view may show.
        near = np.sort(np.array(tree.query_ball_point(centre, sky.step * 1.5 * WIDE, p=np.inf), int))
        xy = (rows[near] - centre) / sky.step + (WIDE - 1) / 2
        boxes, labels, ignore = _label(snr, xy, image.source[near], image, too_large, coarse=scale > 1)
        infrared = None
        if infrared_rng is not None:
            if image.sky.infrared is not None:
                infrared = _near_one(resample(image.sky.infrared.data, centre, sky.step, WIDE, blank=np.nan))
            else:
                beam_arcsec = sky.beam_pix * pixel_scale(sky.radio)
                infrared = drawn_infrared(infrared_rng, about_middle(infrared_rng, boxes), beam_arcsec)
        name = f'{image.name}_{scale}x_{number:05d}'
        (middle,) = to_sky(sky.radio.wcs, centre)
        subject = PackedSubject(name, 'labelled', snr.astype(np.float16), boxes, labels, ignore, infrared=infrared)
        yield _Found(subject, middle, WIDE * sky.step * pixel_scale(sky.radio))


def _near_one(infrared: NDArray) -> NDArray:
    """Bring an infrared image of any unit to numbers that half precision holds; it is drawn alike."""
    known = infrared[np.isfinite(infrared)]
    if not known.size:
        return infrared
    black, middle, white = np.percentile(known, GREY_PERCENTILES)
    return (infrared - middle) / (middle - black or white - middle or known.max() - middle or 1)


def _label(
    snr: NDArray, xy: NDArray, source: NDArray, image: LabelledImage, too_large: NDArray, *, coarse: bool
) -> tuple[NDArray, list[int], list[bool]]:
    """Box and classify what is seen in a cut-out with some components (m, 2) of known sources (m,).

    Ignored are sources that the cut-out does not show whole, or that no field of view does, those of none of the six
    classes, and emission that is in nobody's list or whose source is not known.
    """
    islands, n = component_labels(snr, PIXELS_PER_BEAM)
    owner = _owners(islands, n, xy, source)
    outside = {int(number) for number in source[((xy < 0) | (xy > WIDE - 1)).any(axis=1)]}
    edge = np.ones(snr.shape, bool)
    edge[1:-1, 1:-1] = False
    boxes, labels, ignore = [], [], []
    for number in np.unique(owner[(owner >= 0) & (islands > 0)]):
        mask = owner == number
        counts = count(snr, mask, PIXELS_PER_BEAM)
        own, n_own = component_labels(np.where(mask, snr, 0), PIXELS_PER_BEAM)
        if not n_own:  # split into specks
            continue
        if coarse:  # where a source may have any number of islands
            given = nearest_class(counts)
        elif image.classified:
            given = int(image.given[number])
        else:
            name = class_name(*counts)
            given = CLASSES.index(name) if name else UNKNOWN
        whole = not (mask & edge).any() and int(number) not in outside and not too_large[number]
        boxes.append(source_box(own, np.arange(1, n_own + 1), counts.peaks))
        labels.append(max(given, 0))
        ignore.append(given == UNKNOWN or not whole)
    others, n_others = component_labels(np.where(owner < 0, snr, 0), PIXELS_PER_BEAM)  # parts of islands, too
    for island in range(1, n_others + 1):
        boxes.append(source_box(others, [island], 1))
        labels.append(0)
        ignore.append(True)
    return np.array(boxes, float).reshape(-1, 4), labels, ignore


def _owners(islands: NDArray, n: int, xy: NDArray, source: NDArray) -> NDArray:
    """Tell for each pixel of n islands whose it is: the source's whose component lies on it, of several the nearest."""
    owner = np.full(islands.shape, NOBODY)
    touching: dict[int, list[int]] = {number: [] for number in range(1, n + 1)}
    near = np.clip(np.rint(xy)[:, :, None].astype(int) + np.array([-HALF_BEAM, HALF_BEAM + 1]), 0, WIDE)
    for row, ((x0, x1), (y0, y1)) in enumerate(near.tolist()):
        part = islands[y0:y1, x0:x1]
        for number in np.unique(part[part > 0]).tolist():
            touching[number].append(row)
    for number, rows in touching.items():
        if not rows:
            continue
        y, x = np.nonzero(islands == number)
        nearest = cKDTree(xy[rows]).query(np.stack([x, y], axis=-1))[1]
        owner[y, x] = np.maximum(source[rows][nearest], UNTOLD)
    return owner

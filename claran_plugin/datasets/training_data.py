"""Real and simulated images -> subjects of the compact detector's training set.

Labels come from Radio Galaxy Zoo where they exist, else from counting components and peaks as its first data release
did (`claran_plugin.morphology`).
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray
from scipy import ndimage

from claran_plugin.datasets.packed_subjects import WIDE, PackedSubject, about_middle, drawn_infrared, wide_cutout
from claran_plugin.datasets.radiogalaxynet import read_radiogalaxynet
from claran_plugin.datasets.rgz_labels import (
    fold_numbers,
    islands_at,
    middle_of,
    read_rgz_catalogue,
    subject_position,
)
from claran_plugin.errors import InputError
from claran_plugin.images import image_files
from claran_plugin.morphology import CLASSES, class_name, component_labels, count, extent_factor, source_box
from claran_plugin.simulation import simulate_subject
from claran_plugin.subjects import PIXELS_PER_BEAM

SIMULATED_BEAMS = (5.0, 15.0)
"""arcsec; how large the beam of a simulated image is beside the infrared one."""


def labelled_first(
    directory: Path, catalogue: Path, *, infrared_rng: np.random.Generator | None = None
) -> Iterator[PackedSubject]:
    """Pack real FIRST images whose sources Radio Galaxy Zoo has classified.

    Inside the 3' that the volunteers saw, what they did not call a source is background; outside it is ignored. With
    `infrared_rng`, an infrared image is drawn (`drawn_infrared`).
    """
    truth = read_rgz_catalogue(catalogue)
    paths = [p for p in image_files(directory, 'FIRSTJ*') if p.name.split('.fits')[0] in truth]
    names = [p.name.split('.fits')[0] for p in paths]
    folds = fold_numbers(SkyCoord([subject_position(n) for n in names]))
    for name, path, fold in zip(names, paths, folds, strict=True):
        snr, to_pixel, arcsec = wide_cutout(path, subject_position(name))
        islands, n = component_labels(snr, PIXELS_PER_BEAM)
        boxes, labels, ignore, taken = [], [], [], set()
        for source in truth[name]:
            xy = to_pixel(source.positions)
            members = islands_at(islands, xy)
            taken |= set(members)
            kind = (source.n_components, source.n_peaks)
            side = extent_factor(*kind) * source.extent_arcsec / arcsec
            middle = middle_of(islands, members) if members else xy.mean(0)
            boxes.append(np.concatenate([middle - side / 2, middle + side / 2]))
            labels.append(_class_number(name, kind))
            _check_box(name, boxes)
            ignore.append(False)
        for other in set(range(1, n + 1)) - taken:
            middle = middle_of(islands, [other])
            if np.max(np.abs(middle - (WIDE - 1) / 2)) > 90 / arcsec:
                boxes.append(source_box(islands, [other], 1))
                labels.append(0)
                ignore.append(True)
        infrared = None
        if infrared_rng:
            infrared = drawn_infrared(infrared_rng, about_middle(infrared_rng, boxes), arcsec * PIXELS_PER_BEAM)
        yield PackedSubject(name, 'first', snr, np.array(boxes), labels, ignore, int(fold), infrared)


def _class_number(subject: str, kind: tuple[int, int]) -> int:
    name = class_name(*kind)
    if name is None:
        raise ValueError(f'{subject}: {kind[0]} components and {kind[1]} peaks are none of the six classes')
    return CLASSES.index(name)


def _check_box(subject: str, boxes: list[NDArray]) -> None:
    """Raise ValueError where the last of some boxes lies outside of the cut-out, or is there twice."""
    *others, box = boxes
    if (box[2:] < 0).any() or (box[:2] > WIDE - 1).any():
        raise ValueError(f'{subject}: a source lies outside of its image')
    if any(np.array_equal(box, other) for other in others):
        raise ValueError(f'{subject}: a source is listed twice')


def fr_galaxies(
    directory: Path, held_out: SkyCoord, folds: NDArray, *, infrared_rng: np.random.Generator | None = None
) -> Iterator[PackedSubject]:
    """Pack real FIRST images around catalogued FR galaxies, whose names give position and largest angular size.

    Islands within 0.65 of the size (plus a beam) of the position are the galaxy; its class is counted. Other islands
    are sources of their own where bright and compact, else ignored. An image near a held-out subject shares its fold.
    With `infrared_rng`, an infrared image is drawn, with the galaxy at its catalogued place.
    """
    for path in image_files(directory, '[1-4]??_*'):
        try:
            _, position, _, size = path.name.split('.fits')[0].split('_')
            centre = SkyCoord(float(position[:7]), float(position[7:]), unit='deg')
        except ValueError as err:
            raise InputError(
                f'{path}: its name does not tell position and size; expected CLASS_RRR.RRRSDD.DDD_Z_SIZE.fits, or '
                'another folder with --fr'
            ) from err
        snr, to_pixel, arcsec = wide_cutout(path, centre)
        islands, n = component_labels(snr, PIXELS_PER_BEAM)
        reach = 0.65 * float(size) / arcsec + PIXELS_PER_BEAM
        middle = to_pixel(centre[None])[0]
        y, x = np.indices(snr.shape)
        distance = np.hypot(x - middle[0], y - middle[1])
        if not n or 2 * reach > WIDE:
            continue
        peaks = np.array(ndimage.maximum_position(snr, islands, range(1, n + 1)))
        members = [k for k, (py, px) in enumerate(peaks, 1) if distance[py, px] < reach]
        labelled = _counted(snr, islands, members) if members else None
        if labelled is None or labelled[1] is None:
            continue
        boxes, labels, ignore = [labelled[0]], [labelled[1]], [False]
        main_peak = snr[np.isin(islands, members)].max()
        for other in sorted(set(range(1, n + 1)) - set(members)):
            box, label = _counted(snr, islands, [other])
            bright = snr[islands == other].max() > max(12.0, 0.04 * main_peak)
            boxes.append(box)
            labels.append(label or 0)
            ignore.append(label is None or label > 1 or not bright)
        separation = held_out.separation(centre)
        order = np.argsort(separation)[: int((separation < 10 * u.arcmin).sum())]
        fold, *near = dict.fromkeys(folds[order].tolist()) or (-1,)
        infrared = None
        if infrared_rng:
            hosts = np.concatenate([middle[None], about_middle(infrared_rng, boxes[1:])])
            infrared = drawn_infrared(infrared_rng, hosts, arcsec * PIXELS_PER_BEAM)
        name = path.name.split('.fits')[0]
        yield PackedSubject(
            name, 'first_fr', snr, np.array(boxes), labels, ignore, fold, infrared, near=tuple(sorted(near))
        )


def radio_galaxy_net(directory: Path, rng: np.random.Generator, *, infrared: bool = False) -> Iterator[PackedSubject]:
    """Pack RadioGalaxyNET's training images, one subject around each annotated source."""
    for name, snr, sources, others, near_infrared in read_radiogalaxynet(directory, rng, WIDE, infrared=infrared):
        islands, n = component_labels(snr, PIXELS_PER_BEAM)
        owner = np.zeros(n + 1, int)
        for k in range(1, n + 1):
            inside = sources[islands == k]
            owner[k] = np.bincount(inside).argmax()
        boxes, labels, ignore = [], [], []
        for number in np.unique(owner[owner > 0]):
            box, label = _counted(snr, islands, np.flatnonzero(owner == number))
            boxes.append(box)
            labels.append(label or 0)
            ignore.append(label is None)
        for k in np.flatnonzero(owner == 0)[1:]:
            if not others[islands == k].any():
                continue
            box, label = _counted(snr, islands, [k])
            boxes.append(box)
            labels.append(label or 0)
            ignore.append(label is None or label > 1)
        if any(not flag for flag in ignore):
            yield PackedSubject(name, 'radiogalaxynet', snr, np.array(boxes), labels, ignore, infrared=near_infrared)


def simulated(
    number: int, rng: np.random.Generator, *, infrared_rng: np.random.Generator | None = None
) -> Iterator[PackedSubject]:
    """Pack simulated subjects; with `infrared_rng` each with an infrared image, beside beams of different size."""
    for k in range(number):
        subject = simulate_subject(rng, size=WIDE, beam_pix=PIXELS_PER_BEAM)
        classes = [int(c) for c in subject.classes]
        infrared = None
        if infrared_rng:
            beam = float(np.exp(infrared_rng.uniform(*np.log(SIMULATED_BEAMS))))
            infrared = drawn_infrared(infrared_rng, subject.hosts, beam)
        ignore = [False] * len(classes)
        yield PackedSubject(
            f'simulated_{k:06d}', 'simulated', subject.snr, subject.boxes, classes, ignore, infrared=infrared
        )


def _counted(snr: NDArray, islands: NDArray, members: Iterable[int]) -> tuple[NDArray, int | None]:
    """Give box and class number (None where it is none of the six) of the source made of some islands."""
    members = list(members)
    counts = count(snr, np.isin(islands, members), PIXELS_PER_BEAM)
    name = class_name(*counts)
    return source_box(islands, members, counts.peaks), CLASSES.index(name) if name else None

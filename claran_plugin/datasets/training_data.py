"""Real and simulated images -> the packed training set of the compact detector.

A packed subject is a cut-out 50 beams wide at 4 pixels per beam (200 x 200), in units of the noise, from which training
cuts fields of view of 33 beams at random. Labels come from Radio Galaxy Zoo where they exist, else from counting
components and peaks as its first data release did (`claran_plugin.morphology`).
"""

import csv
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.nddata import CCDData
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from claran_plugin.contours import noise
from claran_plugin.datasets.radiogalaxynet import read_radiogalaxynet
from claran_plugin.errors import InputError
from claran_plugin.images import beam_pix, image_files, pixel_scale, read_image
from claran_plugin.labelled import N_FOLDS
from claran_plugin.morphology import CLASSES, class_name, component_labels, count, extent_factor, source_box
from claran_plugin.simulation import simulate_subject
from claran_plugin.subjects import PIXELS_PER_BEAM, resample
from claran_plugin.synthetic_infrared import draw_infrared

WIDE = 200
"""Side of a packed subject, pixels."""
_NEEDED = ('first_id', 'num_cpnts', 'num_peaks', 'cpnts_ras', 'cpnts_decs', 'ang_extent')
"""Columns of the Radio Galaxy Zoo catalogue."""
FIRST_BEAM = 5.4
"""arcsec."""
SIMULATED_BEAMS = (5.0, 15.0)
"""arcsec; how large the beam of a simulated image is beside the infrared one."""
HOST_SCATTER = 0.06
"""How far a host is from the middle of its source's box, as a fraction of the side."""


class PackedSubject(NamedTuple):
    """One training subject.

    `snr` is (200, 200), `boxes` (n, 4) xyxy in its pixels, `labels` n class numbers, `ignore` n flags; `fold` is -1 for
    subjects that are never held out, and `near` lists other folds that it shows a part of: it is held out with these,
    too. `infrared`, (200, 200) in any unit, is None for a subject without.
    """

    name: str
    origin: str
    snr: NDArray
    boxes: NDArray
    labels: list[int]
    ignore: list[bool]
    fold: int = -1
    infrared: NDArray | None = None
    near: tuple[int, ...] = ()


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


def wide_cutout(path: Path, centre: SkyCoord | None) -> tuple[NDArray, Callable[[SkyCoord], NDArray], float]:
    """Read an image, of FIRST's beam where its header tells none, and bring it to packed form: four pixels per beam.

    Returns
    -------
    snr : (200, 200) array, units of the noise
    to_pixel : function from positions (n,) to (n, 2) xy in that array
    float, arcsec per pixel of it
    """
    image = read_image(path, survey='first')
    sigma = noise(image.data)
    ny, nx = image.shape
    xy = ((nx - 1) / 2, (ny - 1) / 2) if centre is None else image.wcs.world_to_pixel(centre)
    step = beam_pix(image) / PIXELS_PER_BEAM
    snr = resample(np.nan_to_num(image.data) / sigma, np.array(xy, float), step, WIDE)

    def to_pixel(sky: SkyCoord) -> NDArray:
        return (np.stack(image.wcs.world_to_pixel(sky), axis=-1) - xy) / step + (WIDE - 1) / 2

    return snr, to_pixel, step * pixel_scale(image)


def label_box(source: LabelledSource, image: CCDData) -> NDArray:
    """Give the box that ClaRAN's training set draws around a labelled source, (4,) xyxy in pixels of an image.

    Its side follows from the catalogue's angular extent; its centre is that of the components' islands.
    """
    islands, _ = component_labels(np.nan_to_num(image.data) / noise(image.data), beam_pix(image))
    xy = np.stack(image.wcs.world_to_pixel(source.positions), axis=-1)
    members = islands_at(islands, xy, 6)
    middle = _middle(islands, members) if members else xy.mean(axis=0)
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
            middle = _middle(islands, members) if members else xy.mean(0)
            boxes.append(np.concatenate([middle - side / 2, middle + side / 2]))
            labels.append(_class_number(name, kind))
            _check_box(name, boxes)
            ignore.append(False)
        for other in set(range(1, n + 1)) - taken:
            middle = _middle(islands, [other])
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


def drawn_infrared(rng: np.random.Generator, hosts: NDArray, beam_arcsec: float) -> NDArray:
    """Draw an infrared image, (200, 200), for a subject that has none, with host galaxies at some pixels (n, 2)."""
    return draw_infrared(rng, (WIDE, WIDE), hosts, beam_arcsec / PIXELS_PER_BEAM)


def about_middle(rng: np.random.Generator, boxes: ArrayLike) -> NDArray:
    """Give points near the middles of boxes (n, 4), where the host of a radio source is likeliest."""
    boxes = np.asarray(boxes, float).reshape(-1, 4)
    side = (boxes[:, 2:] - boxes[:, :2]).mean(axis=1, keepdims=True)
    return (boxes[:, :2] + boxes[:, 2:]) / 2 + HOST_SCATTER * side * rng.normal(size=(len(boxes), 2))


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
        near = held_out.separation(centre) < 10 * u.arcmin
        fold = int(folds[near][0]) if near.any() else -1
        infrared = None
        if infrared_rng:
            hosts = np.concatenate([middle[None], about_middle(infrared_rng, boxes[1:])])
            infrared = drawn_infrared(infrared_rng, hosts, arcsec * PIXELS_PER_BEAM)
        name = path.name.split('.fits')[0]
        yield PackedSubject(name, 'first_fr', snr, np.array(boxes), labels, ignore, fold, infrared)


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


def pack(subjects: Iterable[PackedSubject], directory: Path, *, progress: Callable = iter) -> dict[str, dict[str, int]]:
    """Write subjects and count the sources of each class and origin.

    Brightness goes to ``snr.npy``, boxes and classes to ``subjects.json``; where the subjects have infrared images,
    these go to ``infrared.npy``, each in its own unit.
    """
    images, infrared, listing = [], [], []
    counts: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(CLASSES, 0))
    for subject in progress(subjects):
        images.append(np.clip(subject.snr, -6e4, 6e4).astype(np.float16))
        if subject.infrared is not None:
            infrared.append(np.clip(subject.infrared, -6e4, 6e4).astype(np.float16))
        listing.append(
            dict(
                name=subject.name,
                origin=subject.origin,
                fold=subject.fold,
                **(dict(near=subject.near) if subject.near else {}),
                boxes=np.round(subject.boxes, 2).tolist(),
                labels=[int(label) for label in subject.labels],
                ignore=[bool(flag) for flag in subject.ignore],
            )
        )
        for label, flag in zip(subject.labels, subject.ignore, strict=True):
            counts[subject.origin][CLASSES[label]] += not flag
    if not images:
        raise InputError(f'{directory}: nothing to pack; name at least one folder of images or a number to simulate')
    directory.mkdir(parents=True, exist_ok=True)
    np.save(directory / 'snr.npy', np.stack(images))
    if infrared:
        if len(infrared) != len(images):
            raise ValueError(f'{len(infrared)} of {len(images)} subjects have an infrared image, expected all or none')
        np.save(directory / 'infrared.npy', np.stack(infrared))
    (directory / 'subjects.json').write_text(json.dumps(dict(classes=CLASSES, subjects=listing)))
    return dict(counts)


def _middle(islands: NDArray, members: list[int]) -> NDArray:
    y, x = np.nonzero(np.isin(islands, members))
    return np.array([x.min() + x.max(), y.min() + y.max()]) / 2


def _counted(snr: NDArray, islands: NDArray, members: Iterable[int]) -> tuple[NDArray, int | None]:
    """Give box and class number (None where it is none of the six) of the source made of some islands."""
    members = list(members)
    counts = count(snr, np.isin(islands, members), PIXELS_PER_BEAM)
    name = class_name(*counts)
    return source_box(islands, members, counts.peaks), CLASSES.index(name) if name else None

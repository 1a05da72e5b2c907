"""The form of a packed training set: its subjects, and how they are written.

A packed subject is a cut-out 50 beams wide at 4 pixels per beam (200 x 200), in units of the noise, from which training
cuts fields of view of 33 beams at random.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.coordinates import SkyCoord
from numpy.typing import ArrayLike, NDArray

from claran_plugin.contours import noise
from claran_plugin.errors import InputError
from claran_plugin.images import beam_pix, pixel_scale, read_image
from claran_plugin.morphology import CLASSES
from claran_plugin.subjects import PIXELS_PER_BEAM, resample
from claran_plugin.synthetic_infrared import draw_infrared

WIDE = 200
"""Side of a packed subject, pixels."""
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


def drawn_infrared(rng: np.random.Generator, hosts: NDArray, beam_arcsec: float) -> NDArray:
    """Draw an infrared image, (200, 200), for a subject that has none, with host galaxies at some pixels (n, 2)."""
    return draw_infrared(rng, (WIDE, WIDE), hosts, beam_arcsec / PIXELS_PER_BEAM)


def about_middle(rng: np.random.Generator, boxes: ArrayLike) -> NDArray:
    """Give points near the middles of boxes (n, 4), where the host of a radio source is likeliest."""
    boxes = np.asarray(boxes, float).reshape(-1, 4)
    side = (boxes[:, 2:] - boxes[:, :2]).mean(axis=1, keepdims=True)
    return (boxes[:, :2] + boxes[:, 2:]) / 2 + HOST_SCATTER * side * rng.normal(size=(len(boxes), 2))


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

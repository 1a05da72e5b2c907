"""Reading RadioGalaxyNET (Gupta et al. 2024): EMU pilot survey images whose pixels were stretched island by island.

In the published PNGs, each island of emission is shown on a logarithmic scale of its own, from 0 at its threshold to
65535 at its peak, and everything else is zero. As the beam is known, the sharpest curvature and the area of an island
tell its dynamic range, so brightness relative to the noise can be restored well enough to train on.
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from claran_plugin.errors import InputError
from claran_plugin.grids import to_coarser
from claran_plugin.morphology import EIGHT_CONNECTED
from claran_plugin.subjects import PIXELS_PER_BEAM, resample

BEAM_ARCSEC = 12.0
PIXEL_ARCSEC = 2.0
INFRARED_PIXEL_ARCSEC = 4.0
THRESHOLD = 3.0
"""Brightness at the edge of a published island, in units of the noise; not known exactly."""
SIGMA_PIX = BEAM_ARCSEC / 2.3548 / PIXEL_ARCSEC
KEEP_ALL_RADIO, KEEP_ALL_INFRARED = 0.25, 0.6
"""Share of the images whose islands are all kept (`thin_out`): for radio alone, and together with infrared."""


class AnnotatedImage(NamedTuple):
    """An image of RadioGalaxyNET.

    Attributes
    ----------
    name : str
        Of its file.
    stretched : (ny, nx) array
        Pixels of the PNG, 0 ... 65535; row 0 is the first of the file.
    sources : (ny, nx) int array
        Number of the source from 1, in the order of the annotations; 0 elsewhere.
    annotations : list of dict
        In COCO form; the host galaxy is the first keypoint.
    infrared : (ny / 2, nx / 2) uint8 array or None
        W1 of AllWISE as published, a stretch cut off at both ends; None where the folder has no such image.
    """

    name: str
    stretched: NDArray
    sources: NDArray
    annotations: list[dict]
    infrared: NDArray | None


def restore(stretched: NDArray, threshold: float) -> NDArray:
    """Undo the stretch of one image.

    Parameters
    ----------
    stretched : (ny, nx) array
        Pixels of the PNG, 0 ... 65535.
    threshold : float
        Brightness at an island's edge, in units of the noise.

    Returns
    -------
    (ny, nx) array, brightness in units of the noise, without noise
    """
    shown = stretched / 65535.0
    labels, n = ndimage.label(shown > 0, EIGHT_CONNECTED)
    if not n:
        return np.zeros(shown.shape)
    index = np.arange(1, n + 1)
    smooth = ndimage.gaussian_filter(shown, 0.8)
    curvature = -ndimage.laplace(smooth) * (shown > 0.5)
    sharpest = np.maximum(ndimage.maximum(curvature, labels, index), 1e-3)
    area = ndimage.sum_labels(np.ones_like(shown), labels, index)
    # A point source is exp(-r^2 / 2 s^2): its logarithm curves by 2 / s^2 and it covers 2 pi s^2 ln(peak / threshold).
    # The smoothing widens nothing here, as the logarithm of a Gaussian is a parabola.
    log_range = np.minimum(2 / (SIGMA_PIX**2 * sharpest), area / (2 * np.pi * SIGMA_PIX**2))
    log_range = np.clip(log_range, 0.1, 7.0)
    snr = threshold * np.exp(np.concatenate([[0.0], log_range])[labels] * shown)
    outside = ndimage.distance_transform_edt(labels == 0)
    return np.where(labels > 0, snr, threshold * np.exp(-(4 * SIGMA_PIX * outside + outside**2) / (2 * SIGMA_PIX**2)))


def thin_out(
    stretched: NDArray, sources: NDArray, rng: np.random.Generator, keep_all: float = KEEP_ALL_RADIO
) -> NDArray:
    """Remove most of the islands that are not annotated, as a shallower survey would.

    EMU shows some thirty sources in 33 x 33 beams, FIRST one or two. In a share `keep_all` of the images all are kept.
    """
    labels, n = ndimage.label(stretched > 0, EIGHT_CONNECTED)
    if rng.random() < keep_all:
        return stretched
    keep = rng.random(n + 1) < rng.uniform(0, 0.2)
    keep[np.unique(labels[sources > 0])] = True
    return np.where(keep[labels], stretched, 0.0)


def correlated_noise(rng: np.random.Generator, shape: tuple[int, int], sigma_pix: float) -> NDArray:
    """Draw noise of unit standard deviation that is correlated by the beam."""
    noise = ndimage.gaussian_filter(rng.normal(size=shape), sigma_pix, mode='wrap')
    return noise / noise.std()


def annotated_images(directory: Path, limit: int | None = None) -> Iterator[AnnotatedImage]:
    """Give each image of RadioGalaxyNET as it is published."""
    path = directory / 'annotations.json'
    if not path.is_file():
        raise InputError(f'{path}: not found; expected the COCO annotations of RadioGalaxyNET in this folder')
    try:
        listing = json.loads(path.read_text())
    except ValueError as err:
        raise InputError(f'{path}: not readable JSON ({err}); fetch it again') from err
    by_image = defaultdict(list)
    for annotation in listing['annotations']:
        by_image[annotation['image_id']].append(annotation)
    for image in listing['images'][:limit]:
        annotations = by_image[image['id']]
        stretched = _read_picture(directory / 'radio' / image['file_name']).astype(float)
        number = Image.new('I', (image['width'], image['height']))
        for k, annotation in enumerate(annotations, 1):
            for polygon in annotation['segmentation']:
                ImageDraw.Draw(number).polygon(polygon, fill=k, outline=k)
        infrared_file = directory / 'infrared' / Path(image['file_name']).with_suffix('.jpg')
        infrared = None
        if infrared_file.is_file():
            infrared = _read_picture(infrared_file, 'L')
        sources = ndimage.maximum_filter(np.asarray(number), 3)
        yield AnnotatedImage(image['file_name'], stretched, sources, annotations, infrared)


def _read_picture(path: Path, mode: str | None = None) -> NDArray:
    try:
        with Image.open(path) as opened:
            return np.asarray(opened.convert(mode) if mode else opened)
    except OSError as err:
        raise InputError(f'{path}: missing, truncated or no picture ({err}); fetch it again') from err


def read_radiogalaxynet(
    directory: Path, rng: np.random.Generator, size: int, *, infrared: bool = False
) -> Iterator[tuple[str, NDArray, NDArray, NDArray, NDArray | None]]:
    """Give a cut-out around each annotated source.

    Parameters
    ----------
    directory : Path
        Folder with ``annotations.json`` and ``radio/``.
    rng : Generator
        For the noise and the thresholds.
    size : int
        Side of the cut-outs, pixels of a quarter beam.
    infrared : bool
        Cut out the infrared images, too.

    Yields
    ------
    name : str
    snr : (size, size) array, units of the noise
    sources : (size, size) int array, number of the annotated source, 0 elsewhere
    others : (size, size) bool array, emission that no annotation covers
    near_infrared : (size, size) array, 0 ... 255, or None

    Raises
    ------
    InputError
        Where the annotations or a wanted infrared image are missing.
    """
    step = BEAM_ARCSEC / PIXELS_PER_BEAM / PIXEL_ARCSEC
    coarser = INFRARED_PIXEL_ARCSEC / PIXEL_ARCSEC
    for name, stretched, sources, annotations, published in annotated_images(directory):
        if infrared and published is None:
            raise InputError(f'{directory}: no infrared image of {name}; pack without --infrared or restore the file')
        stretched = thin_out(stretched, sources, rng, KEEP_ALL_INFRARED if infrared else KEEP_ALL_RADIO)
        snr = restore(stretched, rng.uniform(2.5, 4.0))
        for k, annotation in enumerate(annotations, 1):
            x, y, w, h = annotation['bbox']
            if max(w, h) > 0.9 * size * step:
                continue
            centre = np.array([x + w / 2, y + h / 2])
            near_infrared = None
            if infrared and published is not None:
                near_infrared = resample(published, to_coarser(centre, coarser), step / coarser, size)
            noisy = resample(snr, centre, step, size) + correlated_noise(rng, (size, size), PIXELS_PER_BEAM / 2.3548)
            yield (
                f'{Path(name).stem}_{k}',
                noisy,
                resample(sources.astype(float), centre, step, size, order=0).astype(int),
                resample((stretched > 0) & (sources == 0), centre, step, size, order=0) > 0.5,
                near_infrared,
            )

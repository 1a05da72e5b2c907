"""RadioGalaxyNET as a COCO data set of fused pictures, with its own four classes and boxes, for any mmdet detector."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from claran_plugin.catalogue_writing import check_outputs
from claran_plugin.datasets.radiogalaxynet import (
    BEAM_ARCSEC,
    INFRARED_PIXEL_ARCSEC,
    PIXEL_ARCSEC,
    THRESHOLD,
    AnnotatedImage,
    annotated_images,
    correlated_noise,
    restore,
)
from claran_plugin.errors import InputError
from claran_plugin.fusion import FUSIONS
from claran_plugin.grids import to_coarser
from claran_plugin.progress import Log
from claran_plugin.subjects import PIXELS_PER_BEAM, resample

STEP = BEAM_ARCSEC / PIXELS_PER_BEAM / PIXEL_ARCSEC
"""Pixels of the published images per pixel of a picture."""


def make_pictures(
    directory: Path, output: Path, fusion: str = 'SI', seed: int = 1, *, overwrite: bool = False, log: Log | None = None
) -> dict[str, int]:
    """Write a COCO file and the pictures of each part of RadioGalaxyNET.

    Parameters
    ----------
    directory : Path
        Folder with parts (``train``, ``val``), each with ``annotations.json``, ``radio/`` and, for fusions that look at
        it, ``infrared/``.
    output : Path
        Gets ``PART.json`` and ``PART/NAME.png``, 4 pixels per beam (300 x 300 px); boxes and areas are in their pixels.
    fusion : str
        A name of `fusion.FUSIONS`.
    seed : int
        Of the noise that is added to what the published images show.
    overwrite : bool
        Replace what is there.
    log : Log, optional
        Tells how far it is.

    Returns
    -------
    dict of str to int
        Number of images of each part.

    Raises
    ------
    InputError
        Where the folder has no part, or a part is incomplete.
    """
    parts = sorted(path.parent for path in directory.glob('*/annotations.json'))
    if not parts:
        raise InputError(f'{directory}: no part of RadioGalaxyNET here; expected train/annotations.json and the like')
    check_outputs([output / f'{part.name}.json' for part in parts], overwrite=overwrite)
    numbers = {}
    log = log or Log(quiet=True)
    for part in parts:
        published = json.loads((part / 'annotations.json').read_text())
        (output / part.name).mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng([seed, *part.name.encode()])
        for image in log.track(annotated_images(part), len(published['images']), f'pictures of {part.name}'):
            picture = _picture(image, fusion, rng, part)
            Image.fromarray(picture).save(output / part.name / Path(image.name).with_suffix('.png'))
        (output / f'{part.name}.json').write_text(json.dumps(_listing(published)))
        numbers[part.name] = len(published['images'])
    return numbers


def _picture(image: AnnotatedImage, fusion: str, rng: np.random.Generator, part: Path) -> NDArray:
    """Restore an image's brightness and fuse it, (n, n, 3) uint8."""
    size = round(image.stretched.shape[0] / STEP)
    centre = (np.array(image.stretched.shape[::-1]) - 1) / 2
    snr = resample(restore(image.stretched, THRESHOLD), centre, STEP, size)
    snr += correlated_noise(rng, (size, size), PIXELS_PER_BEAM / 2.3548)
    if image.infrared is None:
        if fusion != 'S':
            raise InputError(f'{part}: no infrared image of {image.name}; restore it, or use the fusion S')
        return FUSIONS[fusion](snr, rms=1.0)
    coarser = INFRARED_PIXEL_ARCSEC / PIXEL_ARCSEC
    infrared = resample(image.infrared, to_coarser(centre, coarser), STEP / coarser, size)
    return FUSIONS[fusion](snr, infrared, rms=1.0)


def _listing(published: dict) -> dict:
    """Give the annotations in pixels of the pictures; polygons and keypoints are left out."""
    images = [
        dict(
            id=image['id'],
            file_name=str(Path(image['file_name']).with_suffix('.png')),
            width=round(image['width'] / STEP),
            height=round(image['height'] / STEP),
        )
        for image in published['images']
    ]
    annotations = [
        dict(
            id=annotation['id'],
            image_id=annotation['image_id'],
            category_id=annotation['category_id'],
            iscrowd=0,
            bbox=[round(side / STEP, 3) for side in annotation['bbox']],
            area=round(annotation['area'] / STEP**2, 3),
        )
        for annotation in published['annotations']
    ]
    return dict(images=images, annotations=annotations, categories=published['categories'])

"""Which FITS image of a folder shows a subject: the one that has its name, else one whose WCS holds its position."""

import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord, search_around_sky
from astropy.io import fits
from astropy.wcs import WCS, WcsError

from claran_plugin.errors import InputError
from claran_plugin.images import image_files

_NAME = re.compile(r'J(\d{6}\.\d)\d*([+-]\d{6})')
Progress = Callable[[Iterable[Path], int, str], Iterable[Path]]


class FoundImages(NamedTuple):
    """What was found in a folder.

    Attributes
    ----------
    by_subject : dict
        The image of each subject that has one.
    unreadable : dict
        Images without a readable celestial WCS, of no subject's name, and what is wrong with them.
    """

    by_subject: dict[str, Path]
    unreadable: dict[Path, str]


def find_images(folder: str | Path, positions: Mapping[str, SkyCoord], *, track: Progress | None = None) -> FoundImages:
    """Find the image of each subject.

    An image whose file name holds the subject's, such as ``FIRSTJ074535.0+335754.fits.gz`` or
    ``WISE_J074535.0+335754_w1.fits``, is taken as it is. For other subjects the headers of all images are read, and of
    those that hold the subject's position the one whose middle is nearest is taken.

    Parameters
    ----------
    folder : path
    positions : mapping
        Position of each subject, by its name.
    track : function, optional
        Tells of the progress, see `progress.Log.track`.

    Raises
    ------
    InputError
        Where the folder is missing or has no FITS images.
    """
    if not Path(folder).is_dir():
        raise InputError(f'{folder}: no such folder: check the path')
    files = image_files(folder)
    if not files:
        raise InputError(f'{folder}: no FITS images in it (.fits, .fits.gz or .fits.fz): give the folder that has them')
    named = {digits: path for path in reversed(files) if (digits := _digits(path.name))}
    found = {name: named[digits] for name in positions if (digits := _digits(name)) in named}
    missing = [name for name in positions if name not in found]
    unreadable: dict[Path, str] = {}
    if missing:
        footprints = []
        for path in track(files, len(files), 'image headers read') if track else files:
            try:
                footprints.append((path, _footprint(path)))
            except (OSError, ValueError, KeyError, TypeError, WcsError) as err:
                if path not in found.values():
                    unreadable[path] = ' '.join(str(err).split()) or type(err).__name__
        found |= _covering(missing, SkyCoord([positions[name] for name in missing]), footprints)
    return FoundImages(found, unreadable)


def _digits(name: str) -> str | None:
    match = _NAME.search(name)
    return ''.join(match.groups()) if match else None


def _footprint(path: Path) -> WCS:
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of what astropy repairs by itself
        with fits.open(path) as hdus:
            hdu = next((hdu for hdu in hdus if hdu.is_image and sum(n > 1 for n in hdu.shape) >= 2), None)
            if hdu is None:
                raise ValueError('no image with two axes')
            wcs = WCS(hdu.header).celestial
            shape = hdu.shape[-2:]
    if not wcs.has_celestial:
        raise ValueError('no celestial WCS')
    wcs.array_shape = shape
    return wcs


def _covering(names: Sequence[str], sky: SkyCoord, footprints: Sequence[tuple[Path, WCS]]) -> dict[str, Path]:
    """Give the image with the nearest middle among those that hold each position."""
    if not footprints:
        return {}
    middles = SkyCoord([wcs.array_index_to_world(*(n // 2 for n in wcs.array_shape)).icrs for _, wcs in footprints])
    reach = max(
        float(np.hypot(*wcs.array_shape)) * float(np.sqrt(wcs.proj_plane_pixel_area().to_value('deg2')))
        for _, wcs in footprints
    )
    subject, image, distance, _ = search_around_sky(sky, middles, min(reach, 180) * u.deg)
    found: dict[str, Path] = {}
    for k in np.argsort(distance):
        path, wcs = footprints[image[k]]
        name = names[subject[k]]
        if name not in found and wcs.footprint_contains(sky[subject[k]]):
            found[name] = path
    return found

"""Fused pictures of fields of view, kept on disk so that each is made once.

An entry is found by a hash of all that it depends on: the content of the FITS files, the field's position, the fusion
method with its options, and the code that reads and fuses. So nothing has to be deleted when one of these changes. An
entry is a compressed NumPy archive, whose checksum tells a damaged one; entries are put in place whole, so that any
number of processes may share a folder.
"""

import hashlib
import json
import os
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from claran_plugin import contours, fusion, headers, images, subjects
from claran_plugin.datasets import radio_fields
from claran_plugin.datasets.radio_fields import FilePath, fuse, read_field
from claran_plugin.errors import InputError
from claran_plugin.fusion import NEEDS_INFRARED

_DAMAGED = (OSError, EOFError, ValueError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error)
_CODE = tuple(module.__name__ for module in (contours, fusion, headers, images, radio_fields, subjects))
_SHAPE = (subjects.FIELD_PIXELS, subjects.FIELD_PIXELS, 3)


def fused_picture(
    radio: FilePath,
    position_deg: tuple[float, float],
    method: str,
    *,
    infrared: FilePath | None = None,
    keywords: Mapping[str, Any] | None = None,
    folder: FilePath | None = None,
) -> NDArray:
    """Give the picture of a field of view, from the cache or else from its FITS files.

    Parameters
    ----------
    radio : path
        FITS image.
    position_deg : (RA, Dec)
        Middle of the field, degrees.
    method : str
        Key of `fusion.FUSIONS`.
    infrared : path, optional
        FITS image, read only where the method needs it.
    keywords : mapping, optional
        Options of the method, see `radio_fields.fusion_keywords`.
    folder : path, optional
        Of the cache; without, the picture is made anew.

    Returns
    -------
    (132, 132, 3) uint8 array, red, green, blue

    Raises
    ------
    InputError
        Where an image cannot be read or fused, or the cache cannot be written to.
    """
    infrared = infrared if method in NEEDS_INFRARED else None
    keywords = dict(keywords or {})
    if folder is None:
        return fuse(read_field(radio, SkyCoord(*position_deg, unit='deg'), infrared), method, **keywords)
    name = _key(radio, position_deg, method, infrared, keywords)
    path = Path(folder) / name[:2] / f'{name}.npz'
    picture = _read(path)
    if picture is None:
        picture = fuse(read_field(radio, SkyCoord(*position_deg, unit='deg'), infrared), method, **keywords)
        _write(path, picture)
    return picture


def content_hash(path: FilePath) -> str:
    """Give the SHA-256 of a file; a file that has not been touched since is not read again by this process.

    Raises
    ------
    InputError
        Where the file cannot be read.
    """
    try:
        status = os.stat(path)
        return _content_hash(str(path), status.st_size, status.st_mtime_ns)
    except OSError as err:
        raise InputError(f'{path}: cannot be read ({err.strerror}): check the path') from err


@cache
def _content_hash(path: str, size: int, mtime_ns: int) -> str:
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


@cache
def code_hash(*further: str) -> str:
    """Give the SHA-256 of the code that reads and fuses, and of further modules, by their names."""
    modules = [sys.modules[name] for name in (*_CODE, *further)]
    return hashlib.sha256(b''.join(Path(str(module.__file__)).read_bytes() for module in modules)).hexdigest()


def _key(
    radio: FilePath,
    position_deg: tuple[float, float],
    method: str,
    infrared: FilePath | None,
    keywords: Mapping[str, Any],
) -> str:
    parts = dict(
        code=code_hash(),
        radio=content_hash(radio),
        infrared=None if infrared is None else content_hash(infrared),
        position=[float(value) for value in position_deg],
        method=method,
        keywords=dict(keywords),
    )
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _read(path: Path) -> NDArray | None:
    """Give a stored picture, or None where there is none or it is damaged."""
    try:
        with open(path, 'rb') as file, np.load(file) as archive:
            picture = archive['picture']
    except _DAMAGED:
        return None
    return picture if picture.shape == _SHAPE and picture.dtype == np.uint8 else None


def _write(path: Path, picture: NDArray) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        number, temporary = tempfile.mkstemp(dir=path.parent, prefix='.', suffix='.npz')
        try:
            with open(number, 'wb') as file:
                np.savez_compressed(file, picture=picture)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as err:
        raise InputError(f'{path.parent}: cannot write the cache there ({err}): choose another folder') from err

"""The command ``claran dataset fetch``: cut-outs of FIRST and WISE images around a list of positions.

One request at a time, with pauses; what fails is tried again, and listed where it fails for good.
"""

import csv
import io
import re
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Column

from claran_plugin.catalogue_positions import has_positions, sky_positions
from claran_plugin.catalogue_reading import read_catalogue
from claran_plugin.catalogue_writing import atomic_outputs, check_outputs
from claran_plugin.datasets.cutout_services import SERVICES, NoImageError, Service, UnreachableError, connect
from claran_plugin.datasets.rgz_labels import subject_position
from claran_plugin.errors import InputError
from claran_plugin.progress import Log
from claran_plugin.source_properties import source_names

BACK_OFF_S = (2.0, 10.0, 40.0)
"""Waits before another attempt."""
LARGEST_ARCMIN = 30.0
"""FIRST's server gives 1024 pixels at most."""
FAULT_LENGTH = 150
"""Characters of a fault that are told while it may still pass."""
MOST_UNREACHABLE = 3
"""After so many cut-outs in a row for which a service could not be reached, it is asked for no more."""
SAME = 1 * u.arcsec
"""Rows of one name that are no farther apart are of one cut-out."""
_PASSING = (408, 425, 429)
"""HTTP answers of the 4xx kind after which trying again may help."""


class Failure(NamedTuple):
    """A cut-out that could not be had."""

    name: str
    survey: str
    ra: float
    dec: float
    reason: str


class Report(NamedTuple):
    """What came of the cut-outs that were wanted; the failures are listed in a file."""

    n_wanted: int
    n_fetched: int
    n_kept: int
    failures: list[Failure]
    listing: Path


def read_positions(path: str | Path) -> dict[str, SkyCoord]:
    """Read positions and the names that their files get.

    Parameters
    ----------
    path : path
        Any table that astropy reads: columns RA and DEC (degrees unless they have a unit) and, if wanted, name or
        first_id; or first_id alone, names such as ``FIRSTJ074535.0+335754``. Without names, they are made so.

    Raises
    ------
    InputError
        Where the file is missing or no table, or has not the columns.
    """
    table = read_catalogue(path)
    if not len(table):
        raise InputError(f'{path}: no positions in it; give a table with rows')
    key = next((name for name in table.colnames if name.lower() in ('first_id', 'name')), None)
    names = None if key is None else [re.sub(r'[^\w.+-]', '', str(name)) for name in table[key]]
    if has_positions(table) or names is None or key is None or key.lower() == 'name':
        sky = sky_positions(table, path)
        names = names or [name.replace(' ', '') for name in source_names(sky, 'FIRST')]
        if key is not None and key.lower() == 'name':
            _check_names(names, sky, table[key], path)
        return dict(zip(names, sky, strict=True))
    try:
        return {name: subject_position(name) for name in dict.fromkeys(names)}
    except ValueError as err:
        raise InputError(
            f'{path}: unreadable name ({_one_line(err)}); give names such as FIRSTJ074535.0+335754'
        ) from err


def _check_names(names: Sequence[str], sky: SkyCoord, written: Column, path: str | Path) -> None:
    blank = np.ma.getmaskarray(np.ma.asarray(written)) | (np.array(names, dtype=str) == '')
    if blank.any():
        row = np.flatnonzero(blank)[0]
        raise InputError(f'{path}: no name in row {row} (counted from 0); fill in the column {written.name}')
    first = {name: place for place, name in reversed(list(enumerate(names)))}
    apart = sky.separation(sky[[first[name] for name in names]]) > SAME
    if apart.any():
        raise InputError(
            f'{path}: different positions would be stored as {names[np.flatnonzero(apart)[0]]}.fits; '
            'give names that differ in letters and digits'
        )


def fetch_cutouts(
    positions: dict[str, SkyCoord],
    folder: str | Path,
    *,
    surveys: Sequence[str] = ('first', 'wise'),
    size_arcmin: float = 5.0,
    pause_s: float = 0.5,
    urls: dict[str, str] | None = None,
    log: Log,
) -> Report:
    """Download cut-outs into ``folder/SURVEY/NAME.fits``; good files that are there already are kept.

    Parameters
    ----------
    positions : dict
        By the names of the files.
    folder : path
    surveys : sequence of str
        Keys of `SERVICES`.
    size_arcmin : float
        Side of the cut-outs.
    pause_s : float
        Least time between two requests.
    urls : dict, optional
        Address of a survey's service, where it is not the one that astroquery knows.
    log : Log

    Returns
    -------
    Report
        ``failures.csv`` is written to the folder, or taken away where nothing failed.

    Raises
    ------
    InputError
        Where astroquery is missing, the size is too large, or the folder cannot be written to.
    """
    if size_arcmin > LARGEST_ARCMIN:
        raise InputError(f'--size {size_arcmin:g}: too large, at most {LARGEST_ARCMIN:g} arcmin can be had')
    listing = Path(folder) / 'failures.csv'
    check_outputs([listing, *(Path(folder) / name / 'any.fits' for name in surveys)], overwrite=True)
    connection = connect(pause_s)
    services = {name: SERVICES[name](connection, (urls or {}).get(name)) for name in surveys}
    wanted = [(name, position, survey) for name, position in positions.items() for survey in services]
    n_kept, failures = 0, []
    unreachable = dict.fromkeys(surveys, 0)
    for name, position, survey in log.track(wanted, len(wanted), 'cut-outs looked after'):
        path = Path(folder) / survey / f'{name}.fits'
        if path.is_file() and image_fault(path.read_bytes()) is None:
            n_kept += 1
            continue
        try:
            if unreachable[survey] >= MOST_UNREACHABLE:
                raise UnreachableError(f'not asked for, as {survey} could not be reached before')
            content = _persistently(services[survey], position, size_arcmin, f'{name}, {survey}', log)
        except NoImageError as err:
            unreachable[survey] = unreachable[survey] + 1 if isinstance(err, UnreachableError) else 0
            failures.append(Failure(name, survey, float(position.ra.deg), float(position.dec.deg), str(err)))
            continue
        unreachable[survey] = 0
        with atomic_outputs([path], overwrite=True) as (temporary,):
            temporary.write_bytes(content)
    listing.unlink(missing_ok=True)
    if failures:
        with atomic_outputs([listing]) as (temporary,), open(temporary, 'w', newline='') as file:
            csv.writer(file).writerows([Failure._fields, *failures])
    return Report(len(wanted), len(wanted) - n_kept - len(failures), n_kept, failures, listing)


def image_fault(content: bytes) -> str | None:
    """Tell what is wrong with the content of a FITS image, or None where nothing is."""
    if not content.startswith(b'SIMPLE'):
        text = ' '.join(re.sub(r'<[^>]*>', ' ', content[:2000].decode('ascii', 'replace')).split())
        return f'not FITS but {text[:80]!r}'
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            with fits.open(io.BytesIO(content)) as hdus:
                data = next((hdu.data for hdu in hdus if hdu.is_image and hdu.data is not None), None)
    except (OSError, ValueError, TypeError, KeyError, IndexError) as err:
        return f'truncated FITS ({_one_line(err)})'
    if data is None or data.ndim < 2:
        return 'FITS without an image'
    values = data[np.isfinite(data)]
    return None if values.size and values.min() < values.max() else 'an empty image'


def _persistently(service: Service, position: SkyCoord, size_arcmin: float, what: str, log: Log) -> bytes:
    """Fetch one good cut-out, trying again after faults that may pass, which are told.

    Raises
    ------
    NoImageError
        With the last fault.
    """
    from pyvo.dal import DALAccessError
    from requests import RequestException

    for wait_s in (*BACK_OFF_S, None):
        try:
            content = service(position, size_arcmin)
            fault = image_fault(content)
            if fault is None:
                return content
            reached = True
        except (RequestException, DALAccessError, OSError, ValueError, KeyError) as err:
            fault = _one_line(err)
            status = getattr(getattr(err, 'response', None), 'status_code', None) or getattr(err, 'code', None) or 0
            reached = bool(status) or not isinstance(err, RequestException | DALAccessError | OSError)
            if 400 <= status < 500 and status not in _PASSING:
                break
        if wait_s is not None:
            log.line(f'{what}: {fault[:FAULT_LENGTH]}; again in {wait_s:g} s')
            time.sleep(wait_s)
    raise (NoImageError if reached else UnreachableError)(fault)


def _one_line(err: Exception) -> str:
    return ' '.join(str(err).split()) or type(err).__name__

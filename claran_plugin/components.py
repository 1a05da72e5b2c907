"""PyBDSF: running it on an image, and its results as the standard component table.

Catalogues that lie on disk are read in `catalogue_reading`, whose functions are offered here as well.
"""

import contextlib
import gc
import io
import logging
import tempfile
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.table import QTable

from claran_plugin.catalogue_reading import read_catalogue
from claran_plugin.errors import InputError, InputWarning
from claran_plugin.images import image_stem, to_plain_fits
from claran_plugin.standard_components import component_table, standardise

__all__ = ['contained', 'from_pybdsf', 'read_catalogue', 'run_pybdsf', 'standardise', 'write_pybdsf_catalogue']

logger = logging.getLogger(__name__)

Kind = Literal['srl', 'gaul']
SMALL_IMAGE_PIX = 400
"""Below this side PyBDSF's automatic noise boxes fail or are slow."""
NOISE_BOX_PIX = 60
NOISE_BOX_BEAMS = 20
FAULTS = (
    ('HISTORY', 'no beam in the header', 'give it with --beam MAJ MIN PA or --survey'),
    ('No beam', 'no beam in the header', 'give it with --beam MAJ MIN PA or --survey'),
    ('No frequency', 'no frequency in the header', 'give it with --frequency HZ or --survey'),
    ('cdelt', 'no pixel size that PyBDSF understands', 'write CTYPE, CRVAL, CRPIX and CDELT into the header'),
    ('rms appears to be zero', 'the image is constant or mostly zero', 'blank empty regions with NaN'),
    ('are blanked', 'all pixels are blank', 'check the image'),
    ('InstanceType', 'an option has a value of the wrong kind', 'check what is given with --pybdsf'),
    ('3-dimensional vectors', 'this PyBDSF does not work with this numpy', 'install one older than 2.5: "numpy<2.5"'),
    ('Cannot open', 'PyBDSF cannot read it', 'give a plain FITS image in the primary HDU'),
)
"""Text of PyBDSF's own error, what it means, what to do."""
ATTRIBUTES = {
    'srl': ('posn_sky_centroid', 'peak_flux_max'),
    'gaul': ('centre_sky', 'peak_flux'),
}
"""Names of position and peak in PyBDSF's objects."""


_ALONE = threading.RLock()


@contextlib.contextmanager
def contained() -> Iterator[None]:
    """Keep what PyBDSF does to numpy's error state, logging, the screen and the garbage collector to itself.

    Importing PyBDSF makes numpy raise on division by zero in the whole process, its logger repeats every line through
    the root logger, it prints even when told to be quiet, and it collects garbage after each of its steps, which takes
    seconds beside a large library. All that is the whole process's, so one thread at a time is let in.
    """
    with _ALONE:
        yield from _contained()


def _contained() -> Iterator[None]:
    log = logging.getLogger('PyBDSF')
    level, propagate, handlers = log.level, log.propagate, list(log.handlers)
    chatter = io.StringIO()
    is_first = not gc.get_freeze_count()  # otherwise it is the caller's, who wants it to last
    if is_first:
        gc.freeze()
    try:
        with (
            np.errstate(),
            warnings.catch_warnings(),
            contextlib.redirect_stdout(chatter),
            contextlib.redirect_stderr(chatter),
        ):
            warnings.simplefilter('ignore')
            log.propagate = False
            yield
    finally:
        if is_first:
            gc.unfreeze()
        for handler in set(log.handlers) - set(handlers):
            handler.close()
        log.handlers[:] = handlers
        log.setLevel(level)
        log.propagate = propagate
        if chatter.getvalue():
            logger.debug('PyBDSF: %s', chatter.getvalue())


def run_pybdsf(
    image: CCDData | str | Path,
    *,
    frequency: float | None = None,
    beam: tuple[float, float, float] | None = None,
    **options: Any,
) -> Any:
    """Find the components of an image with PyBDSF.

    A `CCDData` is handed over as a clean FITS file, so that images in extensions, compressed ones and those in other
    units than Jy/beam work too. Nothing is left on disk, unless `outdir` is among the options.

    Parameters
    ----------
    image : CCDData or path
        The radio image; a path is given to PyBDSF as it is.
    frequency : float, optional
        Hz; by default as in the header.
    beam : (major, minor, position angle), optional
        Full widths at half maximum and angle, deg; by default as in the header.
    **options
        Any option of ``bdsf.process_image``. For images under 400 px ``rms_box`` is set, if it is not given.

    Returns
    -------
    bdsf.image.Image
        Its `sources` are empty where there is no emission.

    Raises
    ------
    InputError
        Where PyBDSF cannot work on the image.
    """
    kept = sorted(key for key in options if options[key] and (key == 'output_all' or key.startswith('savefits_')))
    if kept and not options.get('outdir'):
        raise InputError(f'{", ".join(kept)}: PyBDSF writes files; say where with the option outdir, too')
    with tempfile.TemporaryDirectory(prefix='claran_') as folder:
        if isinstance(image, CCDData):
            name = str(image.meta.get('FILENAME', 'image'))
            beam = beam or _header_beam(image, name)
            frequency = frequency or image.meta.get('RESTFRQ')
            path = Path(folder) / f'{image_stem(name)}.fits'
            to_plain_fits(image, path)
        else:
            name, path = str(image), Path(image)
        settings: dict[str, Any] = {'outdir': folder, 'quiet': True, **_noise_box(path, name, beam), **options}
        if frequency:
            settings['frequency'] = float(frequency)
        if beam:
            settings['beam'] = tuple(float(value) for value in beam)
        img = _process(path, name, settings)
    img.filename = name
    _warn_of_empty_islands(img, name)
    return img


def _warn_of_empty_islands(img: Any, name: str) -> None:
    """Tell of islands in which PyBDSF keeps none of its Gaussians, as its lists say nothing of them."""
    empty = [island for island in getattr(img, 'islands', []) if not island.gaul]
    if not empty:
        return
    flux = [float(island.total_flux) for island in empty]
    brightest = empty[int(np.argmax(flux))]
    peak = float(brightest.max_value / brightest.rms)
    warnings.warn(
        f'{name}: PyBDSF has kept no Gaussian of {len(empty)} of its {len(img.islands)} islands; the brightest has '
        f'{1e3 * max(flux):.3g} mJy and a peak of {peak:.3g} times the noise: their flux is in none of the tables '
        "(PyBDSF's options flag_... say which it keeps)",
        InputWarning,
        stacklevel=3,
    )


def _process(path: Path, name: str, settings: dict[str, Any]) -> Any:
    """Run PyBDSF and put its errors into words.

    As ``bdsf.process_image`` does, but without trying first to unpickle the image as if it were a parameter file.
    """
    try:
        with contained():
            import bdsf.image

            img = bdsf.image.Image({'filename': str(path), 'quiet': True, 'outdir': settings['outdir']})
            img.process(**settings)
    except (ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError) as err:
        text = ' '.join(str(err).split())
        for sign, fault, remedy in FAULTS:
            if sign.lower() in text.lower():
                told = f' ({text})' if sign == 'Cannot open' and path.name not in text else ''
                raise InputError(f'{name}: {fault}{told}; {remedy}') from err
        raise InputError(
            f'{name}: PyBDSF failed ({type(err).__name__}: {text}); try other PyBDSF options, or run PyBDSF '
            f'yourself and give its catalogue'
        ) from err
    if 'cleanup' not in img.completed_Ops:
        raise InputError(f'{name}: PyBDSF stopped before its end; leave out stop_at')
    return img


def _header_beam(image: CCDData, name: str) -> tuple[float, float, float]:
    if not image.meta.get('BMAJ'):
        raise InputError(f'{name}: no beam in the header; give it with --beam MAJ MIN PA or --survey')
    major = float(image.meta['BMAJ'])
    return major, float(image.meta.get('BMIN', major)), float(image.meta.get('BPA', 0))


def _noise_box(path: Path, name: str, beam: tuple[float, float, float] | None) -> dict[str, tuple[int, int]]:
    """Choose the noise box of a small image: 20 beams, at least 60 px; PyBDSF chooses well for large ones."""
    try:
        header = fits.getheader(path)
    except (OSError, EOFError, TypeError) as err:
        raise InputError(f'{name}: not a readable FITS image ({err}); give a FITS file') from err
    sides = [header.get(f'NAXIS{axis}', 0) for axis in (1, 2)]
    if min(sides) >= SMALL_IMAGE_PIX:
        return {}
    beam_deg = beam[0] if beam else header.get('BMAJ', 0)
    pixel_deg = abs(header.get('CDELT2', 0)) or np.inf
    box = max(NOISE_BOX_PIX, round(NOISE_BOX_BEAMS * beam_deg / pixel_deg))
    return {'rms_box': (box, box // 3)}


def pybdsf_rows(img: Any, kind: Kind = 'srl') -> list[Any]:
    """Give PyBDSF's sources or Gaussians in the order in which its ``write_catalog`` writes them."""
    if kind == 'srl':
        # Once dummy sources have been written (incl_empty), PyBDSF keeps them in the list.
        return [source for source in img.sources if source.source_id >= 0]
    with contained():
        from bdsf.output import list_and_sort_gaussians

        return list(list_and_sort_gaussians(img, patch=None, sort_by='index')[0][0])


def from_pybdsf(img: Any, kind: Kind = 'srl') -> QTable:
    """Make the standard component table from PyBDSF's image object.

    Parameters
    ----------
    img : bdsf.image.Image
        After ``bdsf.process_image``.
    kind : {'srl', 'gaul'}
        One row per PyBDSF source or per Gaussian; rows stand as in the catalogue that PyBDSF writes.
    """
    rows = pybdsf_rows(img, kind)
    position, peak = ATTRIBUTES[kind]
    return component_table(
        sky_deg=[getattr(row, position) for row in rows],
        total_jy=[row.total_flux for row in rows],
        e_total_jy=[row.total_fluxE for row in rows],
        peak_jy=[getattr(row, peak) for row in rows],
        shape_deg=[row.size_sky for row in rows],
        isl_id=[row.island_id for row in rows],
        s_code=[row.code for row in rows],
        e_sky_deg=[getattr(row, f'{position}E') for row in rows],
        e_peak_jy=[getattr(row, f'{peak}E') for row in rows],
    )


def write_pybdsf_catalogue(img: Any, path: str | Path, kind: Kind = 'srl', format: str = 'fits') -> Path:
    """Write PyBDSF's own catalogue, replacing the file if there is one.

    PyBDSF writes nothing where it found nothing; here that gives a FITS table with all of PyBDSF's columns and no rows.
    """
    path = Path(path)
    if not pybdsf_rows(img, 'srl') and format == 'fits':
        _empty_catalogue(img, kind).writeto(path, overwrite=True)
        return path
    with contained():
        options = {'format': format, 'catalog_type': kind, 'clobber': True, 'force_output': True}
        written = img.write_catalog(outfile=str(path), **options)
    if written is False or not path.exists():
        raise InputError(f'{path}: PyBDSF cannot write its {kind} list as {format}; choose another format')
    return path


def _empty_catalogue(img: Any, kind: Kind) -> fits.BinTableHDU:
    columns = [
        fits.Column(name, 'A' if name == 'S_Code' else 'J' if name.endswith('_id') else 'D', unit=_unit(name))
        for name in pybdsf_columns(kind)
    ]
    table = fits.BinTableHDU.from_columns(columns, nrows=0)
    table.header.add_comment(f'{"Source" if kind == "srl" else "Gaussian"} list for {img.filename}')
    table.header['INIMAGE'] = (Path(img.filename).name, 'Filename of image')
    return table


def pybdsf_columns(kind: Kind) -> list[str]:
    """Name the columns of a PyBDSF catalogue in their order."""
    ids = ['Source_id', 'Isl_id'] if kind == 'srl' else ['Gaus_id', 'Isl_id', 'Source_id', 'Wave_id']
    measured = ['RA', 'DEC', 'Total_flux', 'Peak_flux']
    measured += ['RA_max', 'DEC_max'] if kind == 'srl' else ['Xposn', 'Yposn']
    for dc in ('', 'DC_'):
        for plane in ('', '_img_plane'):
            measured += [f'{dc}{name}{plane}' for name in ('Maj', 'Min', 'PA')]
    measured += ['Isl_Total_flux']
    noise = ['Isl_rms', 'Isl_mean', 'Resid_Isl_rms', 'Resid_Isl_mean']
    noise += [] if kind == 'srl' else ['Wave_Isl_rms', 'Wave_Isl_mean']
    return [*ids, *(name for value in measured for name in (value, f'E_{value}')), *noise, 'S_Code']


def _unit(column: str) -> str | None:
    if column.endswith('_id') or column == 'S_Code':
        return None
    if 'Total_flux' in column:
        return 'Jy'
    if 'posn' in column:
        return 'pix'
    return 'Jy/beam' if column.endswith(('_flux', 'rms', 'mean')) else 'deg'

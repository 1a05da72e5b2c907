"""What a worker does with one image: all that `claran run` or `claran associate` does, and a row that tells of it."""

import hashlib
import json
import re
import time
import warnings
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from astropy.io import fits
from astropy.nddata import CCDData

from claran_plugin import __version__, pipeline
from claran_plugin.catalogue_writing import KEY_CARD
from claran_plugin.celestial import to_sky
from claran_plugin.errors import InputError, InputWarning
from claran_plugin.images import beam, read_image
from claran_plugin.infrared_images import read_infrared
from claran_plugin.models import DEFAULT, DETECTOR, Model, default_model, find_model
from claran_plugin.pipeline import Associator
from claran_plugin.results import result_paths, write_result
from claran_plugin.survey.listing import Pointing

Row = dict[str, Any]
DONE, FAILED = 'done', 'failed'
KEPT = 'kept'
"""Key of a row that is not written: nothing was done, as all is there."""
WARNINGS_APART = ' | '
"""Between the warnings of an image in its row."""


@dataclass(frozen=True)
class Settings:
    """What is the same for all images: where to write, and options of `pipeline.associate` and of PyBDSF.

    `command` is what the tables' headers say; `output` is the folder of the images' own tables.
    """

    output: str
    command: str = ''
    beam: tuple[float, float, float] | None = None
    frequency: float | None = None
    survey: str | None = None
    fov: float | None = None
    look_at_all: bool = False
    overwrite_columns: bool = False
    model: str | None = None
    weights: str | None = None
    calibration: str | None = None
    device: str = 'auto'
    views: int = 1
    precision: str = 'auto'
    kind: Literal['srl', 'gaul'] = 'srl'
    pybdsf: tuple[tuple[str, Any], ...] = ()
    picture: bool = False

    def find_model(self, *, infrared: bool) -> Model:
        """Find the detector for images with or without infrared."""
        name = self.model or default_model(self.weights, infrared=infrared)
        return find_model(name, self.weights, self.calibration)


FILES = ('output', 'command', 'weights', 'calibration')
"""Settings whose names do not count: the tables depend on the files' contents, if at all."""


def process(pointing: Pointing, settings: Settings, known: Row | None = None) -> Row:
    """Associate one image and write its outputs, unless that was done before with the same content and parameters.

    Parameters
    ----------
    pointing : Pointing
    settings : Settings
    known : dict, optional
        The image's row of an earlier run.

    Returns
    -------
    dict
        The image's row of the manifest, with `KEPT` where it is that of the earlier run. A fault is reported in it and
        not raised.
    """
    start = time.perf_counter()
    row: Row = dict(pointing._asdict(), state=FAILED, key='', error='', warnings='')
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always', InputWarning)
        try:
            row['key'] = key = _key(pointing, settings)
            paths = result_paths(settings.output, pointing.name, picture=settings.picture)
            if known and known['state'] == DONE and known['key'] == key and all(_is_of(path, key) for path in paths):
                return known | {KEPT: True}
            result = _associate(pointing, settings, paths, key)
        except Exception as err:
            text = str(err) if isinstance(err, InputError) else f'{pointing.image}: {type(err).__name__}: {err}'
            row['error'] = ' '.join(text.split())
    told = [' '.join(str(one.message).split()) for one in caught if issubclass(one.category, InputWarning)]
    row['warnings'] = WARNINGS_APART.join(dict.fromkeys(told))
    if row['error']:
        return row | dict(seconds=round(time.perf_counter() - start, 3))
    centre, radius = _footprint(result.radio)
    return row | dict(
        state=DONE,
        components=len(result.components),
        sources=len(result.sources),
        fields=result.n_fields,
        ra=centre[0],
        dec=centre[1],
        radius=radius,
        beam=round(float(beam(result.radio).major.to_value('deg')), 8),
        seconds=round(time.perf_counter() - start, 3),
    )


def _is_of(path: Path, key: str) -> bool:
    """Tell whether an output is there, whole, and of these contents and parameters."""
    try:
        if path.suffix != '.fits':
            return path.stat().st_size > 0
        with fits.open(path) as hdus:
            last = hdus[-1].fileinfo()
            whole = path.stat().st_size >= last['datLoc'] + last['datSpan']
            return whole and any(str(hdu.header.get(KEY_CARD, '')) == key for hdu in hdus)
    except (OSError, IndexError):
        return False


def _key(pointing: Pointing, settings: Settings) -> str:
    """Give a hash of all that the outputs depend on: contents, not names or dates."""
    found = settings.find_model(infrared=bool(pointing.infrared))
    parameters = {key: value for key, value in asdict(settings).items() if key not in FILES}
    versions = [__version__] if pointing.catalogue else [__version__, version('bdsf')]
    digest = hashlib.sha256(json.dumps([*versions, parameters], sort_keys=True).encode())
    detectors = [found.config, found.weights, found.calibration, found.ranges]
    if pointing.infrared:  # see `Associator.coarse_detector`
        coarse = find_model(DEFAULT)
        detectors += [coarse.weights, coarse.ranges]
    for path in (*detectors, pointing.image, pointing.catalogue, pointing.infrared):
        digest.update(_content(Path(path)) if path else b'-')
    return digest.hexdigest()[:16]


def _content(path: Path) -> bytes:
    if not path.is_file():
        raise InputError(f'{path}: no such file: check the list (in a text file, names with blanks stand in quotes)')
    with path.open('rb') as opened:
        return hashlib.file_digest(opened, 'sha256').digest()


@lru_cache(1)
def _associator(**options: Any) -> Associator:
    """Load a model once per worker; the workers of one machine share its GPUs."""
    if options['device'] == 'auto':
        options['device'] = f'auto:{_worker_number()}'
    return Associator(**options)


def _worker_number() -> int:
    """Give the number of the Dask worker that this is in, 0 outside of one or where it has none."""
    try:
        from distributed import get_worker

        name = str(get_worker().name)
    except (ImportError, ValueError):
        return 0
    digits = re.findall(r'\d+', name)
    return int(digits[-1]) if digits else 0


def _associate(pointing: Pointing, settings: Settings, paths: list[Path], key: str) -> pipeline.Association:
    radio = read_image(pointing.image, beam=settings.beam, frequency=settings.frequency, survey=settings.survey)
    infrared = read_infrared(pointing.infrared, radio) if pointing.infrared else None
    detector = {name: getattr(settings, name) for name in DETECTOR}
    associator = _associator(infrared=infrared is not None, **detector)
    listed: AbstractContextManager[tuple[CCDData, Path]] = nullcontext((radio, Path(pointing.catalogue)))
    if not pointing.catalogue:
        options = dict(settings.pybdsf) | dict(ncores=1)
        listed = pipeline.pybdsf_list(radio, pointing.name, settings.kind, options)
    with listed as (radio, catalogue):
        result = pipeline.associate(
            radio,
            catalogue,
            infrared,
            fov=settings.fov,
            look_at_all=settings.look_at_all,
            overwrite_columns=settings.overwrite_columns,
            own_frame=None if pointing.catalogue else True,
            associator=associator,
            name=None if pointing.catalogue else pipeline.pybdsf_name(pointing.image),
        )
        provenance = {**result.provenance, 'CLCMD': settings.command, KEY_CARD: key}
        write_result(result, paths, name=pointing.name, original=catalogue, overwrite=True, provenance=provenance)
    return result


def _footprint(radio: CCDData) -> tuple[tuple[float, float], float]:
    """Give the middle of an image (RA, DEC) and the distance to its farthest corner, deg."""
    ny, nx = radio.shape
    (middle,) = to_sky(radio.wcs, ((nx - 1) / 2, (ny - 1) / 2))
    corners = to_sky(radio.wcs, [(x, y) for x in (-0.5, nx - 0.5) for y in (-0.5, ny - 0.5)])
    distance = np.nan_to_num(middle.separation(corners).deg, nan=180.0)
    return (round(float(middle.ra.deg), 6), round(float(middle.dec.deg), 6)), round(float(distance.max()), 6)

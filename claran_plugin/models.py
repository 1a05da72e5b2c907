"""Which detectors come with the package, and finding a config and its weights."""

from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from claran_plugin.errors import InputError

PACKAGE = Path(__file__).parent
DEFAULT, DEFAULT_INFRARED = 'compact', 'compact_infrared'
"""The bundled detectors: for a radio image alone, and for one with an infrared image."""
PRECISIONS = ('auto', 'half', 'full')
"""See `detection.inference.Detector`."""
DETECTOR = ('model', 'weights', 'calibration', 'device', 'precision', 'views')
"""What says which detector looks, and how: parameters of `associator.Associator` and options of commands."""
RANGES = '.ranges.json'
"""Ending of the file beside weights that lets them run in eight bits (`detection.eight_bits`)."""

OF_SURVEY = '.calibration.json'
"""Ending of a calibration beside weights that is for one survey; its name stands before it."""


def ranges_beside(weights: str | Path) -> Path:
    """Give the place of the file that lets some weights run in eight bits."""
    return Path(weights).with_suffix(RANGES)


class Model(NamedTuple):
    """A detector on disk; `calibration` and `ranges` are None where there are none beside the weights."""

    name: str
    config: Path
    weights: Path
    calibration: Path | None
    ranges: Path | None


def find_model(name: str = DEFAULT, weights: str | Path | None = None, calibration: str | Path | None = None) -> Model:
    """Find a detector by the name of a bundled model or config, or by the path of a config.

    Parameters
    ----------
    name : str
    weights : path, optional
        By default those of the package.
    calibration : path or str, optional
        By default the one beside the weights; the name of a survey that the weights come with a calibration for will
        do.

    Raises
    ------
    InputError
        Where there is none of that name, it has no weights, or there is no such calibration.
    """
    config = find_config(name)
    if config is None:
        known = known_configs('claran_')
        raise InputError(f'{name}: no such model; give one of {known}, or the path of an mmdet config, with --model')
    path = Path(weights) if weights is not None else PACKAGE / 'weights' / f'{config.stem}.pth'
    if not path.is_file():
        what = 'no such weights file' if weights is not None else 'the package has no weights for this model'
        raise InputError(f'{path}: {what}; give the path of trained ones with --weights')
    beside, ranges = (file if file.is_file() else None for file in (path.with_suffix('.json'), ranges_beside(path)))
    return Model(config.stem, config, path, beside if calibration is None else _calibration(calibration, path), ranges)


def _calibration(given: str | Path, weights: Path) -> Path:
    """Find a calibration by its path, or by the survey that it is for."""
    of_survey = {
        path.name.removeprefix(f'{weights.stem}.').removesuffix(OF_SURVEY): path
        for path in sorted(weights.parent.glob(f'*{OF_SURVEY}'))
        if path.name.startswith(f'{weights.stem}.')
    }
    path = of_survey.get(str(given), Path(given))
    if path.is_file():
        return path
    known = f', or {", ".join(of_survey)}' if of_survey else ''
    raise InputError(f'{given}: no such calibration; give a file that claran calibrate wrote{known} with --calibration')


def default_model(weights: str | Path | None, *, infrared: bool) -> str:
    """Name the bundled detector for what there is; weights of one's own are for the radio-only one."""
    return DEFAULT_INFRARED if infrared and weights is None else DEFAULT


def find_config(name: str) -> Path | None:
    """Find an mmdet config by its path or by the name of a bundled one, with or without ``claran_``."""
    folder = config_folder()
    candidates = (Path(name), folder / f'{name}.py', folder / f'claran_{name}.py')
    return next((path for path in candidates if path.is_file()), None)


def known_configs(prefix: str = '') -> str:
    """List the names of the bundled configs; those of detectors of the six classes begin with ``claran_``."""
    return ', '.join(sorted(path.stem.removeprefix('claran_') for path in config_folder().glob(f'{prefix}[!_]*.py')))


def config_folder() -> Path:
    """Give the folder of the mmdet configs."""
    return Path(str(files('claran_plugin.configs').joinpath('.')))

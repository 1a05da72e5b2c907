"""Which detectors come with the package, and finding a config and its weights."""

from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from claran_plugin.errors import InputError

PACKAGE = Path(__file__).parent
DEFAULT = 'compact'


class Model(NamedTuple):
    """A detector on disk; `calibration` is None where there is none beside the weights."""

    name: str
    config: Path
    weights: Path
    calibration: Path | None


def find_model(name: str = DEFAULT, weights: str | Path | None = None) -> Model:
    """Find a detector by the name of a bundled model or config, or by the path of a config.

    Raises
    ------
    InputError
        Where there is none of that name, or it has no weights.
    """
    folder = config_folder()
    config = next(
        (path for path in (Path(name), folder / f'{name}.py', folder / f'claran_{name}.py') if path.is_file()), None
    )
    if config is None:
        known = sorted(path.stem.removeprefix('claran_') for path in folder.glob('claran_*.py'))
        raise InputError(
            f'{name}: no such model; give one of {", ".join(known)}, or the path of an mmdet config, with --model'
        )
    path = Path(weights) if weights is not None else PACKAGE / 'weights' / f'{config.stem}.pth'
    if not path.is_file():
        what = 'no such weights file' if weights is not None else 'the package has no weights for this model'
        raise InputError(f'{path}: {what}; give the path of trained ones with --weights')
    calibration = path.with_suffix('.json')
    return Model(config.stem, config, path, calibration if calibration.is_file() else None)


def config_folder() -> Path:
    """Give the folder of the mmdet configs."""
    return Path(str(files('claran_plugin.configs').joinpath('.')))

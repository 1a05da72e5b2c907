"""What all tests share: optional real data, the detector, and which warnings are errors."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_configure(config: pytest.Config) -> None:
    """Make a warning raised by a line of this package an error; those of other libraries are only listed."""
    config.addinivalue_line('filterwarnings', r'error:::claran_plugin(\.|\Z)')


@pytest.fixture(scope='session')
def data_dir() -> Path:
    """Folder of real radio images; skips the test where there is none.

    It is named by the environment variable CLARAN_TEST_DATA, else it is ``shared/data`` beside the repository.
    """
    named = os.environ.get('CLARAN_TEST_DATA')
    folder = Path(named) if named else REPOSITORY.parent / 'shared' / 'data'
    if not folder.is_dir():
        what = f'CLARAN_TEST_DATA={named} is not a folder' if named else 'CLARAN_TEST_DATA is not set'
        pytest.skip(f'needs real radio images: {what}')
    return folder


@pytest.fixture(scope='session')
def require_detector() -> None:
    """Skip the test where the detector's libraries cannot be imported; fail it if CLARAN_REQUIRE_DETECTOR=1."""
    for name in ('torch', 'mmengine', 'mmcv', 'mmcv.ops', 'mmdet.models', 'mmdet.apis'):
        try:
            importlib.import_module(name)
        # mmdet asserts that mmcv's version fits; a library that does not fit torch fails to load with OSError
        except (ImportError, OSError, AssertionError) as err:
            reason = f'needs the detector, but {name} cannot be imported ({err}); "make venv" sets it up'
            if os.environ.get('CLARAN_REQUIRE_DETECTOR') == '1':
                pytest.fail(reason)
            pytest.skip(reason)

"""What all tests share: optional real data, the detector, and which warnings are errors."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import pytest

if os.environ.get('CLARAN_TEST_GPU') != '1':
    os.environ['CUDA_VISIBLE_DEVICES'] = ''  # before torch is imported, and for the processes that tests start
REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_configure(config: pytest.Config) -> None:
    """Make a warning raised by a line of this package an error; those of other libraries are only listed."""
    config.addinivalue_line('filterwarnings', r'error:::claran_plugin(\.|\Z)')
    config.addinivalue_line('markers', "slow: may take longer than 20 s; leave them out with -m 'not slow'")


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


@pytest.fixture(scope='session')
def random_weights(require_detector: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write untrained weights of the compact detector: for tests that need one, but not a good one."""
    import torch
    from mmdet.registry import MODELS
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    import claran_plugin.detection  # noqa: F401
    from claran_plugin.models import config_folder

    init_default_scope('mmdet')
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(config_folder() / 'claran_compact.py').model)
    path = tmp_path_factory.mktemp('weights') / 'random.pth'
    torch.save(model.state_dict(), path)
    return path


@pytest.fixture(scope='session')
def bundled_weights(require_detector: None) -> Path:
    """Name the weights that come with the package; skips the test where they are not there, or fails it."""
    from claran_plugin.models import PACKAGE

    path = PACKAGE / 'weights' / 'claran_compact.pth'
    if not path.is_file():
        reason = f'needs the trained detector: there is no {path}'
        if os.environ.get('CLARAN_REQUIRE_DETECTOR') == '1':
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@pytest.fixture
def known_grouping(monkeypatch: pytest.MonkeyPatch) -> type:
    """Put `KnownAssociator` in the place of the detector."""
    from known_grouping import KnownAssociator

    from claran_plugin import pipeline, sources
    from claran_plugin.commands import association

    monkeypatch.setattr(sources, 'LEAST_OVERLAP', 0.0)  # its box is not one that was counted
    monkeypatch.setattr(pipeline, 'Associator', KnownAssociator)
    monkeypatch.setattr(association, 'Associator', KnownAssociator)
    return KnownAssociator

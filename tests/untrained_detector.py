"""An untrained detector, its weights, and pictures to look at."""

import numpy as np
import pytest
import torch

from claran_plugin.models import config_folder

CONFIG = config_folder() / 'claran_compact.py'


@pytest.fixture(scope='module')
def inference(require_detector):
    from claran_plugin.detection import inference

    return inference


@pytest.fixture(scope='module')
def weights_files(require_detector):
    from claran_plugin.detection import weights_files

    return weights_files


@pytest.fixture(scope='module')
def state(require_detector):
    """Weights of an untrained model."""
    from mmdet.registry import MODELS
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    init_default_scope('mmdet')
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(CONFIG).model)
    model.init_weights()
    return model.state_dict()


@pytest.fixture(scope='module')
def weights(state, tmp_path_factory):
    path = tmp_path_factory.mktemp('weights') / 'untrained.pth'
    torch.save(state, path)
    return path


@pytest.fixture(scope='module')
def detector(inference, weights):
    return inference.Detector(CONFIG, weights, 'cpu', 'full')


def pictures(number, seed=0, side=132):
    return np.random.default_rng(seed).integers(0, 256, (number, side, side, 3), dtype=np.uint8)


def one_line(caught, *words):
    text = str(caught.value)
    assert '\n' not in text
    assert len(text) < 400
    for word in words:
        assert word in text

"""What importing the detector imports, and what is said of an incomplete installation."""

import subprocess
import sys

import pytest
from untrained_detector import CONFIG, state, weights

__all__ = ['state', 'weights']  # fixtures
pytestmark = pytest.mark.usefixtures('require_detector')


@pytest.mark.parametrize(
    ('missing', 'said'),
    [
        ('torch', 'PyTorch is not installed'),
        ('mmcv._ext', 'built without its compiled operators'),
        ('mmdet.models', 'mmdet cannot be imported'),
    ],
)
def test_an_incomplete_stack_is_named(missing, said):
    code = f"""
import sys
sys.modules[{missing!r}] = None
try:
    import claran_plugin.detection
except ImportError as err:
    print(err)
"""
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.strip().splitlines()
    assert said in line
    assert 'make venv' in line


def test_what_only_training_needs_is_not_imported(weights, tmp_path):
    code = f"""
import sys
from claran_plugin.detection.inference import Detector
print(Detector({str(CONFIG)!r}, {str(weights)!r}, 'cpu', 'full').method, 'mmdet.datasets' in sys.modules)
"""
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True, timeout=300)
    assert done.stdout.split()[-2:] == ['S', 'False'], done.stderr

"""Benchmarks that can be run small."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / 'benchmarks'


@pytest.mark.slow
def test_speed_of_a_small_field(require_detector):
    done = subprocess.run(
        [sys.executable, str(FOLDER / 'speed.py'), '--smoke'], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    for line in ('PyBDSF, default options', 'claran associate', 'claran --help', 'association, loaded'):
        assert line in done.stdout
    assert 'ms each, all in' in done.stdout

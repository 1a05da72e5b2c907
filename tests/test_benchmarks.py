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


@pytest.mark.slow
def test_growth_of_a_small_field(require_detector, tmp_path):
    done = subprocess.run(
        [sys.executable, str(FOLDER / 'growth.py'), '--smoke', '--diagram', str(tmp_path / 'a.png')],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    sides = [int(line.split()[0]) for line in done.stdout.splitlines() if line.split()[0].isdigit()]
    assert sides == [400, 800]
    assert (tmp_path / 'a.png').stat().st_size > 5000

"""Benchmarks that can be run small."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / 'benchmarks'


def smoke(script, *options):
    """Run a benchmark small; give what it prints."""
    done = subprocess.run(
        [sys.executable, str(FOLDER / script), '--smoke', *options], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_speed_of_a_small_field(require_detector):
    said = smoke('speed.py')
    for line in ('PyBDSF, default options', 'claran associate', 'claran --help', 'association, loaded'):
        assert line in said
    assert 'ms each, all in' in said


@pytest.mark.slow
def test_growth_of_a_small_field(require_detector, tmp_path):
    said = smoke('growth.py', '--diagram', str(tmp_path / 'a.png'))
    sides = [int(line.split()[0]) for line in said.splitlines() if line.split()[0].isdigit()]
    assert sides == [400, 800]
    assert (tmp_path / 'a.png').stat().st_size > 5000


@pytest.mark.slow
def test_throughput_of_a_few_subjects(require_detector):
    rows = [line.split() for line in smoke('throughput.py', '--device', 'cpu').splitlines()[1:]]
    precisions = [row[1] for row in rows]
    assert precisions[0] == 'float32'
    assert len(set(precisions)) == len(precisions)
    assert all(float(row[3]) > 0 for row in rows)
    for row in rows[1:]:
        same, _, number = row[-3:]
        assert int(number) >= 8
        assert int(same) >= int(number) - 1


@pytest.mark.slow
def test_parts_of_a_small_field(require_detector):
    said = smoke('parts.py')
    assert 'start to the first field of view' in said
    assert sum(line.startswith('fusion') for line in said.splitlines()) == 7


@pytest.mark.slow
def test_workers_give_the_same_tables(require_detector):
    said = smoke('workers.py')
    assert [line.split(',')[0] for line in said.splitlines()[1:4]] == ['1 worker', '1 worker', '2 workers']
    assert said.endswith('tables: the same\n')


def test_memory_of_a_process_is_its_own(monkeypatch, capfd):
    import numpy as np

    monkeypatch.syspath_prepend(str(FOLDER))
    from speed import run_alone

    ballast = np.ones(4 * 10**7)  # 305 MiB
    seconds, mib = run_alone([sys.executable, '-c', 'print("its own output")'])
    assert ballast.sum() == 4e7
    assert 2 < mib < 100
    assert 0 < seconds < 30
    assert 'its own output' in capfd.readouterr().err
    with pytest.raises(subprocess.CalledProcessError):
        run_alone([sys.executable, '-c', 'raise SystemExit(3)'])


def test_parameters_of_the_division_are_fitted_to_what_is_true(monkeypatch, require_detector):
    import numpy as np

    monkeypatch.syspath_prepend(str(FOLDER))
    import division as benchmark
    from test_claims import CENTRE, CROWDED, detection, scene, square

    from claran_plugin.division_model import FITTED
    from claran_plugin.morphology import box_around

    looks = []
    for right in ((0, 1), (0, 2)):  # lobes on a line, and a stranger in the box's corner, which is the truth in the end
        parts, around = scene([(40, 66), (92, 66), (88, 92)], {0, 1, 2}, CROWDED)
        found = detection(box_around(np.array([square(*parts.xy[k]) for k in right]), 3), '2C_2P')
        looks.append(benchmark.Look(parts, found, CENTRE, 1.0, around, [frozenset(right)]))
    rng = np.random.default_rng(0)
    examples = [example for look in looks for example in benchmark.examples_of(look, rng)]
    assert [example.sets.choice(int(example.target[0])) for example in examples] == [(0, 1), (0, 2)]
    before = benchmark.cost(examples, FITTED)
    assert 0 < benchmark.cost(examples, benchmark.fit(examples, FITTED)) < before

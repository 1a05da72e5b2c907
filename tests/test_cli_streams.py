"""Standard streams that are closed, full, or lack letters: what was asked for is done, and no traceback is shown."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FULL = Path('/dev/full')


def simulate(folder, redirection, **environment):
    """Run ``claran simulate``, whose files have a letter that is not in ASCII, in a shell."""
    words = [sys.executable, '-m', 'claran_plugin', 'simulate', '--size', '2', '-o', str(folder / 'Feld-ä')]
    command = ['bash', '-c', f'"$@" {redirection}', 'bash', *words]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env=os.environ | environment
    )


def files(folder):
    return sorted(path.name for path in (folder / 'Feld-ä').iterdir())


@pytest.mark.parametrize('closed', ['2>&-', '<&- >&- 2>&-'])
def test_closed_streams(tmp_path, closed):
    done = simulate(tmp_path, closed)
    assert (done.returncode, done.stderr) == (0, '')
    assert files(tmp_path) == ['field_0001.fits', 'field_0001.truth.fits']


@pytest.mark.parametrize('encoding', ['ascii', 'ascii:surrogateescape'])
def test_letters_that_the_output_lacks(tmp_path, encoding):
    done = simulate(tmp_path, '', PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, '')
    assert r'Feld-\xe4/field_0001.fits' in done.stdout


@pytest.mark.skipif(not FULL.exists(), reason='needs a device that is always full')
def test_a_full_disk_under_the_output(tmp_path):
    done = simulate(tmp_path, f'>{FULL}')
    assert done.returncode == 1
    assert done.stderr == 'claran: standard output: No space left on device; send it elsewhere\n'
    assert files(tmp_path) == ['field_0001.fits', 'field_0001.truth.fits']

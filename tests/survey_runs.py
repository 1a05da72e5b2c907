"""Small surveys: images with catalogues, and ways to run `claran survey` on them."""

import subprocess
import sys
import time

import numpy as np
import pytest
from astropy.io import fits

from claran_plugin.cli import main
from claran_plugin.footprints import island_components
from claran_plugin.images import read_image
from claran_plugin.simulation import simulate_field, write_field
from claran_plugin.subjects import Sky

N_IMAGES = 8


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    """Small simulated images with catalogues of their islands, and a list of them."""
    folder = tmp_path_factory.mktemp('images')
    lines = []
    for number in range(N_IMAGES):
        made = simulate_field(np.random.default_rng(number), size_arcmin=9, n_sources=25)
        path, _ = write_field(made, folder / f'f{number}.fits')
        fits.setval(path, 'CRVAL1', value=100.0 + number)  # no overlaps
        island_components(Sky(read_image(path))).write(folder / f'f{number}.islands.fits')
        lines.append(f'f{number}.fits f{number}.islands.fits')
    (folder / 'list.txt').write_text('\n'.join(lines))
    return folder


def run(images, output, *options, wait=True):
    """Start ``claran survey`` in a process of its own."""
    words = ['survey', str(images / 'list.txt'), '-o', str(output), '--all', *options]
    process = subprocess.Popen(
        [sys.executable, '-m', 'claran_plugin', *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    if not wait:
        return process
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def contents(output):
    """Give the bytes of each table."""
    found = sorted([*output.glob('per_image/*.fits'), *output.glob('*.parquet/*')])
    return {str(path.relative_to(output)): path.read_bytes() for path in found}


def wait_for(condition, process, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


def finished(output):
    path = output / 'manifest.csv'
    return max(len(path.read_text().splitlines()) - 1, 0) if path.is_file() else 0


@pytest.fixture
def here(monkeypatch):
    """Let the images be worked on in this process."""
    from claran_plugin.commands import survey
    from claran_plugin.survey.work import process

    def process_all(pointings, settings, known, **_):
        for pointing in pointings:
            yield process(pointing, settings, known.get(pointing.name))

    monkeypatch.setattr(survey, 'process_all', process_all)


@pytest.fixture
def few(images, tmp_path):
    """Copies of two of the images, and a list."""
    for number in (0, 1):
        for ending in ('fits', 'islands.fits'):
            (tmp_path / f'f{number}.{ending}').write_bytes((images / f'f{number}.{ending}').read_bytes())
    (tmp_path / 'list.txt').write_text('f0.fits f0.islands.fits\nf1.fits f1.islands.fits\n')
    return tmp_path


def survey(folder, *options):
    return main(['survey', str(folder / 'list.txt'), '-o', str(folder / 'out'), *options])

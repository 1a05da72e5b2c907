"""How much faster several Dask workers are than one: `claran survey` over simulated images side by side.

    python benchmarks/workers.py [--images N] [--size PIXELS] [--workers N] [--smoke]

Fields at FIRST's beam are simulated, a degree of right ascension apart; PyBDSF makes their catalogues. Printed are
wall-clock seconds of three runs, start and merging included: with one worker confined to one core, with one that may
use all of them (its threads do), and with several. Their merged tables are compared.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas
from astropy import units as u
from astropy.coordinates import SkyCoord
from speed import PIXEL_ARCMIN, run_alone

from claran_plugin.components import write_pybdsf_catalogue
from claran_plugin.pipeline import run
from claran_plugin.simulation import simulate_field, write_field

SMOKE = 2, 300
SOURCES_PER_PIXEL = 140 / 1500**2


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--images', type=int, default=32)
    parser.add_argument('--size', type=int, default=1500, help='side of each, pixels (default: 1500)')
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--smoke', action='store_true', help='two small images, to see that it works')
    arguments = parser.parse_args(argv)
    number, size = SMOKE if arguments.smoke else (arguments.images, arguments.size)
    with tempfile.TemporaryDirectory(prefix='claran_') as name:
        folder = Path(name)
        listed = simulated(number, size, folder)
        cores = os.sched_getaffinity(0)
        confined = surveyed(listed, folder / 'confined', 1, cores={min(cores)})
        print(f'{number} images of {size} x {size} px, {len(merged(folder / "confined"))} components')
        report('1 worker, 1 core', confined, confined)
        alone = surveyed(listed, folder / 'alone', 1)
        report(f'1 worker, {len(cores)} cores', alone, confined)
        several = surveyed(listed, folder / 'several', arguments.workers)
        report(f'{arguments.workers} workers, {len(cores)} cores', several, confined)
        same = all(
            merged(folder / 'confined', kind).equals(merged(folder / other, kind))
            for other in ('alone', 'several')
            for kind in ('components', 'sources')
        )
        print('tables: the same' if same else 'tables: DIFFERENT')
    sys.exit(not same)


def simulated(number: int, size: int, folder: Path) -> Path:
    """Simulate images and find their components; give the list of them."""
    lines = []
    for seed in range(number):
        made = simulate_field(
            np.random.default_rng(seed),
            size_arcmin=size * PIXEL_ARCMIN,
            n_sources=max(round(SOURCES_PER_PIXEL * size**2), 5),
            centre=SkyCoord((150 + seed) * u.deg, 10 * u.deg),
        )
        image, _ = write_field(made, folder / f'field{seed}.fits')
        found, _ = run(image, survey='first')
        catalogue = write_pybdsf_catalogue(found, folder / f'field{seed}.srl.fits')
        lines.append(f'{image} {catalogue}\n')
    listed = folder / 'list.txt'
    listed.write_text(''.join(lines))
    return listed


def surveyed(listed: Path, folder: Path, workers: int, cores: set[int] | None = None) -> float:
    """Run `claran survey`, on some cores; give its seconds."""
    command = [sys.executable, '-m', 'claran_plugin', 'survey', str(listed), '-o', str(folder)]
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores or before)
    try:
        return run_alone([*command, '--workers', str(workers), '--survey', 'first', '--quiet'])[0]
    finally:
        os.sched_setaffinity(0, before)


def merged(folder: Path, kind: str = 'components') -> pandas.DataFrame:
    """Read a merged table."""
    return pandas.read_parquet(folder / f'{kind}.parquet')


def report(name: str, seconds: float, unit: float) -> None:
    """Print a line."""
    print(f'{name:24}{seconds:8.1f} s  {unit / seconds:6.2f} times as fast as one on one core', flush=True)


if __name__ == '__main__':
    main()

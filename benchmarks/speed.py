"""How long the association of a simulated field takes, beside PyBDSF on the same image, in one run.

    python benchmarks/speed.py [--size PIXELS] [--sources N] [--lotss] [--smoke]

The field is at FIRST's beam, a thousand sources for 4000 x 4000 px. Printed are wall-clock seconds of PyBDSF with its
default options (with --lotss also as LoTSS sets it up: wavelets and adaptive noise boxes), of `claran associate` as a
process of its own, its parts, milliseconds per field of view, and peak memory. --smoke takes a small field.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from random_skies import LOTSS

from claran_plugin import pipeline
from claran_plugin.components import run_pybdsf, write_pybdsf_catalogue
from claran_plugin.images import read_image
from claran_plugin.simulation import simulate_field, write_field

PIXEL_ARCMIN = 0.03
SMOKE = 500, 15
STARTER = """
import resource, subprocess, sys, time
start = time.perf_counter()
code = subprocess.run(sys.argv[1:], stdout=sys.stderr).returncode
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--size', type=int, default=4000, help='side, pixels (default: 4000)')
    parser.add_argument('--sources', type=int, help='(default: 1000 for 4000 x 4000 px, and as dense)')
    parser.add_argument('--lotss', action='store_true', help="PyBDSF with LoTSS's options, too, which takes minutes")
    parser.add_argument('--smoke', action='store_true', help='a small field, to see that it works')
    arguments = parser.parse_args(argv)
    size, sources = SMOKE if arguments.smoke else (arguments.size, arguments.sources)
    sources = sources or round(1000 * (size / 4000) ** 2)
    with tempfile.TemporaryDirectory(prefix='claran_') as name:
        folder = Path(name)
        made = simulate_field(np.random.default_rng(7), size_arcmin=size * PIXEL_ARCMIN, n_sources=sources)
        image, _ = write_field(made, folder / 'field.fits')
        radio = read_image(image, survey='first')
        catalogue = folder / 'field.srl.fits'
        seconds, img = timed(lambda: run_pybdsf(radio))
        write_pybdsf_catalogue(img, catalogue)
        print(f'{size} x {size} px, {len(Table.read(catalogue))} components')
        report('PyBDSF, default options', seconds, seconds)
        if arguments.lotss:
            report('PyBDSF as for LoTSS', timed(lambda: run_pybdsf(radio, **LOTSS))[0], seconds)
        command = [sys.executable, '-m', 'claran_plugin', 'associate', str(image), str(catalogue), '--survey', 'first']
        command += ['-o', str(folder / 'out'), '--quiet']
        whole, memory = run_alone(command)
        report('claran associate', whole, seconds)
        help_command = [sys.executable, '-m', 'claran_plugin', '--help']
        report(
            'claran --help', timed(lambda: subprocess.run(help_command, check=True, capture_output=True))[0], seconds
        )
        associator = pipeline.Associator()
        start, _ = timed(associator.load)
        report('loading the model', start, seconds)
        inside, result = timed(lambda: pipeline.associate(radio, catalogue, associator=associator))
        report('association, loaded', inside, seconds)
        print(f'{result.n_fields} fields of view, {inside / max(result.n_fields, 1) * 1e3:.1f} ms each, all in; '
              f'{memory:.0f} MiB')  # fmt: skip


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Give the seconds that something takes, and its result."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def run_alone(command: Sequence[str]) -> tuple[float, float]:
    """Run a process; give its seconds and its own peak memory, MiB.

    A small process starts it: to Linux, the peak of a process is at least what its parent had when it was started.
    """
    told = subprocess.run([sys.executable, '-c', STARTER, *command], check=True, stdout=subprocess.PIPE, text=True)
    seconds, kibibytes = told.stdout.split()[-2:]
    return float(seconds), float(kibibytes) / 2**10


def report(name: str, seconds: float, unit: float) -> None:
    """Print a line."""
    print(f'{name:28}{seconds:8.1f} s  {seconds / unit:6.2f} x PyBDSF', flush=True)


if __name__ == '__main__':
    main()

"""How long single parts take: the start of a run, and fusing a subject.

    python benchmarks/parts.py [--size PIXELS] [--repeat N] [--smoke]

Printed are wall-clock seconds from the start of a new process until the detector is about to look at the first field of
view, of a simulated field with a thousand sources for 4000 x 4000 px whose islands are known; and milliseconds of the
CPU for each fusion method, per simulated subject of 132 x 132 px.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from growth import simulated
from speed import run_alone

from claran_plugin.fusion import FUSIONS
from claran_plugin.simulation import simulate_subject
from claran_plugin.synthetic_infrared import draw_infrared

SMOKE = 400, 1
SIDE, PIXEL_ARCSEC = 132, 1.35
SUBJECTS = 40
UNTIL_FIRST_FIELD = """
import os, sys
from claran_plugin.pipeline import associate
associate(sys.argv[1], sys.argv[2], survey='first', progress=lambda centres, number: os._exit(0))
sys.exit('no field of view')
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--size', type=int, default=4000, help='side of the field, pixels (default: 4000)')
    parser.add_argument('--repeat', type=int, default=5, help='how often it is started (default: 5)')
    parser.add_argument('--smoke', action='store_true', help='a small field, to see that it works')
    arguments = parser.parse_args(argv)
    size, repeat = SMOKE if arguments.smoke else (arguments.size, arguments.repeat)
    with tempfile.TemporaryDirectory(prefix='claran_') as folder:
        image, catalogue = simulated(size, 1000, Path(folder))
        command = [sys.executable, '-c', UNTIL_FIRST_FIELD, str(image), str(catalogue)]
        seconds = [run_alone(command)[0] for _ in range(repeat)]
    print(f'start to the first field of view: {", ".join(f"{each:.1f}" for each in seconds)} s')
    rng = np.random.default_rng(1)
    subjects = [simulate_subject(rng, SIDE) for _ in range(SUBJECTS)]
    infrared = [draw_infrared(rng, (SIDE, SIDE), subject.hosts, PIXEL_ARCSEC) for subject in subjects]
    for name, fuse in FUSIONS.items():
        start = time.process_time()
        for subject, near in zip(subjects, infrared, strict=True):
            fuse(subject.snr, near, rms=1.0)
        print(f'fusion {name:4}{(time.process_time() - start) / SUBJECTS * 1e3:8.2f} ms of the CPU per subject')


if __name__ == '__main__':
    main()

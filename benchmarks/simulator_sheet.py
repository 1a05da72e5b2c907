"""Put real FIRST cut-outs and simulated ones side by side, without saying which is which, and list which is which.

    python benchmarks/simulator_sheet.py --images DIR -o docs/simulator.png [--seed N]
    python benchmarks/simulator_sheet.py --coarse -o docs/coarse_subjects.png [--seed N]

DIR holds FIRST images around known FR galaxies, as ``claran dataset pack --fr`` takes them. Both kinds are drawn as the
detector sees them (S) and in random order. With ``--coarse``, subjects of coarser skies instead, with their labels.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.coordinates import SkyCoord
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from claran_plugin.datasets.coarse_subjects import coarse_simulated
from claran_plugin.datasets.packed_subjects import WIDE
from claran_plugin.datasets.training_data import fr_galaxies, simulated
from claran_plugin.fusion import FUSIONS
from claran_plugin.morphology import CLASSES

ROWS, COLUMNS = 5, 10
MIDDLE = slice(34, 166)
LARGE_PIX = 40


def main(argv: Sequence[str] | None = None) -> None:
    """Draw the sheet and print the key."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument('--images', type=Path)
    kind.add_argument('--coarse', action='store_true')
    parser.add_argument('-o', '--output', type=Path, required=True)
    parser.add_argument('--seed', type=int, default=20190101)
    arguments = parser.parse_args(argv)
    if arguments.coarse:
        draw_coarse(arguments.seed, arguments.output)
        return
    rng = np.random.default_rng(arguments.seed)
    half = ROWS * COLUMNS // 2
    real = list(fr_galaxies(arguments.images, SkyCoord([], [], unit='deg'), np.array([], int)))
    real = [real[k] for k in rng.choice(len(real), half, replace=False)]
    drawn = list(simulated(half * 3, rng))
    resolved = [subject for subject in drawn if subject.labels[0] > 0]  # FR galaxies are resolved, too
    cells = [(True, subject) for subject in real] + [(False, subject) for subject in resolved[:half]]
    order = rng.permutation(len(cells))
    figure = Figure(figsize=(COLUMNS * 1.5, ROWS * 1.6))
    for place, (axis, index) in enumerate(zip(figure.subplots(ROWS, COLUMNS).flat, order, strict=True), 1):
        picture = FUSIONS['S'](cells[index][1].snr[MIDDLE, MIDDLE], None, rms=1.0)
        axis.imshow(picture, origin='lower')
        axis.set(xticks=[], yticks=[])
        axis.set_title(str(place), fontsize=7, pad=2)
    figure.tight_layout(pad=0.3)
    figure.savefig(arguments.output, dpi=55)
    print('real:', ', '.join(str(place) for place, index in enumerate(order, 1) if cells[index][0]))


def draw_coarse(seed: int, path: Path) -> None:
    """Draw the first subjects of coarser skies, with the boxes and classes of the larger sources."""
    rows, columns = 2, 6
    figure = Figure(figsize=(columns * 2.4, rows * 2.5))
    subjects = coarse_simulated(rows * columns, seed)
    for axis, subject in zip(figure.subplots(rows, columns).flat, subjects, strict=True):
        axis.imshow(FUSIONS['S'](subject.snr, None, rms=1.0), origin='lower')
        for (x0, y0, x1, y1), label in zip(subject.boxes, subject.labels, strict=True):
            large = x1 - x0 > LARGE_PIX
            colour = 'cyan' if large else 'white'
            axis.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, color=colour, lw=1 if large else 0.4))
            if large:
                axis.text(x0, y1 + 2, CLASSES[label], color='yellow', fontsize=6)
        axis.set(xticks=[], yticks=[], xlim=(-0.5, WIDE - 0.5), ylim=(-0.5, WIDE - 0.5))
    figure.tight_layout(pad=0.3)
    figure.savefig(path, dpi=70)


if __name__ == '__main__':
    main()

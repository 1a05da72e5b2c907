"""Draw the ten worst failures on the real FIRST subjects, and list them.

    python benchmarks/failures.py --data DIR -o docs/failures.png [--cache DIR]

With the weights and calibrations of `real_first.py`, which have not seen these subjects. Sources whose islands were not
recovered exactly come first, then those whose true class has the least probability.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.table import QTable
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from real_first import WITHOUT_RGZ, Field, Truth, detect_all, read_fields, recovered_sources

from claran_plugin.contours import noise
from claran_plugin.morphology import CLASSES, COMPONENT_SIGMA, LEVEL_RATIO

SHOWN = 10
COLOURS = ('#d1495b', '#00798c', '#edae49', '#6a4c93', '#8ac926', '#ff924c', '#1982c4', '#aaaaaa')


class Failure(NamedTuple):
    """A true source, what became of it, and how bad that is."""

    badness: float
    field: Field
    truth: Truth
    labels: NDArray
    whole: bool
    found: QTable


def main(argv: Sequence[str] | None = None) -> None:
    """Run the plugin, draw and list."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, required=True)
    parser.add_argument('-o', '--output', type=Path, required=True)
    parser.add_argument('--cache', type=Path, help='folder for the results of PyBDSF')
    arguments = parser.parse_args(argv)
    fields = read_fields(arguments.data, arguments.cache)
    weights, calibration = WITHOUT_RGZ / 'compact_without_rgz.pth', WITHOUT_RGZ / 'compact_without_rgz_fold{fold}.json'
    results = detect_all(fields, 'compact', str(weights), str(calibration))
    failures = [failure for field in fields for failure in failures_of(field, results[field.name])]
    worst = sorted(failures, key=lambda failure: -failure.badness)[:SHOWN]
    draw(worst, arguments.output)
    for number, failure in enumerate(worst, 1):
        print(f'{number:2d} {failure.field.name}: {told(failure)}')


def failures_of(field: Field, result: object) -> list[Failure]:
    """Judge each true source of a field."""
    labels, sources = result.labels, result.sources  # type: ignore[attr-defined]
    island = np.asarray(field.components['Isl_id'])
    flux = np.asarray(field.components['Total_flux'].value)
    judged = []
    for truth, whole in zip(field.truth, recovered_sources(field, labels), strict=True):
        members = np.isin(island, list(truth.islands))
        if not members.any():
            continue
        share = np.bincount(labels[members], flux[members], minlength=len(sources))
        found = sources[int(np.argmax(share))]
        probability = float(found[f'P_{CLASSES[truth.label]}'])
        badness = -np.log(max(probability, 1e-3)) + 10 * (not whole)
        judged.append(Failure(badness, field, truth, labels, bool(whole), found))
    return judged


def told(failure: Failure) -> str:
    """Tell the truth and what was said instead."""
    found, true = failure.found, CLASSES[failure.truth.label]
    members = np.isin(np.asarray(failure.field.components['Isl_id']), list(failure.truth.islands))
    groups, others = len(set(failure.labels[members])), np.isin(failure.labels[~members], failure.labels[members]).sum()
    association = 'association right' if failure.whole else f'in {groups} sources, with {others} components of others'
    return (
        f'{len(failure.truth.islands)} islands, {true}; {association}; {found["Morphology"]} '
        f'{float(found["Morph_Prob"]):.2f}, {true} {float(found[f"P_{true}"]):.2f}; '
        f'counted {int(found["N_Components"])}C_{int(found["N_Peaks"])}P'
    )


def draw(failures: list[Failure], path: Path) -> None:
    """Draw the failures in two rows: contours of the counting, the true box dashed, components coloured by source."""
    figure = Figure(figsize=(15, 6.6))
    axes = figure.subplots(2, SHOWN // 2)
    for number, (axis, failure) in enumerate(zip(axes.flat, failures, strict=False), 1):
        field = failure.field
        low, high = field.seen_box[:2], field.seen_box[2:]
        snr = np.nan_to_num(field.image.data) / noise(field.image.data)
        axis.imshow(np.arcsinh(snr / 3), cmap='gray_r', vmin=-1, vmax=np.arcsinh(snr.max() / 3), origin='lower')
        levels = COMPONENT_SIGMA * LEVEL_RATIO ** np.arange(0, 12, 2)
        axis.contour(snr, levels=levels, colors='#27506e', linewidths=0.4)
        box = failure.truth.box
        axis.add_patch(Rectangle(box[:2], *(box[2:] - box[:2]), fill=False, ls='--', lw=1.2, ec='black'))
        xy = np.stack(field.image.wcs.world_to_pixel_values(field.components['RA'], field.components['DEC']), axis=-1)
        colours = [COLOURS[label % len(COLOURS)] for label in failure.labels]
        axis.scatter(*xy.T, c=colours, s=26, edgecolors='white', linewidths=0.6, zorder=3)
        axis.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), xticks=[], yticks=[])
        said = f'{failure.found["Morphology"]} {float(failure.found["Morph_Prob"]):.2f}'
        axis.set_title(f'{number}  {CLASSES[failure.truth.label]}, said {said}', fontsize=9)
    figure.tight_layout(pad=0.6)
    figure.savefig(path, dpi=80)


if __name__ == '__main__':
    main()

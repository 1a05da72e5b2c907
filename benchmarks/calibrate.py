"""Fit the calibration of a detector on labelled sources that it has not been trained on.

    python benchmarks/calibrate.py --data DIR --weights FILE [--model NAME|CONFIG] -o CALIBRATION.json [--diagram PNG]
        [--cache DIR]

Data and weights are those of ``real_first.py``. Prints the negative log likelihood per source before and after, and in
bins how reliable the calibration of each fold is that was fitted on the other four. The file belongs beside the
weights, with their name and the ending ``.json``. With ``{fold}`` in its name, one file per fold is written, fitted on
the other four.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from real_first import Field, read_fields, true_members
from tqdm import tqdm

from claran_plugin.associator import Associator
from claran_plugin.calibration import Calibration, membership_probability
from claran_plugin.components import standardise
from claran_plugin.evaluation.calibrating import (
    Seen,
    fit,
    joined,
    look,
    loss,
    stated,
    write_calibration,
)
from claran_plugin.evaluation.reliability import draw_reliability, reliability_table
from claran_plugin.footprints import on_image
from claran_plugin.labelled import N_FOLDS
from claran_plugin.subjects import Sky
from claran_plugin.truth import NO_SOURCE, Truth


def main(argv: Sequence[str] | None = None) -> None:
    """Fit, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, required=True)
    parser.add_argument('--model', default='compact')
    parser.add_argument('--weights', help="file; '{fold}' stands for 0 to 4", required=True)
    parser.add_argument('--cache', type=Path)
    parser.add_argument('-o', '--output', type=Path, required=True)
    parser.add_argument('--diagram', type=Path, help='picture of how reliable both probabilities are')
    arguments = parser.parse_args(argv)
    collected = []
    associators: dict[str, Associator] = {}
    for field in tqdm(read_fields(arguments.data, arguments.cache), disable=None):
        path = arguments.weights.format(fold=field.fold)
        if path not in associators:
            associators[path] = Associator(arguments.model, path)
        collected.append((field.fold, collect(field, associators[path])))
    everything = _fit([seen for _, seen in collected])
    without = [_fit([seen for own, seen in collected if own != fold]) for fold in range(N_FOLDS)]
    if '{fold}' in str(arguments.output):
        for fold, calibration in enumerate(without):
            write_calibration(calibration, Path(str(arguments.output).format(fold=fold)))
    else:
        write_calibration(everything, arguments.output)
    report(collected, everything, without, arguments.diagram)


def _fit(images: list[Seen]) -> Calibration:
    own = ~np.concatenate([seen.membership.is_large for seen in images])
    margin = np.concatenate([seen.membership.margin for seen in images])[own]
    right = np.concatenate([seen.membership.right for seen in images])[own]
    return fit(joined([seen.samples for seen in images]), margin, right)


def report(
    collected: list[tuple[int, Seen]], everything: Calibration, without: list[Calibration], diagram: Path | None
) -> None:
    """Print likelihoods, and the reliability of what each fold's sources are told by the calibration of the others."""
    samples = joined([seen.samples for _, seen in collected])
    print(f'{len(samples.label)} detections, {(samples.label != NO_SOURCE).sum()} of true sources')
    print(
        f'negative log likelihood per detection {loss(samples, Calibration()):.3f} -> {loss(samples, everything):.3f}'
    )
    morphology = [stated(seen.samples, without[fold]) for fold, seen in collected]
    association = [
        (membership_probability(seen.membership.margin, seen.membership.is_large, without[fold]), seen.membership.right)
        for fold, seen in collected
    ]
    panels = {
        title: tuple(np.concatenate(column) for column in zip(*pairs, strict=True))
        for title, pairs in (('Morph_Prob', morphology), ('Assoc_Prob', association))
    }
    for title, (probability, right) in panels.items():
        print(reliability_table(title, probability, right))
    if diagram:
        draw_reliability(panels, diagram)


def collect(field: Field, associator: Associator) -> Seen:
    """Look at one image and compare what comes out with the truth."""
    sky = Sky(field.image)
    components = on_image(standardise(field.components), sky)
    truth = Truth(true_members(field), np.array([t.box for t in field.truth]), np.array([t.label for t in field.truth]))
    return look(sky, components, truth, associator, within=field.seen_box)


if __name__ == '__main__':
    main()

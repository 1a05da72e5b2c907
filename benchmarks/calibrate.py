"""Fit the calibration of a detector on labelled sources that it has not been trained on.

    python benchmarks/calibrate.py --data DIR --weights FILE [--model NAME|CONFIG] -o CALIBRATION.json [--diagram PNG]

Data and weights are those of ``real_first.py``. Prints the negative log likelihood per source before and after, and in
bins how reliable the calibration of each fold is that was fitted on the other four. The file belongs beside the
weights, with their name and the ending ``.json``. With ``{fold}`` in its name, one file per fold is written, fitted on
the other four.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from real_first import Field, read_fields, recovered_sources
from reliability import draw_reliability, fit_line, print_reliability
from scipy.optimize import minimize
from scipy.spatial import cKDTree
from tqdm import tqdm

from claran_plugin.associator import Associator, choose_fields
from claran_plugin.boxes import box_iou
from claran_plugin.calibration import Calibration, class_probabilities, logistic
from claran_plugin.components import standardise
from claran_plugin.datasets.training_data import N_FOLDS
from claran_plugin.footprints import on_image
from claran_plugin.morphology import Counts
from claran_plugin.sources import box_of, measure
from claran_plugin.subjects import Sky


class Sample(NamedTuple):
    """A detected source: the detector's probabilities, counts, and its true class number, or None if there is none."""

    detected: NDArray
    counts: Counts
    label: int | None


class Membership(NamedTuple):
    """Components of one image: margin of their sources, and whether these sources are right."""

    margin: NDArray
    right: NDArray


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
        collected.append((field.fold, *collect(field, associators[path])))
    everything = fit([c[1:] for c in collected])
    without = [fit([c[1:] for c in collected if c[0] != fold]) for fold in range(N_FOLDS)]
    if '{fold}' in str(arguments.output):
        for fold, calibration in enumerate(without):
            write(calibration, Path(str(arguments.output).format(fold=fold)))
    else:
        write(everything, arguments.output)
    report(collected, everything, without, arguments.diagram)


def report(
    collected: list[tuple[int, list[Sample], Membership]],
    everything: Calibration,
    without: list[Calibration],
    diagram: Path | None,
) -> None:
    """Print likelihoods, and the reliability of what each fold's sources are told by the calibration of the others."""
    samples = [sample for _, found, _ in collected for sample in found]
    n_true = sum(s.label is not None for s in samples)
    print(f'{len(samples)} detections, {n_true} of true sources')
    print(
        f'negative log likelihood per detection {loss(samples, Calibration()):.3f} -> {loss(samples, everything):.3f}'
    )
    stated, correct, member_stated, member_right = [], [], [], []
    for fold, found, membership in collected:
        for sample in found:
            probabilities = class_probabilities(sample.detected, sample.counts, without[fold])
            stated.append(probabilities.max())
            correct.append(sample.label == int(probabilities.argmax()))
        member_stated.append(logistic(membership.margin, without[fold].membership))
        member_right.append(membership.right)
    panels = {
        'Morph_Prob': (np.array(stated), np.array(correct)),
        'Assoc_Prob': (np.concatenate(member_stated), np.concatenate(member_right)),
    }
    for title, (probability, right) in panels.items():
        print_reliability(title, probability, right)
    if diagram:
        draw_reliability(panels, diagram)


def write(calibration: Calibration, path: Path) -> None:
    """Write a calibration as JSON."""
    values = {key: np.round(value, 4).tolist() for key, value in calibration._asdict().items()}
    path.write_text(json.dumps(values, indent=1) + '\n')


def collect(field: Field, associator: Associator) -> tuple[list[Sample], Membership]:
    """Look at one image and compare what comes out with the truth."""
    sky = Sky(field.image)
    components = on_image(standardise(field.components), sky)
    centres = choose_fields(sky, components, np.ones(len(components.xy), bool))
    partition = associator.partition(sky, components, centres).partition
    tree = cKDTree(components.xy)
    true_boxes = np.array([t.box for t in field.truth])
    samples = []
    for label, hypothesis in enumerate(partition.hypotheses):
        if hypothesis.box is None:
            continue
        members = np.array(sorted(hypothesis.members))
        measured = measure(sky, components, partition.labels, label, members, tree)
        box = box_of(hypothesis, measured)
        middle = (box[:2] + box[2:]) / 2
        if not np.all((middle > field.seen_box[:2]) & (middle < field.seen_box[2:])):
            continue
        iou = box_iou(box[None], true_boxes)[0]
        true = field.truth[int(iou.argmax())].label if iou.max() > 0.5 else None
        samples.append(Sample(hypothesis.probabilities, measured.counts, true))
    recovered = recovered_sources(field, partition.labels)
    island = np.asarray(field.components['Isl_id'])
    right, margin = [], []
    for truth, whole in zip(field.truth, recovered, strict=True):
        for row in np.flatnonzero(np.isin(island, list(truth.islands))):
            right.append(bool(whole))
            margin.append(partition.margin[partition.labels[row]])
    return samples, Membership(np.array(margin, float), np.array(right, bool))


def fit(collected: list[tuple[list[Sample], Membership]]) -> Calibration:
    """Choose the parameters of greatest likelihood; weakly held near neutral ones."""
    samples = [sample for found, _ in collected for sample in found]

    def make(x: NDArray) -> Calibration:
        counting = map(float, 1 / (1 + np.exp(-x[1:5])))
        return Calibration(float(np.exp(x[0])), *counting, (float(np.exp(x[5])), float(x[6])))

    start = np.array([0.0, -1.0, -3.0, -2.0, -2.0, 0.0, 0.0])
    result = minimize(
        lambda x: loss(samples, make(x)) + 0.002 * np.sum((x - start) ** 2), start, method='Powell',
        options=dict(maxiter=4000),
    )  # fmt: skip
    margin = np.concatenate([membership.margin for _, membership in collected])
    right = np.concatenate([membership.right for _, membership in collected])
    return make(result.x)._replace(membership=fit_line(margin, right))


def loss(samples: list[Sample], calibration: Calibration) -> float:
    """Give the mean negative log likelihood of the true classes; no source is the seventh."""
    total = 0.0
    for sample in samples:
        probabilities = class_probabilities(sample.detected, sample.counts, calibration)
        likelihood = 1 - probabilities.sum() if sample.label is None else probabilities[sample.label]
        total -= np.log(max(float(likelihood), 1e-6))
    return total / max(len(samples), 1)


if __name__ == '__main__':
    main()

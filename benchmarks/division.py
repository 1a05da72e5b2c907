"""How detections are divided among sets of islands: fit `division_model.DivisionModel`, and tell its likelihood.

    python benchmarks/division.py --data DIR/radiogalaxynet [--images N] [--fields K] [--sources N] [--weights FILE]

Each detection that holds several islands, and overlaps the box of a source whose islands are known, is an example of
which of their sets it stands for. `FITTED` is fitted to RadioGalaxyNET's training images, seen by the model with
infrared, and to simulated fields of four densities; `COARSE` to simulated large sources, which PyBDSF lists with its
default options and, again, as LoTSS sets it up; every second one has a nucleus. Seeds are other ones than those of the
benchmarks that score.
"""

import argparse
import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import large_sources
import numpy as np
import simulated_fields
from astropy.table import Table
from numpy.typing import NDArray
from radiogalaxynet import read_fields
from random_skies import LOTSS
from real_first import WITHOUT_RGZ
from scipy.optimize import minimize
from tqdm import tqdm

from claran_plugin import pipeline
from claran_plugin.associator import Associator
from claran_plugin.boxes import box_iou
from claran_plugin.claimed import Components, members_of
from claran_plugin.claims import Detections, Seen
from claran_plugin.division import Division, Sets, Surroundings
from claran_plugin.division_model import COARSE, FITTED, DivisionModel
from claran_plugin.footprints import surroundings
from claran_plugin.hypotheses import Hypotheses
from claran_plugin.morphology import box_around
from claran_plugin.scales import Coarse, with_coarse
from claran_plugin.subjects import FIELD_PIXELS, Sky

SEED = 8000
LARGE_SEED = 5500
LEAST_OVERLAP = 0.4
"""Of a detection's box with that of the source that it is of."""
LEAST_PROBABILITY = 0.3
MOST_PER_SOURCE = 12
"""Detections of one source that are taken, at random; together they count as one."""
RIDGE = 1e-3
POSITIVE = ('fewer', 'more', 'overlap', 'density')


class Look(NamedTuple):
    """What was seen on one sky, see `claims.Seen`, and the true sets of its components."""

    components: Components
    seen: Detections
    centres: NDArray
    step: float
    surroundings: Surroundings
    truth: list[frozenset[int]]


class Examples(NamedTuple):
    """Detections (d of them) that hold the same islands, the true one of their sets, and their weights."""

    division: Division
    sets: Sets
    boxes: NDArray
    probabilities: NDArray
    target: NDArray
    weight: NDArray


class Recorder(Associator):
    """Keeps what it has seen."""

    looks: list[tuple[Any, ...]]

    def _hypotheses(
        self, sky: Sky, components: Components, centres: NDArray, seen: Detections, coarse: Coarse | None = None
    ) -> Hypotheses:
        around = surroundings(components, sky)
        if coarse is not None:
            around = with_coarse(around, coarse)
        self.looks.append((components, seen, centres, sky.step, around))
        return super()._hypotheses(sky, components, centres, seen, coarse)

    def taken(self, truth: Sequence[Sequence[int]]) -> Iterator[Look]:
        """Give what was seen since the last call."""
        while self.looks:
            yield Look(*self.looks.pop(), [frozenset(map(int, members)) for members in truth])


def main(argv: Sequence[str] | None = None) -> None:
    """Look, fit and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, required=True)
    parser.add_argument('--weights', help='of the radio-only model', default=WITHOUT_RGZ / 'compact_without_rgz.pth')
    parser.add_argument('--images', type=int, default=400, help='of RadioGalaxyNET')
    parser.add_argument('--fields', type=int, default=4, help='simulated ones of each density')
    parser.add_argument('--sources', type=int, default=120, help='simulated large ones')
    arguments = parser.parse_args(argv)
    radio, both = Recorder('compact', arguments.weights), Recorder(infrared=True)
    radio.looks, both.looks = [], []
    looks = [*on_radiogalaxynet(both, arguments.data / 'train', arguments.images), *on_fields(radio, arguments.fields)]
    report('FITTED', [look for look in looks if look.surroundings.resolved is None], FITTED)
    report('COARSE', list(on_large_sources(radio, arguments.sources)), COARSE)


def on_radiogalaxynet(recorder: Recorder, folder: Path, limit: int) -> Iterator[Look]:
    """Look at RadioGalaxyNET's images."""
    for field in tqdm(read_fields(folder, limit), total=limit, disable=None):
        pipeline.associate(field.image, field.components, field.infrared, associator=recorder)
        yield from recorder.taken(field.truth)


def on_fields(recorder: Recorder, number: int) -> Iterator[Look]:
    """Look at simulated fields."""
    for n_sources in simulated_fields.DENSITIES:
        for k in range(number):
            case = simulated_fields.simulate(SEED, n_sources, k)
            pipeline.associate(case.radio, Table(case.components), associator=recorder)
            yield from recorder.taken([sorted(members) for members in case.truth.sets])


def on_large_sources(recorder: Recorder, number: int) -> Iterator[Look]:
    """Look at simulated large sources, and keep what was seen on coarser skies."""
    for k, options in tqdm([*itertools.product(range(number), ({}, LOTSS))], disable=None):
        conditions = large_sources.Conditions(options=options, cores=k % 2 == 1)
        case = large_sources.simulate(np.random.default_rng([LARGE_SEED, k]), conditions)
        pipeline.associate(case.image, case.components, associator=recorder)
        looks = recorder.taken([np.flatnonzero(case.owned).tolist()])
        yield from (look for look in looks if look.surroundings.resolved is not None and case.owned.any())


def report(name: str, looks: Sequence[Look], model: DivisionModel) -> None:
    """Fit the parameters and print them, beside the likelihood with those of the package."""
    rng = np.random.default_rng(0)
    examples = [example for look in looks for example in examples_of(look, rng)]
    weight = sum(float(example.weight.sum()) for example in examples)
    print(f'{name}: {sum(len(example.weight) for example in examples)} detections of {weight:.0f} sources')
    print(f'-ln likelihood per source {cost(examples, model):.4f} with {model}')
    fitted = fit(examples, model)
    print(f'{cost(examples, fitted):.4f} fitted: {fitted}', flush=True)


def examples_of(look: Look, rng: np.random.Generator) -> Iterator[Examples]:
    """Find the detections whose set is known: that of the true source whose box they overlap most."""
    components, found, around = look.components, look.seen, look.surroundings
    islands = members_of(components.island)
    truth = [true_islands(members, components, islands) for members in look.truth]
    truth = [members for members in truth if members]
    if not truth or not len(found.boxes):
        return
    bounds = [
        [box for island in members for box in around.components[island].values()]
        or [around.outlines[i] for i in members]
        for members in truth
    ]
    overlap = box_iou(found.boxes, np.array([box_around(np.array(each), n_peaks=3) for each in bounds]))
    likely = (found.probabilities.sum(axis=1) > LEAST_PROBABILITY) & (overlap.max(axis=1) > LEAST_OVERLAP)
    seen = Seen(
        components, Detections(*(part[likely] for part in found)), look.centres, look.step, FIELD_PIXELS, around
    )
    source = overlap[likely].argmax(axis=1)
    division = Division(around, len(islands))
    wanted: dict[int, list[int]] = defaultdict(list)
    held: dict[int, frozenset[int]] = {}
    for index, claimed in seen.claimed(np.arange(len(look.centres))).items():
        members = frozenset(claimed.held)
        if len(members) > 1 and truth[source[index]] in listed(division.sets(members)):
            held[index] = members
            wanted[int(source[index])].append(index)
    alike: dict[frozenset[int], list[tuple[int, float]]] = defaultdict(list)
    for indices in wanted.values():
        chosen = rng.choice(indices, min(len(indices), MOST_PER_SOURCE), replace=False).tolist()
        for index in chosen:
            alike[held[index]].append((index, 1 / len(chosen)))
    for members, weighted in alike.items():
        numbers, weight = map(np.array, zip(*weighted, strict=True))
        sets = division.sets(members)
        number = {chosen: k for k, chosen in enumerate(listed(sets))}
        target = np.array([number[truth[source[index]]] for index in numbers])
        yield Examples(
            division, sets, seen.detections.boxes[numbers], seen.detections.probabilities[numbers], target, weight
        )


def listed(sets: Sets) -> list[frozenset[int]]:
    """List the islands of sets."""
    return [frozenset(sets.choice(number)) for number in range(len(sets.patterns))]


def true_islands(members: frozenset[int], components: Components, islands: dict[int, NDArray]) -> frozenset[int]:
    """Give the islands of which most of the flux is of a true source's components."""
    flux = np.nan_to_num(components.flux).clip(0) + 1e-30
    names = set(components.island[sorted(members)].tolist())
    return frozenset(
        name
        for name in names
        if flux[[i for i in islands[name] if int(i) in members]].sum() > flux[islands[name]].sum() / 2
    )


def cost(examples: Sequence[Examples], model: DivisionModel) -> float:
    """Give minus the mean logarithm of the probability of the true sets."""
    total = weight = 0.0
    for division, sets, boxes, probabilities, target, weights in examples:
        utility = division.utilities(sets, boxes, probabilities, model)
        utility = utility - utility.max(axis=1, keepdims=True)
        right = utility[np.arange(len(target)), target] - np.log(np.exp(utility).sum(axis=1))
        total -= float(weights @ right)
        weight += float(weights.sum())
    return total / weight


def fit(examples: Sequence[Examples], start: DivisionModel) -> DivisionModel:
    """Find the parameters of greatest likelihood, hardly drawn towards 0."""

    def penalised(values: NDArray) -> float:
        return cost(examples, DivisionModel(*values)) + RIDGE * float(values @ values)

    bounds = [(0, 8) if name in POSITIVE else (-8, 8) for name in DivisionModel._fields]
    solution = minimize(penalised, np.array(start), method='L-BFGS-B', bounds=bounds, options=dict(maxiter=60))
    return DivisionModel(*(round(float(value), 2) for value in solution.x))


if __name__ == '__main__':
    main()

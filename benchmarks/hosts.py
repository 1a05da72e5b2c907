"""Host galaxies on RadioGalaxyNET: fit `claran_plugin.hosts.HostModel` on one part, score it on another.

    python benchmarks/hosts.py --data DIR/radiogalaxynet [--fit] [--limit N]

Scored are the hosts of the validation part's annotated sources, each as the set of islands that people annotated, with
the parameters of the package, or, with --fit, with those fitted on the training part first. Beside them stand the
object that is nearest to the true host, which no choice can beat, and the radio centroid. People's positions are whole
pixels of 2".
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from radiogalaxynet import Field, read_fields
from scipy.optimize import minimize
from scipy.spatial import cKDTree
from tqdm import tqdm

from claran_plugin.components import standardise
from claran_plugin.datasets.radiogalaxynet import PIXEL_ARCSEC
from claran_plugin.evaluation.reliability import reliability_table
from claran_plugin.footprints import on_image
from claran_plugin.hosts import HostModel, candidates, features, host_probabilities
from claran_plugin.images import read_image
from claran_plugin.infrared_images import read_infrared
from claran_plugin.infrared_objects import Objects, find_objects
from claran_plugin.measuring import Measuring
from claran_plugin.subjects import Sky

MATCH_ARCSEC = 5.0
"""A candidate this near to the true host is it; hosts are given to whole pixels, twice."""
WITHIN_ARCSEC = (3.0, 5.0, 8.0)
POSITIVE = ('width', 'width_per_side', 'centroid', 'box', 'lobes')


class Example(NamedTuple):
    """A source: features of its candidates, their distances from the true host, and the centroid's (arcsec)."""

    known: dict[str, NDArray]
    distance: NDArray
    centroid: float


def main(argv: Sequence[str] | None = None) -> None:
    """Fit, where asked to, and print the scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, required=True)
    parser.add_argument('--fit', action='store_true')
    parser.add_argument('--limit', type=int, help='only the first so many images of each part')
    arguments = parser.parse_args(argv)
    model = HostModel()
    if arguments.fit:
        model = fit(read_examples(arguments.data / 'train', arguments.limit))
        print(model)
    report(read_examples(arguments.data / 'val', arguments.limit), model)


def read_examples(folder: Path, limit: int | None) -> list[Example]:
    """Measure all annotated sources of a part."""
    return [example for field in tqdm(read_fields(folder, limit), disable=None) for example in examples_of(field)]


def examples_of(field: Field) -> list[Example]:
    """Measure the annotated sources of one image."""
    radio = read_image(field.image)
    sky = Sky(radio, read_infrared(field.infrared, radio))
    components = on_image(standardise(field.components, 'islands'), sky)
    objects = find_objects(sky.infrared)
    tree = cKDTree(objects.xy)
    labels = np.full(len(components.xy), -1)
    for number, members in enumerate(field.truth):
        labels[members] = number
    measuring = Measuring({1: sky}, components, labels)
    found = []
    for number, host in enumerate(field.hosts):
        shape = measuring.source(number).shape
        chosen = Objects(*(part[candidates(shape, objects, tree, sky.beam_pix)] for part in objects))
        distance = np.linalg.norm(chosen.xy - host, axis=1) * PIXEL_ARCSEC
        centroid = float(np.linalg.norm(shape.centroid - host)) * PIXEL_ARCSEC
        found.append(Example(features(shape, chosen, sky.beam_pix), distance, centroid))
    return found


def fit(examples: list[Example]) -> HostModel:
    """Find the parameters of greatest likelihood: of the host among the candidates, or of none where it is not."""
    names = HostModel._fields

    def model_of(values: NDArray) -> HostModel:
        return HostModel(*(float(np.exp(v) if n in POSITIVE else v) for n, v in zip(names, values, strict=True)))

    def cost(values: NDArray) -> float:
        model = model_of(values)
        likelihood = []
        for example in examples:
            probability = host_probabilities(example.known, model)
            near = int(np.argmin(example.distance)) if len(example.distance) else -1
            there = near >= 0 and example.distance[near] < MATCH_ARCSEC
            likelihood.append(probability[near] if there else 1 - probability.sum())
        return -float(np.mean(np.log(np.maximum(likelihood, 1e-12))))

    start = [np.log(max(v, 1e-3)) if n in POSITIVE else v for n, v in zip(names, HostModel(), strict=True)]
    solution = minimize(cost, start, method='L-BFGS-B', bounds=[(-7, 5)] * len(start))
    return HostModel(*(round(value, 3) for value in model_of(solution.x)))


def report(examples: list[Example], model: HostModel) -> None:
    """Print how often the chosen object is the host, and how reliable its probability is."""
    probabilities = [host_probabilities(example.known, model) for example in examples]
    best = [int(np.argmax(p)) if len(p) else -1 for p in probabilities]
    rows = {
        'likeliest object': [e.distance[b] if b >= 0 else np.inf for e, b in zip(examples, best, strict=True)],
        'nearest object to the truth': [e.distance.min(initial=np.inf) for e in examples],
        'radio centroid': [e.centroid for e in examples],
    }
    print(f'{len(examples)} sources{"":20s}' + ''.join(f'  within {limit:g}"' for limit in WITHIN_ARCSEC))
    for name, distance in rows.items():
        print(f'{name:30s}' + ''.join(f'{np.mean(np.array(distance) < limit):11.3f}' for limit in WITHIN_ARCSEC))
    stated = np.array([p.max(initial=0) for p in probabilities])
    right = np.array(rows['likeliest object']) < MATCH_ARCSEC
    print(reliability_table('Host_Prob', stated, right, (0, 0.2, 0.4, 0.6, 0.8, 1)))


if __name__ == '__main__':
    main()

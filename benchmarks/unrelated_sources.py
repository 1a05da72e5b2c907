"""How often unrelated neighbours are joined, at the densities of real surveys, beside friends-of-friends.

    python benchmarks/unrelated_sources.py [--fields K] [--surveys NAME ...] [--model NAME|CONFIG] [--weights FILE]
        [--cache DIR]

Sources of all classes lie at random places on simulated fields, as dense per beam as in the surveys named; PyBDSF lists
the components. A pair is two sources closer than 11 or 33 beams (1' and 3' for FIRST); it is falsely associated where a
component of one and a component of the other are one source.
"""

import argparse
import itertools
import pickle
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.nddata import CCDData
from astropy.table import Table
from numpy.typing import NDArray
from random_skies import BEAM_ARCSEC, BEAM_PIX, PIXEL_ARCSEC, to_image
from scipy.spatial import cKDTree
from tqdm import tqdm

from claran_plugin import pipeline
from claran_plugin.components import from_pybdsf
from claran_plugin.evaluation.association_scores import friends_of_friends
from claran_plugin.synthetic_sky import observe, scatter

SEED = 9300
SURVEYS = {'FIRST': (90.0, 5.4), 'LoTSS': (770.0, 6.0), 'EMU': (750.0, 12.0)}
"""Sources per square degree, and beam in arcsec."""
SIZE_ARCMIN = 20.0
PAIR_BEAMS = (11.0, 33.0)
LINKING_BEAMS = 50 / 5.4
"""The length that is best on labelled FIRST images, 50"."""


class Case(NamedTuple):
    """A field, its components, and the number of each component's source, -1 where it has none."""

    image: CCDData
    components: Table
    owner: NDArray


def main(argv: Sequence[str] | None = None) -> None:
    """Simulate, associate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--model')
    parser.add_argument('--weights')
    parser.add_argument('--fields', type=int, default=4, help='of each density')
    parser.add_argument('--surveys', nargs='+', choices=SURVEYS, default=list(SURVEYS))
    parser.add_argument('--cache', type=Path, help='folder for the images and catalogues, to be used again')
    arguments = parser.parse_args(argv)
    associator = pipeline.Associator(arguments.model, arguments.weights)
    heads = ''.join(f'{f"pairs < {limit:g} beams":>18}{"joined":>8}' for limit in PAIR_BEAMS)
    print(f'{"density of":12}{"fields":>7}{"sources":>9}  {"":20}{heads}{"sources joined":>16}')
    for survey in arguments.surveys:
        counts: Counter[tuple[str, str]] = Counter()
        for number in tqdm(range(arguments.fields), disable=None):
            case = cached(survey, number, arguments.cache)
            result = pipeline.associate(case.image, case.components, associator=associator)
            xy = np.stack(case.image.wcs.world_to_pixel_values(case.components['RA'], case.components['DEC']), axis=-1)
            groups = {
                'claran_plugin': result.labels,
                'PyBDSF alone': np.unique(case.components['Isl_id'], return_inverse=True)[1],
                'friends-of-friends': friends_of_friends(xy, LINKING_BEAMS * BEAM_PIX),
            }
            for name, labels in groups.items():
                counts.update({(name, key): value for key, value in false_pairs(labels, case.owner, xy).items()})
        for name in ('claran_plugin', 'PyBDSF alone', 'friends-of-friends'):
            cells = ''
            for limit in PAIR_BEAMS:
                pairs, joined = counts[name, f'pairs {limit:g}'], counts[name, f'joined {limit:g}']
                cells += f'{pairs:18d}{joined / max(pairs, 1):8.3f}'
            sources = counts[name, 'sources']
            share = counts[name, 'sources joined'] / max(sources, 1)
            print(f'{survey:12}{arguments.fields:7d}{sources:9d}  {name:20}{cells}{share:16.3f}', flush=True)


def cached(survey: str, number: int, folder: Path | None) -> Case:
    """Simulate a field and run PyBDSF on it, or read it."""
    path = folder / f'unrelated_{survey}_{number}.pkl' if folder else None
    if path and path.is_file():
        return pickle.loads(path.read_bytes())
    case = simulate(np.random.default_rng([SEED, list(SURVEYS).index(survey), number]), *SURVEYS[survey])
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(case))
    return case


def simulate(rng: np.random.Generator, per_square_degree: float, beam_arcsec: float) -> Case:
    """Draw a field as dense per beam as a survey, find its components, and tell whose each is."""
    size = int(SIZE_ARCMIN * 60 / PIXEL_ARCSEC)
    square_degrees = (size * PIXEL_ARCSEC / 3600 * beam_arcsec / BEAM_ARCSEC) ** 2
    taken = np.zeros((size, size), bool)
    sources = scatter(rng, taken, rng.poisson(per_square_degree * square_degrees), BEAM_PIX)
    image = to_image(observe(rng, sources, taken.shape, BEAM_PIX).snr)
    img, radio = pipeline.run(image)
    components = Table(from_pybdsf(img))
    x, y = np.rint(radio.wcs.world_to_pixel_values(components['RA'], components['DEC'])).astype(int)
    owner, brightest = np.full((size, size), -1), np.full((size, size), 0.5)
    for number, source in enumerate(sources):
        pixels, part = source.stamp.clipped(taken.shape)
        brighter = part > brightest[pixels]
        owner[pixels][brighter] = number
        brightest[pixels][brighter] = part[brighter]
    return Case(radio, components, owner[y.clip(0, size - 1), x.clip(0, size - 1)])


def false_pairs(labels: NDArray, owner: NDArray, xy: NDArray) -> Counter[str]:
    """Count pairs of sources, by the distance of their nearest components, and those that share a group."""
    together = {
        pair
        for label in set(labels.tolist())
        for pair in itertools.combinations(sorted(set(owner[(labels == label) & (owner >= 0)].tolist())), 2)
    }
    counts = Counter({'sources': len(set(owner[owner >= 0]))})
    counts['sources joined'] = len({source for pair in together for source in pair})
    for limit in PAIR_BEAMS:
        near = cKDTree(xy).query_pairs(limit * BEAM_PIX, output_type='ndarray')
        pairs = {tuple(sorted(pair)) for pair in owner[near].tolist() if pair[0] != pair[1] and min(pair) >= 0}
        counts[f'pairs {limit:g}'] = len(pairs)
        counts[f'joined {limit:g}'] = len(pairs & together)
    return counts


if __name__ == '__main__':
    main()

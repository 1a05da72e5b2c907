"""Association on simulated fields of several densities, beside PyBDSF alone.

    python benchmarks/simulated_fields.py [--model NAME|CONFIG] [--weights FILE] [--fields K] [--sources N ...] [--all]

Fields of 15' at FIRST's resolution, from seeds that neither the training sets nor the demonstration use. For each
number of sources per field it prints how many true sources of several islands came back whole, and how many of one
island were left alone.
"""

import argparse
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from astropy.nddata import CCDData
from astropy.table import QTable, Table
from numpy.typing import NDArray

from claran_plugin import pipeline
from claran_plugin.components import from_pybdsf
from claran_plugin.demo import FRACTION_EXTENDED, Truth, find_truth, score_grouping
from claran_plugin.simulation import simulate_field

FIRST_SEED = 7000
SIZE_ARCMIN = 15.0
DENSITIES = (15, 30, 60, 120)
"""Sources per field."""


class Case(NamedTuple):
    """A simulated field: PyBDSF's components on it, their islands, and the true sources."""

    radio: CCDData
    components: QTable
    islands: NDArray
    truth: Truth


def main(argv: Sequence[str] | None = None) -> None:
    """Simulate, associate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--model', default='compact')
    parser.add_argument('--weights')
    parser.add_argument('--fields', type=int, default=4, help='of each density')
    parser.add_argument('--sources', type=int, nargs='+', default=DENSITIES)
    parser.add_argument('--all', action='store_true', help='look at isolated, unresolved components too')
    arguments = parser.parse_args(argv)
    associator = pipeline.Associator(arguments.model, arguments.weights)
    print(f'{"sources":>8}{"fields":>8}  {"":14}{"several: whole":>16}{"one: left alone":>17}{"all":>7}{"views":>8}')
    for number in arguments.sources:
        totals = {'claran_plugin': np.zeros(2, int), 'PyBDSF alone': np.zeros(2, int)}
        possible = np.zeros(2, int)
        n_views = 0
        for k in range(arguments.fields):
            case = simulate(FIRST_SEED, number, k)
            truth = case.truth
            result = pipeline.associate(
                case.radio, Table(case.components), associator=associator, look_at_all=arguments.all
            )
            n_views += result.n_fields
            possible += [truth.multiple.sum(), (~truth.multiple).sum()]
            for name, labels in (('claran_plugin', result.labels), ('PyBDSF alone', case.islands)):
                totals[name] += score_grouping(labels, truth)[1:]
        for name, found in totals.items():
            several, single = (f'{n}/{m}' for n, m in zip(found, possible, strict=True))
            share = found.sum() / possible.sum()
            print(
                f'{number:8d}{arguments.fields:8d}  {name:14}{several:>16}{single:>17}{share:7.3f}{n_views:8d}',
                flush=True,
            )


def simulate(seed: int, n_sources: int, number: int) -> Case:
    """Simulate a field and run PyBDSF on it."""
    rng = np.random.default_rng([seed, n_sources, number])
    field = simulate_field(rng, size_arcmin=SIZE_ARCMIN, n_sources=n_sources, fraction_extended=FRACTION_EXTENDED)
    img, radio = pipeline.run(field.image)
    components = from_pybdsf(img)
    xy = np.stack(field.image.wcs.world_to_pixel_values(components['RA'], components['DEC']), axis=-1)
    islands = np.unique(components['Isl_id'], return_inverse=True)[1]
    return Case(radio, components, islands, find_truth(field, xy, islands))


if __name__ == '__main__':
    main()

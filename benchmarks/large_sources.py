"""Sources that are 2 to 8 times as large as a field of view: how many come back whole.

    python benchmarks/large_sources.py [--sources N] [--model NAME|CONFIG] [--weights FILE]
        [--density PER_SQUARE_DEGREE] [--peak SNR] [--lotss] [--cache DIR]

Models of the five extended classes are stretched to 2 to 8 times 33 beams, lobes and jets with them; a part of each
lobe's flux stays in a compact hotspot. Unrelated sources lie anywhere outside the bright parts, also between the lobes.
PyBDSF lists the components, with its default options or (--lotss) as LoTSS sets it up. A source is whole where all
components on it are one source that has no other's component.
The last rows tell how often they are one source, whatever else is in it, and how often a source and the true one
have nine tenths of the flux of both together in common.
"""

import argparse
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.nddata import CCDData
from astropy.table import Table
from numpy.typing import NDArray
from random_skies import BEAM_PIX, LOTSS, PIXEL_ARCSEC, to_image
from tqdm import tqdm

from claran_plugin import pipeline
from claran_plugin.components import from_pybdsf
from claran_plugin.evaluation.association_scores import friends_of_friends
from claran_plugin.morphology import CLASSES, Counts
from claran_plugin.radio_galaxies import draw_large_blobs, paint
from claran_plugin.synthetic_sky import Source, claim_bright, observe, scatter

SEED = 9100
FIELD_BEAMS = 33
TIMES = (2.0, 8.0)
PEAK, LN_PEAK_SCATTER = 30.0, 0.6
"""Median of brightest pixel / noise, and standard deviation of its logarithm."""
LEAST_WIDTH = 0.03
"""Least width (standard deviation) of what is not a hotspot, in sizes of the source."""
HOTSPOT = 0.005
"""Share of the flux of each part of a source that is added as a point."""
MOST_FLUX = 0.9
LINKING_ARCSEC = np.arange(50, 1001, 50)


class Case(NamedTuple):
    """A large source: how many times a field of view it is, its class, and what is on its image."""

    times: float
    name: str
    image: CCDData
    components: Table
    owned: NDArray


def main(argv: Sequence[str] | None = None) -> None:
    """Simulate, associate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--model')
    parser.add_argument('--weights')
    parser.add_argument('--sources', type=int, default=40)
    parser.add_argument('--density', type=float, default=90.0, help='unrelated sources per square degree (FIRST: 90)')
    parser.add_argument('--peak', type=float, default=PEAK, help='median of brightest pixel / noise (default: 30)')
    parser.add_argument('--lotss', action='store_true', help="PyBDSF with LoTSS's options: wavelets, adaptive boxes")
    parser.add_argument('--cache', type=Path, help='folder for the images and catalogues, to be used again')
    arguments = parser.parse_args(argv)
    options = LOTSS if arguments.lotss else {}
    associator = pipeline.Associator(arguments.model, arguments.weights)
    rows = []
    for number in tqdm(range(arguments.sources), disable=None):
        case = cached(number, arguments.density, arguments.peak, options, arguments.cache)
        if not case.owned.any():
            continue
        result = pipeline.associate(case.image, case.components, associator=associator)
        linked = [friends_of_friends(positions(case), length) for length in LINKING_ARCSEC]
        islands = np.unique(case.components['Isl_id'], return_inverse=True)[1]
        found = [is_whole(labels, case.owned) for labels in (result.labels, islands, *linked)]
        parts, strangers = pieces(result.labels, case.owned)
        common = flux_in_common(result.labels, case)
        rows.append((case.times, case.name, len(set(islands[case.owned])), parts, common, *found))
        print(f'{number:4d} {case.times:5.1f} times  {case.name}  {rows[-1][2]:3d} islands  '
              f'{"whole" if found[0] else f"{parts} pieces, {strangers} strangers"}', flush=True)  # fmt: skip
    report(rows)


def cached(number: int, density: float, peak: float, options: dict, folder: Path | None) -> Case:
    """Simulate a case and run PyBDSF on it, or read it."""
    path = folder / f'large_{number}_{density:g}_{peak:g}{"_lotss" if options else ""}.pkl' if folder else None
    if path and path.is_file():
        return pickle.loads(path.read_bytes())
    case = simulate(np.random.default_rng([SEED, number]), density, peak, options)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(case))
    return case


def simulate(rng: np.random.Generator, density: float, peak: float, options: dict) -> Case:
    """Draw a large source and its surroundings, and find the components with options of PyBDSF."""
    times = float(np.exp(rng.uniform(*np.log(TIMES))))
    name = str(rng.choice(CLASSES[1:]))
    size = int(1.5 * times * FIELD_BEAMS * BEAM_PIX)
    big = stretched(rng, name, times * FIELD_BEAMS, peak, ((size - 1) / 2, (size - 1) / 2))
    taken = np.zeros((size, size), bool)
    claim_bright(taken, big)
    number = rng.poisson(density * (size * PIXEL_ARCSEC / 3600) ** 2)
    sources = [big, *scatter(rng, taken, number, BEAM_PIX)]
    view = observe(rng, sources, taken.shape, BEAM_PIX)
    image = to_image(view.snr)
    img, radio = pipeline.run(image, pybdsf=options)
    components = Table(from_pybdsf(img))
    x, y = np.rint(radio.wcs.world_to_pixel_values(components['RA'], components['DEC'])).astype(int)
    model = np.zeros(taken.shape)
    pixels, part = big.stamp.clipped(taken.shape)
    model[pixels] = part
    inside = (x >= 0) & (y >= 0) & (x < size) & (y < size)
    owned = inside & (model[y.clip(0, size - 1), x.clip(0, size - 1)] > 1)
    return Case(times, name, radio, components, owned)


def stretched(rng: np.random.Generator, name: str, beams: float, peak: float, xy: tuple[float, float]) -> Source:
    """Draw a model and stretch it to a size in beams."""
    blobs = draw_large_blobs(rng, name, beams, least_width=LEAST_WIDTH, hotspot=HOTSPOT)
    stamp = paint(blobs, xy, BEAM_PIX)
    scale = np.exp(rng.normal(np.log(peak), LN_PEAK_SCATTER)) / stamp.image.max()
    blobs[:, 2] *= scale
    return Source(blobs, xy, xy, stamp._replace(image=stamp.image * scale), Counts(1, 1))


def positions(case: Case) -> NDArray:
    """Give the positions of the components, arcsec."""
    xy = case.image.wcs.world_to_pixel_values(case.components['RA'], case.components['DEC'])
    return np.stack(xy, axis=-1) * PIXEL_ARCSEC


def is_whole(labels: NDArray, owned: NDArray) -> bool:
    """Tell whether some components are exactly one source."""
    return bool((labels[owned] == labels[owned][0]).all() and not (labels[~owned] == labels[owned][0]).any())


def pieces(labels: NDArray, owned: NDArray) -> tuple[int, int]:
    """Count the sources that some components are in, and the strangers in these."""
    return len(set(labels[owned])), int(np.isin(labels[~owned], labels[owned]).sum())


def flux_in_common(labels: NDArray, case: Case) -> float:
    """Give the flux that the true source and the source most like it have in common, as a share of that of both."""
    flux = np.maximum(np.asarray(case.components['Total_flux'], float), 0)
    own = case.owned
    return max(flux[own & (labels == k)].sum() / flux[own | (labels == k)].sum() for k in set(labels[own].tolist()))


def report(rows: list[tuple]) -> None:
    """Print the shares by size."""
    times = np.array([row[0] for row in rows])
    found = np.array([row[5:] for row in rows])
    best = 2 + int(np.argmax(found[:, 2:].mean(axis=0)))
    columns = {'claran_plugin': 0, 'PyBDSF alone': 1, f'friends-of-friends, {LINKING_ARCSEC[best - 2]}" (best)': best}
    bands = [(2, 3), (3, 4.5), (4.5, 8.01), (2, 8.01)]
    print(f'{"size in fields of view":40}' + ''.join(f'{f"{low:g}-{high:.2g}":>10}' for low, high in bands))
    inside = [(times >= low) & (times < high) for low, high in bands]
    print(f'{"sources":40}' + ''.join(f'{part.sum():10d}' for part in inside))
    for name, column in columns.items():
        shares = [found[part, column].mean() if part.any() else np.nan for part in inside]
        print(f'{name:40}' + ''.join(f'{share:10.3f}' for share in shares))
    together = np.array([row[3] == 1 for row in rows])
    most = np.array([row[4] >= MOST_FLUX for row in rows])
    for words, right in (('with others in it or not', together), ('nine tenths of the flux', most)):
        shares = [right[part].mean() if part.any() else np.nan for part in inside]
        print(f'{f"claran_plugin, {words}":40}' + ''.join(f'{share:10.3f}' for share in shares))


if __name__ == '__main__':
    main()

"""Sources that are 2 to 8 times as large as a field of view: how many come back whole.

    python benchmarks/large_sources.py [--sources N] [--model NAME|CONFIG] [--weights FILE]
        [--density PER_SQUARE_DEGREE] [--peak SNR] [--lotss] [--cores] [--cache DIR]

Models of the five extended classes are stretched to 2 to 8 times 33 beams, lobes and jets with them; a part of each
lobe's flux stays in a compact hotspot; with --cores, the nucleus is a point source, too. Unrelated sources lie anywhere
outside the bright parts, also between the lobes. PyBDSF lists the components, with its default options or (--lotss) as
LoTSS sets it up. A source is whole where all components on it are one source that has no other's component.
The last rows tell how often they are one source, whatever else is in it, and how often a source and the true one
have nine tenths of the flux of both together in common, and how many of these have the class and the number of
components that were drawn, by the plugin and by the detector alone; and how reliable `Assoc_Prob` is of all sources on
these images that are found at four times the beam or more, where these nine tenths make one right.
"""

import argparse
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.nddata import CCDData
from astropy.table import Row, Table
from numpy.typing import NDArray
from random_skies import BEAM_ARCSEC, BEAM_PIX, LOTSS, PIXEL_ARCSEC, to_image
from tqdm import tqdm

from claran_plugin import pipeline
from claran_plugin.components import from_pybdsf
from claran_plugin.evaluation.association_scores import friends_of_friends
from claran_plugin.evaluation.reliability import reliability_table
from claran_plugin.footprints import FWHM
from claran_plugin.morphology import CLASSES, Counts, components_of
from claran_plugin.radio_galaxies import draw_large_blobs, paint
from claran_plugin.scales import BEAM_AREA
from claran_plugin.synthetic_sky import Source, claim_bright, observe, scatter

SEED = 9100
FIELD_BEAMS = 33
TIMES = (2.0, 8.0)
PEAK, LN_PEAK_SCATTER = 30.0, 0.6
"""Median of brightest pixel / noise, and standard deviation of its logarithm."""
LEAST_WIDTH = 0.03
"""Least width (standard deviation) of what is not a hotspot, in sizes of the source."""
CORE, LN_CORE_SCATTER, LEAST_CORE = 15.0, 0.6, 6.0
"""Median of a nucleus' peak / noise, standard deviation of its logarithm, and the least."""
HOTSPOT = 0.005
"""Share of the flux of each part of a source that is added as a point."""
MOST_FLUX = 0.9
CLEAR = 3.0
"""Mean brightness of a source under a component, in units of its noise, beyond which it is there."""
LINKING_ARCSEC = np.arange(50, 1001, 50)


class Conditions(NamedTuple):
    """How it is simulated: unrelated sources per square degree, `PEAK`, PyBDSF's options, whether nuclei are seen."""

    density: float = 90.0
    peak: float = PEAK
    options: dict = {}
    cores: bool = False


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
    parser.add_argument('--cores', action='store_true', help='nuclei are point sources')
    parser.add_argument('--cache', type=Path, help='folder for the images and catalogues, to be used again')
    arguments = parser.parse_args(argv)
    conditions = Conditions(arguments.density, arguments.peak, LOTSS if arguments.lotss else {}, arguments.cores)
    associator = pipeline.Associator(arguments.model, arguments.weights)
    rows = []
    stated: list[tuple[float, bool]] = []
    classes: list[list[bool]] = []
    for number in tqdm(range(arguments.sources), disable=None):
        case = cached(number, conditions, arguments.cache)
        if not case.owned.any():
            continue
        result = pipeline.associate(case.image, case.components, associator=associator)
        linked = [friends_of_friends(positions(case), length) for length in LINKING_ARCSEC]
        islands = np.unique(case.components['Isl_id'], return_inverse=True)[1]
        found = [is_whole(labels, case.owned) for labels in (result.labels, islands, *linked)]
        parts, strangers = pieces(result.labels, case.owned)
        common = flux_in_common(result.labels, case)
        classes += classes_told(result, case.name, int(common.argmax())) if common.max() >= MOST_FLUX else []
        stated += of_large(result, case)
        rows.append((case.times, case.name, len(set(islands[case.owned])), parts, common.max(), *found))
        print(f'{number:4d} {case.times:5.1f} times  {case.name}  {rows[-1][2]:3d} islands  '
              f'{"whole" if found[0] else f"{parts} pieces, {strangers} strangers"}', flush=True)  # fmt: skip
    report(rows)
    if classes:
        own, parts, detected, detected_parts = np.mean(classes, axis=0)
        print(f'of the {len(classes)} to nine tenths: class as drawn {own:.3f}, its number of components {parts:.3f}; ')
        print(f'by the detector alone {detected:.3f}, {detected_parts:.3f}')
    print(reliability_table('Assoc_Prob, found at four times the beam or more', *np.reshape(stated, (-1, 2)).T))


def cached(number: int, conditions: Conditions, folder: Path | None) -> Case:
    """Simulate a case and run PyBDSF on it, or read it."""
    kind = ('_lotss' if conditions.options else '') + ('_cores' if conditions.cores else '')
    path = folder / f'large_{number}_{conditions.density:g}_{conditions.peak:g}{kind}.pkl' if folder else None
    if path and path.is_file():
        return pickle.loads(path.read_bytes())
    case = simulate(np.random.default_rng([SEED, number]), conditions)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(case))
    return case


def simulate(rng: np.random.Generator, conditions: Conditions) -> Case:
    """Draw a large source and its surroundings, and find the components."""
    times = float(np.exp(rng.uniform(*np.log(TIMES))))
    name = str(rng.choice(CLASSES[1:]))
    size = int(1.5 * times * FIELD_BEAMS * BEAM_PIX)
    big = stretched(rng, name, times * FIELD_BEAMS, conditions, ((size - 1) / 2, (size - 1) / 2))
    taken = np.zeros((size, size), bool)
    claim_bright(taken, big)
    number = rng.poisson(conditions.density * (size * PIXEL_ARCSEC / 3600) ** 2)
    sources = [big, *scatter(rng, taken, number, BEAM_PIX)]
    view = observe(rng, sources, taken.shape, BEAM_PIX)
    image = to_image(view.snr)
    img, radio = pipeline.run(image, pybdsf=conditions.options)
    components = Table(from_pybdsf(img))
    own, others = np.zeros(taken.shape), np.zeros(taken.shape)
    for source in sources:
        pixels, part = source.stamp.clipped(taken.shape)
        (own if source is big else others)[pixels] += part
    return Case(times, name, radio, components, are_owned(components, radio, own, others))


def stretched(
    rng: np.random.Generator, name: str, beams: float, conditions: Conditions, xy: tuple[float, float]
) -> Source:
    """Draw a model and stretch it to a size in beams."""
    blobs, nucleus = draw_large_blobs(rng, name, beams, least_width=LEAST_WIDTH, hotspot=HOTSPOT)
    stamp = paint(blobs, xy, BEAM_PIX)
    blobs[:, 2] *= np.exp(rng.normal(np.log(conditions.peak), LN_PEAK_SCATTER)) / stamp.image.max()
    if conditions.cores:
        peak = max(np.exp(rng.normal(np.log(CORE), LN_CORE_SCATTER)), LEAST_CORE)
        blobs = np.concatenate([blobs, [[*nucleus, peak, 0, 0, 0]]])
    return Source(blobs, xy, xy, paint(blobs, xy, BEAM_PIX), Counts(1, 1))


def are_owned(components: Table, image: CCDData, own: NDArray, others: NDArray) -> NDArray:
    """Tell which components are on a source, (n,) bool, from the models of it and of all others, signal-to-noise.

    Those at whose middles the source is brighter than the noise; and those, as wide ones at its outskirts may be, under
    whose Gaussians its mean brightness exceeds that of the others, and `CLEAR` times the noise of such a mean.
    """
    xy = np.stack(image.wcs.world_to_pixel_values(components['RA'], components['DEC']), axis=-1)
    ny, nx = own.shape
    x, y = np.rint(xy).astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < nx) & (y < ny)
    owned = inside & (own[y.clip(0, ny - 1), x.clip(0, nx - 1)] > 1)
    noise_area = 2 * BEAM_AREA * BEAM_PIX**2  # on which noise is alike
    for k in np.flatnonzero(~owned).tolist():
        weight, window = gaussian(components[k], xy[k], own.shape)
        if weight.any():
            mean, mean_of_others = (np.average(model[window], weights=weight) for model in (own, others))
            n_independent = max(weight.sum() ** 2 / (weight**2).sum() / noise_area, 1)
            owned[k] = mean > mean_of_others and mean * np.sqrt(n_independent) > CLEAR
    return owned


def gaussian(component: Row, xy: NDArray, shape: tuple[int, ...]) -> tuple[NDArray, tuple[slice, slice]]:
    """Give the Gaussian of a component at a pixel (x, y), and the window of an image where it is."""
    sigma = np.maximum([component['Maj'], component['Min']], BEAM_ARCSEC) / PIXEL_ARCSEC / FWHM
    reach = int(3 * sigma[0]) + 2
    (x0, y0), (x1, y1) = np.clip(xy.astype(int) - reach, 0, None), np.clip(xy.astype(int) + reach, 0, shape[::-1])
    window = slice(y0, max(y1, y0)), slice(x0, max(x1, x0))
    dy, dx = np.ogrid[window]
    dx, dy, angle = dx - xy[0], dy - xy[1], np.radians(component['PA'])
    along, across = -dx * np.sin(angle) + dy * np.cos(angle), -dx * np.cos(angle) - dy * np.sin(angle)
    return np.exp(-0.5 * ((along / sigma[0]) ** 2 + (across / sigma[1]) ** 2)), window


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


def flux_in_common(labels: NDArray, case: Case) -> NDArray:
    """Give the flux that the true source and each source (S,) have in common, as a share of that of both together."""
    flux = np.maximum(np.asarray(case.components['Total_flux'], float), 0)
    each = np.bincount(labels, flux)
    common = np.bincount(labels[case.owned], flux[case.owned], minlength=len(each))
    return common / (each + flux[case.owned].sum() - common)


def classes_told(result: pipeline.Association, name: str, number: int) -> list[list[bool]]:
    """Tell whether source `number` has a class and its number of components, and whether the detector alone says so."""
    probabilities = result.partition.hypotheses[number].probabilities
    told = str(result.sources['Morphology'][number]), CLASSES[int(np.argmax(probabilities))]
    return [[right for one in told for right in (one == name, components_of(one) == components_of(name))]]


def of_large(result: pipeline.Association, case: Case) -> list[tuple[float, bool]]:
    """Give `Assoc_Prob` of sources found at four times the beam or more, and whether they are right."""
    first = np.unique(result.labels, return_index=True)[1]
    probability = np.asarray(result.components['Assoc_Prob'], float)[first]
    is_right = flux_in_common(result.labels, case) >= MOST_FLUX
    large = np.flatnonzero(result.partition.hypotheses.is_far_coarser)
    return list(zip(probability[large].tolist(), is_right[large].tolist(), strict=True))


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

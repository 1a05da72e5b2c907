"""Association and morphology on real, labelled FIRST images, beside PyBDSF alone and friends-of-friends.

    python benchmarks/real_first.py --data DIR [--weights FILE] [--calibration FILE] [--model NAME|CONFIG] [--all]
        [--wavelets] [--cache DIR] [--limit N]

DIR holds ``first/rgz_train`` (FIRST images) and ``rgz/catalogue.csv`` (ClaRAN's RGZ DR1 subset). Each image goes
through PyBDSF, with wavelets (its option atrous_do) or without; a true source is the set of PyBDSF islands that hold
one of its components or have most of their flux in its box. It is recovered where exactly those islands form one
source. Average precision follows Eq. 12-14 of the paper, on the source table's boxes, classes and probabilities inside
the 3' that Radio Galaxy Zoo's volunteers saw.

By default with the weights in `WITHOUT_RGZ`, which have seen none of these subjects, while the package's own have. With
``{fold}`` in the name of weights or calibration, the subjects of fold k are looked at with the file of fold k, which
was made without them.
"""

import argparse
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.nddata import CCDData
from astropy.table import QTable, Table
from numpy.typing import NDArray
from tqdm import tqdm

from claran_plugin.calibration import read_calibration
from claran_plugin.components import from_pybdsf, run_pybdsf
from claran_plugin.datasets.rgz_labels import (
    LabelledSource,
    fold_numbers,
    islands_at,
    label_box,
    read_rgz_catalogue,
    subject_position,
)
from claran_plugin.evaluation.association_scores import exact_recovery, linked_islands
from claran_plugin.evaluation.average_precision import (
    Evaluated,
    average_precision,
    mean_average_precision,
)
from claran_plugin.images import image_files, pixel_scale, read_image
from claran_plugin.morphology import CLASSES, class_name, components_of
from claran_plugin.pipeline import Associator, associate

WITHOUT_RGZ = Path(__file__).parent / 'weights'
"""Weights of the bundled model before it saw labelled RGZ subjects, and its calibrations on four of five folds."""
LINKING_ARCSEC = np.arange(5, 151, 5)
VOLUNTEERS_ARCSEC = 180.0


class Truth(NamedTuple):
    """A labelled source on a PyBDSF-processed image: its islands, box (xyxy, pixels) and class number."""

    islands: frozenset[int]
    box: NDArray
    label: int


class Field(NamedTuple):
    """An image with its components (srl), their islands, and the labelled sources."""

    name: str
    fold: int
    image: CCDData
    components: QTable
    island_map: NDArray
    truth: list[Truth]
    seen_box: NDArray


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, required=True)
    parser.add_argument('--model', default='compact')
    parser.add_argument(
        '--weights', help="file; '{fold}' stands for 0 to 4", default=WITHOUT_RGZ / 'compact_without_rgz.pth'
    )
    parser.add_argument('--calibration', help='likewise', default=WITHOUT_RGZ / 'compact_without_rgz_fold{fold}.json')
    parser.add_argument('--cache', type=Path, help='folder for the results of PyBDSF')
    parser.add_argument('--limit', type=int, help='only the first so many images')
    parser.add_argument('--wavelets', action='store_true', help='PyBDSF with atrous_do, as surveys like LoTSS')
    parser.add_argument('--all', action='store_true', help='look at isolated, unresolved components too')
    arguments = parser.parse_args(argv)
    fields = read_fields(arguments.data, arguments.cache, arguments.limit, wavelets=arguments.wavelets)
    true_islands = [t.islands for field in fields for t in field.truth]
    several = np.array([len(islands) > 1 for islands in true_islands])
    print(f'{len(fields)} images, {len(true_islands)} sources, {several.sum()} of several islands')
    print(f'{"":42s} all    single  several')

    def show(title: str, group: Callable[[Field], NDArray]) -> float:
        recovered = np.concatenate([recovered_sources(field, group(field)) for field in fields])
        shares = [recovered.mean(), recovered[~several].mean(), recovered[several].mean()]
        print(f'{title:40s}' + ''.join(f'{share:8.3f}' for share in shares))
        return float(recovered.mean())

    show('PyBDSF alone (each island a source)', lambda f: np.asarray(f.components['Isl_id']))
    trials = [
        np.concatenate([recovered_sources(f, linked(f, length)) for f in fields]).mean() for length in LINKING_ARCSEC
    ]
    best = LINKING_ARCSEC[int(np.argmax(trials))]
    show(f'friends-of-friends, {best}" (best on these)', lambda f: linked(f, best))
    results = detect_all(fields, arguments.model, str(arguments.weights), str(arguments.calibration), arguments.all)
    show('claran_plugin', lambda f: results[f.name].labels)
    sources = [results[field.name].sources for field in fields]
    print(f'{sum(result.n_fields for result in results.values())} fields of view')
    print_precision('every class of at least 0.05, as detectors are evaluated', fields, sources, 0.05)
    print_precision('likeliest class only', fields, sources, None)


def read_fields(data: Path, cache: Path | None, limit: int | None = None, *, wavelets: bool = False) -> list[Field]:
    """Read the images, run PyBDSF on each (or take its results from the cache), and find the true sets of islands."""
    catalogue = read_rgz_catalogue(data / 'rgz' / 'catalogue.csv')
    paths = {p.name.split('.fits')[0]: p for p in image_files(data / 'first' / 'rgz_train', 'FIRSTJ*')}
    names = [name for name in paths if name in catalogue]
    folds = fold_numbers(SkyCoord([subject_position(name) for name in names]))
    fields = []
    for name, fold in tqdm(list(zip(names, folds, strict=True))[:limit], desc='PyBDSF', disable=None):
        image = read_image(paths[name], survey='first')
        kept = cache / f'{name}{".wavelets" * wavelets}.pkl' if cache else None
        components, island_map = _components(image, kept, wavelets)
        scale = pixel_scale(image)
        centre = np.array(image.wcs.world_to_pixel(subject_position(name)), float)
        half = VOLUNTEERS_ARCSEC / 2 / scale
        seen = np.concatenate([centre - half, centre + half])
        truth = [true_source(source, image, island_map) for source in catalogue[name]]
        fields.append(Field(name, int(fold), image, components, island_map, truth, seen))
    return fields


def _components(image: CCDData, cache: Path | None, wavelets: bool) -> tuple[QTable, NDArray]:
    if cache is not None and cache.is_file():
        return pickle.loads(cache.read_bytes())
    img = run_pybdsf(image, **(dict(atrous_do=True) if wavelets else {}))
    found = from_pybdsf(img, 'srl'), np.ascontiguousarray(img.pyrank.T)
    if cache is not None:
        cache.parent.mkdir(parents=True, exist_ok=True)
        cache.write_bytes(pickle.dumps(found))
    return found


def true_source(source: LabelledSource, image: CCDData, island_map: NDArray) -> Truth:
    """Find the islands of a labelled source."""
    box = label_box(source, image)
    xy = np.stack(image.wcs.world_to_pixel(source.positions), axis=-1)
    islands = {number - 1 for number in islands_at(island_map + 1, xy, 6)}
    y, x = np.indices(image.shape)
    inside = (x > box[0]) & (x < box[2]) & (y > box[1]) & (y < box[3])
    for number in np.unique(island_map[inside & (island_map >= 0)]):
        pixels = island_map == number
        if image.data[pixels & inside].sum() > 0.5 * image.data[pixels].sum():
            islands.add(int(number))
    return Truth(frozenset(islands), box, CLASSES.index(class_name(source.n_components, source.n_peaks)))


def recovered_sources(field: Field, labels: NDArray) -> NDArray:
    """Tell for each true source whether its islands, and no other, form one source."""
    return exact_recovery(true_members(field), labels)


def true_members(field: Field) -> list[list[int]]:
    """List the rows of the components of each true source."""
    island = np.asarray(field.components['Isl_id'])
    return [np.flatnonzero(np.isin(island, list(t.islands))).tolist() for t in field.truth]


def linked(field: Field, length_arcsec: float) -> NDArray:
    """Group islands by friends-of-friends on the flux-weighted means of their components."""
    table = field.components
    xy = np.stack(field.image.wcs.world_to_pixel(SkyCoord(table['RA'], table['DEC'])), axis=-1)
    flux = table['Total_flux'].value
    return linked_islands(xy * pixel_scale(field.image), flux, table['Isl_id'], length_arcsec)


def detect_all(
    fields: list[Field], model: str, weights: str, calibration: str, look_at_all: bool = False
) -> dict[str, Any]:
    """Run the plugin on every image, each fold with its own weights and calibration where there are such."""
    results: dict[str, Any] = {}
    associators: dict[int, Associator] = {}
    for field in tqdm(fields, desc='claran_plugin', disable=None):
        if field.fold not in associators:
            associators[field.fold] = Associator(model, weights.format(fold=field.fold))
            associators[field.fold].calibration = read_calibration(calibration.format(fold=field.fold))
        table, associator = Table(field.components), associators[field.fold]
        results[field.name] = associate(field.image, table, associator=associator, look_at_all=look_at_all)
    return results


def evaluated(field: Field, sources: QTable, groups: NDArray, least: float | None) -> Evaluated:
    """Bring the source table into the form that average precision is computed from.

    Parameters
    ----------
    groups : (6,) int array
        Number of the merged class of each class; probabilities of classes that are merged are added.
    least : float, optional
        Each class whose probability reaches it is a detection; without, the likeliest class is the only one.
    """
    wcs, scale = field.image.wcs, pixel_scale(field.image)
    centre = np.stack(wcs.world_to_pixel(SkyCoord(sources['Box_RA'], sources['Box_DEC'])), axis=-1)
    half = np.stack([sources['Box_Width'].to_value('arcsec'), sources['Box_Height'].to_value('arcsec')], -1) / scale / 2
    boxes = np.concatenate([centre - half, centre + half], axis=1)
    single = np.stack([np.asarray(sources[f'P_{name}'], float) for name in CLASSES], axis=-1)
    probabilities = np.stack([single[:, groups == g].sum(axis=1) for g in np.unique(groups)], axis=-1)
    stated = probabilities >= least if least else probabilities == probabilities.max(axis=1, keepdims=True)
    stated &= np.all((centre > field.seen_box[:2]) & (centre < field.seen_box[2:]), axis=1)[:, None]
    source, label = np.nonzero(stated)
    return Evaluated(
        boxes[source],
        label,
        probabilities[source, label],
        np.array([t.box for t in field.truth]).reshape(-1, 4),
        groups[[t.label for t in field.truth]],
    )


def print_precision(title: str, fields: list[Field], sources: list[QTable], least: float | None) -> None:
    """Print average precision per class, and the means over six and three classes."""
    components = np.array([components_of(name) for name in CLASSES]) - 1
    six, three = (
        [
            average_precision([evaluated(f, s, groups, least) for f, s in zip(fields, sources, strict=True)], k)
            for k in np.unique(groups)
        ]
        for groups in (np.arange(len(CLASSES)), components)
    )
    print(f'\nAverage precision, {title}')
    print('class     AP (Eq. 12)  AP (envelope)  true  detected')
    for name, result in zip((*CLASSES, '1C', '2C', '3C'), six + three, strict=True):
        print(f'{name:8s} {result.ap:10.3f} {result.envelope:13.3f} {result.n_true:8d} {result.n_detected:8d}')
    print(f'six-class mAP {mean_average_precision(six):.3f}, three-class mAP {mean_average_precision(three):.3f}')


if __name__ == '__main__':
    main()

"""Association of the islands of RadioGalaxyNET's validation images, beside each island alone and friends-of-friends.

    python benchmarks/radiogalaxynet.py --data DIR/radiogalaxynet [--part val] [--model NAME|CONFIG] [--weights FILE]
        [--limit N] [--radio] [--calibrate CALIBRATION.json] [--write FOLDER]

The published pictures are stretched; brightness is restored and noise added as for training (`claran_plugin.datasets.
radiogalaxynet`). Components are the islands of the published pictures that exceed 5 sigma. A true source is the set of
islands that have most of their pixels in its polygon. It is recovered where exactly these form one source. Islands
outside all polygons are sources that nobody annotated: to join one is an error. All is told again by the number of
annotated sources on an image, and of islands, in quarters. With --calibrate, the model's
calibration is written with `Assoc_Prob` fitted to these images, and its reliability is told as fitted on one half of
the images and stated for the other.

With --write, nothing is associated: the images are written as FITS, half a degree apart, with catalogues of their
islands, whose column `Source_Name` tells the annotated sources, and with a list of them all, `images.txt`, for
``claran calibrate``.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.table import Table
from astropy.wcs import WCS
from numpy.typing import NDArray
from scipy import ndimage
from tqdm import tqdm

from claran_plugin.calibration import Calibration, membership_probability
from claran_plugin.datasets.radiogalaxynet import (
    BEAM_ARCSEC,
    INFRARED_PIXEL_ARCSEC,
    PIXEL_ARCSEC,
    SIGMA_PIX,
    THRESHOLD,
    annotated_images,
    correlated_noise,
    restore,
)
from claran_plugin.emission import measure_islands
from claran_plugin.evaluation.association_scores import exact_recovery, friends_of_friends
from claran_plugin.evaluation.calibrating import write_calibration
from claran_plugin.evaluation.reliability import fit_line, reliability_table
from claran_plugin.footprints import island_components
from claran_plugin.labelled import SOURCE_COLUMN
from claran_plugin.morphology import EIGHT_CONNECTED
from claran_plugin.pipeline import Associator, associate
from claran_plugin.subjects import Sky

RMS_JY = 2.5e-5
LEAST_PEAK = 5.0
"""What a source finder lists, in units of the noise; fainter islands are left to the noise."""
LINKING_ARCSEC = np.arange(10, 121, 10)
APART_DEG = 0.5
"""Between one image and the next."""


class Field(NamedTuple):
    """An image with its truth.

    Attributes
    ----------
    image, infrared : CCDData
        On grids of their own.
    components : Table
    xy : (n, 2) array
        Pixels of the components.
    truth : list of S lists of int
        Components of each annotated source.
    hosts : (S, 2) array
        Pixels of their hosts.
    """

    image: CCDData
    infrared: CCDData
    components: Table
    xy: NDArray
    truth: list[list[int]]
    hosts: NDArray


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, required=True)
    parser.add_argument('--part', default='val', help='train or val (default: val)')
    parser.add_argument('--model')
    parser.add_argument('--radio', action='store_true', help='without the infrared images')
    parser.add_argument('--weights')
    parser.add_argument('--calibrate', type=Path, help='where to write the calibration')
    parser.add_argument('--limit', type=int, help='only the first so many images')
    parser.add_argument('--write', type=Path, help='folder for the images and labelled catalogues')
    arguments = parser.parse_args(argv)
    if arguments.write:
        fields = read_fields(arguments.data / arguments.part, arguments.limit)
        write_labelled(fields, arguments.write, with_infrared=not arguments.radio)
        return
    associator = Associator(arguments.model, arguments.weights, infrared=not arguments.radio)
    several: list[bool] = []
    crowd: list[tuple[int, int]] = []
    recovered: dict[str, list[bool]] = defaultdict(list)
    stated: list[tuple[float, float, bool, bool, int]] = []
    for number, field in enumerate(tqdm(read_fields(arguments.data / arguments.part, arguments.limit), disable=None)):
        infrared = None if arguments.radio else field.infrared
        labels = associate(field.image, field.components, infrared, associator=associator)
        several += [len(members) > 1 for members in field.truth]
        crowd += [(len(field.truth), len(field.xy))] * len(field.truth)
        alternatives = {'each island alone': np.arange(len(field.xy)), 'claran_plugin': labels.labels}
        for length in LINKING_ARCSEC.tolist():
            alternatives[f'friends-of-friends, {length}"'] = friends_of_friends(field.xy * PIXEL_ARCSEC, length)
        for name, groups in alternatives.items():
            right = exact_recovery(field.truth, groups)
            recovered[name] += right.tolist()
            if name == 'claran_plugin':
                probability = np.asarray(labels.components['Assoc_Prob'])
                margin = labels.partition.margin[labels.labels]
                is_large = labels.partition.hypotheses.is_far_coarser[labels.labels]
                for members, whole in zip(field.truth, right, strict=True):
                    stated += [
                        (float(probability[m]), float(margin[m]), bool(is_large[m]), bool(whole), number)
                        for m in members
                    ]
    report(recovered, np.array(several))
    report_crowding(recovered, np.array(several), np.array(crowd).T)
    probability, margin, large, whole, image = np.array(stated).T
    print(reliability_table('Assoc_Prob', probability, whole))
    if arguments.calibrate:
        crossed = np.empty(len(margin))
        for half in (0, 1):
            own = image % 2 == half
            fitted = _fitted(associator.calibration, margin[~own], large[~own], whole[~own])
            crossed[own] = membership_probability(margin[own], large[own] > 0, fitted)
        print(reliability_table('Assoc_Prob, fitted on the other half of the images', crossed, whole))
        write_calibration(_fitted(associator.calibration, margin, large, whole), arguments.calibrate)


def _fitted(calibration: Calibration, margin: NDArray, large: NDArray, whole: NDArray) -> Calibration:
    """Fit `Assoc_Prob` to components of sources, but those of large ones."""
    return calibration._replace(membership=fit_line(margin[large == 0], whole[large == 0]))


def read_fields(folder: Path, limit: int | None) -> Iterator[Field]:
    """Read, restore and find the islands of each image that has annotated sources."""
    rng = np.random.default_rng(0)
    for number, (_, stretched, sources, annotations, published) in enumerate(annotated_images(folder, limit)):
        shape, ra = stretched.shape, number * APART_DEG
        restored = restore(stretched, THRESHOLD)
        snr = restored + correlated_noise(rng, shape, SIGMA_PIX)
        image = CCDData(
            (snr * RMS_JY).astype(np.float32), unit='Jy / beam', wcs=WCS(header(shape, ra)), meta=header(shape, ra)
        )
        labels, n = ndimage.label(stretched > 0, EIGHT_CONNECTED)
        bright = np.concatenate([[0], ndimage.maximum(restored, labels, np.arange(1, n + 1))]) > LEAST_PEAK
        labels, _ = ndimage.label(bright[labels], EIGHT_CONNECTED)
        sky = Sky(image)
        components = island_components(sky, measure_islands(sky, labels))
        xy = np.stack(image.wcs.world_to_pixel_values(components['RA'], components['DEC']), axis=-1)
        truth = true_sets(labels, sources)
        keypoints = np.array([annotation['keypoints'][:2] for annotation in annotations], float).reshape(-1, 2)
        yield Field(image, infrared_image(published, ra), components, xy, list(truth.values()), keypoints[[*truth]] - 1)


def write_labelled(fields: Iterable[Field], folder: Path, *, with_infrared: bool) -> None:
    """Write images, catalogues that tell the true sources, and a list of them."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, field in enumerate(tqdm(fields, disable=None)):
        names = np.full(len(field.components), '', 'U16')
        for source, members in enumerate(field.truth):
            names[members] = f'{number}_{source}'
        paths = [folder / f'{number:04d}.{kind}.fits' for kind in ('image', 'islands', 'infrared')]
        write_image(field.image, paths[0])
        Table({**field.components, SOURCE_COLUMN: names}).write(paths[1], overwrite=True)
        if with_infrared:
            write_image(field.infrared, paths[2])
        lines.append(' '.join(map(str, paths[: 3 if with_infrared else 2])))
    (folder / 'images.txt').write_text('\n'.join(lines) + '\n')


def write_image(image: CCDData, path: Path) -> None:
    """Write an image as FITS."""
    fits.PrimaryHDU(np.asarray(image.data, np.float32), image.meta).writeto(path, overwrite=True)


def header(shape: tuple[int, ...], ra: float, pixel_arcsec: float = PIXEL_ARCSEC) -> fits.Header:
    """Make a header: the true position does not matter."""
    made = fits.Header(dict(CTYPE1='RA---TAN', CTYPE2='DEC--TAN', CRVAL1=ra, CRVAL2=-30.0, BUNIT='Jy/beam'))
    for axis, size in ((1, shape[1]), (2, shape[0])):
        made[f'CRPIX{axis}'] = (size + 1) / 2
        made[f'CDELT{axis}'] = (-1 if axis == 1 else 1) * pixel_arcsec / 3600
    made['BMAJ'] = made['BMIN'] = BEAM_ARCSEC / 3600
    made['BPA'], made['RESTFRQ'] = 0.0, 9.44e8
    return made


def infrared_image(published: NDArray, ra: float) -> CCDData:
    """Give the infrared picture the WCS of its radio image."""
    made = header(published.shape, ra, INFRARED_PIXEL_ARCSEC)
    return CCDData(published.astype(np.float32), unit='', wcs=WCS(made), meta=made)


def true_sets(labels: NDArray, sources: NDArray) -> dict[int, list[int]]:
    """Give the islands (from 0) of each annotated source (from 0) that has any."""
    n_islands, n_sources = labels.max(), sources.max()
    shared = np.zeros((n_islands + 1, n_sources + 1), int)
    np.add.at(shared, (labels.ravel(), sources.ravel()), 1)
    owner = np.where(shared.max(axis=1) * 2 > shared.sum(axis=1), shared.argmax(axis=1), 0)[1:]
    sets = {number - 1: np.flatnonzero(owner == number).tolist() for number in range(1, n_sources + 1)}
    return {number: members for number, members in sets.items() if members}


def report(recovered: dict[str, list[bool]], several: NDArray) -> None:
    """Print the shares, friends-of-friends at its best length."""
    linked = [name for name in recovered if name.startswith('friends')]
    best = max(linked, key=lambda name: np.mean(recovered[name]))
    print(f'{len(several)} sources, {several.sum()} of several islands')
    print(f'{"":42s} all    single  several')
    for name in ('each island alone', best, 'claran_plugin'):
        right = np.array(recovered[name])
        shares = (right.mean(), right[~several].mean(), right[several].mean())
        print(f'{name + (" (best on these)" if name == best else ""):40s}' + ''.join(f'{s:8.3f}' for s in shares))


def report_crowding(recovered: dict[str, list[bool]], several: NDArray, crowd: NDArray) -> None:
    """Print the shares by how many annotated sources, and islands, there are on each source's image: `crowd` (2, n)."""
    quarters = np.quantile(crowd[1], (0.25, 0.5, 0.75)).tolist()
    for what, number, edges in (('annotated sources', crowd[0], (1, 2, 3)), ('islands', crowd[1], quarters)):
        columns = f'{"sources":>9}{"several: whole":>16}{"one: left alone":>17}{"all":>8}{"islands alone":>15}'
        print(f'{what + " on the image":26}{columns}')
        for low, high in zip((0, *edges), (*edges, np.inf), strict=True):
            part = (number > low) & (number <= high)
            if not part.any():
                continue
            right, alone = (np.array(recovered[name])[part] for name in ('claran_plugin', 'each island alone'))
            of_several, of_one = (f'{right[kind].sum()}/{kind.sum()}' for kind in (several[part], ~several[part]))
            span = f'{number[part].min()}' + (f' to {number[part].max()}' if np.ptp(number[part]) else '')
            print(f'{span:>26}{part.sum():9d}{of_several:>16}{of_one:>17}{right.mean():8.3f}{alone.mean():15.3f}')


if __name__ == '__main__':
    main()

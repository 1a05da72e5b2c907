"""How time and memory of the association grow with the side of the image, at the same density of sources.

    python benchmarks/growth.py [--sizes PIXELS ...] [--repeat N ...] [--sources N] [--diagram PNG] [--smoke]

Fields at FIRST's beam, by default a thousand sources for 4000 x 4000 px, are simulated at each of `sizes`, and their
components are found by PyBDSF. The largest one and its list are then put side by side, N times along each axis. Printed
are the seconds of `claran associate --no-picture` as a process of its own and its peak memory.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table, vstack
from astropy.wcs import WCS
from matplotlib.figure import Figure
from speed import PIXEL_ARCMIN, run_alone

from claran_plugin.components import run_pybdsf, write_pybdsf_catalogue
from claran_plugin.images import read_image
from claran_plugin.simulation import simulate_field, write_field

SMOKE = [400], [2]
HEADING = f'{"side, px":>10}{"components":>12}{"seconds":>9}{"per Mpx":>9}{"MiB":>7}'


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--sizes', type=int, nargs='+', default=[1000, 2000, 4000], help='pixels')
    parser.add_argument('--repeat', type=int, nargs='*', default=[2, 4], help='of the largest')
    parser.add_argument('--sources', type=int, default=1000, help='for 4000 x 4000 px (default: 1000)')
    parser.add_argument('--diagram', type=Path, help='picture of time and memory')
    parser.add_argument('--smoke', action='store_true', help='a small field, to see that it works')
    arguments = parser.parse_args(argv)
    sizes, repeats = SMOKE if arguments.smoke else (arguments.sizes, arguments.repeat)
    rows = []
    print(HEADING)
    with tempfile.TemporaryDirectory(prefix='claran_') as name:
        folder = Path(name)
        for size in sorted(sizes):
            image, catalogue = simulated(size, arguments.sources, folder)
            rows.append(measured(image, catalogue))
        for number in repeats:
            wide = repeated(image, catalogue, number, folder)
            rows.append(measured(*wide))
            for path in wide:
                path.unlink()
    if arguments.diagram:
        draw(rows, arguments.diagram)


def simulated(size: int, density: float, folder: Path) -> tuple[Path, Path]:
    """Simulate a field with so many sources for 4000 x 4000 px, and find its components."""
    sources = max(round(density * (size / 4000) ** 2), 10)
    made = simulate_field(np.random.default_rng(7), size_arcmin=size * PIXEL_ARCMIN, n_sources=sources)
    image, _ = write_field(made, folder / f'{size}.fits')
    catalogue = write_pybdsf_catalogue(run_pybdsf(read_image(image)), folder / f'{size}.srl.fits')
    return image, catalogue


def repeated(image: Path, catalogue: Path, number: int, folder: Path) -> tuple[Path, Path]:
    """Put an image and its components side by side, row by row on disk."""
    pixels, header = fits.getdata(image).astype('>f4'), fits.getheader(image)
    table, own = Table.read(catalogue), WCS(header)
    size = len(pixels) * number
    header['NAXIS1'] = header['NAXIS2'] = size
    header['CRPIX1'] = header['CRPIX2'] = (size + 1) / 2
    wide = folder / f'{size}.fits'
    with wide.open('wb') as file:
        file.write(header.tostring().encode())
        for _ in range(number):
            file.write(np.tile(pixels, (1, number)).tobytes())
        file.write(b'\0' * (-4 * size**2 % 2880))
    xy = np.stack(own.all_world2pix(table['RA'], table['DEC'], 0), axis=-1)
    parts = []
    for k in range(number**2):
        part = table.copy()
        moved = xy + len(pixels) * np.array(divmod(k, number))
        part['RA'], part['DEC'] = WCS(header).all_pix2world(moved, 0).T
        part['Isl_id'] += k * (int(table['Isl_id'].max()) + 1)
        parts.append(part)
    whole = vstack(parts, metadata_conflicts='silent')
    whole['Source_id'] = np.arange(len(whole))
    listed = folder / f'{size}.srl.fits'
    whole.write(listed)
    return wide, listed


def measured(image: Path, catalogue: Path) -> tuple[int, int, float, float]:
    """Associate in a process of its own; print and give side, components, seconds and MiB."""
    command = [sys.executable, '-m', 'claran_plugin', 'associate', str(image), str(catalogue), '--survey', 'first']
    command += ['-o', str(image.with_suffix('')), '--quiet', '--no-picture']
    seconds, mib = run_alone(command)
    side, n = int(fits.getheader(image)['NAXIS1']), len(Table.read(catalogue))
    print(f'{side:10d}{n:12d}{seconds:9.1f}{seconds / (side / 1e3) ** 2:9.2f}{mib:7.0f}', flush=True)
    return side, n, seconds, mib


def draw(rows: list[tuple[int, int, float, float]], path: Path) -> None:
    """Draw time and memory against the number of pixels."""
    side, _, seconds, mib = np.array(rows, float).T
    figure = Figure(figsize=(8, 3.2), layout='constrained')
    for axis, values, title in zip(figure.subplots(1, 2), (seconds, mib), ('seconds', 'peak memory, MiB'), strict=True):
        axis.loglog(side**2 / 1e6, values, 'o-', color='#1b6ca8')
        axis.loglog(side**2 / 1e6, values[-1] * (side / side[-1]) ** 2, ':', color='gray', label='linear')
        axis.set_xlabel('Mpx')
        axis.set_title(title, fontsize=10)
        axis.set_ylim(values.min() / 2, values.max() * 2)
    axis.legend(frameon=False)
    figure.savefig(path, dpi=110)


if __name__ == '__main__':
    main()

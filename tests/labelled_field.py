"""An image of which every source is known: doubles and single sources on a grid."""

from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from small_field import BEAM_DEG, write_field

SPACING = 60
NODES = 5
HALF_SEPARATION = 8
"""Of a double's components, pixels."""


def write_labelled(folder: Path, name: str = 'field', **columns) -> Path:
    """Write image and catalogue; nodes of the grid with an even number are doubles. Give the list that names both.

    `columns` replaces columns of the catalogue, or leaves out those that are None. Its rows are the components in the
    order of the nodes, 13 doubles and 12 single ones.
    """
    nodes = np.array([(SPACING * (i + 1), SPACING * (j + 1)) for j in range(NODES) for i in range(NODES)])
    xy, source = [], []
    for number, (x, y) in enumerate(nodes):
        for shift in (-HALF_SEPARATION, HALF_SEPARATION) if number % 2 == 0 else (0,):
            xy.append((x + shift, y))
            source.append(number)
    peaks = 0.01 + 0.001 * np.arange(len(xy))
    components = np.column_stack([xy, peaks, np.ones(len(xy))])
    size = SPACING * (NODES + 1)
    image = write_field(folder / f'{name}.fits', components=components, size=size)
    ra, dec = WCS(fits.getheader(image)).wcs_pix2world(*np.array(xy, float).T, 0)
    table = Table(dict(RA=ra, DEC=dec, Total_flux=peaks, Peak_flux=peaks))
    table['Maj'] = table['Min'] = np.full(len(xy), BEAM_DEG)
    for column, unit in dict(RA='deg', DEC='deg', Total_flux='Jy', Peak_flux='Jy/beam', Maj='deg', Min='deg').items():
        table[column].unit = unit
    table['Source_Name'] = [f'S{number:02d}' for number in source]
    for column, values in columns.items():
        if values is None:
            table.remove_column(column)
        else:
            table[column] = values
    table.write(folder / f'{name}.cat.fits')
    path = folder / f'{name}.list.txt'
    path.write_text(f'{name}.fits {name}.cat.fits\n')
    return path


def boxes_of_doubles() -> np.ndarray:
    """Give boxes (13, 4) around the doubles, xyxy in pixels."""
    nodes = np.array([(SPACING * (i + 1), SPACING * (j + 1)) for j in range(NODES) for i in range(NODES)], float)[::2]
    return np.concatenate([nodes - 13, nodes + 13], axis=1)

"""The output columns: names, units, UCDs and descriptions, and the two tables made of them."""

import warnings
from collections.abc import Iterable, Mapping
from enum import IntFlag
from typing import Any, NamedTuple

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Column, QTable, Table
from numpy.typing import ArrayLike, NDArray

from claran_plugin.errors import InputError, InputWarning
from claran_plugin.morphology import CLASSES
from claran_plugin.source_properties import (
    NAME_PREFIX,
    composite_shapes,
    mean_positions,
    position_errors,
    source_names,
)


class MorphFlag(IntFlag):
    """Bits of the column Morph_Flag; 0 is a source with nothing to say against it."""

    NO_DETECTION = 1
    LOW_PROBABILITY = 2
    EDGE = 4
    LARGER_THAN_FIELD = 8
    NOT_LOOKED_AT = 16
    COUNTS_DISAGREE = 32
    BLANK_PIXELS = 64
    NOTHING_COUNTED = 128
    UNLISTED_EMISSION = 256


# At most 56 characters each: one COMMENT card.
FLAG_MEANINGS: dict[MorphFlag, str] = {
    MorphFlag.NO_DETECTION: 'no detection claims the source, or it is off the image',
    MorphFlag.LOW_PROBABILITY: 'the probability of the morphology is below 0.8',
    MorphFlag.EDGE: 'the source touches the edge of the image',
    MorphFlag.LARGER_THAN_FIELD: 'as large as the largest field of view, or larger',
    MorphFlag.NOT_LOOKED_AT: "isolated and unresolved: not shown at the image's beam",
    MorphFlag.COUNTS_DISAGREE: 'the class and the counts on the image disagree',
    MorphFlag.BLANK_PIXELS: 'there are blank pixels within the source',
    MorphFlag.NOTHING_COUNTED: 'no emission above the threshold, nothing counted',
    MorphFlag.UNLISTED_EMISSION: 'emission in the box that no component stands for',
}


class ColumnSpec(NamedTuple):
    """One column: name, numpy type, unit, UCD and a description of 68 characters at most (one FITS card)."""

    name: str
    dtype: str
    unit: str | None
    ucd: str
    description: str


FLUX = 'phot.flux.density;em.radio'
_SHARED = {
    spec.name: spec
    for spec in (
        ColumnSpec('Source_Name', 'U32', None, 'meta.id', 'IAU-style name of the physical source'),
        ColumnSpec('Assoc_id', 'i4', None, 'meta.id.parent', 'Physical source; counts from 0'),
        ColumnSpec('Assoc', 'i4', None, 'meta.number', 'Number of catalogue rows in the physical source'),
        ColumnSpec('Morphology', 'U5', None, 'src.morph.type', 'Class iC_jP: i components, j peaks'),
        ColumnSpec('Morph_Prob', 'f4', None, 'stat.probability', 'Calibrated probability of Morphology'),
        ColumnSpec(
            'N_Components', 'i4', None, 'meta.number', 'Components counted on the image, as Radio Galaxy Zoo does'
        ),
        ColumnSpec('N_Peaks', 'i4', None, 'meta.number', 'Brightness peaks counted on the image'),
        ColumnSpec('Morph_Flag', 'i4', None, 'meta.code.qual', 'Sum of bits, see the header or docs/columns.md'),
    )
}

COMPONENT_COLUMNS: tuple[ColumnSpec, ...] = (
    _SHARED['Source_Name'],
    _SHARED['Assoc_id'],
    _SHARED['Assoc'],
    ColumnSpec('Assoc_Prob', 'f4', None, 'stat.probability', 'Calibrated probability that this row is of that source'),
    _SHARED['Morphology'],
    _SHARED['Morph_Prob'],
    _SHARED['N_Components'],
    _SHARED['N_Peaks'],
    _SHARED['Morph_Flag'],
)
"""Columns appended to the user's component table."""

SOURCE_COLUMNS: tuple[ColumnSpec, ...] = (
    _SHARED['Source_Name']._replace(ucd='meta.id;meta.main'),
    _SHARED['Assoc_id']._replace(ucd='meta.id'),
    ColumnSpec('RA', 'f8', 'deg', 'pos.eq.ra;meta.main', 'Right ascension, flux-weighted mean'),
    ColumnSpec('DEC', 'f8', 'deg', 'pos.eq.dec;meta.main', 'Declination, flux-weighted mean'),
    ColumnSpec('Total_flux', 'f8', 'Jy', FLUX, 'Total flux density, sum over the components'),
    ColumnSpec('E_Total_flux', 'f8', 'Jy', f'stat.error;{FLUX}', 'Error of Total_flux, in quadrature'),
    ColumnSpec('Peak_flux', 'f8', 'Jy/beam', 'phot.flux.density;stat.max;em.radio', 'Peak of the brightest component'),
    ColumnSpec(
        'Composite_Size', 'f8', 'arcsec', 'phys.angSize.smajAxis', 'Largest extent, to half power of components'
    ),
    ColumnSpec('Composite_Width', 'f8', 'arcsec', 'phys.angSize.sminAxis', 'Extent perpendicular to Composite_Size'),
    ColumnSpec('Composite_PA', 'f8', 'deg', 'pos.posAng', 'Position angle of Composite_Size, north through east'),
    _SHARED['Assoc'],
    _SHARED['N_Components'],
    _SHARED['N_Peaks'],
    _SHARED['Morphology'],
    _SHARED['Morph_Prob'],
    *(ColumnSpec(f'P_{name}', 'f4', None, 'stat.probability', f'Calibrated probability of {name}') for name in CLASSES),
    ColumnSpec('Box_RA', 'f8', 'deg', 'pos.eq.ra', 'Right ascension of the centre of the detection box'),
    ColumnSpec('Box_DEC', 'f8', 'deg', 'pos.eq.dec', 'Declination of the centre of the detection box'),
    ColumnSpec('Box_Width', 'f8', 'arcsec', 'phys.angSize', 'Width of the detection box along the rows of the image'),
    ColumnSpec('Box_Height', 'f8', 'arcsec', 'phys.angSize', 'Height of the detection box along the columns'),
    _SHARED['Morph_Flag'],
    ColumnSpec('E_RA', 'f8', 'deg', 'stat.error;pos.eq.ra', "Error of RA on the sky, from the components' errors"),
    ColumnSpec('E_DEC', 'f8', 'deg', 'stat.error;pos.eq.dec', 'Error of DEC, likewise'),
    ColumnSpec('E_Peak_flux', 'f8', 'Jy/beam', f'stat.error;{FLUX}', 'Error of Peak_flux'),
)
"""Columns of the source table."""

HOST_COLUMNS: tuple[ColumnSpec, ...] = (
    ColumnSpec('Host_RA', 'f8', 'deg', 'pos.eq.ra', 'Right ascension of the likeliest host galaxy, NaN: none seen'),
    ColumnSpec('Host_DEC', 'f8', 'deg', 'pos.eq.dec', 'Declination of the likeliest host galaxy'),
    ColumnSpec('Host_Prob', 'f4', None, 'stat.probability', 'Calibrated probability that it is the host'),
    ColumnSpec('Host_Sep', 'f8', 'arcsec', 'pos.angDistance', 'Distance of the host from RA, DEC'),
)
"""Columns that the source table has in addition where there was an infrared image."""


def build_source_table(
    standard: QTable, labels: ArrayLike, groups: Table | Mapping[str, Any], *, prefix: str = NAME_PREFIX
) -> QTable:
    """Make the source table: one row per physical source.

    Parameters
    ----------
    standard : QTable
        Standard component table, n rows.
    labels : (n,) int array
        Source of every row; the values are 0 to S-1 and each occurs.
    groups : QTable or mapping of S rows
        ``Morphology, Morph_Prob, P`` (S, 6), ``N_Components, N_Peaks, Morph_Flag, Box`` (SkyCoord, its centre),
        ``Box_Width, Box_Height`` (angles); with infrared also ``Host`` (SkyCoord, NaN where there is none) and
        ``Host_Prob``.
    prefix : str
        First word of the sources' names.

    Returns
    -------
    QTable
        The columns of `SOURCE_COLUMNS`, and of `HOST_COLUMNS` where there is infrared. Fluxes are conserved: their sum
        over sources is that over components. What is unknown of a component's flux density adds nothing to it; an
        error is unknown where that of a component that counts is.

    Raises
    ------
    ValueError
        Where the labels are no partition of the rows.
    """
    labels = _checked_labels(labels, len(standard))
    n = int(labels.max()) + 1 if labels.size else 0
    flux = standard['Total_flux'].to_value(u.Jy)
    position = mean_positions(SkyCoord(standard['RA'], standard['DEC']), flux, labels, n)
    size, width, angle = composite_shapes(standard, labels, position)
    box = groups['Box'] if n else SkyCoord([], [], unit='deg')
    error = np.where(np.isfinite(flux), standard['E_Total_flux'].to_value(u.Jy), 0.0)  # of what is summed
    total = _sum_known(flux, labels, n)
    peak = standard['Peak_flux'].to_value(u.Jy / u.beam)
    brightest = _brightest(peak, labels, n)
    values: dict[str, Any] = {
        'Source_Name': source_names(position, prefix),
        'Assoc_id': np.arange(n),
        'RA': position.ra,
        'DEC': position.dec,
        'Total_flux': total,
        'E_RA': position_errors(standard['E_RA'].to_value(u.deg), flux, labels, n),
        'E_DEC': position_errors(standard['E_DEC'].to_value(u.deg), flux, labels, n),
        'E_Total_flux': np.where(np.isfinite(total), np.sqrt(np.bincount(labels, error**2, minlength=n)), np.nan),
        'Peak_flux': peak[brightest],
        'E_Peak_flux': standard['E_Peak_flux'].to_value(u.Jy / u.beam)[brightest],
        'Composite_Size': size,
        'Composite_Width': width,
        'Composite_PA': angle,
        'Assoc': np.bincount(labels, minlength=n),
        **dict(zip((f'P_{name}' for name in CLASSES), np.reshape(groups['P'], (n, len(CLASSES))).T, strict=True)),
        'Box_RA': box.icrs.ra,
        'Box_DEC': box.icrs.dec,
    }
    given = groups.colnames if isinstance(groups, Table) else groups
    columns = SOURCE_COLUMNS
    if 'Host' in given:
        columns += HOST_COLUMNS
        host = groups['Host'] if n else SkyCoord([], [], unit='deg')
        values |= {'Host_RA': host.icrs.ra, 'Host_DEC': host.icrs.dec, 'Host_Sep': position.separation(host.icrs)}
    values |= {spec.name: groups[spec.name] for spec in columns if spec.name not in values}
    return QTable([make_column(spec, values[spec.name]) for spec in columns])


def build_component_table(
    original: Table, sources: Table, labels: ArrayLike, assoc_prob: ArrayLike, *, overwrite_columns: bool = False
) -> Table:
    """Append the columns of `COMPONENT_COLUMNS` to the user's component table.

    Parameters
    ----------
    original : Table
        n rows; neither changed nor copied.
    sources : Table
        From `build_source_table`, S rows.
    labels : (n,) int array
        Source of every row, 0 to S-1.
    assoc_prob : (n,) array
        Probability that the row belongs to that source.
    overwrite_columns : bool
        Replace columns of these names instead of refusing.

    Raises
    ------
    InputError
        Where the table has columns of these names already.
    """
    labels = _checked_labels(labels, len(original))
    if not overwrite_columns:
        check_columns(original.colnames)
    clashes = clashing_columns(original.colnames)
    table = original.copy(copy_data=False)
    for spec in COMPONENT_COLUMNS:
        data = assoc_prob if spec.name == 'Assoc_Prob' else np.asarray(sources[spec.name])[labels]
        old = next((name for name in clashes if name.lower() == spec.name.lower()), None)
        if old is None:
            table.add_column(make_column(spec, data))
        else:  # in its old place, so that the numbering of the header's cards holds
            place = table.colnames.index(old)
            table.remove_column(old)
            table.add_column(make_column(spec, data), index=place)
    return table


def check_columns(names: Iterable[str], catalogue: str = 'catalogue') -> None:
    """Raise InputError where a catalogue has columns that are called like one of `COMPONENT_COLUMNS`."""
    clashes = clashing_columns(names)
    if clashes:
        raise InputError(
            f'{catalogue}: has columns {", ".join(clashes)} already (was it processed before?); rename them, give the '
            f'original catalogue, or replace them with --overwrite-columns'
        )


def refuse_sources(names: Iterable[str], catalogue: str) -> None:
    """Raise InputError where a catalogue is a source table that was written here: its rows are no components."""
    if {'Composite_Size', 'Box_RA', 'Box_Width'} <= set(names):
        raise InputError(
            f'{catalogue}: is a table of physical sources, as claran_plugin writes them (it has Composite_Size and '
            "Box_RA); give the table of components, or the source finder's own list"
        )


def with_own_names(table: Table, catalogue: str = 'catalogue') -> Table:
    """Rename a catalogue's own columns that are called like some of `COMPONENT_COLUMNS`, LoTSS's ``Source_Name``.

    A table that has all of those has been processed before, and stays as it is; so does one in which a new name is
    taken.

    Warns
    -----
    InputWarning
        Where a column is renamed.
    """
    clashes = clashing_columns(table.colnames)
    if not clashes or len(clashes) >= len(COMPONENT_COLUMNS):
        return table
    new = [own_name(name) for name in clashes]
    if {name.lower() for name in new} & {name.lower() for name in table.colnames}:
        return table
    table = table.copy(copy_data=False)
    table.rename_columns(clashes, new)
    warnings.warn(
        f'{catalogue}: has columns {", ".join(clashes)} of its own, which become {", ".join(new)} in the output',
        InputWarning,
        stacklevel=3,
    )
    return table


def own_name(name: str) -> str:
    """Give the new name of a catalogue's own column."""
    return f'{name}_of_catalogue'


def clashing_columns(names: Iterable[str]) -> list[str]:
    """Find columns that are called like one of `COMPONENT_COLUMNS`; case does not count, as in FITS."""
    new = {spec.name.lower() for spec in COMPONENT_COLUMNS}
    return [name for name in names if name.lower() in new]


def make_column(spec: ColumnSpec, data: Any) -> Column | u.Quantity:
    """Make a column of the declared type and unit, with its description and UCD."""
    column: Column | u.Quantity
    if spec.unit is None:
        column = Column(np.asarray(data).astype(spec.dtype), name=spec.name)
    else:
        column = u.Quantity(data, spec.unit, dtype=spec.dtype)
        column.info.name = spec.name
    column.info.description = spec.description
    column.info.meta = {'ucd': spec.ucd}
    return column


def _checked_labels(labels: ArrayLike, n: int) -> NDArray:
    labels = np.asarray(labels, dtype=int)
    if labels.shape != (n,):
        raise ValueError(f'labels must have shape ({n},), one per row of the table, got {labels.shape}')
    if n and (labels.min() != 0 or not np.bincount(labels).all()):
        raise ValueError(f'labels must be 0 to S-1 with every source used, got {np.unique(labels)}')
    return labels


def _sum_known(values: NDArray, labels: NDArray, n: int) -> NDArray:
    """Sum what is known of every source; NaN where nothing is."""
    known = np.isfinite(values)
    total = np.bincount(labels[known], values[known], minlength=n)
    return np.where(np.bincount(labels[known], minlength=n) > 0, total, np.nan)


def _brightest(peak: NDArray, labels: NDArray, n: int) -> NDArray:
    """Give the row of each source whose peak is the highest, the first of several; any where none is known."""
    order = np.lexsort((-np.arange(len(peak)), np.nan_to_num(peak, nan=-np.inf)))
    rows = np.empty(n, int)
    rows[labels[order]] = order
    return rows

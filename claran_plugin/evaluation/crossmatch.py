"""Which detected sources lie near the sources of another catalogue (Wu et al. 2019, Section 5.8)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Table
from numpy.typing import NDArray

from claran_plugin.catalogue_positions import sky_positions
from claran_plugin.catalogue_reading import read_catalogue
from claran_plugin.errors import InputError
from claran_plugin.evaluation.fields import TRUTH_REMEDY, Fields
from claran_plugin.morphology import CLASSES

REMEDY = 'give a table with columns RA and DEC in degrees'


@dataclass(frozen=True)
class CrossMatch:
    """Pairs of a detection and a catalogued source.

    Attributes
    ----------
    matches : Table
        One row per detection that has a catalogued source within the radius, the nearest one.
    summary : Table
        Numbers and shares.
    """

    matches: Table
    summary: Table


def chosen_classes(names: Sequence[str]) -> list[int]:
    """Give the numbers of classes such as ``2C_3P``; ``2C`` stands for all of two components.

    Raises
    ------
    InputError
        Where there is no such class.
    """
    found: set[int] = set()
    for name in names:
        own = {k for k, kind in enumerate(CLASSES) if kind == name or kind.startswith(f'{name}_')}
        if not own:
            raise InputError(f'--crossmatch-class {name}: no such class; choose of {", ".join(CLASSES)}, 1C, 2C, 3C')
        found |= own
    return sorted(found)


def read_positions(path: str | Path) -> SkyCoord:
    """Read the positions of a catalogue.

    Raises
    ------
    InputError
        Where it cannot be read or has no positions.
    """
    table = read_catalogue(path)
    if not len(table):
        raise InputError(f'{path}: has no rows; {REMEDY}')
    return sky_positions(table, path)


def detected_positions(fields: Fields, place: NDArray, xy: NDArray) -> SkyCoord:
    """Carry pixels of fields to the sky.

    Parameters
    ----------
    fields : Fields
        With the position of each one's middle.
    place : (n,) int array
        Number of the field of each pixel.
    xy : (n, 2) array
        Pixels; (0, 0) is the field's south-eastern corner, x runs west and y north.

    Raises
    ------
    InputError
        Where the truth does not tell the centres or the pixel scale.
    """
    centres = fields.centres[place]
    if not (np.isfinite(fields.pixel_arcsec) and np.isfinite(centres).all()):
        raise InputError(
            f'the truth lacks ra and dec of its images or pixel_arcsec, which a cross-match needs; {TRUTH_REMEDY}'
        )
    west, north = ((xy - fields.sizes[place] / 2) * fields.pixel_arcsec * u.arcsec).T
    return SkyCoord(*centres.T, unit='deg').spherical_offsets_by(-west, north)


def cross_match(
    probable: Fields, catalogue: SkyCoord, classes: Sequence[int], radius_arcsec: float = 20.0
) -> CrossMatch:
    """Match detections of some classes with the nearest source of another catalogue.

    Parameters
    ----------
    probable : Fields
        With the detections that count (the paper: a probability above 0.8).
    catalogue : SkyCoord
        The other sources.
    classes : sequence of int
        Which classes to match.
    radius_arcsec : float
        Largest separation of the box's centre from the catalogued position.
    """
    chosen = probable.detections(lambda subject: np.isin(subject.classes, classes))
    place = np.repeat(np.arange(len(chosen.names)), chosen.n_detected)
    boxes = np.concatenate([np.empty((0, 4)), *(subject.boxes for subject in chosen.subjects)])
    kinds = np.concatenate([np.empty(0, int), *(subject.classes for subject in chosen.subjects)])
    probabilities = np.concatenate([np.empty(0), *(subject.probabilities for subject in chosen.subjects)])
    sky = detected_positions(chosen, place, (boxes[:, :2] + boxes[:, 2:]) / 2)
    if len(sky):
        row, separation, _ = sky.match_to_catalog_sky(catalogue)
    else:
        row, separation = np.empty(0, int), np.empty(0) * u.arcsec
    near = np.flatnonzero(separation <= radius_arcsec * u.arcsec)
    near = near[np.argsort(separation[near])]
    matches = Table()
    matches['Field'] = np.array([chosen.names[k] for k in place[near]], dtype='U')
    matches['Class'] = np.array([CLASSES[k] for k in kinds[near]], dtype='U5')
    matches['Probability'] = probabilities[near]
    matches['RA'], matches['DEC'] = sky.ra.deg[near], sky.dec.deg[near]
    matches['Catalogue row'] = row[near]
    matches['Separation (arcsec)'] = separation.to_value(u.arcsec)[near]
    for name, form in {'Probability': '.3f', 'RA': '.5f', 'DEC': '.5f', 'Separation (arcsec)': '.2f'}.items():
        matches[name].info.format = form
    return CrossMatch(matches, _summary(chosen, catalogue, len(sky), row[near]))


def _summary(fields: Fields, catalogue: SkyCoord, n_detected: int, matched_rows: NDArray) -> Table:
    """Give the share of the detections, of the catalogue, and of that part of it which the fields can show."""
    seen = np.zeros(len(catalogue), bool)
    reach = fields.sizes.min(initial=np.inf) / 2 * fields.pixel_arcsec * u.arcsec
    if len(fields.centres):
        seen = catalogue.match_to_catalog_sky(SkyCoord(fields.centres, unit='deg'))[1] <= reach
    rows = np.unique(matched_rows)
    numbers = [n_detected, len(catalogue), int(seen.sum())]
    matched = [len(matched_rows), len(rows), int(seen[rows].sum())]
    table = Table()
    table['Of'] = ['detections', 'catalogue', f'catalogue within {reach.value:.0f} arcsec of the middle of a field']
    table['Number'] = numbers
    table['Matched'] = matched
    table['Share'] = [m / max(n, 1) for m, n in zip(matched, numbers, strict=True)]
    table['Share'].info.format = '.4f'
    return table

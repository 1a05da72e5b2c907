"""The command ``claran demo``: a simulated field with known truth, PyBDSF, the association, and how well it did."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy import units as u
from astropy.table import QTable
from numpy.typing import NDArray

from claran_plugin import pipeline
from claran_plugin.catalogue_writing import atomic_outputs, check_outputs
from claran_plugin.components import from_pybdsf, write_pybdsf_catalogue
from claran_plugin.evaluation.association_scores import exact_recovery, linked_islands, true_source_of, truth_sets
from claran_plugin.images import beam_pix, pixel_scale, read_image
from claran_plugin.progress import Log
from claran_plugin.results import result_paths, write_files
from claran_plugin.simulation import Field, simulate_field, write_field

NAME = 'demo'
SEED = 1
FRACTION_EXTENDED = 0.45
LINKING_ARCSEC = np.arange(5.0, 121.0, 2.5)
"""Linking lengths that are tried for friends-of-friends."""


class Score(NamedTuple):
    """How one way of grouping did; `multiple` and `single` are recovered sources."""

    sources: int
    multiple: int
    single: int


class Truth(NamedTuple):
    """What PyBDSF's components really are.

    Attributes
    ----------
    sets : list of t sets of int
        Components of each true source that PyBDSF found.
    multiple : (t,) bool array
        Sources of which it found several islands.
    nobodys : (n,) bool array
        Components that belong to no true source.
    """

    sets: list[set[int]]
    multiple: NDArray
    nobodys: NDArray


def run_demo(
    folder: Path,
    *,
    overwrite: bool = False,
    command_line: str = 'claran demo',
    log: Log | None = None,
    **detector: Any,
) -> tuple[str, list[Path]]:
    """Simulate a field, run PyBDSF and the association on it, write all that to a folder, and score it.

    Parameters
    ----------
    folder : Path
        Made if it is missing.
    overwrite : bool
        Replace files of an earlier demonstration.
    command_line : str
        For the headers.
    log : Log, optional
    **detector
        See `associator.Associator`.

    Returns
    -------
    report : str
        The scores as a table.
    paths : list of Path
        Image, truth, component table, source table, evidence and picture.

    Raises
    ------
    InputError
        Where a file exists and may not be overwritten, or the detector is at fault.
    """
    log = log or Log(quiet=True)
    paths = [folder / f'{NAME}.fits', folder / f'{NAME}.truth.fits', *result_paths(folder, NAME)]
    check_outputs(paths, overwrite=overwrite)
    log.line("a field of 15' x 15' is simulated")
    field = simulate_field(np.random.default_rng(SEED), fraction_extended=FRACTION_EXTENDED)
    associator = pipeline.Associator(**detector)
    with atomic_outputs(paths, overwrite=overwrite) as temporary, tempfile.TemporaryDirectory() as scratch:
        write_field(field, temporary[0])
        log.line('PyBDSF looks for components')
        image = read_image(temporary[0])
        image.meta['FILENAME'] = paths[0].name
        img, radio = pipeline.run(image)
        catalogue = write_pybdsf_catalogue(img, Path(scratch) / f'{NAME}.fits')
        result = pipeline.associate(radio, catalogue, associator=associator, progress=log.fields)
        provenance = {**result.provenance, 'CLCMD': command_line}
        write_files(
            result, temporary[2:], paths[3].name, title='simulated field', original=catalogue, provenance=provenance
        )
    return report(field, from_pybdsf(img), result.labels), paths


def report(field: Field, components: QTable, labels: NDArray) -> str:
    """Compare the association with PyBDSF's islands and with friends-of-friends, as a table.

    Parameters
    ----------
    field : Field
    components : QTable
        Standard component table, n rows.
    labels : (n,) int array
        Source of each component.
    """
    xy = np.stack(field.image.wcs.world_to_pixel_values(components['RA'].value, components['DEC'].value), axis=-1)
    islands = np.unique(components['Isl_id'], return_inverse=True)[1]
    truth = find_truth(field, xy, islands)
    flux = components['Total_flux'].to_value(u.Jy)
    length, linked = best_friends(xy * pixel_scale(field.image), flux, islands, truth)
    groupings = {
        'claran_plugin': labels,
        'PyBDSF alone (islands)': islands,
        f'friends-of-friends, {length:g}"*': linked,
    }
    n_multiple = int(truth.multiple.sum())
    lines = [
        f'{len(components)} components by PyBDSF, of {len(truth.sets)} true sources: {n_multiple} of several islands, '
        f'{len(truth.sets) - n_multiple} of one',
        '',
        f'{"":28}{"sources":>9}{"several: whole":>16}{"one: left alone":>17}',
    ]
    for name, grouping in groupings.items():
        score = score_grouping(grouping, truth)
        multiple, single = f'{score.multiple}/{n_multiple}', f'{score.single}/{len(truth.sets) - n_multiple}'
        lines.append(f'{name:28}{score.sources:9d}{multiple:>16}{single:>17}')
    lines.append(
        '* the linking length that recovers most sources of this very field, which no user can know beforehand'
    )
    return '\n'.join(lines)


def find_truth(field: Field, xy: NDArray, islands: NDArray) -> Truth:
    """Find the true source of each component (n, 2) of a simulated field, and which sources have several islands."""
    source_of = true_source_of(xy, field.labels, beam_pix(field.image))
    sets = truth_sets(source_of)
    multiple = np.array([len({int(islands[i]) for i in members}) > 1 for members in sets], bool)
    return Truth(sets, multiple, source_of == 0)


def score_grouping(labels: NDArray, truth: Truth) -> Score:
    """Count the true sources that a grouping (n,) of the components recovers exactly."""
    recovered = exact_recovery(truth.sets, labels, truth.nobodys)
    return Score(len(np.unique(labels)), int(recovered[truth.multiple].sum()), int(recovered[~truth.multiple].sum()))


def best_friends(xy_arcsec: NDArray, flux: NDArray, islands: NDArray, truth: Truth) -> tuple[float, NDArray]:
    """Group islands by friends-of-friends at the linking length that recovers most sources.

    Returns
    -------
    length : float, arcsec
    labels : (n,) int array, the group of each component
    """
    linked: Mapping[float, NDArray] = {
        length: linked_islands(xy_arcsec, flux, islands, length) for length in LINKING_ARCSEC.tolist()
    }
    best = max(linked, key=lambda length: sum(score_grouping(linked[length], truth)[1:]))
    return best, linked[best]

"""Why rows of a catalogue were joined or kept apart: what was weighed, on disk beside the tables, and told in words.

``NAME.evidence.fits`` has two tables. SETS lists every set of rows that was weighed, with its evidence; MEMBERS lists
the rows of each set.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.table import QTable, Table
from numpy.typing import NDArray

from claran_plugin.catalogue import FLAG_MEANINGS, ColumnSpec, make_column
from claran_plugin.catalogue_writing import to_hdu
from claran_plugin.celestial import to_sky
from claran_plugin.claimed import SPLIT_PENALTY
from claran_plugin.claims import CERTAIN, log_odds
from claran_plugin.counting_window import NOISE_TRIED
from claran_plugin.errors import InputError
from claran_plugin.hypotheses import FAR_COARSER
from claran_plugin.images import pixel_scale
from claran_plugin.morphology import CLASSES
from claran_plugin.pipeline import Association

ENDING = '.evidence.fits'
PER_IMAGE = 'per_image'
"""Folder of the images' own outputs, in that of a survey."""
TABLE_CARD = 'CLTABLE'
SAFE = ''.join(chr(code) for code in range(32, 127) if chr(code) not in "%'")
"""What stands for itself in that card."""
MOST_SHOWN = 12
"""Alternatives that are told."""
LEVELS = ', '.join(f'{level:g}' for level in NOISE_TRIED)
SET_COLUMNS: tuple[ColumnSpec, ...] = (
    ColumnSpec('Set_id', 'i4', None, 'meta.id;meta.main', 'Set of rows of the component table'),
    ColumnSpec('Assoc_id', 'i4', None, 'meta.id.cross', 'Physical source that it became, -1: none'),
    ColumnSpec('Assoc', 'i4', None, 'meta.number', 'Number of its rows'),
    ColumnSpec('Evidence', 'f4', None, 'stat.likelihood', 'Log odds that they are one source, as they were weighed'),
    ColumnSpec(
        'Margin', 'f4', None, 'stat.likelihood', 'Evidence lost without this source, 8 at most, NaN: not chosen'
    ),
    ColumnSpec('Probability', 'f4', None, 'stat.probability', "The detector's, over all fields that show the set"),
    ColumnSpec('Certainty', 'f4', None, 'stat.likelihood', 'Added to the log odds for what a box cuts or leaves out'),
    *(ColumnSpec(f'P_{name}', 'f4', None, 'stat.probability', f"The detector's for {name}") for name in CLASSES),
    ColumnSpec('N_Found', 'i4', None, 'meta.number', 'Views of fields in which it was found'),
    ColumnSpec('N_Shown', 'i4', None, 'meta.number', 'Views of fields that show it'),
    ColumnSpec('Scale', 'i4', None, 'meta.number', 'Beam of the sky on which it was found, beams of the image'),
    ColumnSpec('Box_RA', 'f8', 'deg', 'pos.eq.ra', 'Right ascension of the middle of its box, NaN: no detection'),
    ColumnSpec('Box_DEC', 'f8', 'deg', 'pos.eq.dec', 'Declination of the middle of its box'),
    ColumnSpec('Box_Width', 'f8', 'arcsec', 'phys.angSize', 'Width of its box'),
    ColumnSpec('Box_Height', 'f8', 'arcsec', 'phys.angSize', 'Height of its box'),
    ColumnSpec('Counted', 'U48', None, 'meta.code.class', f'Counts with {LEVELS} of the noise; empty: not chosen'),
)
MEMBER_COLUMNS: tuple[ColumnSpec, ...] = (
    ColumnSpec('Set_id', 'i4', None, 'meta.id.parent', 'Set of rows'),
    ColumnSpec('Row', 'i4', None, 'meta.id', 'Row of the component table, from 0'),
)


class Evidence(NamedTuple):
    """What was weighed: the tables of sets and of their members."""

    sets: QTable
    members: Table


def evidence_of(association: Association) -> Evidence:
    """Tabulate what was weighed for an association."""
    partition, image = association.partition, association.radio
    considered = partition.considered
    chosen, margin = np.full(len(considered), -1), np.full(len(considered), np.nan)
    chosen[partition.chosen], margin[partition.chosen] = np.arange(len(partition.chosen)), partition.margin
    counted = np.full(len(considered), '', object)
    counted[partition.chosen] = [
        ' '.join(f'{components}C_{peaks}P' for components, peaks in each.T) for each in association.tried
    ]
    boxes = considered.box
    known = np.isfinite(boxes).all(axis=1)
    ra, dec = np.full((2, len(considered)), np.nan)
    middle = to_sky(image.wcs, (boxes[known, :2] + boxes[known, 2:]) / 2)
    ra[known], dec[known] = middle.ra.deg, middle.dec.deg
    width, height = (boxes[:, 2:] - boxes[:, :2]).T * pixel_scale(image)
    values = dict(
        Set_id=np.arange(len(considered)),
        Assoc_id=chosen,
        Assoc=considered.n_members,
        Evidence=considered.evidence,
        Margin=margin,
        Probability=considered.probability,
        Certainty=considered.certainty,
        **{f'P_{name}': considered.probabilities[:, k] for k, name in enumerate(CLASSES)},
        N_Found=considered.n_found,
        N_Shown=considered.n_shown,
        Scale=considered.scale,
        Box_RA=ra * u.deg,
        Box_DEC=dec * u.deg,
        Box_Width=width * u.arcsec,
        Box_Height=height * u.arcsec,
        Counted=counted,
    )
    pairs = np.repeat(np.arange(len(considered)), considered.n_members), considered.member
    return Evidence(
        QTable([make_column(spec, values[spec.name]) for spec in SET_COLUMNS]),
        Table([make_column(spec, column) for spec, column in zip(MEMBER_COLUMNS, pairs, strict=True)]),
    )


def write_evidence(evidence: Evidence, path: str | Path, sources: str, provenance: Mapping[str, str]) -> None:
    """Write what was weighed to a FITS file, with the name of the source table that it belongs to."""
    tables = ((evidence.sets, SET_COLUMNS, 'SETS'), (evidence.members, MEMBER_COLUMNS, 'MEMBERS'))
    hdus = [to_hdu(table, specs, name, provenance) for table, specs, name in tables]
    primary = fits.PrimaryHDU()
    primary.header[TABLE_CARD] = (quote(sources, safe=SAFE), 'the source table')
    fits.HDUList([primary, *hdus]).writeto(path)


def explain(folder: str | Path, source: str, image: str | None = None) -> str:
    """Tell why the rows of a source were joined, and what they were not joined to.

    Parameters
    ----------
    folder : path
        Output of ``claran run``, ``claran associate`` or ``claran survey``.
    source : str
        Its ``Source_Name``, or the end of it, such as ``J120000.0+300000``.
    image : str, optional
        Name of the image, where several show the source.

    Raises
    ------
    InputError
        Where the folder has no such output, or no or several such sources.
    """
    sources, evidence, number = _find(Path(folder), source, image)
    row = sources[number]
    members: dict[int, set[int]] = {}
    for set_id, member in evidence.members.iterrows('Set_id', 'Row'):
        members.setdefault(int(set_id), set()).add(int(member))
    sets = evidence.sets
    own = int(np.flatnonzero(np.asarray(sets['Assoc_id']) == int(row['Assoc_id']))[0])
    mine = members[own]
    chosen = sets[np.asarray(sets['Assoc_id']) >= 0]
    owner = {m: int(k) for k, s in zip(chosen['Assoc_id'], chosen['Set_id'], strict=True) for m in members[int(s)]}
    names = dict(zip((int(k) for k in sources['Assoc_id']), sources['Source_Name'], strict=True))
    probabilities = {name: float(row[f'P_{name}']) for name in CLASSES}
    others = [f'{k} {p:.2f}' for k, p in sorted(probabilities.items(), key=lambda kp: -kp[1]) if p >= 0.01]
    lines = [
        f'{row["Source_Name"]}: {_rows(mine)} of the component table (from 0)',
        f'Morphology: {row["Morphology"]} {float(row["Morph_Prob"]):.2f} (all: {", ".join(others)}); '
        f'{_number(row["N_Components"], "component")} and {_number(row["N_Peaks"], "peak")} counted on the image'
        + (f' at {sets["Scale"][own]} times its beam' if sets['Scale'][own] >= FAR_COARSER else '')
        + _told_otherwise(str(sets['Counted'][own]).split()),
        f'Why one source: {_told(sets[own])}.',
    ]
    margin = float(sets['Margin'][own])
    lines.append(_told_margin(margin))
    flags = [meaning for flag, meaning in FLAG_MEANINGS.items() if int(row['Morph_Flag']) & flag]
    if flags:
        lines.append(f'Flags: {"; ".join(flags)}.')
    rivals = [k for k, held in members.items() if k != own and held & mine]
    rivals.sort(key=lambda k: -float(sets['Evidence'][k]))
    lines.append('')
    lines.append('Other sets with some of its rows (evidence is in log odds: 0 is even, +2.2 is 90 %, -2.2 is 10 %):')
    lines += [f'  {_rows(members[k])}: {_told(sets[k])}' for k in rivals[:MOST_SHOWN]] or ['  none was proposed']
    if len(rivals) > MOST_SHOWN:
        lines.append(f'  and {len(rivals) - MOST_SHOWN} with less evidence')
    neighbours = sorted({m for k in rivals for m in members[k]} - mine)
    if neighbours:
        lines += ['', 'Neighbours that were kept apart:']
    for neighbour in neighbours:
        joining = max((k for k in rivals if neighbour in members[k]), key=lambda k: float(sets['Evidence'][k]))
        lines.append(
            f'  row {neighbour} ({names[owner[neighbour]]}): the best set that joins them has evidence '
            f'{float(sets["Evidence"][joining]):+.2f} ({_rows(members[joining])})'
        )
    return '\n'.join(lines)


def _number(n: int, thing: str) -> str:
    return f'{n} {thing}{"" if n == 1 else "s"}'


def _told_otherwise(counted: Sequence[str]) -> str:
    """Tell what other levels of the noise give where that is something else."""
    first, *others = zip(NOISE_TRIED, counted, strict=True)
    told = [
        f'{name} with {abs(level - 1):.0%} {"less" if level < 1 else "more"} noise'
        for level, name in others
        if name != first[1]
    ]
    return f' ({", ".join(told)})' if told else ''


def _told_margin(margin: float) -> str:
    if margin >= CERTAIN:
        return f'No division of its surroundings without this source comes within {CERTAIN:g} of its evidence.'
    return f'The best division of its surroundings without this source has {margin:.2f} less evidence.'


def _find(folder: Path, source: str, image: str | None) -> tuple[Table, Evidence, int]:
    """Find the tables that have a source, and its row in the source table."""
    if not folder.is_dir():
        what = 'is a file' if folder.exists() else 'no such folder'
        raise InputError(f'{folder}: {what}; give the output folder of claran run, associate or survey')
    found = []
    read = 0
    for path in sorted([*folder.glob(f'*{ENDING}'), *folder.glob(f'{PER_IMAGE}/*{ENDING}')]):
        if image is not None and path.name != f'{image}{ENDING}':
            continue
        table = path.parent / unquote(str(fits.getheader(path).get(TABLE_CARD, '')))
        if not table.is_file():
            continue
        read += 1
        sources = Table.read(table, **({'format': 'ascii.csv'} if table.suffix == '.csv' else {}))
        names = [str(name).strip() for name in sources['Source_Name']]
        exact = [k for k, name in enumerate(names) if name == source.strip()]
        found += [(path, sources, k) for k in exact or [k for k, name in enumerate(names) if name.endswith(source)]]
    if not read:
        of_image = f' of an image {image}' if image else ''
        what = f'holds no evidence{of_image}'
        raise InputError(f'{folder}: {what}; give the output folder of claran run, associate or survey')
    images = [path.name.removesuffix(ENDING) for path, *_ in found]
    if len(set(images)) == len(found) > 1:
        raise InputError(f'{folder}: {source!r} is in several images; give one with --image: {", ".join(images)}')
    if len(found) != 1:
        some = f'{len(found)} sources' if found else 'no source'
        raise InputError(f'{folder}: {some} of the name {source!r}; give one Source_Name of the source table, whole')
    path, sources, number = found[0]
    return sources, Evidence(QTable.read(path, hdu='SETS'), Table.read(path, hdu='MEMBERS')), number


def _rows(rows: Iterable[int]) -> str:
    listed = sorted(rows)
    return f'row{"s" if len(listed) > 1 else ""} {", ".join(map(str, listed))}'


def _rounded(arcsec: float) -> str:
    """Round a length: to an arcsec, small ones to two digits."""
    return f'{arcsec:.0f}' if arcsec >= 3 else f'{arcsec:.2g}'


def _told(row: Mapping) -> str:
    """Tell about one set."""
    evidence = f'evidence {float(row["Evidence"]):+.2f}'
    scale, certainty = int(row['Scale']), float(row['Certainty'])
    if not int(row['N_Found']):
        # A row out of its island has no more than this, but an island may have as little beside a likely larger set.
        is_island = int(row['Assoc']) > 1 or float(row['Evidence']) > -SPLIT_PENALTY
        return f'{evidence}, {"an island" if is_island else "by itself"}; no detection claims it'
    alone = log_odds(float(row['Probability'])) + certainty
    if float(row['Evidence']) < alone - 0.05:
        evidence += f', limited by a larger set ({alone:+.2f} by itself)'
    probabilities: NDArray = np.array([float(row[f'P_{name}']) for name in CLASSES])
    likeliest = CLASSES[int(np.argmax(probabilities))]
    where = '' if scale == 1 else f' at {scale} times the beam'
    width, height = (u.Quantity(row[name]).to_value('arcsec') for name in ('Box_Width', 'Box_Height'))
    return (
        f'{evidence}; the detector gives it {float(row["Probability"]):.2f}, likeliest {likeliest}; found in '
        f'{int(row["N_Found"])} of {int(row["N_Shown"])} views{where}, box {_rounded(width)}" x {_rounded(height)}"'
        + (f', {certainty:+.2f} for what the box cuts or leaves out' if certainty < -0.1 else '')
    )

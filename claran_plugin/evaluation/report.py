"""All tables and figures of one evaluation, as files and as one overview."""

import hashlib
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import astropy
import matplotlib
import numpy as np
from astropy.table import Table

from claran_plugin import __version__
from claran_plugin.datasets.rgz_tables import markdown
from claran_plugin.evaluation import field_tables, figures, precision_tables, published
from claran_plugin.evaluation.crossmatch import CrossMatch
from claran_plugin.evaluation.fields import Fields
from claran_plugin.evaluation.precision_tables import counts
from claran_plugin.morphology import CLASSES

OVERVIEW = 'report.md'


@dataclass(frozen=True)
class Evaluation:
    """What is evaluated, and how.

    Attributes
    ----------
    fields : Fields
        With the detections that Section 5's tables count.
    everything : Fields
        With all detections of at least the minimum probability, from which Section 6's tables choose.
    min_iou : float
        Overlap above which a detection is right.
    rule_probability : float
        Of the first rule of Section 6.1.1.
    choice : str
        What was done to the detections of `fields`, in words.
    """

    fields: Fields
    everything: Fields
    min_iou: float = 0.5
    rule_probability: float = 0.8
    choice: str = 'all detections'
    probable: Fields = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, 'probable', self.everything.probable(self.rule_probability))


@dataclass(frozen=True)
class Exhibit:
    """A table or a figure of the report.

    Attributes
    ----------
    name : str
        Of its files, without ending: ``table5``.
    title : str
    caption : str
        One line.
    table : Table
        Of a figure: what it is drawn from.
    draw : function of a path, optional
        Of a figure.
    """

    name: str
    title: str
    caption: str
    table: Table
    draw: Callable[[Path], None] | None = None

    def heading(self) -> str:
        """Give title and caption in Markdown."""
        return f'## {self.title}\n\n{self.caption}\n'


NAMES = {
    'counts': 'Sources and detections',
    'table5': 'Table 5: average precision of six classes',
    'figure10': 'Figure 10: reliability and completeness',
    'table6': 'Table 6: average precision of three classes',
    'table7': 'Table 7: multi-source fields',
    'figure13': 'Figure 13: sizes of the boxes',
    'table8': 'Table 8: correlation of the sizes of boxes',
    'figure14': 'Figure 14: probability and consensus level',
    'table9': 'Table 9: score per field',
    'figure16': 'Figure 16: completeness ratios',
    'table10': 'Table 10: fields by completeness ratio',
    'table11': 'Table 11: multi-source fields by completeness ratio',
}
"""Exhibits in the order of the report, and their titles."""
CROSS_MATCH = {'crossmatch': 'Section 5.8: cross-match', 'crossmatch_pairs': 'Section 5.8: matched pairs'}
"""Those of a cross-match."""


def file_names(*, with_cross_match: bool = False) -> list[str]:
    """Name the files that a report consists of."""
    names = [*NAMES, *(CROSS_MATCH if with_cross_match else ())]
    endings = {name: ('png', 'csv') if name.startswith('figure') else ('md', 'csv') for name in names}
    return [OVERVIEW, *(f'{name}.{ending}' for name in names for ending in endings[name])]


def make_exhibits(evaluation: Evaluation) -> list[Exhibit]:
    """Make all tables and figures of Sections 5 and 6."""
    fields, probable, iou = evaluation.fields, evaluation.probable, evaluation.min_iou
    multi = fields.multi_source()
    rule = f'the rule of {evaluation.rule_probability:g} (Section 6.1.1)'
    ap = f'Eq. 12-14, IoU above {iou:g}, {evaluation.choice}; AP (envelope) is the area under the highest precision at '
    ap += 'each completeness. '
    curves, widths = figures.precision_recall(fields, iou), figures.box_widths(fields, probable)
    levels, ratios = figures.consensus_probabilities(fields, iou), figures.ratio_histogram(probable)
    verified = (
        f'{len(fields.names)} fields here, an arbitrary {published.N_VERIFIED_FIELDS} of the testing set in the paper: '
        'not the same fields.'
    )
    n_multi = len(multi.names)

    def exhibit(name: str, caption: str, table: Table, draw: Callable[[Path], None] | None = None) -> Exhibit:
        return Exhibit(name, NAMES[name], caption, table, draw)

    return [
        exhibit(
            'counts',
            f'Per class; true positives by class and IoU above {iou:g}; probable detections pass {rule}. '
            + comparability(fields),
            counts(fields, probable, iou),
        ),
        exhibit('table5', ap + comparability(fields), precision_tables.six_classes(fields, iou)),
        exhibit(
            'figure10',
            f'One curve per class, {evaluation.choice}.',
            curves,
            lambda path: figures.draw_precision_recall(curves, fields, path, iou),
        ),
        exhibit('table6', 'Classes merged by their number of components; ' + ap + comparability(fields),
                precision_tables.three_classes(fields, iou)),
        exhibit('table7', f'The {n_multi} fields of at least two sources; ' + ap + comparability(fields),
                precision_tables.multi_source(fields, iou)),
        exhibit(
            'figure13',
            f'Detections that pass {rule}, grey the true boxes; box: quartiles, line: median, whiskers: extremes.',
            widths,
            lambda path: figures.draw_box_widths(widths, fields, path),
        ),
        exhibit(
            'table8',
            f'Pearson coefficient of the widths of true positives and their sources, {evaluation.choice}. '
            + comparability(fields),
            precision_tables.box_sizes(fields, iou),
        ),
        exhibit(
            'figure14',
            f'True positives, {evaluation.choice}; box: quartiles, line: median, whiskers: extremes.',
            levels,
            lambda path: figures.draw_consensus_probabilities(levels, path),
        ),
        exhibit(
            'table9',
            f'Right classifications per source, summed over fields; {rule}, then one source per field (rule 2). '
            f'The astronomer\'s row needs a person. {verified}',
            field_tables.verification(probable, iou),
        ),
        exhibit(
            'figure16',
            f'N_classified: detections that pass {rule}; above linear, below logarithmic.',
            ratios,
            lambda path: figures.draw_ratios(ratios, path),
        ),
        exhibit('table10', f'N_classified: detections that pass {rule}. {verified}',
                field_tables.ratios_of_all(probable)),
        exhibit(
            'table11',
            f'As Table 10 for the {n_multi} fields of at least two sources; the paper has '
            f'{published.N_VERIFIED_MULTI_SOURCE_FIELDS} other ones.',
            field_tables.ratios_of_multi_source(probable),
        ),
    ]  # fmt: skip


def cross_match_exhibits(
    match: CrossMatch, classes: Sequence[str], radius_arcsec: float, least: float
) -> list[Exhibit]:
    """Make the tables of a cross-match."""
    text = (
        f'Detections of {", ".join(classes)} of at least {least:g}, catalogued source within {radius_arcsec:g} arcsec.'
    )
    tables = (match.summary, match.matches)
    return [Exhibit(name, title, text, table) for (name, title), table in zip(CROSS_MATCH.items(), tables, strict=True)]


def comparability(fields: Fields) -> str:
    """Say whether the published values are for the same sources."""
    own = {name: sum(int((s.true_classes == k).sum()) for s in fields.subjects) for k, name in enumerate(CLASSES)}
    there = f'{sum(published.N_SOURCES.values()):,} sources in {published.N_FIELDS:,} fields'
    if own == published.N_SOURCES and len(fields.names) == published.N_FIELDS:
        return f"The paper's testing set: {there}."
    return (
        f'Here are {sum(own.values()):,} sources in {len(fields.names):,} fields, in the paper {there}: '
        'the two cannot be compared directly.'
    )


def write_report(exhibits: Sequence[Exhibit], facts: Mapping[str, str], paths: Mapping[str, Path]) -> None:
    """Write every exhibit's files and the overview.

    Parameters
    ----------
    exhibits : sequence of Exhibit
    facts : mapping
        What the overview begins with.
    paths : mapping
        Where to write each file of `file_names`.
    """
    parts = ['# Evaluation\n', '\n'.join(f'- {name}: {text}' for name, text in facts.items()) + '\n']
    for exhibit in exhibits:
        exhibit.table.write(paths[f'{exhibit.name}.csv'], format='ascii.csv', overwrite=True)
        parts.append(exhibit.heading())
        if exhibit.draw:
            exhibit.draw(paths[f'{exhibit.name}.png'])
            parts.append(f'![{exhibit.title}]({exhibit.name}.png)\n')
        else:
            paths[f'{exhibit.name}.md'].write_text(
                f'{exhibit.title}\n\n{exhibit.caption}\n\n{markdown(exhibit.table)}', encoding='utf-8'
            )
            parts.append(markdown(exhibit.table))
    # names of files may be of bytes that are no text
    paths[OVERVIEW].write_text('\n'.join(parts), encoding='utf-8', errors='backslashreplace')


def provenance(predictions: str | Path, truth: str | Path, fields: Fields, command: str) -> dict[str, str]:
    """Tell what an evaluation was made from."""
    facts = {'command': f'`{command}`'} if command else {}
    facts['versions'] = (
        f'claran_plugin {__version__}, numpy {np.__version__}, astropy {astropy.__version__}, '
        f'matplotlib {matplotlib.__version__}, Python {platform.python_version()}'
    )
    for what, path in (('predictions', predictions), ('truth', truth)):
        digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12]
        facts[what] = f'{Path(path).name}, SHA-256 {digest}'
    for key in ('description', 'split', 'command'):
        if fields.info.get(key):
            facts[f'{key} of the truth'] = str(fields.info[key])
    return facts

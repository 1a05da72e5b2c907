"""Tables 1 to 3 and Figures 2 and 3 of Wu et al. 2019 for any selection of Radio Galaxy Zoo subjects."""

from collections import Counter
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import numpy as np
from astropy.table import Table
from matplotlib.figure import Figure
from numpy.typing import NDArray

from claran_plugin.datasets.radio_fields import PIXEL_ARCSEC
from claran_plugin.datasets.rgz_catalogue import MIN_CONSENSUS, RGZSubject, Split
from claran_plugin.datasets.rgz_labels import LabelledSource
from claran_plugin.morphology import CLASSES, class_name, extent_factor
from claran_plugin.subjects import FIELD_PIXELS

BOX_TRIM_PIX = 0.4
"""ClaRAN's boxes are this much smaller than the catalogue's angular extent asks for (mean over 3,500 of them)."""


def box_side(source: LabelledSource) -> float:
    """Give the side of ClaRAN's box around a source, in pixels of 1.375"; it may exceed the field's 132."""
    factor = extent_factor(source.n_components, source.n_peaks)
    return max(factor * source.extent_arcsec / PIXEL_ARCSEC - BOX_TRIM_PIX, 1.0)


def morphology_counts(subjects: Sequence[RGZSubject], min_consensus: float = MIN_CONSENSUS) -> Table:
    """Count the agreed sources of each morphology, those with many components and peaks too (Table 1)."""
    counts = Counter(
        (source.n_components, source.n_peaks) for source in _sources(subjects) if source.consensus >= min_consensus
    )
    return Table(
        rows=[(f'{c}C-{p}P', counts[c, p]) for c, p in sorted(counts)], names=('Morph', 'Count'), dtype=('U8', int)
    )


def set_properties(split: Split) -> Table:
    """Count subjects, sources, components and peaks of the training and the testing set (Table 2)."""
    rows = []
    for name, subjects in (('Training', split.training), ('Testing', split.testing), ('Total', split.all)):
        sources = _sources(subjects)
        components, peaks = (sum(getattr(s, key) for s in sources) for key in ('n_components', 'n_peaks'))
        rows.append((name, len(subjects), len(sources), components, peaks))
    return Table(rows=rows, names=('Set', 'Subjects', 'Sources', 'Components', 'Peaks'))


def class_counts(split: Split) -> Table:
    """Count the sources of each class of the training and the testing set (Table 3)."""
    rows = []
    for name, subjects in (('Training', split.training), ('Testing', split.testing), ('Total', split.all)):
        counts = Counter(class_name(source.n_components, source.n_peaks) for source in _sources(subjects))
        rows.append((name, *(counts[kind] for kind in CLASSES)))
    return Table(rows=rows, names=('Set', *CLASSES))


def markdown(table: Table) -> str:
    """Write a table as Markdown."""
    if not len(table):
        return f'| {" | ".join(table.colnames)} |\n| {" | ".join("-" * len(name) for name in table.colnames)} |\n'
    text = StringIO()
    table.write(
        text,
        format='ascii.fixed_width_two_line',
        delimiter='|',
        delimiter_pad=' ',
        bookend=True,
        position_char='-',
    )
    return text.getvalue()


def draw_consensus(subjects: Sequence[RGZSubject], path: str | Path) -> None:
    """Draw the consensus levels of each class: quartiles, median, and whiskers to the ends (Figure 2)."""
    values = _by_class(subjects, [source.consensus for source in _sources(subjects)])
    _draw_boxes(values, 'Consensus level', path)


def draw_box_sides(subjects: Sequence[RGZSubject], path: str | Path) -> None:
    """Draw the sizes of each class's boxes, at most the field's: quartiles, median, whiskers to the ends (Figure 3)."""
    values = _by_class(subjects, [min(box_side(source), FIELD_PIXELS) for source in _sources(subjects)])
    _draw_boxes(values, f'Box size (pixels of {PIXEL_ARCSEC}")', path)


def _sources(subjects: Sequence[RGZSubject]) -> list[LabelledSource]:
    return [source for subject in subjects for source in subject.sources]


def _by_class(subjects: Sequence[RGZSubject], values: Sequence[float]) -> list[NDArray]:
    kinds = [class_name(source.n_components, source.n_peaks) for source in _sources(subjects)]
    return [np.array([v for v, k in zip(values, kinds, strict=True) if k == kind]) for kind in CLASSES]


def _draw_boxes(values: Sequence[NDArray], label: str, path: str | Path) -> None:
    figure = Figure(figsize=(5.5, 4), layout='constrained')
    axis = figure.add_subplot()
    axis.boxplot(values, whis=(0, 100), widths=0.6)
    axis.set_xticks(range(1, 1 + len(CLASSES)), [f'{k}\n{len(v)}' for k, v in zip(CLASSES, values, strict=True)])
    axis.set_xlabel('class and number of sources')
    axis.set_ylabel(label)
    axis.grid(axis='y', alpha=0.3)
    figure.savefig(path, format='png', dpi=150)

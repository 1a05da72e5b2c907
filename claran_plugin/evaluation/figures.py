"""Figures 10, 13, 14 and 16; each is drawn from a table, which is written beside it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.table import Table, vstack
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from claran_plugin.evaluation.average_precision import average_precision, matched_sources, rank
from claran_plugin.evaluation.field_tables import completeness_ratios
from claran_plugin.evaluation.fields import Fields
from claran_plugin.evaluation.precision_tables import numbers
from claran_plugin.morphology import CLASSES

DPI = 150
COLOURS = ('#0072b2', '#e69f00', '#009e73', '#cc79a7', '#56b4e9', '#d55e00')
"""Of the six classes: Okabe and Ito's, which the colour-blind can tell apart."""
STYLES = ('-', '-', '-', '--', '--', ':')
"""Of lines, by the number of components."""
TRUE_COLOUR = '#d9d9d9'
FEW_POINTS = 10
"""A curve of fewer points may be too short to see, so they are marked."""
BIN_EDGES = (0.6, 0.7, 0.8, 0.9, 1.0)
"""Of consensus levels (Figure 14); the last bin includes its upper edge."""
RATIO_STEP = 0.1
"""Width of the bins of Figure 16."""
QUARTILES = {'whislo': 0, 'q1': 25, 'med': 50, 'q3': 75, 'whishi': 100}
"""Percentiles by the names that matplotlib has for the parts of a box plot; the whiskers are the extremes, as in the
paper's Figure 2."""


def precision_recall(fields: Fields, min_iou: float = 0.5) -> Table:
    """Give the points of the precision-recall curves (Figure 10), one per detection."""
    parts = []
    for k, name in enumerate(CLASSES):
        ranking = rank(fields.subjects, k, min_iou=min_iou)
        part = Table()
        part['Class'] = np.full(len(ranking.hits), name, dtype='U5')
        part['Rank'] = np.arange(1, len(ranking.hits) + 1)
        part['Probability'] = numbers(ranking.probabilities)
        part['Completeness'] = numbers(ranking.recall)
        part['Reliability'] = numbers(ranking.precision)
        parts.append(part)
    return vstack(parts)


def draw_precision_recall(points: Table, fields: Fields, path: Path, min_iou: float = 0.5) -> None:
    """Draw the trade-off between reliability and completeness for each class (Figure 10)."""
    figure = Figure(figsize=(7.6, 4.8), layout='constrained')
    axes = figure.add_subplot()
    for k, name in enumerate(CLASSES):
        result = average_precision(fields.subjects, k, min_iou=min_iou)
        own = points[points['Class'] == name]
        text = f'{name}  AP {result.ap:.3f}, {result.n_true}' if result.n_true else f'{name}  no sources'
        x, y = (np.ma.filled(own[column].astype(float), np.nan) for column in ('Completeness', 'Reliability'))
        marker = 'o' if len(own) < FEW_POINTS else ''
        axes.plot(x, y, color=COLOURS[k], linestyle=STYLES[k], linewidth=1.6, marker=marker, markersize=3, label=text)
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel='completeness (recall)', ylabel='reliability (precision)')
    axes.grid(alpha=0.3)
    figure.legend(loc='outside right upper', fontsize=8, title='class, average precision, sources', title_fontsize=8)
    figure.savefig(path, format='png', dpi=DPI)


def box_widths(fields: Fields, probable: Fields) -> Table:
    """Give the quartiles of the widths of the boxes of each class, detected and true (Figure 13).

    Parameters
    ----------
    fields, probable : Fields
        The second with the detections that pass the first rule of Section 6.1.1, the ones that are counted here.
    """
    rows = []
    for k, name in enumerate(CLASSES):
        found = [s.boxes[s.classes == k] for s in probable.subjects]
        true = [s.true_boxes[s.true_classes == k] for s in fields.subjects]
        for kind, boxes in (('detected', found), ('true', true)):
            stacked = np.concatenate([np.empty((0, 4)), *boxes])
            rows.append(((name, kind), stacked[:, 2] - stacked[:, 0]))
    return _quartile_table(('Class', 'Boxes'), rows, '.2f')


def draw_box_widths(quartiles: Table, fields: Fields, path: Path) -> None:
    """Draw the distribution of box sizes of each class (Figure 13), grey the true ones."""
    figure = Figure(figsize=(7.4, 4.6), layout='constrained')
    axes = figure.add_subplot()
    for kind, shift in (('true', -0.19), ('detected', 0.19)):
        own = quartiles[quartiles['Boxes'] == kind]
        colours = COLOURS if kind == 'detected' else [TRUE_COLOUR] * len(CLASSES)
        _draw_boxes(axes, own, np.arange(len(CLASSES)) + shift, 0.32, colours)
    _name_classes(axes, [int(n) for n in quartiles[quartiles['Boxes'] == 'detected']['Number']])
    axes.set(xlabel='class, number of detections', ylabel='width of the box (pixels)')
    top = float(fields.sizes[:, 0].max(initial=1.0))
    axes.set_ylim(0, top * 1.02)
    if np.isfinite(fields.pixel_arcsec):
        other = axes.twinx()
        other.set_ylim(0, top * 1.02 * fields.pixel_arcsec)
        other.set_ylabel('width (arcsec)')
    axes.legend(handles=[Patch(color=TRUE_COLOUR, label='true'), Patch(color='#888888', label='detected (coloured)')])
    figure.savefig(path, format='png', dpi=DPI)


def consensus_probabilities(fields: Fields, min_iou: float = 0.5) -> Table:
    """Give the quartiles of the probabilities of true positives by class and consensus level (Figure 14)."""
    levels: list[list[float]] = [[] for _ in CLASSES]
    probabilities: list[list[float]] = [[] for _ in CLASSES]
    for subject, consensus in zip(fields.subjects, fields.consensus, strict=True):
        source = matched_sources(subject, min_iou=min_iou)
        for detection in np.flatnonzero(source >= 0):
            levels[subject.classes[detection]].append(consensus[source[detection]])
            probabilities[subject.classes[detection]].append(subject.probabilities[detection])
    rows = []
    for k, name in enumerate(CLASSES):
        place = np.digitize(levels[k], BIN_EDGES[:-1]) - 1
        place[~np.isfinite(np.array(levels[k], float))] = -1
        for number, text in enumerate(_bin_names()):
            rows.append(((name, text), np.array(probabilities[k], float)[place == number]))
    return _quartile_table(('Class', 'Consensus'), rows, '.4f')


def draw_consensus_probabilities(quartiles: Table, path: Path) -> None:
    """Draw probability against consensus level, class by class (Figure 14)."""
    figure = Figure(figsize=(8.2, 4.6), layout='constrained')
    axes = figure.add_subplot()
    for k, name in enumerate(CLASSES):
        own = quartiles[quartiles['Class'] == name]
        positions = np.arange(len(own)) + (k - 2.5) * 0.14
        _draw_boxes(axes, own, positions, 0.12, [COLOURS[k]] * len(own))
    axes.set_xticks(np.arange(len(BIN_EDGES) - 1), _bin_names())
    for edge in np.arange(len(BIN_EDGES) - 2) + 0.5:
        axes.axvline(edge, color='black', alpha=0.15, linewidth=0.8)
    axes.set_xlim(-0.5, len(BIN_EDGES) - 1.5)
    axes.set(xlabel='consensus level', ylabel='probability of true positives', ylim=(0, 1.02))
    axes.grid(axis='y', alpha=0.3)
    found = [int(quartiles[quartiles['Class'] == name]['Number'].sum()) for name in CLASSES]
    handles = [Patch(color=COLOURS[k], label=f'{name}, {found[k]}') for k, name in enumerate(CLASSES)]
    figure.legend(handles=handles, loc='outside right upper', fontsize=8, title='class, number', title_fontsize=8)
    figure.savefig(path, format='png', dpi=DPI)


def ratio_histogram(probable: Fields) -> Table:
    """Count fields by their completeness ratio (Figure 16), in bins around multiples of 0.1."""
    ratio = completeness_ratios(probable)
    finite = ratio[np.isfinite(ratio)]
    middles, n_fields = np.unique(np.round(finite / RATIO_STEP).astype(int), return_counts=True)
    table = Table()
    table['N_true / N_classified'] = [f'{middle * RATIO_STEP:.1f}' for middle in middles] + ['no detection']
    table['Fields'] = [*n_fields, int(np.isinf(ratio).sum())]
    total = table['Fields'].sum()
    table['Share'] = numbers(table['Fields'] / total if total else np.full(len(table), np.nan))
    return table


def draw_ratios(histogram: Table, path: Path) -> None:
    """Draw the distribution of completeness ratios, with a linear and a logarithmic axis (Figure 16)."""
    figure = Figure(figsize=(6.4, 5.6), layout='constrained')
    upper, lower = figure.subplots(2, sharex=True)
    finite = histogram[:-1]
    x = np.array([float(text) for text in finite['N_true / N_classified']])
    share = np.ma.filled(histogram['Share'].astype(float), 0.0)
    last = max(x.max(initial=1.0), 1.0) + 5 * RATIO_STEP
    for axes in (upper, lower):
        axes.bar([*x, last], share, width=0.8 * RATIO_STEP, color=[COLOURS[0]] * len(x) + ['#888888'])
        axes.axvline(1, color='black', alpha=0.25, linewidth=0.8, zorder=0)
        axes.set_ylabel('share of the fields')
        axes.grid(axis='y', alpha=0.3)
    if share.any():  # an empty axis cannot be logarithmic
        lower.set_yscale('log')
        lower.set_ylim(min(share[share > 0].min() / 3, 0.01), 1.5)
    upper.set_ylim(0, 1.05)
    ticks = np.arange(0, np.ceil(last / 0.5 - 1) * 0.5 + 0.01, 0.5)
    ticks = ticks[ticks < last - 2 * RATIO_STEP]
    lower.set_xticks([*ticks, last], [*(f'{tick:g}' for tick in ticks), 'none\ndetected'])
    lower.set_xlim(0, last + 2 * RATIO_STEP)
    lower.set_xlabel(r'$N_\mathrm{true}\,/\,N_\mathrm{classified}$')
    figure.savefig(path, format='png', dpi=DPI)


def _bin_names() -> list[str]:
    closing = [')'] * (len(BIN_EDGES) - 2) + [']']
    return [f'[{low}, {high}{end}' for low, high, end in zip(BIN_EDGES[:-1], BIN_EDGES[1:], closing, strict=True)]


def _quartile_table(keys: Sequence[str], rows: Sequence[tuple[tuple[str, ...], NDArray]], form: str) -> Table:
    table = Table()
    for place, key in enumerate(keys):
        table[key] = [names[place] for names, _ in rows]
    table['Number'] = [len(values) for _, values in rows]
    for name, percentile in zip(('min', 'Q1', 'median', 'Q3', 'max'), QUARTILES.values(), strict=True):
        table[name] = numbers([np.percentile(v, percentile) if len(v) else np.nan for _, v in rows], form)
    return table


def _draw_boxes(axes: Axes, quartiles: Table, positions: NDArray, width: float, colours: Sequence[str]) -> None:
    """Draw the rows of a table of quartiles; whiskers go to the extremes."""
    filled = np.flatnonzero(np.asarray(quartiles['Number']) > 0)
    if not filled.size:
        return
    columns = ('min', 'Q1', 'median', 'Q3', 'max')
    parts = [dict(zip(QUARTILES, map(float, quartiles[k][columns]), strict=True)) for k in filled]
    drawn = axes.bxp(
        parts,
        positions=positions[filled],
        widths=width,
        showfliers=False,
        patch_artist=True,
        manage_ticks=False,
        medianprops=dict(color='black', linewidth=1.4),
    )
    for box, k in zip(drawn['boxes'], filled, strict=True):
        box.set(facecolor=colours[k], edgecolor='black', linewidth=0.7)


def _name_classes(axes: Axes, number: Sequence[int]) -> None:
    axes.set_xticks(np.arange(len(CLASSES)), [f'{name}\n{n}' for name, n in zip(CLASSES, number, strict=True)])
    axes.set_xlim(-0.6, len(CLASSES) - 0.4)
    axes.grid(axis='y', alpha=0.3)

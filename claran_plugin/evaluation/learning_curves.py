"""The parts of the training error over the iterations (Wu et al. 2019, Section 5.1, Figures 8 and 9)."""

import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from astropy.table import Table
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.polynomial import Polynomial
from numpy.typing import NDArray

from claran_plugin.errors import InputError, InputWarning

FILE = 'losses.csv'
"""Where `claran_plugin.hooks.loss_parts.LossParts` writes the samples, in a run's work folder."""
SYMBOLS = {
    'loss_rpn_cls': r'$L_{ac}$, anchors: class',
    'loss_rpn_bbox': r'$L_{ar}$, anchors: offsets',
    'loss_cls': r'$L_{rc}$, regions: class',
    'loss_bbox': r'$L_{rr}$, regions: offsets',
}
"""The four terms of Eq. 11 (Eq. 4, 6, 9 and 10) by mmdet's names, from the lowest in the stack upwards."""
COLOURS = ('#b9c9d6', '#6f93ad', '#f1d9b5', '#c8553d')
SHOWN_EVERY = 200
"""Iterations between the samples that are drawn as points; the polynomial is fitted to all (caption of Figure 8)."""
DEGREE = 9
"""Of the polynomial, which the paper leaves open."""
PUBLISHED_SHARES = {'loss_cls': 'from about 0.60 to 0.35', 'loss_bbox': 'to above 0.55'}
ENDS = 0.05
"""Fraction of the samples that make up the beginning, and the end, of a training."""


def read_losses(path: str | Path) -> Table:
    """Read the samples of a run.

    Parameters
    ----------
    path : path
        The run's work folder, or the file in it.

    Returns
    -------
    Table, one row per sample: ``iteration`` and one column per part of the loss

    Raises
    ------
    InputError
        Where there is no such file, or it holds something else.
    """
    path = Path(path) / FILE if Path(path).is_dir() else Path(path)
    if not path.is_file():
        raise InputError(f'{path}: no such file; give the work folder of a training, in which LossParts wrote {FILE}')
    try:
        samples = Table.read(path, format='ascii.csv')
    except Exception as err:
        raise InputError(
            f'{path}: not a table of losses ({type(err).__name__}); give one that LossParts wrote'
        ) from err
    if 'iteration' not in samples.colnames or len(samples.colnames) < 2 or not len(samples):
        raise InputError(f'{path}: has no samples of losses; give the work folder of a longer training')
    try:
        finite = np.isfinite(training_error(samples))
    except ValueError as err:
        raise InputError(f'{path}: holds {err}; remove that line') from err
    if not finite.any():
        raise InputError(f'{path}: no loss is finite; lower the learning rate of that training')
    if not finite.all():
        warnings.warn(f'{path}: {(~finite).sum()} losses are not finite and left out', InputWarning, stacklevel=2)
    return samples[finite]


def parts_of(samples: Table) -> dict[str, NDArray]:
    """Give the parts of the loss, those of Eq. 11 first."""
    names = [name for name in samples.colnames if name != 'iteration']
    ordered = [name for name in SYMBOLS if name in names] + [name for name in names if name not in SYMBOLS]
    return {name: np.ma.filled(np.ma.asarray(samples[name], float), np.nan) for name in ordered}


def training_error(samples: Table) -> NDArray:
    """Sum the parts (Eq. 11)."""
    return np.sum(list(parts_of(samples).values()), axis=0)


def smoothed(iterations: NDArray, values: NDArray) -> Polynomial:
    """Fit the polynomial of Figure 8; of lower degree where samples are few."""
    degree = int(np.clip(len(iterations) // 5 - 1, 0, DEGREE))
    return Polynomial.fit(iterations, values, degree)


def draw_learning_curves(runs: Mapping[str, Table], path: str | Path) -> None:
    """Draw training error against iteration for each run, as Figure 8 does, into a PNG."""
    figure = Figure(figsize=(7, 4.2), layout='constrained')
    axis = figure.subplots()
    for number, (name, samples) in enumerate(runs.items()):
        draw_learning_curve(axis, samples, f'C{number}', name)
    axis.legend(frameon=False)
    figure.savefig(path, format='png', dpi=150)


def draw_learning_curve(axis: Axes, samples: Table, colour: str, name: str) -> None:
    """Draw one run's samples and the polynomial through them."""
    iterations, error = np.asarray(samples['iteration']), training_error(samples)
    steps = iterations // SHOWN_EVERY
    shown = np.flatnonzero(np.diff(steps, prepend=-1)) if steps[-1] >= 10 else slice(None)
    axis.plot(iterations[shown], error[shown], '.', color=colour, markersize=3, alpha=0.5)
    axis.plot(iterations, smoothed(iterations, error)(iterations), color=colour, label=name)
    axis.set(xlabel='iteration', ylabel='training error', ylim=(0, float(np.percentile(error, 99.5)) * 1.1))


def draw_parts(runs: Mapping[str, Table], path: str | Path) -> None:
    """Draw the parts of each run's training error on top of one another, as Figure 9 does, into a PNG."""
    figure = Figure(figsize=(7, 0.6 + 3.4 * len(runs)), layout='constrained')
    axes = figure.subplots(len(runs), squeeze=False)[:, 0]
    for axis, (name, samples) in zip(axes, runs.items(), strict=True):
        draw_stack(axis, samples)
        axis.set_title(name, fontsize=10, loc='left')
    figure.savefig(path, format='png', dpi=150)


def draw_stack(axis: Axes, samples: Table) -> None:
    """Stack the parts of one run; the regions' classification is hatched."""
    parts = parts_of(samples)
    labels = [SYMBOLS.get(name, name) for name in parts]
    colours = [COLOURS[k % len(COLOURS)] for k in range(len(parts))]
    areas = axis.stackplot(samples['iteration'], *parts.values(), labels=labels, colors=colours, linewidth=0)
    for name, area in zip(parts, areas, strict=True):
        if name == 'loss_cls':
            area.set(hatch='////', edgecolor='#40342a', linewidth=0)
    axis.set(xlabel='iteration', ylabel='training error', ylim=(0, np.percentile(training_error(samples), 99.5) * 1.1))
    axis.margins(x=0)
    handles, names = axis.get_legend_handles_labels()
    axis.legend(handles[::-1], names[::-1], frameon=False, fontsize=8)


def shares(samples: Table) -> dict[str, tuple[float, float]]:
    """Give each part's share of the training error in the beginning and in the end."""
    parts, error = parts_of(samples), training_error(samples)
    number = max(int(ENDS * len(samples)), 1)
    return {
        name: (values[:number].sum() / error[:number].sum(), values[-number:].sum() / error[-number:].sum())
        for name, values in parts.items()
    }


def correlations(samples: Table) -> Table:
    """Correlate the parts over the samples (Pearson), one row and one column per part."""
    parts = parts_of(samples)
    with np.errstate(invalid='ignore', divide='ignore'):  # a part that never changes has none
        matrix = np.atleast_2d(np.corrcoef(list(parts.values())))
    return Table([list(parts), *matrix.T], names=['part', *parts])


def report(runs: Mapping[str, Table]) -> str:
    """Write the numbers of Section 5.1 beside the published ones, as Markdown."""
    lines = []
    for name, samples in runs.items():
        error, curve = training_error(samples), smoothed(np.asarray(samples['iteration']), training_error(samples))
        ends = [float(curve(samples['iteration'][k])) for k in (0, -1)]
        lines += [
            f'## {name}',
            '',
            f'{len(samples)} samples up to iteration {samples["iteration"][-1]}. Training error, by the polynomial: '
            f'{ends[0]:.3f} to {ends[1]:.3f} (the paper, D4: 0.35 to 0.05 with frozen low layers, else 0.7 to 0.28).',
            '',
            f'| part | mean | first {ENDS:.0%} | last {ENDS:.0%} | in the paper |',
            '|---|---|---|---|---|',
        ]
        for part, (first, last) in shares(samples).items():
            mean = parts_of(samples)[part].mean() / error.mean()
            lines.append(f'| `{part}` | {mean:.3f} | {first:.3f} | {last:.3f} | {PUBLISHED_SHARES.get(part, "")} |')
        table = correlations(samples)
        lines += [
            '',
            'Correlation of the parts (in the paper, `loss_cls` with `loss_bbox`: 0.508):',
            '',
            '| |' + '|'.join(f' `{part}` ' for part in table['part']) + '|',
            '|---|' + '---|' * len(table),
            *(f'| `{row["part"]}` |' + '|'.join(f' {row[part]:.3f} ' for part in table['part']) + '|' for row in table),
            '',
        ]
    return '\n'.join(lines)

"""Whether probabilities mean what they say: tables, diagrams, expected calibration error, and a logistic line."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize

from claran_plugin.calibration import logistic

EDGES = (0, 0.3, 0.5, 0.7, 0.85, 0.95, 1)
LIGHT = 0.002
"""Weight of the distance from where a fit begins, beside a mean over hundreds of likelihoods."""


def bins(probability: NDArray, correct: NDArray, edges: Sequence[float] = EDGES) -> list[Sequence[float]]:
    """Give low edge, high edge, number, mean probability and share that is right of each bin that is not empty."""
    rows: list[Sequence[float]] = []
    for low, high in itertools.pairwise(edges):
        inside = (probability >= low) & ((probability < high) | (high == 1))
        if inside.any():
            rows.append((low, high, int(inside.sum()), probability[inside].mean(), correct[inside].mean()))
    return rows


def expected_error(rows: Sequence[Sequence[float]]) -> float:
    """Give the expected calibration error of `bins`: the mean distance, weighted by number."""
    return sum(row[2] * abs(row[3] - row[4]) for row in rows) / max(sum(row[2] for row in rows), 1)


def reliability_table(title: str, probability: NDArray, correct: NDArray, edges: Sequence[float] = EDGES) -> str:
    """Tabulate how often statements of a probability are right, in bins, and the expected calibration error."""
    rows = bins(probability, correct, edges)
    lines = [f'{title}: bin, number, mean probability, share right']
    lines += [
        f'  {low:.2f}-{high:.2f} {number:6.0f} {stated:8.3f} {true:8.3f}' for low, high, number, stated, true in rows
    ]
    return '\n'.join([*lines, f'  expected calibration error {expected_error(rows):.3f}'])


def draw_reliability(panels: Mapping[str, tuple[NDArray, NDArray]], path: Path) -> None:
    """Draw one diagram for each pair of probabilities and what was right, with binomial errors."""
    figure = Figure(figsize=(4.2 * len(panels), 4.2))
    for axis, (title, (probability, correct)) in zip(
        np.atleast_1d(figure.subplots(1, len(panels))), panels.items(), strict=True
    ):
        rows = np.array(bins(probability, correct)).reshape(-1, 5)
        error = np.sqrt(np.maximum(rows[:, 3] * (1 - rows[:, 3]), 0.01) / rows[:, 2])
        axis.plot([0, 1], [0, 1], color='#999999', lw=1)
        axis.errorbar(rows[:, 3], rows[:, 4], error, fmt='o', color='#27506e', capsize=2)
        for row in rows:
            axis.annotate(f'{row[2]:.0f}', (row[3], row[4]), (5, -9), textcoords='offset points', fontsize=8)
        axis.set(xlim=(0, 1.03), ylim=(0, 1.03), xlabel='stated', ylabel='right', aspect='equal')
        axis.set_title(f'{title}, expected calibration error {expected_error(rows.tolist()):.3f}', fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=80, format='png')


def fit_line(
    value: ArrayLike, right: ArrayLike, start: tuple[float, float] = (1.0, 0.0), *, hold: float = LIGHT
) -> tuple[float, float]:
    """Fit the logistic line of a probability.

    Parameters
    ----------
    value : (n,) array
    right : (n,) bool array
    start : (a, b)
        Where the fit begins, see `claran_plugin.calibration.logistic`.
    hold : float
        Weight of the squared distance from there, in ln a and b, beside the mean negative log likelihood.
    """
    if not np.size(value):
        return start
    beginning = np.array([np.log(start[0]), start[1]])

    def cost(line: NDArray) -> float:
        p = logistic(value, (float(np.exp(line[0])), float(line[1]))).clip(1e-6, 1 - 1e-6)
        return float(-np.mean(np.where(right, np.log(p), np.log(1 - p))) + hold * np.sum((line - beginning) ** 2))

    x = minimize(cost, beginning, method='Nelder-Mead').x
    return float(np.exp(x[0])), float(x[1])

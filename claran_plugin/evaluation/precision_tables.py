"""Tables 5 to 8: average precision of six and of three classes, in multi-source fields, and the sizes of boxes."""

from collections.abc import Mapping, Sequence

import numpy as np
from astropy.table import MaskedColumn, Table
from numpy.typing import ArrayLike, NDArray

from claran_plugin.evaluation import published
from claran_plugin.evaluation.average_precision import (
    Evaluated,
    average_precision,
    by_components,
    matched_sources,
    mean_average_precision,
)
from claran_plugin.evaluation.fields import Fields
from claran_plugin.morphology import CLASSES, components_of

COMPONENTS = ('1C', '2C', '3C')
"""The classes of Tables 6 and 7."""
FEWEST_PAIRS = 3
"""A correlation coefficient of two pairs says nothing."""


def numbers(values: ArrayLike, form: str = '.4f') -> MaskedColumn:
    """Make a column that is blank where there is no number."""
    values = np.asarray(values, float)
    return MaskedColumn(values, mask=~np.isfinite(values), format=form)


def six_classes(fields: Fields, min_iou: float = 0.5) -> Table:
    """Give the average precision of each class (Table 5)."""
    return _precision(fields.subjects, CLASSES, min_iou, published.TABLE_5, published.METHODS, published.N_SOURCES)


def three_classes(fields: Fields, min_iou: float = 0.5) -> Table:
    """Give the average precision where only the number of components counts (Table 6)."""
    n_published = {
        name: sum(n for kind, n in published.N_SOURCES.items() if kind.startswith(name)) for name in COMPONENTS
    }
    return _three_classes(fields, min_iou, published.TABLE_6, n_published)


def multi_source(fields: Fields, min_iou: float = 0.5) -> Table:
    """Give the same for the fields of at least two sources (Table 7)."""
    return _three_classes(fields.multi_source(), min_iou, published.TABLE_7, published.N_MULTI_SOURCE)


def _three_classes(
    fields: Fields, min_iou: float, values: Mapping[str, Sequence[float]], n_published: Mapping[str, int]
) -> Table:
    merged = by_components(fields.subjects, [components_of(name) for name in CLASSES])
    return _precision(merged, COMPONENTS, min_iou, values, published.BEST_METHODS, n_published)


def _precision(
    subjects: Sequence[Evaluated],
    names: Sequence[str],
    min_iou: float,
    values: Mapping[str, Sequence[float]],
    methods: Sequence[str],
    n_published: Mapping[str, int],
) -> Table:
    results = [average_precision(subjects, k, min_iou=min_iou) for k in range(len(names))]
    rows = (*names, 'mean')
    table = Table()
    table['Class'] = (*names, 'mean or sum')
    table['Sources'] = [*(r.n_true for r in results), sum(r.n_true for r in results)]
    table['Detections'] = [*(r.n_detected for r in results), sum(r.n_detected for r in results)]
    table['AP'] = numbers([*(r.ap for r in results), mean_average_precision(results)])
    table['AP (envelope)'] = numbers([*(r.envelope for r in results), mean_average_precision(results, envelope=True)])
    for place, method in enumerate(methods):
        table[f'paper {method}'] = numbers([values[name][place] for name in rows])
    table['paper sources'] = [*(n_published[name] for name in names), sum(n_published.values())]
    return table


def matched_widths(fields: Fields, min_iou: float = 0.5) -> list[NDArray]:
    """Give the widths of the boxes of true positives and of their true sources: (n, 2) pixels for each class."""
    pairs: list[list[NDArray]] = [[np.empty((0, 2))] for _ in CLASSES]
    for subject in fields.subjects:
        source = matched_sources(subject, min_iou=min_iou)
        width, true_width = (boxes[:, 2] - boxes[:, 0] for boxes in (subject.boxes, subject.true_boxes))
        for k in np.unique(subject.classes[source >= 0]):
            own = (source >= 0) & (subject.classes == k)
            pairs[k].append(np.column_stack([width[own], true_width[source[own]]]))
    return [np.concatenate(parts) for parts in pairs]


def box_sizes(fields: Fields, min_iou: float = 0.5) -> Table:
    """Correlate the widths of detected boxes with those of their true sources (Table 8)."""
    pairs = matched_widths(fields, min_iou)
    table = Table()
    table['Class'] = CLASSES
    table['Sources'] = _counts(fields)
    table['Matched'] = [len(pair) for pair in pairs]
    table['Correlation'] = numbers([_correlation(pair) for pair in pairs])
    table['Median ratio of widths'] = numbers(
        [np.median(pair[:, 0] / pair[:, 1]) if len(pair) else np.nan for pair in pairs], '.3f'
    )
    table['paper D3, D4'] = [f'> {published.TABLE_8_ABOVE}'] * len(CLASSES)
    return table


def _correlation(pairs: NDArray) -> float:
    if len(pairs) < FEWEST_PAIRS or (np.ptp(pairs, axis=0) == 0).any():
        return np.nan
    return float(np.corrcoef(pairs.T)[0, 1])


def counts(fields: Fields, probable: Fields, min_iou: float = 0.5) -> Table:
    """Count sources, detections and true positives of each class.

    Parameters
    ----------
    fields : Fields
        With the detections of Section 5.
    probable : Fields
        The same with those that pass the first rule of Section 6.1.1.
    """
    table = Table()
    table['Class'] = (*CLASSES, 'all')
    table['Sources'] = _with_total(_counts(fields))
    table['paper sources'] = _with_total(list(published.N_SOURCES.values()))
    table['Detections'] = _with_total(_detected(fields))
    table['True positives'] = _with_total([len(pairs) for pairs in matched_widths(fields, min_iou)])
    table['Probable detections'] = _with_total(_detected(probable))
    return table


def _with_total(values: Sequence[int]) -> list[int]:
    return [*values, sum(values)]


def _counts(fields: Fields) -> list[int]:
    return [sum(int((s.true_classes == k).sum()) for s in fields.subjects) for k in range(len(CLASSES))]


def _detected(fields: Fields) -> list[int]:
    return [sum(int((s.classes == k).sum()) for s in fields.subjects) for k in range(len(CLASSES))]

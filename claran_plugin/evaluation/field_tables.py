"""Tables 9 to 11: how many of each field's sources were classified rightly, and how many classifications it got."""

from collections.abc import Mapping, Sequence

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from claran_plugin.evaluation import published
from claran_plugin.evaluation.average_precision import matched_sources
from claran_plugin.evaluation.fields import Fields
from claran_plugin.evaluation.precision_tables import numbers


def field_scores(fields: Fields, min_iou: float = 0.5) -> NDArray:
    """Give the share of each field's sources that have a right classification, (n,); NaN without sources.

    Right is what Section 5.2 calls a true positive: the class is the source's and the boxes overlap.
    """
    right = [int((matched_sources(subject, min_iou=min_iou) >= 0).sum()) for subject in fields.subjects]
    n_true = fields.n_true
    return np.divide(right, n_true, out=np.full(len(n_true), np.nan), where=n_true > 0)


def verification(probable: Fields, min_iou: float = 0.5) -> Table:
    """Sum the score of all fields against the truth (Table 9).

    Parameters
    ----------
    probable : Fields
        With the detections that pass the first rule of Section 6.1.1; the second one is applied here.
    """
    one, all_of_them = (field_scores(fields, min_iou) for fields in (probable.likeliest(), probable))
    rows = ('RGZ DR1', 'RGZ DR1, without rule 2', 'Astronomer')
    scores = np.array([np.nansum(one), np.nansum(all_of_them), np.nan])
    n_fields = np.array([np.isfinite(one).sum()] * 2 + [np.nan])
    table = Table()
    table['Compared to'] = rows
    table['Fields'] = numbers(n_fields, '.0f')
    table['Score'] = numbers(scores, '.1f')
    table['Score per field'] = numbers(
        np.divide(scores, n_fields, out=np.full(len(rows), np.nan), where=n_fields > 0), '.3f'
    )
    for place, method in enumerate(published.BEST_METHODS):
        values = np.array([published.TABLE_9.get(name, (np.nan,) * 2)[place] for name in rows])
        table[f'paper {method}'] = numbers(values, '.1f')
        table[f'paper {method} per field'] = numbers(values / published.N_VERIFIED_FIELDS, '.3f')
    return table


def completeness_ratios(probable: Fields) -> NDArray:
    """Divide the number of sources of each field by that of its classifications (Section 6.2.2).

    Returns
    -------
    (n,) array; infinite where nothing was detected, NaN where there is neither source nor detection
    """
    with np.errstate(divide='ignore', invalid='ignore'):
        return np.divide(probable.n_true, probable.n_detected)


def ratios_of_all(probable: Fields) -> Table:
    """Divide the fields by their completeness ratio (Table 10)."""
    return _by_ratio(probable, published.TABLE_10)


def ratios_of_multi_source(probable: Fields) -> Table:
    """Divide the fields of at least two sources by their completeness ratio (Table 11)."""
    return _by_ratio(probable.multi_source(), published.TABLE_11)


def _by_ratio(probable: Fields, values: Mapping[str, Sequence[float]]) -> Table:
    ratio = completeness_ratios(probable)
    n_fields = np.array([(ratio == 1).sum(), (ratio < 1).sum(), (ratio > 1).sum()])
    table = Table()
    table['N_true / N_classified'] = list(values)
    table['Fields'] = n_fields
    table['Share'] = numbers(n_fields / max(n_fields.sum(), 1) if n_fields.sum() else np.full(3, np.nan), '.3f')
    for place, method in enumerate(published.BEST_METHODS):
        table[f'paper {method}'] = numbers([values[name][place] for name in values], '.3f')
    return table

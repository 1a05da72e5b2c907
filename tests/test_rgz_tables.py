"""The paper's Tables 1 to 3 and Figures 2 and 3, and its rule for boxes, from the catalogue alone."""

import json

import numpy as np
import pytest
from astropy.table import Table
from rgz_files import Source, Subject
from rgz_runs import catalogue, folders, published

from claran_plugin.cli import main
from claran_plugin.datasets import rgz_tables
from claran_plugin.datasets.rgz_catalogue import published_split, select
from claran_plugin.datasets.rgz_tables import (
    box_side,
    class_counts,
    draw_box_sides,
    draw_consensus,
    markdown,
    morphology_counts,
    set_properties,
)
from claran_plugin.morphology import CLASSES

__all__ = ['folders', 'published']  # fixtures


def test_tables_2_and_3_are_the_paper_s(published):
    chosen = select(published)
    assert len(chosen) == len(published) == 10_744, 'the selection has been made already'
    split = published_split(chosen)
    assert [tuple(row) for row in set_properties(split)] == [
        ('Training', 6141, 6978, 9566, 12441),
        ('Testing', 4603, 4858, 7397, 9885),
        ('Total', 10744, 11836, 16963, 22326),
    ]
    table = class_counts(split)
    assert table.colnames == ['Set', *CLASSES]
    assert [tuple(row) for row in table] == [
        ('Training', 3518, 810, 728, 647, 609, 666),
        ('Testing', 1782, 521, 684, 604, 599, 668),
        ('Total', 5300, 1331, 1412, 1251, 1208, 1334),
    ]


def test_what_of_table_1_is_in_the_catalogue_is_the_paper_s(published):
    # The paper counts all of DR1; only 1C-3P was taken whole into the released selection.
    counts = dict(zip(*morphology_counts(published).itercols(), strict=True))
    assert counts['1C-3P'] == 1412
    table_1 = {'1C-1P': 49766, '1C-2P': 14242, '1C-3P': 1412, '2C-2P': 9772, '2C-3P': 1220, '3C-3P': 1347}
    assert set(counts) == set(table_1)
    assert all(counts[name] <= table_1[name] for name in table_1)


@pytest.fixture
def drawn(monkeypatch):
    """Catch what figures are drawn of."""
    values = []
    draw = rgz_tables._draw_boxes
    monkeypatch.setattr(rgz_tables, '_draw_boxes', lambda v, *rest: (values.extend(v), draw(v, *rest)))
    return values


def test_figure_2_is_as_the_paper_describes_it(published, drawn, tmp_path):
    draw_consensus(select(published), tmp_path / 'figure2.png')
    medians = [float(np.median(v)) for v in drawn]
    assert medians == pytest.approx([1.0, 0.98, 1.0, 0.76, 0.76, 0.73], abs=0.0101)
    assert np.sum(drawn[2] == 1.0) == 1133
    assert np.quantile(drawn[1], 0.75) == 1.0
    assert np.quantile(drawn[5], [0.25, 0.75]) == pytest.approx([0.66, 0.81], abs=0.0101)
    assert (tmp_path / 'figure2.png').read_bytes()[:4] == b'\x89PNG'


def test_figure_3_is_as_the_paper_describes_it(published, drawn, tmp_path):
    draw_box_sides(published_split(published).training, tmp_path / 'figure3.png')
    one, two, three, two_two, two_three, three_three = (float(np.median(v)) for v in drawn)
    assert one < two < three
    assert two < two_two
    assert three < two_three < three_three
    assert max(v.max() for v in drawn) == 132


def test_table_1_counts_sources_that_are_left_out(tmp_path):
    simple, complex_ = Source(((0, 0),), 1, 20), Source(((0, 0),) * 5, 7, 90)
    subjects = catalogue(
        tmp_path,
        Subject('FIRSTJ100000.0+200000', (simple, complex_)),
        Subject('FIRSTJ100001.0+200000', (simple, simple._replace(consensus=0.3))),
    )
    assert [tuple(row) for row in morphology_counts(subjects)] == [('1C-1P', 2), ('5C-7P', 1)]
    assert [tuple(row) for row in morphology_counts(subjects, 0.2)] == [('1C-1P', 3), ('5C-7P', 1)]


def test_markdown():
    assert markdown(Table(dict(a=['x', 'yy'], b=[1, 22]))).splitlines() == [
        '|  a |  b |',
        '| -- | -- |',
        '|  x |  1 |',
        '| yy | 22 |',
    ]


def test_without_images_only_tables_and_figures(folders, tmp_path, capsys):
    assert main(['dataset', 'rgz', str(folders[0]), '-o', str(tmp_path / 'out')]) == 0
    names = {f'table{k}.{ending}' for k in (1, 2, 3) for ending in ('md', 'csv')} | {'figure2.png', 'figure3.png'}
    assert {path.name for path in (tmp_path / 'out').iterdir()} == names
    printed = capsys.readouterr().out
    for k in (1, 2, 3):
        assert (tmp_path / 'out' / f'table{k}.md').read_text() in printed
    table = Table.read(tmp_path / 'out' / 'table2.csv')
    assert list(table['Sources']) == [4, 2, 6]


def test_box_sides_are_those_that_claran_was_trained_with(published, data_dir):
    # all of the published boxes, by the catalogue alone
    boxes = json.loads((data_dir / 'rgz' / 'boxes_132px_train.json').read_text())
    differences = []
    for subject in published:
        if len(subject.sources) == 1 and len(boxes.get(subject.name, [])) == 1:
            x1, y1, x2, y2, _ = boxes[subject.name][0]
            if min(x1, y1) > 1 and max(x2, y2) < 130:
                differences.append((x2 - x1 + y2 - y1) / 2 - box_side(subject.sources[0]))
    assert len(differences) > 2500
    assert abs(np.mean(differences)) < 0.1
    assert np.std(differences) < 1

"""``claran evaluate``: what it writes, what it refuses, and the cross-match."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Table
from astropy.wcs import WCS
from small_evaluation import FIELDS, FOUND, coco_truth, detection, write_case

from claran_plugin.cli import main
from claran_plugin.errors import InputError
from claran_plugin.evaluation.crossmatch import chosen_classes, cross_match, detected_positions, read_positions
from claran_plugin.evaluation.fields import read_truth
from claran_plugin.evaluation.predictions import read_predictions
from claran_plugin.evaluation.report import file_names
from claran_plugin.morphology import CLASSES


@pytest.fixture
def case(tmp_path):
    return [str(path) for path in write_case(tmp_path)]


def run(capsys, *arguments):
    """Run the command; give exit code, stdout and stderr."""
    code = main(['evaluate', *map(str, arguments)])
    told = capsys.readouterr()
    return code, told.out, told.err


def fails(capsys, *arguments):
    """Run the command, which must fail with one line; give that line."""
    code, _, err = run(capsys, *arguments)
    assert code == 1
    assert err.startswith('claran: ')
    assert err.count('\n') == 1
    return err


# ---- what is written


def test_everything_is_written(case, tmp_path, capsys):
    out = tmp_path / 'out'
    code, told, err = run(capsys, *case, '-o', out)
    assert (code, err) == (0, '')
    assert sorted(path.name for path in out.iterdir()) == sorted(file_names())
    for name in file_names():
        assert str(out / name) in told
        if name.endswith('.png'):
            assert (out / name).read_bytes().startswith(b'\x89PNG')
    numbers = {f'table{k}' for k in range(5, 12)} | {f'figure{k}' for k in (10, 13, 14, 16)}
    assert numbers <= {name.split('.')[0] for name in file_names()}


def test_markdown_and_csv_say_the_same(case, tmp_path, capsys):
    out = tmp_path / 'out'
    run(capsys, *case, '-o', out)
    overview = (out / 'report.md').read_text()
    for path in out.glob('*.md'):
        if path.name == 'report.md':
            continue
        rows = [line for line in path.read_text().splitlines() if line.startswith('|')]
        assert '\n'.join(rows) in overview
        cells = [[cell.strip() for cell in row.strip('|').split('|')] for row in rows]
        table = Table.read(path.with_suffix('.csv'), format='ascii.csv', converters={'*': str})
        assert cells[0] == table.colnames
        assert len({len(row) for row in cells}) == 1
        content = [[str(cell) if cell is not np.ma.masked else '' for cell in row] for row in table]
        assert cells[2:] == content
    for path in out.glob('*.png'):
        assert f']({path.name})' in overview


def test_overview_is_in_the_order_of_the_paper_and_says_what_it_is_of(case, tmp_path, capsys):
    run(capsys, *case, '-o', tmp_path / 'out')
    text = (tmp_path / 'out' / 'report.md').read_text()
    headings = [line for line in text.splitlines() if line.startswith('## Table')]
    assert [int(line.split()[2].rstrip(':')) for line in headings] == list(range(5, 12))
    assert f'claran evaluate {case[0]}' in text
    assert 'claran_plugin' in text
    assert 'Here are 6 sources in 5 fields, in the paper 4,858 sources in 4,603 fields' in text


def test_same_input_same_files(case, tmp_path, capsys):
    contents = []
    for _ in range(2):
        run(capsys, *case, '-o', tmp_path / 'out', '--overwrite')
        contents.append({p.name: p.read_bytes() for p in (tmp_path / 'out').iterdir()})
    assert contents[0] == contents[1]


def test_existing_output_is_kept_without_overwrite(case, tmp_path, capsys):
    out = tmp_path / 'out'
    out.mkdir()
    (out / 'table7.csv').write_text('mine')
    assert '--overwrite' in fails(capsys, *case, '-o', out)
    assert [path.name for path in out.iterdir()] == ['table7.csv']
    assert (out / 'table7.csv').read_text() == 'mine'
    assert run(capsys, *case, '-o', out, '--overwrite')[0] == 0
    assert (out / 'table7.csv').read_text() != 'mine'


def test_nothing_is_left_of_a_run_that_fails(case, tmp_path, capsys, monkeypatch):
    from claran_plugin.evaluation import figures

    def broken(*args):
        raise OSError('disk full')

    monkeypatch.setattr(figures, 'draw_ratios', broken)
    assert 'disk full' in fails(capsys, *case, '-o', tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


# ---- options


def first_row(folder, name, column):
    return Table.read(folder / f'{name}.csv', format='ascii.csv')[column]


def test_minimum_probability_filter_and_overlap(case, tmp_path, capsys):
    out = tmp_path / 'out'
    expected = {
        (): 9,
        ('--min-probability', '0.55'): 7,
        ('--filter', 'probable'): 7,
        ('--filter', 'probable', '--filter-probability', '0.4'): 8,
        ('--filter', 'likeliest'): 5,
        ('--consensus', '0.7'): 8,
        ('--consensus', '0.99'): 2,
    }
    for options, number in expected.items():
        assert run(capsys, *case, '-o', out, '--overwrite', *options)[0] == 0
        assert first_row(out, 'table5', 'Detections')[-1] == number
    run(capsys, *case, '-o', out, '--overwrite', '--min-iou', '0.999')
    assert list(first_row(out, 'counts', 'True positives'))[-1] == 1  # 1C_2P in field 5 fits exactly


def test_section_6_is_not_changed_by_the_filter(case, tmp_path, capsys):
    for options in ((), ('--filter', 'likeliest')):
        run(capsys, *case, '-o', tmp_path / 'out', '--overwrite', *options)
        assert list(first_row(tmp_path / 'out', 'table10', 'Fields')) == [2, 2, 1]


@pytest.mark.parametrize(
    'options', [('--min-probability', '1.5'), ('--min-iou', '-1'), ('--filter', 'some'), ('--consensus', 'x')]
)
def test_wrong_usage(case, tmp_path, capsys, options):
    with pytest.raises(SystemExit) as stopped:
        main(['evaluate', *case, '-o', str(tmp_path / 'out'), *options])
    assert stopped.value.code == 2


def test_no_field_is_agreed_on(case, tmp_path, capsys):
    folder = tmp_path / 'doubtful'
    folder.mkdir()
    doubtful = write_case(folder, [([('1C_1P', 10, 10, 20, 0.7)], 0.0, 0.0)], [])
    assert '--consensus' in fails(capsys, *doubtful, '-o', tmp_path / 'out', '--consensus', '0.9')


# ---- nothing to judge


def test_empty_predictions_are_valid(tmp_path, capsys):
    predictions, truth = write_case(tmp_path, found=[])
    code, _, err = run(capsys, predictions, truth, '-o', tmp_path / 'out')
    assert code == 0
    assert 'warning' in err
    assert 'no detections' in err
    ap = first_row(tmp_path / 'out', 'table5', 'AP')
    assert ap[-1] == 0
    assert np.ma.masked_array(ap).mask.tolist() == [False, False, True, True, False, False, False]
    assert first_row(tmp_path / 'out', 'table9', 'Score')[0] == 0


def test_fields_without_sources(tmp_path, capsys):
    predictions, truth = write_case(tmp_path, [([], 1.0, 2.0)], [detection(1, '1C_1P', 0, 0, 9, 0.9)])
    code, _, err = run(capsys, predictions, truth, '-o', tmp_path / 'out')
    assert code == 0
    assert 'no true sources' in err


# ---- bad input


def broken_truths():
    good = coco_truth(FIELDS)
    yield 'nothing', None
    yield 'no JSON', 'nonsense{'
    yield 'a list', []
    yield 'no images', {**good, 'images': [], 'annotations': []}
    yield 'no categories', {key: good[key] for key in ('images', 'annotations')}
    yield 'other classes', {**good, 'categories': [dict(id=k, name=name) for k, name in enumerate(('FR-I', 'FR-II'))]}
    yield 'too few classes', {**good, 'categories': good['categories'][:5]}
    yield 'no size', {**good, 'images': [dict(id=image['id']) for image in good['images']]}
    yield 'twice', {**good, 'images': good['images'] + good['images'][:1]}
    yield 'stray source', {**good, 'images': good['images'][:1]}
    yield 'no box', {**good, 'annotations': [{**good['annotations'][0], 'bbox': None}]}
    yield 'short box', {**good, 'annotations': [{**good['annotations'][0], 'bbox': [1, 2, 3]}]}
    yield 'unknown class', {**good, 'annotations': [{**good['annotations'][0], 'category_id': 9}]}
    yield 'beyond the pole', {**good, 'images': [{**image, 'dec': 95.0} for image in good['images']]}


@pytest.mark.parametrize('content', [content for _, content in broken_truths()], ids=[n for n, _ in broken_truths()])
def test_bad_truth(case, tmp_path, capsys, content):
    path = tmp_path / 'bad.json'
    if content is not None:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    text = fails(capsys, case[0], path, '-o', tmp_path / 'out')
    assert 'bad.json' in text
    assert 'claran dataset rgz' in text
    assert not (tmp_path / 'out').exists()


def broken_predictions():
    one = FOUND[0]
    yield 'nothing', None, 'outfile_prefix'
    yield 'no JSON', 'image,score\n1,2\n', 'outfile_prefix'
    yield 'binary', b'\xff\xfe\x00\x01', 'outfile_prefix'
    yield 'a dict', {'annotations': [one]}, 'outfile_prefix'
    yield 'boxes only', [[1, 2, 3, 4]], 'outfile_prefix'
    yield 'no score', [{key: value for key, value in one.items() if key != 'score'}], 'outfile_prefix'
    yield 'unknown image', [one, {**one, 'image_id': 77}], 'made for this truth'
    yield 'image as text', [{**one, 'image_id': '1'}], 'made for this truth'
    yield 'list as image', [{**one, 'image_id': [1]}], 'outfile_prefix'
    yield 'unknown class', [{**one, 'category_id': 0}], 'made for this truth'
    yield 'no box', [{**one, 'bbox': None}], 'outfile_prefix'
    yield 'negative side', [{**one, 'bbox': [1, 2, -3, 4]}], 'outfile_prefix'
    yield 'infinite', [{**one, 'bbox': [1, 2, float('inf'), 4]}], 'outfile_prefix'
    yield 'score in percent', [{**one, 'score': 97.0}], 'outfile_prefix'
    yield 'score not a number', [{**one, 'score': float('nan')}], 'outfile_prefix'
    yield 'score as text', [{**one, 'score': 'high'}], 'outfile_prefix'
    yield 'scores in lists', [{**one, 'score': [0.5]}], 'outfile_prefix'


@pytest.mark.parametrize(
    ('content', 'remedy'),
    [entry[1:] for entry in broken_predictions()],
    ids=[entry[0] for entry in broken_predictions()],
)
def test_bad_predictions(case, tmp_path, capsys, content, remedy):
    path = tmp_path / 'bad.json'
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    text = fails(capsys, path, case[1], '-o', tmp_path / 'out')
    assert 'bad.json' in text
    assert remedy in text
    assert not (tmp_path / 'out').exists()


def test_predictions_whose_name_is_no_text(case, tmp_path):
    path = tmp_path / 'odd\udce9.json'
    try:
        path.write_bytes(Path(case[0]).read_bytes())
    except (OSError, UnicodeError):
        pytest.skip('the file system has only names that are text')
    assert main(['evaluate', str(path), str(case[1]), '-o', str(tmp_path / 'out'), '--quiet']) == 0
    assert 'odd\\udce9.json' in (tmp_path / 'out' / 'report.md').read_text(encoding='utf-8')


class Spy:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return exec, ('raise SystemExit("ran")',)


def test_a_pickle_is_refused_and_not_run(case, tmp_path, capsys):
    path = tmp_path / 'predictions.pkl'
    path.write_bytes(pickle.dumps([Spy()]))
    text = fails(capsys, path, case[1], '-o', tmp_path / 'out')
    assert 'pickle' in text
    assert 'test_evaluator.outfile_prefix=PREFIX' in text


def test_folders_are_no_files(case, tmp_path, capsys):
    assert 'cannot be read' in fails(capsys, tmp_path, case[1], '-o', tmp_path / 'out')
    assert 'cannot be read' in fails(capsys, case[0], tmp_path, '-o', tmp_path / 'out')


# ---- cross-match


def field_wcs(ra, dec, pixel_arcsec=1.375):
    """Describe a field as FITS would: the middle of 132 pixels at a position, RA growing to the left."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ['RA---TAN', 'DEC--TAN']
    wcs.wcs.crval = ra, dec
    wcs.wcs.crpix = 66.5, 66.5
    wcs.wcs.cdelt = -pixel_arcsec / 3600, pixel_arcsec / 3600
    return wcs


@pytest.mark.parametrize(('ra', 'dec'), [(180.0, 0.0), (0.001, 45.0), (359.999, -30.0), (77.0, 89.9), (12.0, -89.99)])
def test_positions_are_those_of_the_fits_convention(tmp_path, ra, dec):
    write_case(tmp_path, [([], ra, dec)], [])
    fields = read_truth(tmp_path / 'test.json')
    xy = np.array([[66, 66], [0, 0], [132, 0], [12.3, 101.7], [100, 66]], float)
    sky = detected_positions(fields, np.zeros(len(xy), int), xy)
    # the corners of the field are (0, 0) and (132, 132); FITS puts the middle of the first pixel at 0
    expected = field_wcs(ra, dec).pixel_to_world(*(xy - 0.5).T)
    assert sky.separation(SkyCoord(expected.ra, expected.dec)).max() < 1e-3 * u.arcsec


def crossmatch_case(folder):
    """Put sources of three classes into fields, and a catalogue 5 and 30 arcsec beside two of them."""
    centres = SkyCoord([150.0, 210.0, 359.99], [2.0, 40.0, -10.0], unit='deg')
    truth, found = [], []
    for number, (sky, name) in enumerate(zip(centres, ('2C_2P', '2C_3P', '1C_1P'), strict=True), 1):
        truth.append(([(name, 40, 70, 30, 0.9)], float(sky.ra.deg), float(sky.dec.deg)))
        found.append(detection(number, name, 40, 70, 30, 0.9))
    found.append(detection(3, '2C_2P', 10, 10, 30, 0.79))
    boxes = [field_wcs(s.ra.deg, s.dec.deg).pixel_to_world(54.5, 84.5) for s in centres]
    shifted = [
        boxes[0].directional_offset_by(30 * u.deg, 5 * u.arcsec),
        boxes[1].directional_offset_by(200 * u.deg, 30 * u.arcsec),
        boxes[2],
        SkyCoord(20.0, 20.0, unit='deg'),
    ]
    catalogue = folder / 'other.csv'
    Table({'RA': [s.ra.deg for s in shifted], 'DEC': [s.dec.deg for s in shifted]}).write(catalogue)
    return [*write_case(folder, truth, found), catalogue]


def test_cross_match_within_the_radius(tmp_path, capsys):
    predictions, truth, catalogue = crossmatch_case(tmp_path)
    out = tmp_path / 'out'
    assert run(capsys, predictions, truth, '-o', out, '--crossmatch', catalogue)[0] == 0
    assert set(file_names(with_cross_match=True)) == {path.name for path in out.iterdir()}
    pairs = Table.read(out / 'crossmatch_pairs.csv', format='ascii.csv')
    assert list(pairs['Field']) == ['FIELD1']
    assert list(pairs['Catalogue row']) == [0]
    assert pairs['Separation (arcsec)'][0] == pytest.approx(5, abs=0.01)
    summary = Table.read(out / 'crossmatch.csv', format='ascii.csv')
    assert list(summary['Number']) == [2, 4, 3]
    assert list(summary['Matched']) == [1, 1, 1]
    assert list(summary['Share']) == pytest.approx([0.5, 0.25, 1 / 3], abs=1e-4)
    assert 'Section 5.8' in (out / 'report.md').read_text()
    run(capsys, predictions, truth, '-o', out, '--crossmatch', catalogue, '--radius', 31, '--overwrite')
    assert len(Table.read(out / 'crossmatch_pairs.csv', format='ascii.csv')) == 2
    options = ('--crossmatch-class', '1C_1P', '--overwrite')
    run(capsys, predictions, truth, '-o', out, '--crossmatch', catalogue, *options)
    assert list(Table.read(out / 'crossmatch_pairs.csv', format='ascii.csv')['Catalogue row']) == [2]


def test_cross_match_of_nothing(tmp_path):
    predictions, truth, catalogue = crossmatch_case(tmp_path)
    fields = read_predictions(predictions, read_truth(truth))
    match = cross_match(fields, read_positions(catalogue), [CLASSES.index('3C_3P')])
    assert len(match.matches) == 0
    assert list(match.summary['Number']) == [0, 4, 3]


def test_classes_by_their_components():
    assert [CLASSES[k] for k in chosen_classes(['2C'])] == ['2C_2P', '2C_3P']
    assert [CLASSES[k] for k in chosen_classes(['3C', '1C_2P', '3C_3P'])] == ['1C_2P', '3C_3P']
    for wrong in ('4C', '2C_', '2', ''):
        with pytest.raises(InputError, match='crossmatch-class'):
            chosen_classes([wrong])


def test_positions_of_other_catalogues(tmp_path):
    path = tmp_path / 'vizier.csv'
    Table({'RAJ2000': ['10:00:00', '12:30:00'], 'DEJ2000': ['+10:00:00', '-20:30:00']}).write(path)
    sky = read_positions(path)
    assert sky.ra.deg == pytest.approx([150, 187.5])
    assert sky.dec.deg == pytest.approx([10, -20.5])
    Table({'x': [1.0], 'DEC': [2.0]}).write(path, overwrite=True)
    with pytest.raises(InputError, match='no columns RA'):
        read_positions(path)
    path.write_text('RA,DEC\n')
    with pytest.raises(InputError, match='no rows'):
        read_positions(path)


def test_cross_match_needs_positions(tmp_path, capsys):
    predictions, truth, catalogue = crossmatch_case(tmp_path)
    content = json.loads(truth.read_text())
    del content['info']['pixel_arcsec']
    truth.write_text(json.dumps(content))
    assert 'pixel_arcsec' in fails(capsys, predictions, truth, '-o', tmp_path / 'out', '--crossmatch', catalogue)
    missing = tmp_path / 'none.fits'
    assert 'none.fits' in fails(capsys, predictions, truth, '-o', tmp_path / 'out', '--crossmatch', missing)

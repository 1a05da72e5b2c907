"""Fitting a calibration to labelled images, and using it."""

import json
import re
import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table, vstack
from known_grouping import KnownAssociator
from labelled_field import boxes_of_doubles, write_labelled
from small_field import write_field

from claran_plugin.associator import Associator
from claran_plugin.calibration import Calibration, calibration_hash, class_probabilities, logistic, read_calibration
from claran_plugin.cli import main
from claran_plugin.commands import calibration as command
from claran_plugin.counting_window import NOISE_TRIED
from claran_plugin.errors import InputError, InputWarning
from claran_plugin.evaluation.calibrating import Samples, fit, joined, look, loss, stated, write_calibration
from claran_plugin.evaluation.labelled_scores import (
    ALONE,
    PLUGIN,
    Examination,
    Findings,
    Memberships,
    cross_validated,
    report,
)
from claran_plugin.evaluation.reliability import draw_reliability, fit_line, reliability_table
from claran_plugin.evaluation.wrong_sources import wrong_table
from claran_plugin.footprints import island_components
from claran_plugin.images import read_image
from claran_plugin.labelled import read_labelled
from claran_plugin.morphology import CLASSES, ManyCounts
from claran_plugin.subjects import Sky
from claran_plugin.survey.listing import Pointing, read_list
from claran_plugin.truth import NO_SOURCE, MeasuredTruth, true_sources


class SeesDoubles(KnownAssociator):
    """Sees the doubles of `labelled_field` but the last, and one more in a wrong place."""

    boxes = np.concatenate([boxes_of_doubles()[:12], [[290.0, 230.0, 310.0, 250.0]]])

    def load(self):
        pass


@pytest.fixture
def doubles(monkeypatch):
    from claran_plugin import sources

    monkeypatch.setattr(sources, 'LEAST_OVERLAP', 0.0)
    monkeypatch.setattr(command, 'Associator', SeesDoubles)


def some_samples(n=400, seed=0):
    """Draw samples whose true class follows what the detector says, sharpened."""
    rng = np.random.default_rng(seed)
    detected = rng.dirichlet(np.full(7, 0.6), size=n)
    sharp = detected**0.5
    sharp /= sharp.sum(axis=1, keepdims=True)
    label = np.array([rng.choice(7, p=row) for row in sharp])
    named = np.array([(int(name[0]), int(name[3])) for name in CLASSES])
    counts = named[np.where(label < 6, label, rng.integers(6, size=n))]
    tried = np.repeat(counts[:, :, None], len(NOISE_TRIED), axis=2)
    return Samples(detected[:, :6], tried, label, rng.uniform(0, 100, (n, 2)), np.zeros(n, bool))


def test_many_probabilities_at_once_are_those_one_by_one():
    samples = some_samples(50)
    calibration = Calibration(0.4, 0.3, 0.1, 0.2, 0.05, (0.8, -0.3))
    one_by_one = [
        class_probabilities(detected, ManyCounts(*counts), calibration)
        for detected, counts in zip(samples.detected, samples.counts, strict=True)
    ]
    assert np.array_equal(samples.probabilities(calibration), one_by_one)


def test_a_fit_is_likelier_than_where_it_began():
    samples = some_samples()
    margin = np.random.default_rng(1).normal(1, 3, 500)
    right = np.random.default_rng(2).random(500) < logistic(margin, (0.5, 0.7))
    fitted = fit(samples, margin, right)
    assert loss(samples, fitted) < loss(samples, Calibration()) - 0.02
    assert fitted.membership == pytest.approx((0.5, 0.7), abs=0.2)
    assert fitted.peak_added < 0.2  # no peak was ever added
    start = Calibration(isolated=0.8)
    for own, held in zip(start, fit(samples, margin, right, start, hold=1e4), strict=True):
        assert held == pytest.approx(own, rel=0.02, abs=1e-2)


def test_components_are_fitted_to_where_few_detections_have_a_known_class():
    rng = np.random.default_rng(3)
    margin = rng.normal(1, 3, 500)
    right = rng.random(500) < logistic(margin, (0.5, 0.7))
    nothing = np.zeros(500, int)
    islands = {name: right for name in (ALONE, 'friends-of-friends, 1 beams', PLUGIN)}
    few = some_samples(2)
    large = np.arange(500) < 20  # are calibrated apart
    right[large] = margin[large] < 0
    members = Memberships(margin, large, right, np.arange(500) % 5)
    findings = Findings(1, 500, nothing > 0, islands, few, np.zeros(2, int), members)
    assert findings.fitted(Calibration()).membership == pytest.approx((0.5, 0.7), abs=0.2)
    assert findings.fitted(Calibration()).sharpness == pytest.approx(1, abs=0.3)


def test_a_line_through_nothing_stays_where_it_began():
    assert fit_line([], [], (2.0, 1.0)) == (2.0, 1.0)


def test_no_source_is_never_right():
    samples = some_samples()
    _, right = stated(samples.where(samples.label == NO_SOURCE), Calibration())
    assert not right.any()
    assert len(joined([samples, samples]).label) == 800


def test_looking(tmp_path, doubles):
    image = read_labelled(read_list(write_labelled(tmp_path))[0])
    for truth in (true_sources(image), MeasuredTruth(image)):
        seen = look(image.sky, image.components, truth, SeesDoubles(), told=image.source >= 0)
        assert np.bincount(seen.samples.label, minlength=7).tolist() == [0, 0, 0, 12, 0, 0, 1]
    in_last = seen.membership.row >= 36
    assert not seen.membership.right[in_last].any()  # which was not seen
    assert seen.membership.right.sum() == 2 * 12 + 12


def test_a_lobe_that_the_catalogue_lacks_makes_no_detection_wrong(tmp_path):
    islands = island_components(Sky(read_image(write_field(tmp_path / 'field.fits'))))
    islands['Source_Name'] = [f'S{k}' for k in range(len(islands))]
    x, y = read_image(tmp_path / 'field.fits').wcs.world_to_pixel_values(islands['RA'], islands['DEC'])
    box = KnownAssociator.boxes[0]
    double = np.flatnonzero((x > box[0]) & (x < box[2]) & (y > box[1]) & (y < box[3]))
    islands['Source_Name'][double] = 'double'

    def labels():
        islands.write(tmp_path / 'field.islands.fits', overwrite=True)
        image = read_labelled(Pointing('field', str(tmp_path / 'field.fits'), str(tmp_path / 'field.islands.fits'), ''))
        truth = MeasuredTruth(image)
        return look(image.sky, image.components, truth, KnownAssociator(), told=image.source >= 0).samples.label

    both = labels()
    assert 3 in both  # 2C_2P
    assert NO_SOURCE not in both
    islands.remove_row(int(double[0]))
    np.testing.assert_array_equal(labels(), both)


def test_numbers_near_zero_are_written_so_that_they_can_be_read(tmp_path):
    calibration = Calibration(peak_added=3.14159e-5, existence=(0.123456, -2e-5))
    write_calibration(calibration, tmp_path / 'small.json')
    assert read_calibration(tmp_path / 'small.json') == calibration._replace(
        peak_added=3.142e-5, existence=(0.1235, -2e-5)
    )


def test_command(tmp_path, doubles, capsys):
    path = write_labelled(tmp_path)
    out = tmp_path / 'own.json'
    wrong = tmp_path / 'wrong.csv'
    options = ['--diagram', str(tmp_path / 'own.png'), '--wrong', str(wrong)]
    assert main(['calibrate', str(path), '-o', str(out), *options]) == 0
    (row,) = Table.read(wrong, format='ascii.csv')
    assert (row['Image'], row['Source_Name'], row['N_Rows'], row['Found_in']) == ('field', 'S24', 2, 2)
    assert np.ma.is_masked(row['Joined_with'])
    assert row['Assoc_Prob'] == 1  # nothing else was weighed, and the line is the neutral one
    told = capsys.readouterr().out
    assert '1 images, 38 components, 25 true sources: 13 of several islands' in told
    assert re.search(r'each island alone +0.480 +1.000 +0.000', told)
    assert re.search(r'claran_plugin +0.960 +1.000 +0.923', told)
    assert 'Assoc_Prob, fitted to the other four fifths' in told
    assert read_calibration(out) != Calibration()
    assert (tmp_path / 'own.png').stat().st_size > 1000
    assert main(['calibrate', str(path), '-o', str(out)]) == 1
    assert 'exists already' in capsys.readouterr().err


def test_what_a_wrong_source_is_joined_with(tmp_path, doubles):
    names = [f'S{k:02d}' for k in range(38)]
    names[4] = ''  # a component of the second double, which nobody tells
    examination = Examination(SeesDoubles())
    examination.add(read_labelled(read_list(write_labelled(tmp_path, Source_Name=names))[0]))
    table = wrong_table(examination.findings().wrong, Calibration())
    assert len(table) == 23
    joined = dict(zip(table['Source_Name'], table['Joined_with'], strict=True))
    assert joined['S00'] == 'S01'
    assert joined['S03'] == '-'
    assert (np.diff(table['Assoc_Prob']) <= 0).all()


def test_too_few_and_mixed(tmp_path, doubles, capsys):
    path = write_labelled(tmp_path, Source_Name=['A', 'A'] + [''] * 36)
    assert main(['calibrate', str(path), '-o', str(tmp_path / 'own.json')]) == 1
    assert '1 labelled sources in 1 images are too few' in capsys.readouterr().err
    (tmp_path / 'other.fits').write_bytes((tmp_path / 'field.fits').read_bytes())
    path.write_text('field.fits field.cat.fits\nother.fits field.cat.fits field.fits\n')
    assert main(['calibrate', str(path), '-o', str(tmp_path / 'own.json')]) == 1
    assert 'only some of its images have an infrared one' in capsys.readouterr().err
    assert not (tmp_path / 'own.json').exists()


def test_each_fifth_is_judged_by_the_others(tmp_path, doubles):
    examination = Examination(SeesDoubles())
    examination.add(read_labelled(read_list(write_labelled(tmp_path))[0]))
    findings = examination.findings()
    panels = cross_validated(findings, Calibration())
    for probability, right in panels.values():
        assert len(probability) == len(right)
        assert ((probability > 0) & (probability < 1)).all()
    assert findings.recovered[PLUGIN].mean() == pytest.approx(24 / 25)
    assert 'expected calibration error' in reliability_table('x', *panels['Assoc_Prob'])
    draw_reliability(panels, tmp_path / 'x.png')


def test_rows_off_the_image_are_not_looked_at(tmp_path):
    """A survey's catalogue has more sky than the image shows."""
    looked_at = []

    class CountsFields(SeesDoubles):
        def look(self, sky, centres, progress=None):
            looked_at.append(len(centres))
            return super().look(sky, centres, progress)

    path = write_labelled(tmp_path)
    found = []
    for _ in range(2):
        examination = Examination(CountsFields())
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', InputWarning)
            examination.add(read_labelled(read_list(path)[0]))
        found.append(examination.findings())
        table = Table.read(tmp_path / 'field.cat.fits')
        beyond = table.copy()
        beyond['DEC'] += 1
        beyond['Source_Name'] = [f'{name}b' for name in beyond['Source_Name']]
        vstack([table, beyond]).write(tmp_path / 'field.cat.fits', overwrite=True)
    assert looked_at[: len(looked_at) // 2] == looked_at[len(looked_at) // 2 :]
    assert found[0].n_components == found[1].n_components == 38
    assert np.array_equal(found[0].memberships.margin, found[1].memberships.margin)


def test_one_part_of_the_sky_judges_nothing(tmp_path, doubles):
    examination = Examination(SeesDoubles())
    examination.add(read_labelled(read_list(write_labelled(tmp_path))[0]))
    findings = examination.findings()
    findings.sample_fold[:] = findings.memberships.fold[:] = 3
    start = Calibration()
    told = report(findings, start, findings.fitted(start), cross_validated(findings, start))
    assert 'four fifths' not in told
    assert 'Assoc_Prob, fitted: all lie in one small part of the sky' in told


def test_a_calibration_of_ones_own(bundled_weights, tmp_path):
    path = tmp_path / 'own.json'
    own = Calibration(0.5, existence=(0.9, 0.1), membership=(0.6, -0.2))
    write_calibration(own, path)
    assert Associator(calibration=path).calibration == own
    assert Associator().calibration != own
    write_labelled(tmp_path)
    image, catalogue = str(tmp_path / 'field.fits'), str(tmp_path / 'field.cat.fits')
    out = tmp_path / 'out'
    arguments = ['associate', image, catalogue, '--calibration', str(path), '-o', str(out), '--no-picture', '--quiet']
    assert main(arguments) == 0
    header = fits.getheader(out / 'field.sources.fits', 1)
    assert header['CLCALIB'] == calibration_hash(own)
    assert json.loads(path.read_text())['sharpness'] == 0.5


def test_no_such_calibration(bundled_weights, tmp_path, capsys):
    write_labelled(tmp_path)
    files = [str(tmp_path / 'field.fits'), str(tmp_path / 'field.cat.fits')]
    assert main(['associate', *files, '--calibration', str(tmp_path / 'none.json'), '-o', str(tmp_path)]) == 1
    assert 'no such calibration' in capsys.readouterr().err


def test_a_calibration_of_other_weights_is_told(bundled_weights, tmp_path):
    path = tmp_path / 'own.json'
    write_calibration(Calibration(), path, '0123456789ab')
    assert read_calibration(path) == Calibration()
    with pytest.warns(InputWarning, match='own.json: was fitted to other weights than'):
        Associator(calibration=path).load()


def test_the_calibration_of_a_survey(bundled_weights):
    assert Associator(calibration='emu').calibration != Associator().calibration
    with warnings.catch_warnings():
        warnings.simplefilter('error', InputWarning)
        Associator(calibration='emu').load()
    with pytest.raises(InputError, match='nvss: no such calibration; give a file that claran calibrate wrote, or emu'):
        Associator(calibration='nvss')

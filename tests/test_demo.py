import re

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from known_grouping import KnownAssociator
from scipy import ndimage

from claran_plugin import demo, pipeline
from claran_plugin.cli import main
from claran_plugin.components import from_pybdsf, run_pybdsf
from claran_plugin.evaluation.association_scores import exact_recovery, linked_islands
from claran_plugin.simulation import simulate_field

FILES = ['demo.components.fits', 'demo.evidence.fits', 'demo.fits', 'demo.png', 'demo.sources.fits', 'demo.truth.fits']


@pytest.fixture(scope='module')
def field():
    return simulate_field(np.random.default_rng(demo.SEED), fraction_extended=demo.FRACTION_EXTENDED)


@pytest.fixture(scope='module')
def components(field):
    return from_pybdsf(run_pybdsf(field.image))


def pixels(field, components):
    sky = components['RA'].to_value(u.deg), components['DEC'].to_value(u.deg)
    return np.stack(field.image.wcs.wcs_world2pix(*sky, 0), axis=-1)


def row(text, name):
    """Numbers of one line of the report: sources, and recovered / true sources of several islands and of one."""
    line = next(line for line in text.splitlines() if line.startswith(name))
    return [int(number) for number in re.findall(r'\d+', line[28:])]


def test_field_tests_enough(field):
    assert 12 <= (field.truth['N_Components'] > 1).sum() <= 15


def test_truth_of_components(field, components):
    xy = pixels(field, components)
    truth = demo.find_truth(field, xy, np.asarray(components['Isl_id']))
    assert sum(map(len, truth.sets)) + truth.nobodys.sum() == len(components)
    assert truth.nobodys.sum() < 0.1 * len(components)
    assert len(truth.sets) > 0.9 * len(field.truth)
    # Another way to the number of islands: 4-sigma regions of the simulation that hold a component of the source.
    regions, _ = ndimage.label(field.labels > 0, np.ones((3, 3)))
    for members, several in zip(truth.sets, truth.multiple, strict=True):
        at = [regions[round(y), round(x)] for x, y in xy[sorted(members)]]
        if all(at) and len(set(at)) == 1 and len(members) == 1:
            assert not several


def test_perfect_and_worst_groupings(field, components):
    xy, islands = pixels(field, components), np.unique(components['Isl_id'], return_inverse=True)[1]
    truth = demo.find_truth(field, xy, islands)
    perfect = np.arange(len(components)) + 1000
    for number, members in enumerate(truth.sets):
        perfect[sorted(members)] = number
    several, one = int(truth.multiple.sum()), int((~truth.multiple).sum())
    assert row(demo.report(field, components, perfect), 'claran_plugin')[1:] == [several, several, one, one]
    report = demo.report(field, components, np.zeros(len(components), int))
    assert row(report, 'claran_plugin')[1:] == [0, several, 0, one]
    alone = row(report, 'PyBDSF alone')
    assert alone[0] == islands.max() + 1
    assert alone[1] == 0


def test_friends_of_friends_gets_its_best_length(field, components):
    xy, islands = pixels(field, components) * 1.8, np.unique(components['Isl_id'], return_inverse=True)[1]
    truth = demo.find_truth(field, xy / 1.8, islands)
    length, labels = demo.best_friends(xy, np.ones(len(xy)), islands, truth)
    assert 5 < length < 120
    best = exact_recovery(truth.sets, labels, truth.nobodys).sum()
    # Islands are never divided, and no neighbouring length does better.
    assert all(len(set(labels[islands == k])) == 1 for k in range(islands.max() + 1))
    for other in (length / 2, length * 2):
        linked = linked_islands(xy, np.ones(len(xy)), islands, other)
        assert exact_recovery(truth.sets, linked, truth.nobodys).sum() <= best


def test_demo_writes_everything_and_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pipeline, 'Associator', KnownAssociator)
    assert main(['demo', '-o', str(tmp_path / 'demo')]) == 0
    assert sorted(path.name for path in (tmp_path / 'demo').iterdir()) == FILES
    out, err = capsys.readouterr()
    assert all('PyBDSF has kept no Gaussian of' in line for line in err.splitlines())
    assert all(str(tmp_path / 'demo' / name) in out for name in FILES)
    assert {'claran_plugin', 'PyBDSF', 'friends-of-friends,'} <= {line.split()[0] for line in out.splitlines() if line}
    components = fits.getdata(tmp_path / 'demo' / 'demo.components.fits')
    sources = fits.getdata(tmp_path / 'demo' / 'demo.sources.fits')
    assert row(out, 'claran_plugin')[0] == len(sources)
    assert out.count(f'{len(components)} components by PyBDSF') == 1
    assert fits.getheader(tmp_path / 'demo' / 'demo.sources.fits', 1)['CLIMAGE'] == 'demo.fits'


def test_demo_with_the_bundled_detector(tmp_path, bundled_weights, capfd):
    assert main(['demo', '-o', str(tmp_path), '--device', 'cpu', '--quiet']) == 0
    out, err = capfd.readouterr()
    assert all('PyBDSF has kept no Gaussian of' in line for line in err.splitlines())
    plugin, friends = row(out, 'claran_plugin'), row(out, 'friends-of-friends')
    assert plugin[1] > friends[1]  # of several islands, whole
    assert plugin[3] > 0.85 * plugin[4]  # of one, left alone

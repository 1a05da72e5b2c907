import re
from types import SimpleNamespace

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Table
from small_field import COMPONENTS, write_field

from claran_plugin.components import from_pybdsf, pybdsf_rows, read_catalogue, run_pybdsf, write_pybdsf_catalogue
from claran_plugin.errors import InputError
from claran_plugin.hooks import OpClaran, claran_after_pybdsf
from claran_plugin.hooks.op_claran import merge, regroup

FORMATS = {
    'srl': ['fits', 'csv', 'ascii', 'ds9'],
    'gaul': ['fits', 'csv', 'ascii', 'ds9', 'bbs', 'star', 'kvis', 'sagecal'],
}
# Beside the usual components two blends: one is one island and one source for PyBDSF, the other one island, two sources
BLENDS = [[200, 220, 0.02, 1.3], [203, 220, 0.015, 1.3], [100, 230, 0.02, 1.0], [104, 230, 0.015, 1.0]]
EMISSION = np.vstack([COMPONENTS, BLENDS])
PHYSICAL = np.array([0, 0, 1, 1, 1, 2, 3, 4, 4, 5, 5])


@pytest.fixture(scope='module')
def field(tmp_path_factory):
    return write_field(tmp_path_factory.mktemp('hooks') / 'field.fits', components=EMISSION)


@pytest.fixture
def img(field):
    return run_pybdsf(field)


def true_labels(img):
    """Give every PyBDSF source the physical source that lies there in truth."""
    pixels = np.array([img.sky2pix(source.posn_sky_centroid) for source in img.sources])
    nearest = np.argmin(np.linalg.norm(pixels[:, None] - EMISSION[None, :, :2], axis=-1), axis=1)
    return PHYSICAL[nearest]


def written(img, folder):
    folder.mkdir()
    for kind, formats in FORMATS.items():
        for form in formats:
            write_pybdsf_catalogue(img, folder / f'field.{kind}.{form}', kind, form)
    return {path.name: path for path in folder.iterdir()}


def test_the_field_is_what_the_tests_need(img):
    assert [sum(source.code == code for source in img.sources) for code in 'SCM'] == [7, 2, 1]
    assert np.bincount(true_labels(img)).tolist() == [2, 3, 1, 1, 1, 2]


def test_identity_changes_no_catalogue(img, tmp_path):
    before = written(img, tmp_path / 'before')
    regroup(img, np.arange(len(img.sources)))
    after = written(img, tmp_path / 'after')
    for name, path in before.items():
        assert path.read_bytes() == after[name].read_bytes(), name


def test_remeasuring_a_source_gives_pybdsf_s_own_values(img):
    (source,) = [source for source in img.sources if source.code == 'M']
    again = merge(img, [source])
    for name, value in vars(source).items():
        if isinstance(value, float | np.floating):
            np.testing.assert_allclose(getattr(again, name), value, rtol=1e-5, err_msg=name)
        elif name.startswith(('posn', 'size', 'deconv')) and not name.endswith('_def'):
            np.testing.assert_allclose(getattr(again, name), value, rtol=1e-5, atol=1e-12, err_msg=name)


def test_regrouped_sources(img):
    labels = true_labels(img)
    old = from_pybdsf(img)
    gaussians = from_pybdsf(img, 'gaul')
    islands = list(img.islands)
    regroup(img, labels)
    new = from_pybdsf(img)
    assert len(new) == labels.max() + 1
    np.testing.assert_allclose(new['Total_flux'].sum(), old['Total_flux'].sum(), rtol=1e-12)
    assert [source.source_id for source in img.sources] == list(range(len(new)))
    for source, row, label in zip(img.sources, new, dict.fromkeys(labels.tolist()), strict=True):
        own = old[labels == label]
        np.testing.assert_allclose(row['Total_flux'], own['Total_flux'].sum(), rtol=1e-12)
        assert row['Isl_id'] == own['Isl_id'][np.argmax(own['Total_flux'])]
        assert (row['S_Code'] == 'M') == (len(own) > 1 or own['S_Code'][0] == 'M')
        sky = SkyCoord(own['RA'], own['DEC'])
        assert SkyCoord(row['RA'], row['DEC']).separation(sky).min() < 40 * u.arcsec
        expected = sum(islands[i].total_flux for i in set(own['Isl_id']))
        np.testing.assert_allclose(source.total_flux_isl, expected)
        assert {gaussian.source_id for gaussian in source.gaussians} == {source.source_id}
    kept = from_pybdsf(img, 'gaul')
    assert len(kept) == len(gaussians)
    for name in ('RA', 'DEC', 'Total_flux', 'Isl_id'):
        np.testing.assert_array_equal(kept[name], gaussians[name])
    assert sorted(source.source_id for island in img.islands for source in island.sources) == list(range(len(new)))


def test_centroid_of_a_merged_source_is_flux_weighted(img):
    labels = true_labels(img)
    old = from_pybdsf(img)[labels == 1]
    regroup(img, labels)
    (row,) = [source for source in img.sources if len(source.gaussians) == 3]
    weight = old['Total_flux'] / old['Total_flux'].sum()
    expected = SkyCoord((old['RA'] * weight).sum(), (old['DEC'] * weight).sum())
    assert SkyCoord(*row.posn_sky_centroid, unit='deg').separation(expected) < 2 * u.arcsec
    assert row.size_sky[0] * 3600 > 40  # three components over 54"


def test_every_format_writes_the_physical_sources(img, tmp_path):
    labels = true_labels(img)
    n, n_gaussians = labels.max() + 1, len(img.gaussians)
    regroup(img, labels)
    files = written(img, tmp_path / 'out')
    for form in ('fits', 'csv', 'ascii'):
        sources = read_catalogue(files[f'field.srl.{form}'])
        gaussians = read_catalogue(files[f'field.gaul.{form}'])
        assert sources['Source_id'].tolist() == list(range(n))
        assert len(gaussians) == n_gaussians
        sums = [gaussians['Total_flux'][gaussians['Source_id'] == i].sum() for i in range(n)]
        np.testing.assert_allclose(sums, sources['Total_flux'], rtol=1e-9)
    assert files['field.srl.ds9'].read_text().count('ellipse(') == n
    for form in ('bbs', 'sagecal'):
        named = re.findall(r'_s(\d+)_g\d+', files[f'field.gaul.{form}'].read_text())
        assert sorted(set(map(int, named))) == list(range(n))
        assert len(named) == n_gaussians
    patches = tmp_path / 'patches.bbs'
    img.write_catalog(outfile=str(patches), format='bbs', bbs_patches='source')
    assert len(set(re.findall(r'_patch_s\d+', patches.read_text()))) == n


def test_regrouping_twice(img):
    total = from_pybdsf(img)['Total_flux'].sum()
    regroup(img, true_labels(img))
    regroup(img, np.zeros(len(img.sources), int))
    (source,) = img.sources
    np.testing.assert_allclose(source.total_flux, total.value)
    assert len(source.gaussians) == len(img.gaussians)


def test_what_other_modules_measured_is_carried_over(img):
    for i, source in enumerate(img.sources):
        source.total_flux_Q, source.total_fluxE_Q, source.spec_indx = 1.0 + i, 3.0 + i, -0.7
    merged = merge(img, img.sources[:2])
    assert (merged.total_flux_Q, merged.total_fluxE_Q) == (3.0, 5.0)
    assert np.isnan(merged.spec_indx)


@pytest.mark.parametrize('labels', [[0], np.zeros((10, 2), int)])
def test_labels_must_fit(img, labels):
    before = list(img.sources)
    with pytest.raises(ValueError, match=r'labels must have shape \(10,\)'):
        regroup(img, labels)
    assert img.sources == before


def test_op_claran_hands_over_its_options_and_keeps_the_result(img):
    seen = {}

    def associate(img, **options):
        seen.update(options)
        return SimpleNamespace(labels=true_labels(img))

    state = np.geterr()
    assert OpClaran(associate=associate, infrared='w1.fits')(img) is img
    assert seen == {'infrared': 'w1.fits'}
    assert len(img.sources) == img.claran.labels.max() + 1 == len(pybdsf_rows(img))
    assert np.geterr() == state


def test_op_claran_needs_a_processed_image():
    with pytest.raises(InputError, match='has not run to its end'):
        OpClaran(associate=None)(SimpleNamespace(filename='x.fits', completed_Ops=['islands']))


def test_an_image_without_sources(tmp_path):
    img = run_pybdsf(write_field(tmp_path / 'noise.fits', components=[], size=100))
    OpClaran(associate=lambda img: SimpleNamespace(labels=[]))(img)
    assert img.sources == []


def test_wavelets(tmp_path):
    # Gaussians found on wavelet images share their numbers with others and merge islands
    img = run_pybdsf(write_field(tmp_path / 'field.fits'), atrous_do=True, atrous_jmax=2)
    total = from_pybdsf(img)['Total_flux'].sum()
    regroup(img, np.arange(len(img.sources)) // 2)
    np.testing.assert_allclose(from_pybdsf(img)['Total_flux'].sum(), total, rtol=1e-12)
    path = write_pybdsf_catalogue(img, tmp_path / 'field.gaul.fits', 'gaul')
    table, expected = Table.read(path), from_pybdsf(img, 'gaul')
    np.testing.assert_array_equal(table['Total_flux'], expected['Total_flux'])
    np.testing.assert_array_equal(table['RA'], expected['RA'])


# ---- the script


def test_script_writes_what_is_asked(tmp_path, capsys):
    image = write_field(tmp_path / 'field.fits', header={'RESTFREQ': None, 'BMAJ': None})
    arguments = [
        str(image),
        '--catalogue-out',
        str(tmp_path / 'out' / 'field'),
        '--formats',
        'fits',
        'bbs',
        '--survey',
        'first',
    ]
    arguments += ['--pybdsf', 'thresh_pix=6', 'group_by_isl=True']
    arguments += ['--calibration', 'own.json', '--views', '2']
    given = {}

    def associate(img, **options):
        given.update(options)
        return SimpleNamespace(labels=np.zeros(len(img.sources), int))

    assert claran_after_pybdsf.main(arguments, associate=associate) == 0
    assert (given['calibration'], given['views'], given['device'], given['infrared']) == ('own.json', 2, 'auto', None)
    files = sorted(path.name for path in (tmp_path / 'out').iterdir())
    assert files == ['field.gaul.bbs', 'field.srl.fits']
    assert len(read_catalogue(tmp_path / 'out' / 'field.srl.fits')) == 1
    assert capsys.readouterr().out.split() == [str(tmp_path / 'out' / name) for name in reversed(files)]
    assert claran_after_pybdsf.main(arguments, associate=associate) == 1
    error = capsys.readouterr().err
    assert 'with -o, or give --overwrite' in error
    assert error.count('\n') == 1
    assert claran_after_pybdsf.make_parser().parse_args(['x.fits', '-o', 'out/x']).catalogue_out == 'out/x'


def test_script_fails_without_leaving_anything(tmp_path, capsys):
    (tmp_path / 'bad.fits').write_text('no image')
    assert claran_after_pybdsf.main([str(tmp_path / 'bad.fits'), '--catalogue-out', str(tmp_path / 'out' / 'x')]) == 1
    assert 'bad.fits' in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ['bad.fits']
    with pytest.raises(SystemExit) as caught:
        claran_after_pybdsf.main(['--formats', 'fits'])
    assert caught.value.code == 2


def test_script_tells_a_missing_calibration_before_pybdsf_runs(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(claran_after_pybdsf, 'run_pybdsf', None)
    image = write_field(tmp_path / 'field.fits')
    arguments = [str(image), '--catalogue-out', str(tmp_path / 'x'), '--calibration', str(tmp_path / 'none.json')]
    assert claran_after_pybdsf.main(arguments) == 1
    assert 'no such calibration' in capsys.readouterr().err

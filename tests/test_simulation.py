"""Synthetic skies: what they promise, checked with other means than those that made them."""

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import QTable
from astropy.wcs import WCS
from scipy import ndimage

from claran_plugin.errors import InputError
from claran_plugin.interferometer import artefacts, beam_noise
from claran_plugin.morphology import CLASSES, COMPONENT_SIGMA, class_name, count
from claran_plugin.radio_galaxies import BEAM_SIGMA, draw_blobs, paint
from claran_plugin.simulation import CLASS_WEIGHTS, simulate_field, simulate_infrared, simulate_subject, write_field
from claran_plugin.synthetic_sky import draw_source

BEAM_PIX = 4.0


@pytest.fixture(scope='module')
def subjects():
    rng = np.random.default_rng(1)
    return [simulate_subject(rng) for _ in range(120)]


@pytest.fixture(scope='module')
def field():
    return simulate_field(np.random.default_rng(2), centre=SkyCoord(0.01, -40, unit='deg'))


@pytest.mark.parametrize('snapshot', [0.0, 20.0])
def test_noise_has_unit_rms(snapshot):
    noise = beam_noise(np.random.default_rng(0), (600, 500), BEAM_PIX, snapshot=snapshot)
    assert noise.shape == (600, 500)
    assert noise.std() == pytest.approx(1, abs=0.03)
    assert noise.mean() == pytest.approx(0, abs=0.1)


def test_noise_is_correlated_by_the_beam():
    # white noise convolved with a Gaussian correlates as a Gaussian sqrt(2) times as wide
    noise = beam_noise(np.random.default_rng(0), (800, 800), BEAM_PIX)
    for lag in range(1, 6):
        expected = np.exp(-(lag**2) / (4 * (BEAM_SIGMA * BEAM_PIX) ** 2))
        assert np.mean(noise[lag:] * noise[:-lag]) == pytest.approx(expected, abs=0.03)
        assert np.mean(noise[:, lag:] * noise[:, :-lag]) == pytest.approx(expected, abs=0.03)


def test_artefacts_stay_below_their_level():
    y, x = np.mgrid[:200, :200]
    distance = np.hypot(x - 100, y - 100)
    sky = 100 * np.exp(-(distance**2) / (2 * (BEAM_SIGMA * BEAM_PIX) ** 2))
    for seed in range(5):
        pattern = artefacts(np.random.default_rng(seed), sky, BEAM_PIX, 0.02)
        far = np.abs(pattern[distance > 5 * BEAM_PIX]).max()
        assert 0.3 < far <= 2.1
        assert np.abs(pattern[sky < 0.5]).max() < 4.1


def test_artefacts_of_an_empty_sky_are_zero():
    assert not artefacts(np.random.default_rng(0), np.zeros((100, 120)), BEAM_PIX, 0.02).any()


def test_painted_flux_is_the_models():
    rng = np.random.default_rng(3)
    beam_area = np.pi * BEAM_PIX**2 / (4 * np.log(2))
    for name in CLASSES:
        blobs, _ = draw_blobs(rng, name)
        stamp = paint(blobs, (100.3, 50.8), BEAM_PIX)
        assert stamp.image.sum() / beam_area == pytest.approx(blobs[:, 2].sum(), rel=1e-3)
        y, x = ndimage.center_of_mass(stamp.image)
        centroid = np.average(blobs[:, :2], axis=0, weights=blobs[:, 2]) * BEAM_PIX + (100.3, 50.8)
        np.testing.assert_allclose((x + stamp.x0, y + stamp.y0), centroid, atol=0.05)


def test_point_source_is_the_beam():
    stamp = paint(np.array([[0, 0, 7.0, 0, 0, 0]]), (20, 30), BEAM_PIX)
    assert stamp.image[30 - stamp.y0, 20 - stamp.x0] == pytest.approx(7)
    assert stamp.image[30 - stamp.y0, 22 - stamp.x0] == pytest.approx(3.5)  # half at half of the full width


def test_painted_blob_matches_numerical_convolution():
    blob = np.array([[0.2, -0.3, 1.0, 1.2, 0.5, 0.6]])
    stamp = paint(blob, (60, 60), BEAM_PIX)
    y, x = np.mgrid[:121, :121]
    dx, dy = x - 60 - 0.2 * BEAM_PIX, y - 60 + 0.3 * BEAM_PIX
    along, across = dx * np.cos(0.6) + dy * np.sin(0.6), dy * np.cos(0.6) - dx * np.sin(0.6)
    bare = np.exp(-0.5 * ((along / 1.2) ** 2 + (across / 0.5) ** 2) / BEAM_PIX**2)
    expected = ndimage.gaussian_filter(bare, BEAM_SIGMA * BEAM_PIX, truncate=6)
    expected *= np.pi * BEAM_PIX**2 / (4 * np.log(2)) / bare.sum()
    where, part = stamp.clipped((121, 121))
    np.testing.assert_allclose(part, expected[where], atol=2e-3 * expected.max())


@pytest.mark.parametrize('name', CLASSES)
def test_source_is_of_the_wanted_class(name):
    rng = np.random.default_rng(4)
    for _ in range(5):
        source = draw_source(rng, name, (80, 90), BEAM_PIX)
        assert class_name(*source.counts) == name
        recount = count(source.stamp.image, source.stamp.image > COMPONENT_SIGMA, BEAM_PIX)
        assert recount == source.counts


def test_unknown_class_is_refused():
    with pytest.raises(ValueError, match='4C_4P'):
        draw_blobs(np.random.default_rng(0), '4C_4P')
    with pytest.raises(ValueError, match='4C_4P'):
        simulate_subject(np.random.default_rng(0), weights={'4C_4P': 1})


def test_labels_of_a_subject_agree_with_a_recount(subjects):
    for subject in subjects:
        assert subject.snr.shape == subject.labels.shape == (200, 200)
        assert subject.snr.dtype == np.float32
        assert len(subject.boxes) == len(subject.classes)
        assert set(range(len(subject.classes))) <= set(subject.source_of)
        islands, n = ndimage.label(subject.snr > COMPONENT_SIGMA, np.ones((3, 3)))
        assert len(subject.source_of) <= n  # specks are left out
        for k, cls in enumerate(subject.classes):
            own = np.isin(subject.labels, np.flatnonzero(subject.source_of == k) + 1)
            assert len(np.unique(islands[own])) == int(CLASSES[cls][0])
            assert class_name(*count(subject.snr, own, BEAM_PIX)) == CLASSES[cls]


def test_boxes_hold_the_middles_of_their_components(subjects):
    inside = []
    for subject in subjects:
        for k, (x1, y1, x2, y2) in enumerate(subject.boxes):
            assert x2 - x1 == pytest.approx(y2 - y1, abs=1e-3)
            for label in np.flatnonzero(subject.source_of == k) + 1:
                ys, xs = np.nonzero(subject.labels == label)
                assert ((x1 <= xs) & (xs <= x2) & (y1 <= ys) & (ys <= y2)).any()
                inside.append(x1 <= xs.mean() <= x2 and y1 <= ys.mean() <= y2)
    # the rule knows only the separation: a small component beside a lobe larger than that may stand out
    assert np.mean(inside) > 0.98


def test_main_source_is_near_the_centre(subjects):
    for subject in subjects:
        y, x = ndimage.center_of_mass(np.isin(subject.labels, np.flatnonzero(subject.source_of == 0) + 1))
        assert max(abs(x - 99.5), abs(y - 99.5)) < 21 * BEAM_PIX


def test_all_classes_are_drawn_at_their_weights(subjects):
    drawn = np.bincount([s.classes[0] for s in subjects], minlength=6)
    expected = len(subjects) * np.array([CLASS_WEIGHTS[name] for name in CLASSES])
    assert (np.abs(drawn - expected) < 4 * np.sqrt(expected)).all()


def test_few_components_belong_to_no_source(subjects):
    assert np.mean([(s.source_of < 0).sum() for s in subjects]) < 0.3


def test_a_seed_gives_the_same_sky():
    first, second, other = (simulate_subject(np.random.default_rng(seed)) for seed in (5, 5, 6))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first.snr, other.snr)


def test_field_resembles_first(field):
    assert field.image.shape == (500, 500)
    assert field.image.unit == u.Jy / u.beam
    assert field.image.meta['BMAJ'] * 3600 == pytest.approx(5.4)
    assert 50 <= len(field.truth) <= 60
    assert (field.truth['N_Components'] > 1).sum() >= 5
    noise = 1.4826 * np.median(np.abs(field.image.data - np.median(field.image.data)))
    assert noise == pytest.approx(1.4e-4, rel=0.15)


def test_field_labels_lie_where_the_sources_are(field):
    for row in field.truth:
        own = field.labels == row['Source_id']
        assert ndimage.label(own, np.ones((3, 3)))[1] == row['N_Components']
        assert class_name(row['N_Components'], row['N_Peaks']) == row['Morphology']
        y, x = np.nonzero(own)
        box = SkyCoord(row['Box_RA'], row['Box_DEC'])
        away = field.image.wcs.pixel_to_world(x, y).separation(box).to(u.arcsec)
        # no farther than a corner of the box, plus a lobe's radius that the box rule leaves outside
        assert away.max() < row['Box_Width'] * 2**0.5 / 2 + 40 * u.arcsec
        parts = SkyCoord(
            [float(v) for v in row['Component_RA'].split(';')] * u.deg,
            [float(v) for v in row['Component_DEC'].split(';')] * u.deg,
        )
        assert len(parts) == row['N_Components']
        px, py = field.image.wcs.world_to_pixel(parts)
        labelled = ndimage.binary_dilation(own, iterations=4)
        assert labelled[np.round(py).astype(int), np.round(px).astype(int)].all()


def test_field_flux_is_recovered_from_the_image(field):
    # of bright, isolated, compact sources: summed over their neighbourhood
    beam_area = np.pi * 3**2 / (4 * np.log(2))
    checked = 0
    for row in field.truth:
        if row['Peak_flux'].value < 100 * 1.4e-4 or row['Morphology'] != '1C_1P':
            continue
        near = ndimage.binary_dilation(field.labels == row['Source_id'], iterations=4)
        if set(np.unique(field.labels[near])) <= {0, row['Source_id']}:
            assert field.image.data[near].sum() / beam_area == pytest.approx(row['Total_flux'].value, rel=0.15)
            checked += 1
    assert checked


def test_field_refuses_impossible_sizes():
    with pytest.raises(ValueError, match='20 beams'):
        simulate_field(np.random.default_rng(0), size_arcmin=1)
    with pytest.raises(ValueError, match='2 pixels'):
        simulate_field(np.random.default_rng(0), pixel_arcsec=5)


def test_field_without_sources_is_noise():
    field = simulate_field(np.random.default_rng(0), size_arcmin=4, n_sources=0)
    assert len(field.truth) == 0
    assert field.image.data.std() == pytest.approx(1.4e-4, rel=0.1)


def test_infrared_shows_hosts(field):
    infrared = simulate_infrared(np.random.default_rng(0), field, density_arcmin2=0, host_share=1)
    assert infrared.shape == field.image.shape
    x, y = infrared.wcs.world_to_pixel(SkyCoord(field.truth['Host_RA'], field.truth['Host_DEC']))
    at_hosts = infrared.data[np.round(y).astype(int), np.round(x).astype(int)]
    assert np.median(at_hosts) > 10 * np.median(np.abs(infrared.data))


def test_written_field_reads_back(field, tmp_path):
    image, truth = write_field(field, tmp_path / 'sky.fits')
    assert (image.name, truth.name) == ('sky.fits', 'sky.truth.fits')
    with fits.open(image) as hdus:
        np.testing.assert_array_equal(hdus[0].data, field.image.data)
        assert hdus[0].header['BUNIT'] == 'Jy/beam'
        assert hdus[0].header['RESTFRQ'] == 1.4e9
        centre = WCS(hdus[0].header).pixel_to_world(249.5, 249.5)
        assert centre.separation(SkyCoord(0.01, -40, unit='deg')) < 0.01 * u.arcsec
    table = QTable.read(truth, hdu='TRUTH')
    assert table.colnames == field.truth.colnames
    assert list(table['Morphology']) == list(field.truth['Morphology'])
    np.testing.assert_array_equal(fits.getdata(truth, 'LABELS'), field.labels)
    assert sorted(p.name for p in tmp_path.iterdir()) == ['sky.fits', 'sky.truth.fits']


def test_nothing_is_overwritten_unasked(field, tmp_path):
    write_field(field, tmp_path / 'sky.fits')
    with pytest.raises(InputError, match='overwrite'):
        write_field(field, tmp_path / 'sky.fits')
    write_field(field, tmp_path / 'sky.fits', overwrite=True)
    with pytest.raises(InputError, match='folder'):
        write_field(field, tmp_path / 'nowhere' / 'sky.fits')

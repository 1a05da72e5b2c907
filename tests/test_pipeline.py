"""The whole data flow on a simulated field, with a detector that knows the truth."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import vstack
from known_sky import Oracle, check_contract, check_fluxes, field, files, img, result, true_source

import claran_plugin
from claran_plugin.catalogue import COMPONENT_COLUMNS, MorphFlag
from claran_plugin.components import from_pybdsf, read_catalogue, standardise
from claran_plugin.hosts import RadioShape
from claran_plugin.hypotheses import Hypothesis
from claran_plugin.measuring import Measured
from claran_plugin.morphology import Counts, ManyCounts
from claran_plugin.pipeline import associate, associate_pybdsf, detect, run
from claran_plugin.sources import box_of

__all__ = ['field', 'files', 'img', 'result']  # fixtures


# ---- with a detector that knows the truth


def test_contract(result, files):
    original = read_catalogue(files.srl)
    check_contract(result, original)
    assert result.components.meta == original.meta
    assert result.n_fields > 0
    assert result.infrared is None


def test_fluxes_are_conserved(result, files):
    check_fluxes(result, standardise(read_catalogue(files.srl)))


def test_true_sources_come_back_whole(result, field):
    true = true_source(field, result.components)
    known = true > 0
    assert known.mean() > 0.9
    several = 0
    for number in set(true[known].tolist()):
        found = set(result.labels[known & (true == number)].tolist())
        assert len(found) == 1, number
        several += (true == number).sum() > 1
    assert several >= 3
    # and nothing else is in them
    pairs = {(int(a), int(b)) for a, b in zip(true[known], result.labels[known], strict=True)}
    assert len(pairs) == len({b for _, b in pairs})


def test_what_is_told_of_the_sources_is_true(result, field):
    truth, sources = field.truth, result.sources
    sky = SkyCoord(sources['Box_RA'], sources['Box_DEC'])
    detected = (np.asarray(sources['Morph_Flag']) & (MorphFlag.NO_DETECTION | MorphFlag.NOT_LOOKED_AT)) == 0
    nearest, separation, _ = SkyCoord(truth['Box_RA'], truth['Box_DEC']).match_to_catalog_sky(sky[detected])
    index = np.flatnonzero(detected)[nearest]
    matched = separation < 1 * u.arcsec
    assert matched.sum() > 5
    rows, true = sources[index[matched]], truth[matched]
    np.testing.assert_array_equal(rows['Morphology'], true['Morphology'])
    counted = np.asarray(rows['N_Components']) == np.asarray(true['N_Components'])
    assert counted.mean() > 0.8
    assert np.mean(np.asarray(rows['N_Peaks']) == np.asarray(true['N_Peaks'])) > 0.8
    # the detector's box, unless what was counted lies elsewhere, which it does not where the whole source was counted
    widths = (table['Box_Width'][counted].to_value(u.arcsec) for table in (rows, true))
    np.testing.assert_allclose(*widths, rtol=1e-5)
    apart = SkyCoord(rows['RA'], rows['DEC']).separation(SkyCoord(true['RA'], true['DEC']))
    assert apart.max() < 10 * u.arcsec
    bright = true['Total_flux'] > 10 * u.mJy
    assert bright.sum() > 5
    ratio = (rows['Total_flux'] / true['Total_flux']).to_value('')[bright]
    np.testing.assert_allclose(ratio, 1, atol=0.25)
    assert np.median(ratio) == pytest.approx(1, abs=0.1)


def test_isolated_points_are_not_looked_at(field, files):
    default = associate(files.image, files.srl, associator=Oracle(field.truth))
    everything = associate(files.image, files.srl, associator=Oracle(field.truth), look_at_all=True)
    skipped = [(np.asarray(r.sources['Morph_Flag']) & MorphFlag.NOT_LOOKED_AT) > 0 for r in (default, everything)]
    assert not skipped[1].any()
    assert everything.n_fields >= default.n_fields
    assert (np.asarray(default.sources['Assoc'])[skipped[0]] == 1).all()


def test_gaussians_can_be_associated_too(field, files):
    result = associate(files.image, files.gaul, associator=Oracle(field.truth))
    check_contract(result, read_catalogue(files.gaul))
    true = true_source(field, result.components)
    for number in set(true[true > 0].tolist()):
        assert len(set(result.labels[true == number].tolist())) == 1


def test_images_and_tables_in_memory_are_as_files(field, files, result):
    other = associate(field.image, read_catalogue(files.srl), associator=Oracle(field.truth))
    np.testing.assert_array_equal(other.labels, result.labels)
    assert list(other.sources['Source_Name']) == list(result.sources['Source_Name'])


def test_nothing_given_is_changed(field, files):
    catalogue = read_catalogue(files.srl)
    before, pixels = catalogue.copy(), field.image.data.copy()
    associate(field.image, catalogue, associator=Oracle(field.truth))
    assert catalogue.colnames == before.colnames
    assert all((catalogue[name] == before[name]).all() for name in before.colnames)
    np.testing.assert_array_equal(field.image.data, pixels)


def test_rows_in_another_order(field, files, result):
    catalogue = read_catalogue(files.srl)
    order = np.random.default_rng(0).permutation(len(catalogue))
    other = associate(files.image, catalogue[order], associator=Oracle(field.truth))
    names = np.asarray(result.components['Source_Name'])[order]
    assert {tuple(np.flatnonzero(names == name)) for name in names} == {
        tuple(np.flatnonzero(other.labels == k)) for k in other.labels
    }


def test_progress_is_told(field, files):
    told = []

    def progress(centres, number):
        told.append(number)
        return centres

    result = associate(files.image, files.srl, associator=Oracle(field.truth), progress=progress)
    assert len(told) == 2  # the image's own, and coarser ones
    assert sum(told) == result.n_fields


def test_without_detections_pybdsf_s_islands_remain(field, files):
    blind = Oracle(field.truth, probability=0.0)
    result = associate(files.image, files.srl, associator=blind)
    check_contract(result, read_catalogue(files.srl))
    island = np.asarray(result.components['Isl_id'])
    for number in set(island.tolist()):
        assert len(set(result.labels[island == number].tolist())) == 1
    assert len(result.sources) == len(set(island.tolist()))
    flags = np.asarray(result.sources['Morph_Flag'])
    assert ((flags & (MorphFlag.NO_DETECTION | MorphFlag.NOT_LOOKED_AT)) > 0).all()


def test_provenance(result):
    assert result.provenance['CLVERS'] == claran_plugin.__version__
    assert result.provenance['CLMODEL'] == 'oracle'
    assert result.provenance['CLWHASH'] == '0123456789ab'
    assert result.provenance['CLIMAGE'] == 'field.fits'


def test_components_beside_the_image_are_kept(field, files):
    catalogue = read_catalogue(files.srl)
    far = catalogue[:3].copy()
    far['RA'] = [0.5, 120.0, 180.01]
    far['DEC'] = [42.0, -10.0, -42.0]
    far['Isl_id'] = [9001, 9002, 9003]
    for table in (catalogue, far):
        table.meta.clear()
    both = vstack([far, catalogue])
    result = associate(files.image, both, associator=Oracle(field.truth))
    check_contract(result, both)
    assert np.isnan(result.components['Assoc_Prob']).tolist() == [True] * 3 + [False] * len(catalogue)
    assert np.bincount(result.labels)[result.labels[:3]].tolist() == [1, 1, 1]
    assert np.isfinite(result.sources['RA']).all()


def test_flags_of_the_edge_and_of_blank_pixels(field, files):
    # the image is cut through the middle of one source, and another gets a blank corner of its box
    truth = field.truth
    x, y = field.image.wcs.world_to_pixel(SkyCoord(truth['Box_RA'], truth['Box_DEC']))
    half = truth['Box_Width'].to_value(u.arcsec) / 1.8 / 2
    cut, blank = np.argmin(x - half), np.argmax(half)
    first = int(x[cut])
    image = field.image[:, first:]
    image.meta = field.image.meta
    image.data = image.data.copy()
    corner = half[blank] - 1
    image.data[int(y[blank] + corner), int(x[blank] + corner) - first] = np.nan
    result = associate(image, files.srl, associator=Oracle(truth))
    sky = SkyCoord(result.sources['Box_RA'], result.sources['Box_DEC'])
    for number, flag in ((cut, MorphFlag.EDGE), (blank, MorphFlag.BLANK_PIXELS)):
        nearest = np.argmin(SkyCoord(truth['Box_RA'], truth['Box_DEC'])[number].separation(sky))
        flagged = (np.asarray(result.sources['Morph_Flag']) & flag) > 0
        assert flagged[nearest], flag
        assert not flagged.all()


def test_the_box_is_the_detector_s_unless_it_misses_what_was_counted():
    counted, listed = np.array([10.0, 20.0, 40.0, 50.0]), np.array([22.0, 32.0, 28.0, 38.0])
    shape = RadioShape(np.array([25.0, 35.0]), listed, np.array([[25.0, 35.0]]))

    def box(detected, measured, probability=0.9):
        seen = Measured(Counts(1, 1), ManyCounts(np.ones(1, int), np.ones(1, int)), measured, shape)
        return box_of(Hypothesis(frozenset([0]), 1.0, np.zeros(6), detected, probability), seen)

    near, far = counted + 2, counted + 20
    np.testing.assert_array_equal(box(near, counted), near)
    np.testing.assert_array_equal(box(far, counted), counted)
    np.testing.assert_array_equal(box(far, None), far)
    np.testing.assert_array_equal(box(far, None, 0.1), listed)
    np.testing.assert_array_equal(box(near, counted, 0.1), near)
    np.testing.assert_array_equal(box(None, counted), counted)
    np.testing.assert_array_equal(box(None, None), listed)


# ---- PyBDSF in memory


def test_pybdsf_s_image_object_gives_the_same(field, files, img, result):
    other = associate_pybdsf(img, associator=Oracle(field.truth))
    standard = from_pybdsf(img)
    assert len(other.components) == files.n
    np.testing.assert_array_equal(other.labels, result.labels)
    check_fluxes(other, standard)
    for name in ('Morphology', 'N_Components', 'N_Peaks', 'Source_Name', 'Morph_Flag'):
        assert list(other.sources[name]) == list(result.sources[name]), name
    for name in ('RA', 'DEC', 'Total_flux', 'Box_RA', 'Box_Width'):
        np.testing.assert_allclose(other.sources[name].value, result.sources[name].value, rtol=1e-5, atol=1e-7)


def test_run_finds_components(files):
    img, radio = run(files.image)
    assert len(from_pybdsf(img)) == files.n
    assert radio.shape == (200, 200)


# ---- without a catalogue


def test_detect(field, files):
    result = detect(files.image, associator=Oracle(field.truth))
    assert len(result.components) > 10
    check_contract(result, result.components[result.components.colnames[: -len(COMPONENT_COLUMNS)]])
    true = true_source(field, result.components)
    for number in set(true[true > 0].tolist()):
        assert len(set(result.labels[true == number].tolist())) == 1
    assert not (np.asarray(result.sources['Morph_Flag']) & MorphFlag.NOT_LOOKED_AT).any()

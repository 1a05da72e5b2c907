"""The whole data flow on a simulated field, with a detector that knows the truth and with real ones."""

from types import SimpleNamespace

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io.votable.ucd import check_ucd
from astropy.table import QTable, vstack
from scipy import ndimage

import claran_plugin
from claran_plugin.calibration import Calibration
from claran_plugin.catalogue import COMPONENT_COLUMNS, SOURCE_COLUMNS, MorphFlag
from claran_plugin.claims import Detections
from claran_plugin.components import (
    from_pybdsf,
    read_catalogue,
    run_pybdsf,
    standardise,
    write_pybdsf_catalogue,
)
from claran_plugin.errors import InputError
from claran_plugin.hosts import RadioShape
from claran_plugin.hypotheses import Hypothesis
from claran_plugin.images import image_files, pixel_scale, read_image
from claran_plugin.models import config_folder
from claran_plugin.morphology import CLASSES, Counts
from claran_plugin.pipeline import Associator, associate, associate_pybdsf, detect, run
from claran_plugin.simulation import simulate_field, simulate_infrared, write_field
from claran_plugin.sources import Measured, box_of
from claran_plugin.subjects import Sky
from claran_plugin.turns import VIEWS

CENTRE = SkyCoord(0.01, 42, unit='deg')
"""The field lies across the break of right ascension."""


class Oracle(Associator):
    """Sees every true source whose box lies within a field of view, but for a fifth at most, and nothing else."""

    def __init__(self, truth, probability=0.97, method='S'):
        self.name = 'oracle'
        self.detector = SimpleNamespace(
            method=method, fusion_options={}, weights_hash='0123456789ab', precision='float32'
        )
        self.coarse_detector = self.detector
        self.calibration = Calibration()
        self.truth, self.probability = truth, probability
        self.looks = 0

    def look_in_turn(self, skies, progress=None, *, coarse=False):
        return (self.look(*sky, progress) for sky in skies)

    def look(self, sky, centres, progress=None):
        self.looks += 1
        xy = np.stack(sky.radio.wcs.world_to_pixel(SkyCoord(self.truth['Box_RA'], self.truth['Box_DEC'])), axis=-1)
        half = self.truth['Box_Width'].to_value(u.arcsec) / pixel_scale(sky.radio) / 2
        boxes = np.column_stack([xy - half[:, None], xy + half[:, None]])
        kinds = np.array([CLASSES.index(name) for name in self.truth['Morphology']])
        found, probabilities, field = [np.empty((0, 4))], [np.empty((0, 6))], [np.empty(0, int)]
        for number, centre in enumerate(progress(centres, len(centres)) if progress else centres):
            edge = np.tile(centre, 2) + np.repeat([-0.5, 0.5], 2) * sky.field_pix
            seen = np.column_stack([np.maximum(boxes[:, :2], edge[:2]), np.minimum(boxes[:, 2:], edge[2:])])
            inside = np.prod(np.clip(seen[:, 2:] - seen[:, :2], 0, None), axis=1) > 0.8 * (2 * half) ** 2
            found.append(seen[inside])
            probabilities.append(self.probability * np.eye(6)[kinds[inside]])
            field.append(np.full(inside.sum(), number))
        return Detections(np.concatenate(found), np.concatenate(probabilities), np.concatenate(field))


@pytest.fixture(scope='module')
def field():
    return simulate_field(np.random.default_rng(5), size_arcmin=6.0, n_sources=16, centre=CENTRE)


@pytest.fixture(scope='module')
def files(field, tmp_path_factory):
    """Write the field, and run PyBDSF on it."""
    folder = tmp_path_factory.mktemp('field')
    path, _ = write_field(field, folder / 'field.fits')
    img = run_pybdsf(path)
    catalogue = write_pybdsf_catalogue(img, folder / 'field.srl.fits')
    gaussians = write_pybdsf_catalogue(img, folder / 'field.gaul.fits', 'gaul')
    return SimpleNamespace(image=path, srl=catalogue, gaul=gaussians, n=len(from_pybdsf(img)))


@pytest.fixture
def img(files):
    return run_pybdsf(files.image)


@pytest.fixture(scope='module')
def result(field, files):
    return associate(files.image, files.srl, associator=Oracle(field.truth))


def true_source(field, table):
    """Give the true source of every component, -1 where there is none within half a beam of the image's components."""
    labels, wcs = field.labels, field.image.wcs
    distance, (y, x) = ndimage.distance_transform_edt(labels <= 0, return_indices=True)
    px, py = np.round(wcs.world_to_pixel(SkyCoord(table['RA'], table['DEC'], unit='deg'))).astype(int)
    return np.where(distance[py, px] < 3, labels[y[py, px], x[py, px]], -1)


def check_contract(result, original):
    """Assert what holds of any result: DESIGN's output contract."""
    components, sources = result.components, result.sources
    n = len(original)
    assert components.colnames == original.colnames + [spec.name for spec in COMPONENT_COLUMNS]
    assert len(components) == n
    for name in original.colnames:
        column, old = components[name], original[name]
        assert column.dtype == old.dtype
        assert column.unit == old.unit
        assert np.ma.filled(column).tobytes() == np.ma.filled(old).tobytes(), name
    assert list(components.meta) == list(original.meta)
    assert sources.colnames[: len(SOURCE_COLUMNS)] == [spec.name for spec in SOURCE_COLUMNS]
    for column in sources.itercols():
        assert column.info.description
        assert check_ucd(column.info.meta['ucd'], check_controlled_vocabulary=True), column.info.name
    # an exact partition
    labels = np.asarray(components['Assoc_id'])
    np.testing.assert_array_equal(labels, result.labels)
    assert sorted(set(labels.tolist())) == list(range(len(sources)))
    np.testing.assert_array_equal(sources['Assoc_id'], np.arange(len(sources)))
    np.testing.assert_array_equal(sources['Assoc'], np.bincount(labels, minlength=len(sources)))
    np.testing.assert_array_equal(components['Assoc'], np.asarray(sources['Assoc'])[labels])
    for name in ('Source_Name', 'Morphology', 'Morph_Prob', 'N_Components', 'N_Peaks', 'Morph_Flag'):
        np.testing.assert_array_equal(components[name], np.asarray(sources[name])[labels])
    assert len(set(sources['Source_Name'])) == len(sources)
    # probabilities
    known = np.asarray(components['Assoc_Prob'])[np.isfinite(components['Assoc_Prob'])]  # off the image it is not
    assert ((known >= 0) & (known <= 1)).all()
    each = np.array([sources[f'P_{name}'] for name in CLASSES]).T.reshape(-1, 6)
    assert (each >= 0).all()
    assert (each.sum(axis=1) <= 1 + 1e-5).all()
    assert set(sources['Morphology']) <= set(CLASSES)
    for row, name, probability in zip(each, sources['Morphology'], sources['Morph_Prob'], strict=True):
        assert row[CLASSES.index(name)] == row.max() == probability
    assert (np.asarray(sources['N_Peaks']) >= np.asarray(sources['N_Components'])).all()
    low = (np.asarray(sources['Morph_Flag']) & MorphFlag.LOW_PROBABILITY) > 0
    np.testing.assert_array_equal(low, np.asarray(sources['Morph_Prob']) < 0.8)
    assert (np.asarray(sources['Morph_Flag']) < 2 * max(MorphFlag)).all()


def check_fluxes(result, standard):
    total = result.sources['Total_flux'].to_value(u.Jy)
    flux = standard['Total_flux'].to_value(u.Jy)
    assert total.sum() == pytest.approx(np.nansum(flux), rel=1e-9)
    for k in range(len(total)):
        assert total[k] == pytest.approx(flux[result.labels == k].sum())


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


def test_columns_of_an_earlier_run(field, files, result):
    with pytest.raises(InputError, match='--overwrite-columns'):
        associate(files.image, result.components, associator=Oracle(field.truth))
    again = associate(files.image, result.components, associator=Oracle(field.truth), overwrite_columns=True)
    assert again.components.colnames == result.components.colnames
    np.testing.assert_array_equal(again.labels, result.labels)


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

    def box(detected, measured):
        return box_of(Hypothesis(frozenset([0]), 1.0, np.zeros(6), detected), Measured(Counts(1, 1), measured, shape))

    near, far = counted + 2, counted + 20
    np.testing.assert_array_equal(box(near, counted), near)
    np.testing.assert_array_equal(box(far, counted), counted)
    np.testing.assert_array_equal(box(far, None), far)
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


def test_run_needs_a_frequency(field, tmp_path):
    image = field.image.copy()
    image.meta = image.meta.copy()
    for name in ('RESTFRQ', 'RESTFREQ'):
        image.meta.remove(name, ignore_missing=True)
    with pytest.raises(InputError, match='no frequency in the header, which PyBDSF needs; give it with --frequency'):
        run(image)


# ---- without a catalogue


def test_detect(field, files):
    result = detect(files.image, associator=Oracle(field.truth))
    assert len(result.components) > 10
    check_contract(result, result.components[result.components.colnames[: -len(COMPONENT_COLUMNS)]])
    true = true_source(field, result.components)
    for number in set(true[true > 0].tolist()):
        assert len(set(result.labels[true == number].tolist())) == 1
    assert not (np.asarray(result.sources['Morph_Flag']) & MorphFlag.NOT_LOOKED_AT).any()


def empty_image(field, rng):
    image = field.image.copy()
    pixels = ndimage.gaussian_filter(rng.normal(size=image.shape), 1.3)
    image.data = (1e-4 * pixels / pixels.std()).astype(np.float32)
    return image


def test_detect_on_an_empty_sky(field):
    result = detect(empty_image(field, np.random.default_rng(0)), associator=Oracle(field.truth))
    assert (len(result.components), len(result.sources), result.n_fields) == (0, 0, 0)
    assert result.sources.colnames == [spec.name for spec in SOURCE_COLUMNS]


def test_an_empty_catalogue(field, files):
    empty = read_catalogue(files.srl)[:0]
    result = associate(files.image, empty, associator=Oracle(field.truth))
    check_contract(result, empty)
    assert len(result.sources) == 0


def test_pybdsf_finds_nothing(field):
    img, _ = run(empty_image(field, np.random.default_rng(0)))
    result = associate_pybdsf(img, associator=Oracle(field.truth))
    assert (len(result.components), len(result.sources)) == (0, 0)


# ---- wrong input


def test_a_catalogue_of_another_field(field, files, tmp_path):
    catalogue = read_catalogue(files.srl)
    catalogue['DEC'] = catalogue['DEC'] - 10
    path = tmp_path / 'other.fits'
    catalogue.write(path)
    with pytest.raises(InputError, match=r'other\.fits: none of its \d+ components lies on the image') as caught:
        associate(files.image, path, associator=Oracle(field.truth))
    assert '\n' not in str(caught.value)


def test_a_model_that_needs_infrared(field, files):
    associator = Oracle(field.truth, method='D3')
    with pytest.raises(InputError, match=r'oracle fuses radio and infrared \(D3\); give an image with --infrared'):
        associate(files.image, files.srl, associator=associator)


def test_an_unknown_model(files):
    with pytest.raises(InputError, match='no such model'):
        associate(files.image, files.srl, model='huge')


@pytest.mark.parametrize('missing', ['image', 'srl'])
def test_a_file_that_is_not_there(field, files, tmp_path, missing):
    paths = {'image': files.image, 'srl': files.srl, missing: tmp_path / 'none.fits'}
    with pytest.raises(InputError, match=r'none\.fits'):
        associate(paths['image'], paths['srl'], associator=Oracle(field.truth))


def test_a_faulty_image_is_named_before_the_detector_is_loaded(files, tmp_path):
    path = tmp_path / 'text.fits'
    path.write_text('no image')
    with pytest.raises(InputError, match=r'text\.fits'):
        associate(path, files.srl, model='huge')


# ---- real detectors


@pytest.fixture(scope='module')
def untrained(require_detector, tmp_path_factory):
    """An Associator with random weights: it gives nonsense, but the whole way."""
    import torch
    from mmdet.registry import MODELS
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    init_default_scope('mmdet')
    config = config_folder() / 'claran_compact.py'
    torch.manual_seed(1)
    model = MODELS.build(Config.fromfile(config).model)
    model.init_weights()
    path = tmp_path_factory.mktemp('untrained') / 'untrained.pth'
    torch.save(model.state_dict(), path)
    return Associator(str(config), path, 'cpu')


def test_nonsense_still_gives_the_contract(untrained, files):
    some = read_catalogue(files.srl)[:8]
    result = associate(files.image, some, associator=untrained)
    check_contract(result, some)
    assert result.provenance['CLWHASH'] == untrained.detector.weights_hash
    assert result.provenance['CLCALIB'] == 'none'  # there is none beside such weights


def test_boxes_come_back_to_where_the_picture_was_taken(untrained, field, files):
    # what the detector says of one field of view, carried to the image by hand
    from claran_plugin.fusion import FUSIONS

    sky = Sky(read_image(files.image))
    centres = np.array([[60.0, 80.0], [110.0, 95.0]])
    (found,) = untrained.look_in_turn([(sky, centres)])
    for number, centre in enumerate(centres):
        picture = FUSIONS['S'](sky.cut(centre).radio, None, rms=1.0)
        (seen,) = untrained.detector(picture[None])
        boxes = seen.bboxes[np.arange(len(seen.scores)), seen.scores.argmax(axis=1)]
        mine = found.field == number
        np.testing.assert_allclose(found.probabilities[mine], seen.scores, atol=1e-5)
        np.testing.assert_allclose(found.boxes[mine], (boxes - 65.5) * 0.75 + np.tile(centre, 2), atol=1e-3)


def test_views_see_the_same_in_eight_orientations(files):
    sky = Sky(read_image(files.image))
    seen = []

    def in_batches(pictures):
        for picture in pictures:
            seen.append(picture)
            y, x = np.unravel_index(np.argmax(picture[..., 1].astype(int) + picture[..., 0]), picture.shape[:2])
            box = np.array([x - 3.0, y - 3.0, x + 3.0, y + 3.0])
            yield InstanceData(bboxes=np.tile(box, (1, 6, 1)), scores=np.full((1, 6), 0.1))

    from mmengine.structures import InstanceData

    associator = Associator.__new__(Associator)
    associator.name = 'brightest'
    associator.detector = SimpleNamespace(method='S', fusion_options={}, in_batches=in_batches)
    associator.views = VIEWS[8]
    centres = np.array([[60.0, 80.0], [110.0, 95.0]])
    (found,) = associator.look_in_turn([(sky, centres)])
    assert found.field.tolist() == list(range(16))
    assert len({picture.tobytes() for picture in seen}) == 16
    for part in (found.boxes[:8], found.boxes[8:]):
        np.testing.assert_allclose(part, np.tile(part[0], (8, 1)), atol=1.6)  # saturated peaks have several pixels


def test_more_views_than_there_are():
    with pytest.raises(InputError, match='3 views: give 1, 2, 4 or 8'):
        Associator(views=3)


def test_infrared_goes_to_the_detector(untrained, field, files, tmp_path):
    infrared = simulate_infrared(np.random.default_rng(0), field)
    seen = []

    def in_batches(pictures):
        for picture in pictures:
            seen.append(picture)
            yield from untrained.detector(picture[None])

    with_infrared = Associator.__new__(Associator)
    with_infrared.name, with_infrared.calibration = 'd3', Calibration()
    with_infrared.detector = SimpleNamespace(
        method='D3',
        fusion_options={},
        weights_hash='',
        precision='float32',
        in_batches=in_batches,
    )
    with_infrared.coarse_detector = with_infrared.detector
    some = read_catalogue(files.srl)[:5]
    result = associate(files.image, some, infrared, associator=with_infrared)
    check_contract(result, some)
    assert len(seen) == result.n_fields
    assert result.infrared.shape == result.radio.shape
    assert result.provenance['CLMODEL'] == 'd3'
    assert 'CLINFRA' in result.provenance


@pytest.fixture(scope='module')
def bundled(require_detector):
    return Associator(device='cpu')


@pytest.fixture(scope='module')
def bundled_result(bundled, files):
    return associate(files.image, files.srl, associator=bundled)


def test_the_bundled_detector_finds_the_true_sources(bundled_result, field, files):
    result = bundled_result
    check_contract(result, read_catalogue(files.srl))
    true = true_source(field, result.components)
    numbers = sorted(set(true[true > 0].tolist()))
    whole = [
        len(set(result.labels[true == k].tolist())) == 1
        and set(true[result.labels == result.labels[true == k][0]].tolist()) <= {k, -1}
        for k in numbers
    ]
    alone = sum(int((true == k).sum() == 1) for k in numbers)
    print(f'{sum(whole)} of {len(whole)} true sources came back whole; {alone} of them are one row of PyBDSF')
    assert sum(whole) > alone
    assert np.mean(whole) > 0.75


def test_the_bundled_detector_is_repeatable(bundled_result, files):
    first, second = bundled_result, associate(files.image, files.srl, device='cpu')
    assert isinstance(first.sources, QTable)
    np.testing.assert_array_equal(first.labels, second.labels)
    for name in first.sources.colnames:
        np.testing.assert_array_equal(np.asarray(first.sources[name]), np.asarray(second.sources[name]), name)


def test_the_bundled_detector_on_a_real_image(bundled, data_dir):
    path = data_dir / 'first' / 'rgz_train' / 'FIRSTJ085101.9+080049.fits.gz'
    if not path.exists():
        path = image_files(data_dir / 'first' / 'rgz_train', 'FIRSTJ*')[0]
    img, _ = run(path, survey='first')
    result = associate_pybdsf(img, associator=bundled)
    assert len(result.components) == len(from_pybdsf(img)) > 0
    check_fluxes(result, from_pybdsf(img))

"""The whole data flow on a simulated field, with real detectors: an untrained one and the bundled one."""

from types import SimpleNamespace

import numpy as np
import pytest
from astropy.table import QTable
from known_sky import check_contract, check_fluxes, field, files, true_source

from claran_plugin.calibration import Calibration
from claran_plugin.components import from_pybdsf, read_catalogue
from claran_plugin.images import image_files, read_image
from claran_plugin.models import config_folder
from claran_plugin.pipeline import Associator, associate, associate_pybdsf, run
from claran_plugin.simulation import simulate_infrared
from claran_plugin.subjects import Sky
from claran_plugin.turns import VIEWS

__all__ = ['field', 'files']  # fixtures


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

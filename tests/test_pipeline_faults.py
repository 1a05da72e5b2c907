"""What the data flow says of input that is wrong, and how it ends on skies and catalogues that are empty."""

import numpy as np
import pytest
from known_sky import Oracle, check_contract, field, files, result
from scipy import ndimage

from claran_plugin.catalogue import SOURCE_COLUMNS
from claran_plugin.components import read_catalogue
from claran_plugin.errors import InputError
from claran_plugin.pipeline import Associator, associate, associate_pybdsf, detect, run

__all__ = ['field', 'files', 'result']  # fixtures


def test_columns_of_an_earlier_run(field, files, result):
    with pytest.raises(InputError, match='--overwrite-columns'):
        associate(files.image, result.components, associator=Oracle(field.truth))
    again = associate(files.image, result.components, associator=Oracle(field.truth), overwrite_columns=True)
    assert again.components.colnames == result.components.colnames
    np.testing.assert_array_equal(again.labels, result.labels)


def test_run_needs_a_frequency(field, tmp_path):
    image = field.image.copy()
    image.meta = image.meta.copy()
    for name in ('RESTFRQ', 'RESTFREQ'):
        image.meta.remove(name, ignore_missing=True)
    with pytest.raises(InputError, match='no frequency in the header, which PyBDSF needs; give it with --frequency'):
        run(image)


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


def test_more_views_than_there_are():
    with pytest.raises(InputError, match='3 views: give 1, 2, 4 or 8'):
        Associator(views=3)

"""A small simulated field with PyBDSF's catalogues, a detector that knows its truth, and what holds of any result."""

from types import SimpleNamespace

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io.votable.ucd import check_ucd
from scipy import ndimage

from claran_plugin.calibration import Calibration
from claran_plugin.catalogue import COMPONENT_COLUMNS, SOURCE_COLUMNS, MorphFlag
from claran_plugin.claims import Detections
from claran_plugin.components import from_pybdsf, run_pybdsf, write_pybdsf_catalogue
from claran_plugin.images import pixel_scale
from claran_plugin.morphology import CLASSES
from claran_plugin.pipeline import Associator, associate
from claran_plugin.simulation import simulate_field, write_field

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
    """Assert what docs/columns.md promises of any result."""
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

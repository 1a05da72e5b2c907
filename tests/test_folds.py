"""Subjects that are close on the sky share a fold."""

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st
from packed_subjects import labelled
from small_field import PIXEL_DEG, write_field

from claran_plugin.datasets.rgz_labels import fold_numbers, subject_position
from claran_plugin.datasets.training_data import fr_galaxies
from claran_plugin.labelled import N_FOLDS

__all__ = ['labelled']  # fixtures


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_close_subjects_share_a_fold(seed):
    rng = np.random.default_rng(seed)
    ra, dec = rng.normal(0, 0.4, 40) % 360, rng.normal(20, 0.4, 40)  # around the break at 0/360
    sky = SkyCoord(ra, dec, unit='deg')
    fold = fold_numbers(sky)
    assert set(fold) <= set(range(N_FOLDS))
    near = sky[:, None].separation(sky[None]) < 10 * u.arcmin
    assert (fold[:, None] == fold[None])[near].all()
    np.testing.assert_array_equal(fold, fold_numbers(sky))


def test_a_chain_of_subjects_shares_a_fold():
    sky = SkyCoord(np.arange(20) * 0.15, np.zeros(20), unit='deg')
    order = np.random.default_rng(0).permutation(20)
    assert len(set(fold_numbers(sky[order]))) == 1


def test_folds_are_of_similar_size():
    rng = np.random.default_rng(0)
    fold = fold_numbers(SkyCoord(rng.uniform(0, 360, 200), rng.uniform(-60, 60, 200), unit='deg'))
    assert np.bincount(fold, minlength=N_FOLDS).min() >= 35


def test_overlapping_real_subjects_share_a_fold(labelled):
    sky = SkyCoord([subject_position(s.name) for s in labelled])
    fold = np.array([s.fold for s in labelled])
    near = sky[:, None].separation(sky[None]) < 5 * u.arcmin
    assert (fold[:, None] == fold[None])[near].all()
    assert np.bincount(fold, minlength=N_FOLDS).min() >= 15


def test_a_galaxy_has_the_fold_of_the_nearest_subject_and_is_kept_from_others_nearby(tmp_path):
    place = SkyCoord(150, 30, unit='deg')
    write_field(
        tmp_path / '100_150.000+30.000_0.1_0050.fits',
        components=np.array([[128.0, 128, 0.02, 1], [136, 128, 0.02, 1]]),
        header=dict(CDELT1=-PIXEL_DEG, CDELT2=PIXEL_DEG),
    )
    away = [9.8, 0.3, 30.0] * u.arcmin
    held_out = place.directional_offset_by([180, 0, 90] * u.deg, away)
    (subject,) = fr_galaxies(tmp_path, held_out, np.array([2, 1, 4]))
    assert (subject.fold, subject.near) == (1, (2,))
    (subject,) = fr_galaxies(tmp_path, held_out[2:], np.array([4]))
    assert (subject.fold, subject.near) == (-1, ())

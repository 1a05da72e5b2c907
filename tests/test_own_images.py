"""Packing images of one's own, whose beams and labels are not FIRST's."""

import numpy as np
import pytest
from astropy.io import fits
from scipy import ndimage

from claran_plugin.datasets.training_data import labelled_first


@pytest.fixture
def own(tmp_path):
    """A field with a beam of 6" on pixels of 1.5", and its labels, as Radio Galaxy Zoo gives them."""
    y, x = np.mgrid[:240, :240]
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(240, 240)), 4 / 2.3548)
    image = noise / noise.std()
    for px in (105, 135):  # 45" apart
        image += 60 * np.exp(-4 * np.log(2) * ((x - px) ** 2 + (y - 120) ** 2) / 4**2)
    header = fits.Header(dict(CTYPE1='RA---SIN', CTYPE2='DEC--SIN', CRVAL1=150.0, CRVAL2=30.0, BUNIT='mJy/beam'))
    header.update(CRPIX1=121, CRPIX2=121, CDELT1=-1.5 / 3600, CDELT2=1.5 / 3600, BMAJ=6 / 3600, BMIN=6 / 3600, BPA=0.0)
    fits.writeto(tmp_path / 'FIRSTJ100000.0+300000.fits', image.astype(np.float32), header)
    ra = 150 + np.array([22.5, -22.5]) / 3600 / np.cos(np.radians(30))
    row = dict(first_id='FIRSTJ100000.0+300000', num_cpnts=2, num_peaks=2, ang_extent=45.0)
    row |= dict(cpnts_ras=';'.join(map(str, ra)), cpnts_decs='30.0;30.0')
    return tmp_path, row


def write_rows(folder, rows):
    path = folder / 'own.csv'
    path.write_text('\n'.join([','.join(rows[0]), *(','.join(map(str, row.values())) for row in rows)]) + '\n')
    return path


def test_an_image_is_packed_at_its_own_beam(own):
    folder, row = own
    (subject,) = labelled_first(folder, write_rows(folder, [row]))
    columns = np.flatnonzero((subject.snr > 20).any(axis=0))
    assert np.ptp(columns) == pytest.approx(45 / 6 * 4 + 3, abs=3)  # four pixels to a beam
    (box,) = subject.boxes
    assert box[2] - box[0] == pytest.approx(1.2 * 45 / 1.5, rel=0.01)


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        (dict(num_cpnts=4, num_peaks=7), '4 components and 7 peaks are none of the six classes'),
        (dict(cpnts_ras='151.0;151.01'), 'a source lies outside of its image'),
    ],
)
def test_rows_that_cannot_be_are_told(own, change, said):
    folder, row = own
    path = write_rows(folder, [row | change])
    with pytest.raises(ValueError, match=f'FIRSTJ100000.0.300000: {said}'):
        list(labelled_first(folder, path))
    with pytest.raises(ValueError, match='a source is listed twice'):
        list(labelled_first(folder, write_rows(folder, [row, row])))

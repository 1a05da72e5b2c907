"""A small Radio Galaxy Zoo: a catalogue, and FITS images in which its sources stand where it says."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

NOISE_JY = 1.5e-4
FWHM_ARCSEC = 5.4
ROW = '{id},{name},{nc},{np},{ras},{decs},{extent},{cl},{training}\n'
HEADER = 'catalog_id,first_id,num_cpnts,num_peaks,cpnts_ras,cpnts_decs,ang_extent,cl,training\n'


class Source(NamedTuple):
    """Offsets of the components from the subject's position, arcsec to the east and north, and what is said of them."""

    offsets: tuple[tuple[float, float], ...]
    n_peaks: int
    extent_arcsec: float
    consensus: float = 0.8


class Subject(NamedTuple):
    """A subject with its sources."""

    name: str
    sources: tuple[Source, ...]
    training: bool = True

    @property
    def position(self) -> SkyCoord:
        """Read from the name."""
        digits = self.name.split('J')[1]
        ra = (int(digits[:2]) + int(digits[2:4]) / 60 + float(digits[4:8]) / 3600) * 15
        sign = -1 if digits[8] == '-' else 1
        dec = sign * (int(digits[9:11]) + int(digits[11:13]) / 60 + int(digits[13:15]) / 3600)
        return SkyCoord(ra, dec, unit='deg')


SUBJECTS = (
    Subject('FIRSTJ100000.0+200000', (Source(((0, 0),), 1, 20),)),
    Subject('FIRSTJ103000.0+500000', (Source(((-30, 20), (30, -20)), 2, 80), Source(((45, 60),), 1, 18))),
    Subject('FIRSTJ110000.0-051500', (Source(((-50, 0), (0, 0), (50, 0)), 3, 115),)),
    Subject('FIRSTJ113000.0+070000', (Source(((3, -4),), 2, 30),), training=False),
    Subject('FIRSTJ000000.1+100000', (Source(((0, -20), (0, 20)), 3, 55),), training=False),
)


def write_catalogue(path: Path, subjects: tuple[Subject, ...] = SUBJECTS) -> Path:
    """Write subjects in the form of ClaRAN's catalogue."""
    lines = [HEADER]
    for subject in subjects:
        for source in subject.sources:
            sky = component_positions(subject, source)
            lines.append(
                ROW.format(
                    id=len(lines),
                    name=subject.name,
                    nc=len(source.offsets),
                    np=source.n_peaks,
                    ras=';'.join(f'{ra:.9f}' for ra in sky.ra.deg),
                    decs=';'.join(f'{dec:.9f}' for dec in sky.dec.deg),
                    extent=source.extent_arcsec,
                    cl=source.consensus,
                    training=int(subject.training),
                )
            )
    path.write_text(''.join(lines))
    return path


def component_positions(subject: Subject, source: Source) -> SkyCoord:
    """Give the components of a source on the sky."""
    east, north = np.array(source.offsets, float).T * u.arcsec
    return subject.position.spherical_offsets_by(east, north)


def write_radio(path: Path, subject: Subject, *, off_arcsec: tuple[float, float] = (0, 0), seed: int = 0) -> Path:
    """Write a FIRST-like image of 5', 1.8"/px, whose middle is off the subject's position."""
    centre = subject.position.spherical_offsets_by(*(np.array(off_arcsec) * u.arcsec))
    wcs = tangential(centre, 167, 1.8)
    data = np.random.default_rng(seed).normal(0, NOISE_JY, (167, 167))
    for source in subject.sources:
        for x, y in zip(*wcs.world_to_pixel(component_positions(subject, source)), strict=True):
            data += 200 * NOISE_JY * gaussian(x, y, FWHM_ARCSEC / 1.8, data.shape)
    fits.PrimaryHDU(data.astype(np.float32), wcs.to_header()).writeto(path)
    return path


def write_infrared(path: Path, subject: Subject, *, seed: int = 0) -> Path:
    """Write a WISE-like image of 6', 2.75"/px, with a star at each component."""
    wcs = tangential(subject.position, 131, 2.75)
    data = np.random.default_rng(seed).normal(5, 1, (131, 131))
    for source in subject.sources:
        for x, y in zip(*wcs.world_to_pixel(component_positions(subject, source)), strict=True):
            data += 80 * gaussian(x, y, 2.4, data.shape)
    fits.PrimaryHDU(data.astype(np.float32), wcs.to_header()).writeto(path)
    return path


def tangential(centre: SkyCoord, size: int, pixel_arcsec: float) -> WCS:
    """Make the WCS of a square image, north up."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = 'RA---TAN', 'DEC--TAN'
    wcs.wcs.crval = centre.ra.deg, centre.dec.deg
    wcs.wcs.crpix = ((size + 1) / 2,) * 2
    wcs.wcs.cdelt = -pixel_arcsec / 3600, pixel_arcsec / 3600
    return wcs


def gaussian(x: float, y: float, fwhm: float, shape: tuple[int, int]) -> np.ndarray:
    """Draw a round Gaussian of height 1."""
    yy, xx = np.indices(shape)
    return np.exp(-4 * np.log(2) * ((xx - x) ** 2 + (yy - y) ** 2) / fwhm**2)


def write_folders(folder: Path) -> tuple[Path, Path, Path]:
    """Write catalogue, radio images of all subjects and infrared images of all but the last."""
    radio, infrared = folder / 'radio', folder / 'infrared'
    radio.mkdir()
    infrared.mkdir()
    for k, subject in enumerate(SUBJECTS):
        # the third has no name that tells what it shows
        name = 'field_17' if k == 2 else subject.name
        write_radio(radio / f'{name}.fits', subject, off_arcsec=(4 * k, -7 * k), seed=k)
        if k + 1 < len(SUBJECTS):
            write_infrared(infrared / f'WISE_J{subject.name.split("J")[1]}_w1.fits', subject, seed=k)
    return write_catalogue(folder / 'catalogue.csv'), radio, infrared

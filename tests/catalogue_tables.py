"""Component and source tables to be written, and a catalogue with all that could suffer on the way."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import QTable

from claran_plugin import catalogue_writing
from claran_plugin.catalogue import build_component_table, build_source_table
from claran_plugin.catalogue_reading import read_catalogue
from claran_plugin.catalogue_writing import atomic_outputs, output_paths
from claran_plugin.morphology import CLASSES
from claran_plugin.standard_components import component_table, standardise

CONTRACT_COMPONENTS = 'Source_Name Assoc_id Assoc Assoc_Prob Morphology Morph_Prob N_Components N_Peaks Morph_Flag'
CONTRACT_SOURCES = (
    'Source_Name Assoc_id RA DEC Total_flux E_Total_flux Peak_flux Composite_Size Composite_Width Composite_PA Assoc '
    'N_Components N_Peaks Morphology Morph_Prob P_1C_1P P_1C_2P P_1C_3P P_2C_2P P_2C_3P P_3C_3P Box_RA Box_DEC '
    'Box_Width Box_Height Morph_Flag'
)
ALL_SOURCE_COLUMNS = [*CONTRACT_SOURCES.split(), 'E_RA', 'E_DEC', 'E_Peak_flux']
LABELS = np.array([0, 1, 0, 2, 1, 0])


def standard_table(ra, dec, flux=None, maj=5.0, min=5.0, pa=0.0, **others):
    n = len(ra)
    flux = np.ones(n) if flux is None else np.asarray(flux, float)
    unknown = np.full(n, np.nan)
    e_flux, peak, e_peak = others.get('e_flux', 0.1 * flux), others.get('peak', flux), others.get('e_peak', unknown)
    e_sky = np.transpose([others.get('e_ra', unknown), others.get('e_dec', unknown)])
    shape = np.transpose(np.broadcast_arrays(np.full(n, maj) / 3600, np.full(n, min) / 3600, np.full(n, pa)))
    place = np.transpose([ra, dec])
    return component_table(place, flux, e_flux, peak, shape, np.arange(n), ['S'] * n, e_sky, e_peak)


def groups_table(n):
    return QTable(
        {
            'Morphology': [CLASSES[i % 6] for i in range(n)] if n else np.empty(0, 'U5'),
            'Morph_Prob': np.linspace(0, 1, n),
            'P': np.full((n, 6), 0.1),
            'N_Components': np.arange(n),
            'N_Peaks': np.arange(n) + 1,
            'Morph_Flag': np.zeros(n, int),
            'Box': SkyCoord(np.full(n, 10.0), np.full(n, -3.0), unit='deg'),
            'Box_Width': np.full(n, 1.0) * u.arcmin,
            'Box_Height': np.full(n, 50.0) * u.arcsec,
        }
    )


def composite(ra, dec, **kwargs):
    return build_source_table(standard_table(ra, dec, **kwargs), np.zeros(len(ra), int), groups_table(1))[0]


@pytest.fixture
def original(tmp_path):
    """A catalogue with every kind of FITS column that could suffer on the way, and a header worth keeping."""
    rng = np.random.default_rng(0)
    n = len(LABELS)
    odd = np.array([np.nan, -0.0, np.inf, 1, 2, 3], '>f4')
    odd.view('>u4')[0] |= 0x1234  # a not-a-number with a payload
    hdu = fits.BinTableHDU.from_columns([
        fits.Column('RA', 'D', unit='deg', array=rng.uniform(149, 151, n)),
        fits.Column('DEC', 'D', unit='deg', array=rng.uniform(1, 2, n)),
        fits.Column('Total_flux', 'E', unit='mJy', array=rng.uniform(1, 9, n)),
        fits.Column('odd', 'E', array=odd),
        fits.Column('scaled', 'I', array=np.arange(n)),
        fits.Column('unsigned', 'J', bzero=2**31, array=np.arange(n, dtype='u4')),
        fits.Column('flag', 'L', array=[True, False] * 3),
        fits.Column('text', '6A', array=['a ', ' b', '', 'c', 'dddddd', 'e']),
        fits.Column('blank', 'J', null=-99, array=[-99, 1, 2, 3, 4, 5]),
        fits.Column('cube', '4J', dim='(2,2)', array=rng.integers(0, 9, (n, 2, 2))),
        fits.Column('bits', '11X', array=rng.integers(0, 2, (n, 11)).astype(bool)),
        fits.Column('heap', 'PD()', array=np.array([np.arange(k, dtype=float) for k in range(n)], dtype=object)),
        fits.Column('S_Code', 'A', array=list('SCMSCM')),
    ])  # fmt: skip
    hdu.header['TUCD1'] = 'pos.eq.ra;meta.main'
    hdu.header['FREQ0'] = (1.4e9, 'Reference frequency')
    for text in ('first', 'second', 'first'):
        hdu.header.add_comment(text)
    hdu.header.add_history('made by hand')
    primary = fits.PrimaryHDU()
    primary.header['ORIGIN'] = 'test'
    path = tmp_path / 'input.fits'
    fits.HDUList([primary, hdu, fits.ImageHDU(np.arange(6.0).reshape(2, 3))]).writeto(path)
    fits.setval(path, 'TSCAL5', value=0.1, ext=1)
    fits.setval(path, 'TZERO5', value=5.0, ext=1)
    return path


def tables_of(path, **kwargs):
    table = read_catalogue(path)
    sources = build_source_table(standardise(table, path), LABELS, groups_table(3))
    return build_component_table(table, sources, LABELS, np.linspace(0.5, 1, len(table)), **kwargs), sources


def write_tables(components, sources, folder, name, *, overwrite=False, original=None, **options):
    """Write ``NAME.components`` and ``NAME.sources``, both or none, and give their paths."""
    paths = output_paths(folder, name, options.get('format', 'fits'))
    with atomic_outputs(paths, overwrite=overwrite) as temporary:
        catalogue_writing.write_component_table(components, temporary[0], original=original, **options)
        catalogue_writing.write_source_table(sources, temporary[1], **options)
    return paths

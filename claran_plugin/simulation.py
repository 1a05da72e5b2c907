"""Synthetic radio images with known truth: fields of view to train on, and whole fields to test a pipeline with."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.table import QTable
from astropy.wcs import WCS
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

from claran_plugin.errors import InputError
from claran_plugin.morphology import CLASSES, class_name, source_box
from claran_plugin.synthetic_infrared import draw_infrared
from claran_plugin.synthetic_sky import FOOTPRINT_SIGMA, Source, View, draw_source, fill, observe

CLASS_WEIGHTS: dict[str, float] = {
    '1C_1P': 0.22,
    '1C_2P': 0.18,
    '1C_3P': 0.18,
    '2C_2P': 0.14,
    '2C_3P': 0.14,
    '3C_3P': 0.14,
}
NEIGHBOURS_MEAN = (0.4, 8.0)
"""Range of the mean number of neighbours in a subject 50 beams wide: FIRST's sky has 0.5, LoTSS's 5."""
NEIGHBOURS_MOST = 14
FIELD_DENSITY = 60 / 15**2
"""Sources per square arcminute at FIRST's beam: about ten times FIRST's, so that a small field tests much."""
DEFAULT_CENTRE = SkyCoord(180, 30, unit='deg')


class Subject(NamedTuple):
    """A simulated field of view.

    Attributes
    ----------
    snr : (size, size) float32 array
        Brightness in units of the noise.
    labels : (size, size) int array
        Components (islands of emission), from 1; 0 elsewhere.
    source_of : (n_components,) int array
        Source of component ``i + 1``; -1 for noise and artefacts that stand out as much.
    boxes : (n, 4) float32 array
        ClaRAN's box of every source, xyxy in pixels. The main source comes first. A neighbour's may leave the frame.
    classes : (n,) int array
        Index of every source's class in `claran_plugin.morphology.CLASSES`.
    hosts : (n, 2) array
        Nucleus of every source, xy in pixels.
    """

    snr: NDArray
    labels: NDArray
    source_of: NDArray
    boxes: NDArray
    classes: NDArray
    hosts: NDArray


class Field(NamedTuple):
    """A simulated image with its truth.

    Attributes
    ----------
    image : CCDData
        Jy/beam, float32, with a celestial WCS and the beam in its header.
    truth : QTable
        One row per source; see `simulate_field`.
    labels : (ny, nx) int32 array
        The ``Source_id`` of every pixel of a component, -1 in components that are noise or artefacts; 0 elsewhere.
    """

    image: CCDData
    truth: QTable
    labels: NDArray


def simulate_subject(
    rng: Generator,
    size: int = 200,
    beam_pix: float = 4.0,
    *,
    weights: Mapping[str, float] = CLASS_WEIGHTS,
    tries: int = 8,
) -> Subject:
    """Draw a field of view around one source, with unrelated neighbours, in units of the noise.

    Parameters
    ----------
    rng : numpy.random.Generator
    size : int
        Width and height, pixels.
    beam_pix : float
        FWHM of the beam, pixels.
    weights : mapping of str to float
        How often each class is wanted of the main source.
    tries : int
        How often noise and neighbours are drawn anew where they change a source's class, before the main source is.

    Raises
    ------
    ValueError
        A name in `weights` is not a class, or no weight is positive.
    """
    names = list(weights)
    chances = np.array([weights[name] for name in names], float)
    if set(names) - set(CLASSES) or not chances.sum() > 0:
        raise ValueError(f'weights must give a positive weight to some of {", ".join(CLASSES)}, got {dict(weights)}')
    wanted = names[rng.choice(len(names), p=chances / chances.sum())]
    while True:
        main = _draw_inside(rng, wanted, size, beam_pix)
        mean = np.exp(rng.uniform(*np.log(NEIGHBOURS_MEAN)))
        for _ in range(tries):
            n_sources = 1 + min(int(rng.poisson(mean)), NEIGHBOURS_MOST)
            sources = fill(rng, [main], n_sources, (size, size), beam_pix, fraction_extended=0.25)
            view = observe(rng, sources, (size, size), beam_pix)
            if view.certain.all():
                boxes = [_box(view, k, s) for k, s in enumerate(sources)]
                classes = [CLASSES.index(str(class_name(*s.counts))) for s in sources]
                hosts = np.array([source.host_xy for source in sources])
                return Subject(
                    view.snr, view.labels, view.source_of, np.array(boxes, np.float32), np.array(classes), hosts
                )


def _draw_inside(rng: Generator, name: str, size: int, beam_pix: float, spread_beams: float = 10.0) -> Source:
    """Draw a source within `spread_beams` of the centre, its islands inside the frame."""
    spread = min(spread_beams * beam_pix, size / 2 - 2 * beam_pix)
    for _ in range(50):
        x, y = (size - 1) / 2 + rng.uniform(-spread, spread, 2)
        source = draw_source(rng, name, (x, y), beam_pix)
        ys, xs = ndimage.find_objects((source.stamp.image > FOOTPRINT_SIGMA).astype(np.int8))[0]
        first = min(xs.start + source.stamp.x0, ys.start + source.stamp.y0)
        last = max(xs.stop + source.stamp.x0, ys.stop + source.stamp.y0)
        if first >= beam_pix and last <= size - beam_pix:
            return source
    raise ValueError(f'a source of class {name} does not fit into {size} pixels with a beam of {beam_pix} pixels')


def _box(view: View, index: int, source: Source) -> NDArray:
    own, _, first_xy = view.components(index, source)
    return source_box(own, np.arange(1, own.max() + 1), source.counts.peaks) + np.tile(first_xy, 2)


def simulate_field(
    rng: Generator,
    *,
    size_arcmin: float = 15.0,
    pixel_arcsec: float = 1.8,
    beam_arcsec: float = 5.4,
    rms_jy: float = 1.4e-4,
    centre: SkyCoord = DEFAULT_CENTRE,
    frequency_hz: float = 1.4e9,
    n_sources: int | None = None,
    fraction_extended: float = 0.35,
) -> Field:
    """Draw a radio image of many sources; the defaults resemble a crowded field of the FIRST survey.

    Parameters
    ----------
    rng : numpy.random.Generator
    size_arcmin : float
        Width and height.
    pixel_arcsec, beam_arcsec : float
        Pixel and FWHM of the round beam.
    rms_jy : float
        Noise, Jy/beam.
    centre : SkyCoord
        Centre of the field.
    frequency_hz : float
        Written into the header.
    n_sources : int, optional
        Number of sources to place; by default 60 in 225 square arcminutes at 5.4", scaled with the beam. Where the
        field is too crowded there are fewer.
    fraction_extended : float
        Share of sources that are drawn as one of the five classes other than 1C_1P.

    Returns
    -------
    Field
        Its truth has the columns ``Source_id`` (from 1), ``RA, DEC`` (deg, centroid of the flux), ``Total_flux`` (Jy),
        ``Peak_flux`` (Jy/beam, both without noise), ``Morphology``, ``N_Components``, ``N_Peaks``, ClaRAN's box on the
        sky ``Box_RA, Box_DEC`` (deg), ``Box_Width, Box_Height`` (arcsec), the nucleus ``Host_RA, Host_DEC`` (deg) and
        the centroids of the components, ``Component_RA, Component_DEC`` (deg, separated by ';').

    Raises
    ------
    ValueError
        The beam is narrower than two pixels, or the field narrower than 20 beams.
    """
    beam_pix = beam_arcsec / pixel_arcsec
    n_pix = round(size_arcmin * 60 / pixel_arcsec)
    if beam_pix < 2 or n_pix < 20 * beam_pix:
        raise ValueError(
            f'the beam must be at least 2 pixels and the field at least 20 beams wide, got a beam of {beam_arcsec}", '
            f'pixels of {pixel_arcsec}" and a field of {size_arcmin}\''
        )
    if n_sources is None:
        n_sources = round(FIELD_DENSITY * size_arcmin**2 * (5.4 / beam_arcsec) ** 2)
    shape = (n_pix, n_pix)
    seed = int(rng.integers(2**63))
    sources: list[Source] = []
    rounds = 0
    while True:  # ends: after two rounds sources are only taken away
        if rounds < 2:
            sources = fill(rng, sources, n_sources, shape, beam_pix, fraction_extended=fraction_extended)
        # the same noise in every round, so that a source that was kept remains as it is
        view = observe(np.random.default_rng(seed), sources, shape, beam_pix)
        if view.certain.all():
            break
        sources = [source for source, certain in zip(sources, view.certain, strict=True) if certain]
        rounds += 1
    header = _header(n_pix, centre, pixel_arcsec, beam_arcsec, frequency_hz)
    wcs = WCS(header)
    image = CCDData(view.snr * np.float32(rms_jy), unit='Jy / beam', wcs=wcs, meta=header, mask=np.zeros(shape, bool))
    source_id = np.concatenate([[0], np.where(view.source_of >= 0, view.source_of + 1, -1)]).astype(np.int32)
    return Field(image, _truth(sources, view, wcs, pixel_arcsec, beam_pix, rms_jy), source_id[view.labels])


def _header(n_pix: int, centre: SkyCoord, pixel_arcsec: float, beam_arcsec: float, frequency_hz: float) -> fits.Header:
    centre = centre.icrs
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ['RA---TAN', 'DEC--TAN']
    wcs.wcs.crval = [centre.ra.deg, centre.dec.deg]
    wcs.wcs.crpix = [(n_pix + 1) / 2, (n_pix + 1) / 2]
    wcs.wcs.cdelt = [-pixel_arcsec / 3600, pixel_arcsec / 3600]
    wcs.wcs.radesys = 'ICRS'
    header = wcs.to_header()
    header['BUNIT'] = 'Jy/beam'
    header['BMAJ'] = (beam_arcsec / 3600, '[deg] FWHM of the beam')
    header['BMIN'] = (beam_arcsec / 3600, '[deg]')
    header['BPA'] = (0.0, '[deg]')
    header['RESTFRQ'] = (frequency_hz, '[Hz]')
    header['RESTFREQ'] = (frequency_hz, '[Hz] the same under the name that PyBDSF reads')
    header['OBJECT'] = 'simulation'
    return header


def _truth(sources: list[Source], view: View, wcs: WCS, pixel_arcsec: float, beam_pix: float, rms_jy: float) -> QTable:
    """Tabulate what is true of every source; see `simulate_field`."""
    boxes = np.array([_box(view, k, s) for k, s in enumerate(sources)]).reshape(-1, 4)
    centroids = [np.average(s.blobs[:, :2], axis=0, weights=s.blobs[:, 2]) * beam_pix + s.xy for s in sources]
    sky = {
        name: wcs.pixel_to_world(*np.asarray(xy, float).reshape(-1, 2).T)
        for name, xy in {
            '': centroids,
            'Box_': (boxes[:, :2] + boxes[:, 2:]) / 2,
            'Host_': [s.host_xy for s in sources],
        }.items()
    }
    components = [_component_positions(view, k, s, wcs) for k, s in enumerate(sources)]
    return QTable(
        {
            'Source_id': np.arange(1, len(sources) + 1),
            'RA': sky[''].ra.deg * u.deg,
            'DEC': sky[''].dec.deg * u.deg,
            'Total_flux': np.array([s.blobs[:, 2].sum() for s in sources]) * rms_jy * u.Jy,
            'Peak_flux': np.array([s.stamp.image.max() for s in sources]) * rms_jy * u.Jy / u.beam,
            'Morphology': np.array([class_name(*s.counts) for s in sources], dtype='U5'),
            'N_Components': np.array([s.counts.components for s in sources], int),
            'N_Peaks': np.array([s.counts.peaks for s in sources], int),
            'Box_RA': sky['Box_'].ra.deg * u.deg,
            'Box_DEC': sky['Box_'].dec.deg * u.deg,
            'Box_Width': (boxes[:, 2] - boxes[:, 0]) * pixel_arcsec * u.arcsec,
            'Box_Height': (boxes[:, 3] - boxes[:, 1]) * pixel_arcsec * u.arcsec,
            'Host_RA': sky['Host_'].ra.deg * u.deg,
            'Host_DEC': sky['Host_'].dec.deg * u.deg,
            'Component_RA': np.array([ra for ra, _ in components], dtype=str),
            'Component_DEC': np.array([dec for _, dec in components], dtype=str),
        }
    )


def _component_positions(view: View, index: int, source: Source, wcs: WCS) -> tuple[str, str]:
    """Give the centroids of a source's components on the sky as two ';'-separated lists."""
    own, snr, first_xy = view.components(index, source)
    yx = ndimage.center_of_mass(snr, own, np.arange(1, own.max() + 1))
    sky = wcs.pixel_to_world(*(np.array(yx)[:, ::-1] + first_xy).T)
    return ';'.join(f'{ra:.6f}' for ra in sky.ra.deg), ';'.join(f'{dec:.6f}' for dec in sky.dec.deg)


def simulate_infrared(
    rng: Generator, field: Field, *, psf_arcsec: float = 6.1, density_arcmin2: float = 5.0, host_share: float = 0.8
) -> CCDData:
    """Draw an infrared image of the same sky on the same grid, as WISE at 3.4 um sees it.

    Parameters
    ----------
    rng : numpy.random.Generator
    field : Field
    psf_arcsec, density_arcmin2, host_share
        See `synthetic_infrared.draw_infrared`.

    Returns
    -------
    CCDData, in units of the noise above a background of zero
    """
    wcs, shape = field.image.wcs, field.labels.shape
    pixel_arcsec = float(np.sqrt(np.abs(np.linalg.det(wcs.pixel_scale_matrix))) * 3600)
    hosts = SkyCoord(field.truth['Host_RA'], field.truth['Host_DEC'])
    image = draw_infrared(
        rng,
        shape,
        np.stack(wcs.world_to_pixel(hosts), axis=-1),
        pixel_arcsec,
        psf_arcsec=psf_arcsec,
        density_arcmin2=density_arcmin2,
        host_share=host_share,
    )
    return CCDData(image, unit=u.dimensionless_unscaled, wcs=wcs, meta=wcs.to_header(), mask=np.zeros(shape, bool))


def write_field(field: Field, path: str | Path, *, overwrite: bool = False) -> tuple[Path, Path]:
    """Write a simulated image, and beside it the truth.

    Parameters
    ----------
    field : Field
    path : str or Path
        ``NAME.fits`` of the image. The truth becomes ``NAME.truth.fits``: the table TRUTH, the image LABELS.
    overwrite : bool
        Replace files that are there.

    Returns
    -------
    (Path, Path)
        Of the image and of the truth. Either both are written or none.

    Raises
    ------
    InputError
        A file is there already, or the folder is not.
    """
    path = Path(path)
    truth_path = path.with_name(f'{path.stem}.truth.fits')
    if not path.parent.is_dir():
        raise InputError(f'{path}: the folder {path.parent} does not exist; create it first')
    for target in (path, truth_path):
        if target.exists() and not overwrite:
            raise InputError(f'{target}: exists already; give another name or --overwrite')
    image = fits.HDUList([fits.PrimaryHDU(field.image.data, field.image.meta)])
    table = fits.table_to_hdu(field.truth)
    table.name = 'TRUTH'
    labels = fits.ImageHDU(field.labels, field.image.wcs.to_header(), name='LABELS')
    truth = fits.HDUList([fits.PrimaryHDU(), table, labels])
    with tempfile.TemporaryDirectory(dir=path.parent, prefix='.simulation-') as folder:
        for hdus, target in ((image, path), (truth, truth_path)):
            hdus.writeto(Path(folder) / target.name)
        for target in (truth_path, path):
            os.replace(Path(folder) / target.name, target)
    return path, truth_path

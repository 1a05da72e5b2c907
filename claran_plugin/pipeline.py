"""The whole data flow: an image and its components in, physical sources with morphologies out."""

import tempfile
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from astropy import units as u
from astropy.nddata import CCDData
from astropy.table import QTable, Table
from astropy.wcs import WCS, FITSFixedWarning
from numpy.typing import NDArray

from claran_plugin import __version__
from claran_plugin.association import Partition
from claran_plugin.associator import Associator, Progress, choose_fields
from claran_plugin.calibration import calibration_hash, membership_probability
from claran_plugin.catalogue import (
    build_component_table,
    build_source_table,
    check_columns,
    refuse_sources,
    with_own_names,
)
from claran_plugin.catalogue_writing import FRAME_CARD
from claran_plugin.celestial import in_icrs
from claran_plugin.components import from_pybdsf, read_catalogue, run_pybdsf, standardise, write_pybdsf_catalogue
from claran_plugin.contours import NoiseMap
from claran_plugin.errors import InputError
from claran_plugin.fits_pixels import ImageLike, printable
from claran_plugin.footprints import island_components, on_image, on_sight
from claran_plugin.images import beam_pix, pixel_scale, read_image
from claran_plugin.infrared_images import read_infrared
from claran_plugin.pixels import WindowedPixels
from claran_plugin.sources import describe_sources
from claran_plugin.subjects import Sky, isolated


@dataclass
class Association:
    """What `associate` returns.

    Attributes
    ----------
    components : Table
        The input table with the columns of `catalogue.COMPONENT_COLUMNS`.
    sources : QTable
        One row per physical source; the columns of `catalogue.SOURCE_COLUMNS`.
    labels : (n,) int array
        `Assoc_id` of each component.
    radio, infrared : CCDData
        The images, on one grid; infrared may be None.
    n_fields : int
        Fields of view looked at.
    provenance : dict
        Versions, model and weights, for the headers.
    partition : Partition
        What was weighed, see `explanation`.
    rms : NoiseMap
        Local noise of the radio image, Jy/beam.
    tried : (S, 2, K) int array
        Components and peaks of each source, counted with each level of the noise (`measuring.NOISE_TRIED`).
    """

    components: Table
    sources: QTable
    labels: NDArray
    radio: CCDData
    infrared: CCDData | None
    n_fields: int
    provenance: dict[str, str]
    partition: Partition
    rms: NoiseMap
    tried: NDArray


def associate(
    image: ImageLike,
    catalogue: str | Path | Table,
    infrared: ImageLike | None = None,
    *,
    beam: tuple[float, float, float] | None = None,
    frequency: float | None = None,
    survey: str | None = None,
    model: str | None = None,
    weights: str | Path | None = None,
    device: str = 'auto',
    views: int = 1,
    precision: str = 'auto',
    calibration: str | Path | None = None,
    fov: float | None = None,
    look_at_all: bool = False,
    overwrite_columns: bool = False,
    own_frame: bool | None = None,
    associator: Associator | None = None,
    progress: Progress | None = None,
    name: str | None = None,
) -> Association:
    """Group the components of a catalogue into physical sources and tell their morphologies.

    Parameters
    ----------
    image : path or CCDData
        Radio image.
    catalogue : path or Table
        Components: PyBDSF's srl or gaul list, or any table with positions and fluxes.
    infrared : path or CCDData, optional
        On any grid.
    beam : (major, minor, position angle), optional
        deg; by default as in the header.
    frequency : float, optional
        Hz; by default as in the header.
    survey : str, optional
        Preset for what the header lacks, one of `images.SURVEYS`.
    model, weights, device, views, precision, calibration
        See `Associator`.
    fov : float, optional
        Side of the fields of view, arcsec; by default 33 beams.
    look_at_all : bool
        Show isolated, unresolved components to the detector too.
    overwrite_columns : bool
        Replace the columns of an earlier run.
    own_frame : bool, optional
        Whether the catalogue's positions are in the image's frame, as PyBDSF's are, and not in ICRS; by default told
        from the image.
    associator : Associator, optional
        A detector that is loaded already; what `Associator` takes is then not used.
    progress : callable, optional
        Wraps the iteration over fields of view, ``progress(centres, number)``: those of the image, then, where there
        are any, those of coarser skies.
    name : str, optional
        What to call the catalogue in errors and warnings; by default its path.

    Returns
    -------
    Association

    Raises
    ------
    InputError
        Where one of the inputs is at fault.
    """
    radio = read_image(image, beam=beam, frequency=frequency, survey=survey)
    near_infrared = read_infrared(infrared, radio) if infrared is not None else None
    name = name or ('catalogue' if isinstance(catalogue, Table) else str(catalogue))
    original = catalogue if isinstance(catalogue, Table) else read_catalogue(catalogue)
    refuse_sources(original.colnames, name)
    if not overwrite_columns:
        original = with_own_names(original, name)
        check_columns(original.colnames, name)
    standard, frame = in_icrs(standardise(original, name), radio, name, own_frame=own_frame)
    if associator is None:
        associator = Associator(
            model,
            weights,
            device,
            infrared=infrared is not None,
            views=views,
            precision=precision,
            calibration=calibration,
        )
    if isinstance(radio.data, WindowedPixels):
        associator.load()  # first, as its faults should be told before a large image is looked over
    # Importing the detector's libraries plays with the filters of warnings, which threads share.
    with warnings.catch_warnings(), ThreadPoolExecutor(1) as pool:
        loading = pool.submit(associator.load)
        sky = _sky(radio, near_infrared, fov)
        components = on_image(standard, sky, name)
        is_seen = on_sight(components, sky)
        skipped: NDArray = np.zeros(len(standard), bool)
        if not look_at_all:
            widths = standard['Maj'].to_value(u.arcsec) / pixel_scale(radio)
            skipped = isolated(components.xy, widths, standard['Peak_flux'].value, sky) & is_seen
        centres = choose_fields(sky, components, ~skipped & is_seen)
        loading.result()
    looked = associator.partition(sky, components, centres, progress)
    partition = looked.partition
    groups = describe_sources(
        looked.skies, components, partition, skipped, associator.calibration, looked.largest_field
    )
    sources = build_source_table(standard, partition.labels, groups)
    is_large = partition.hypotheses.is_far_coarser
    assoc_prob = membership_probability(partition.margin, is_large, associator.calibration)[partition.labels]
    assoc_prob[~is_seen] = np.nan  # off the image
    table = build_component_table(original, sources, partition.labels, assoc_prob, overwrite_columns=overwrite_columns)
    provenance = {
        'CLVERS': __version__,
        'CLMODEL': associator.name,
        'CLWHASH': associator.detector.weights_hash,
        'CLCALIB': calibration_hash(associator.calibration),
        'CLPREC': associator.detector.precision,
        'CLIMAGE': Path(str(radio.meta.get('FILENAME', ''))).name,
        FRAME_CARD: frame,
    }
    if looked.n_coarse and associator.coarse_detector is not associator.detector:
        provenance['CLCHASH'] = associator.coarse_detector.weights_hash
    if near_infrared is not None:
        provenance['CLINFRA'] = Path(str(near_infrared.meta.get('FILENAME', ''))).name
    return Association(
        table,
        sources,
        partition.labels,
        radio,
        near_infrared,
        looked.n_fields,
        provenance,
        partition,
        sky.rms,
        np.asarray(groups['Tried']),
    )


def associate_pybdsf(img: Any, infrared: ImageLike | None = None, **options: Any) -> Association:
    """Associate the sources of a PyBDSF image object, in the order of its srl list; options as for `associate`."""
    major, minor, angle = (float(value) for value in img.beam)
    radio = read_image(_pixels_of(img), beam=(major, minor, angle), frequency=float(img.frequency))
    return associate(
        radio, Table(from_pybdsf(img, 'srl')), infrared, own_frame=True, name=pybdsf_name(img.filename), **options
    )


def pybdsf_name(image: str | Path) -> str:
    """Name what PyBDSF found in an image."""
    return f"PyBDSF's list of {image}"


def run(
    image: ImageLike,
    *,
    beam: tuple[float, float, float] | None = None,
    frequency: float | None = None,
    survey: str | None = None,
    pybdsf: dict | None = None,
) -> tuple[Any, CCDData]:
    """Run PyBDSF on an image; give its image object and the image as it was read.

    Parameters
    ----------
    image, beam, frequency, survey
        As for `associate`.
    pybdsf : dict, optional
        Options of ``bdsf.process_image``.

    Raises
    ------
    InputError
        Where the image lacks something that PyBDSF needs, the frequency for one.
    """
    radio = read_image(image, beam=beam, frequency=frequency, survey=survey)
    if 'RESTFRQ' not in radio.meta:
        name = radio.meta.get('FILENAME', 'image')
        raise InputError(
            f'{name}: no frequency in the header, which PyBDSF needs; give it with --frequency HZ or --survey'
        )
    return run_pybdsf(radio, **(pybdsf or {})), radio


@contextmanager
def pybdsf_list(
    radio: CCDData, name: str, kind: Literal['srl', 'gaul'], options: dict
) -> Iterator[tuple[CCDData, Path]]:
    """Run PyBDSF and write its list to a file that lasts as long as the context.

    Parameters
    ----------
    radio : CCDData
    name : str
        Of the file, without ending; it becomes the list's name.
    kind : str
        Which list, ``srl`` or ``gaul``.
    options : dict
        Of ``bdsf.process_image``.

    Yields
    ------
    (CCDData, Path), the image as it was read, and the list
    """
    img, radio = run(radio, pybdsf=options)
    with tempfile.TemporaryDirectory(prefix='claran_') as folder:
        yield radio, write_pybdsf_catalogue(img, Path(folder) / f'{name}.fits', kind)


def detect(
    image: ImageLike,
    infrared: ImageLike | None = None,
    *,
    beam: tuple[float, float, float] | None = None,
    frequency: float | None = None,
    survey: str | None = None,
    fov: float | None = None,
    **options: Any,
) -> Association:
    """Find sources without a catalogue: islands of emission above the threshold stand for components.

    Parameters, `options` among them, are those of `associate`; the component table of the result lists the islands.
    """
    radio = read_image(image, beam=beam, frequency=frequency, survey=survey)
    islands = island_components(_sky(radio, None, fov))
    return associate(radio, islands, infrared, fov=fov, look_at_all=True, own_frame=False, **options)


def _sky(radio: CCDData, infrared: CCDData | None, fov: float | None) -> Sky:
    """Make the sky with fields of view of some side, arcsec, which has to be one."""
    if fov is not None:
        least = max(beam_pix(radio), 1) * pixel_scale(radio)
        if not fov >= least:
            name = radio.meta.get('FILENAME', 'image')
            raise InputError(
                f'{name}: fields of view of {fov:g}" are smaller than its beam or pixels, {least:.3g}": give arcsec'
            )
    return Sky(radio, infrared, field_arcsec=fov)


def _pixels_of(img: Any) -> CCDData:
    """Take the image out of PyBDSF's object, where it is transposed; trimmed, if PyBDSF did so (trim_box)."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', FITSFixedWarning)
        wcs = WCS(img.header).celestial
    header = img.header.copy()
    header['FILENAME'] = printable(Path(str(img.filename)).name)
    header['BUNIT'] = 'Jy/beam'
    return CCDData(np.ascontiguousarray(img.ch0_arr.T, np.float32), unit='Jy / beam', wcs=wcs, meta=header)

"""The whole data flow: an image and its components in, physical sources with morphologies out."""

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from astropy import units as u
from astropy.nddata import CCDData
from astropy.table import QTable, Table
from astropy.wcs import WCS, FITSFixedWarning
from numpy.typing import NDArray

from claran_plugin import __version__
from claran_plugin.association import Partition
from claran_plugin.association import associate as solve
from claran_plugin.calibration import Calibration, logistic, read_calibration
from claran_plugin.catalogue import build_component_table, build_source_table
from claran_plugin.claims import MIN_PROBABILITY, Components, Detections, Hypothesis, claims
from claran_plugin.components import from_pybdsf, read_catalogue, run_pybdsf, standardise
from claran_plugin.errors import InputError
from claran_plugin.footprints import island_components, on_image, surroundings
from claran_plugin.fusion import FUSIONS, NEEDS_INFRARED
from claran_plugin.images import ImageLike, pixel_scale, read_image, read_infrared
from claran_plugin.models import default_model, find_model
from claran_plugin.pixels import in_blocks
from claran_plugin.quick_imports import quick_imports
from claran_plugin.scales import coarse_centres, coarser_skies, large_only
from claran_plugin.sources import describe_sources
from claran_plugin.subjects import FIELD_PIXELS, Sky, choose_centres, isolated, to_image
from claran_plugin.turns import VIEWS, turned, turned_back_boxes

if TYPE_CHECKING:
    from claran_plugin.detection.inference import Detector

Progress = Callable[[Iterable[NDArray], int], Iterable[NDArray]]


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
    """

    components: Table
    sources: QTable
    labels: NDArray
    radio: CCDData
    infrared: CCDData | None
    n_fields: int
    provenance: dict[str, str]
    partition: Partition


class Looked(NamedTuple):
    """A partition, the fields of view that were looked at for it, and the side of the largest, pixels of the image."""

    partition: Partition
    n_fields: int
    largest_field: float


class Associator:
    """A detector with its calibration, ready for any number of images.

    Parameters
    ----------
    model : str, optional
        Name of a bundled model, or path of an mmdet config; by default ``compact``, or ``compact_infrared`` where there
        is infrared and no weights are given.
    weights : path, optional
        By default those that come with the model.
    device : str
        ``auto``, ``cpu`` or ``cuda:N``.
    infrared : bool
        Whether there will be an infrared image.
    views : int
        How often, turned and mirrored, each field is looked at: 1, 2, 4 or 8. What is seen is averaged.
    precision : str
        ``auto`` or ``full``, see `detection.inference.Detector`.
    """

    views: tuple[int, ...] = VIEWS[1]

    def __init__(
        self,
        model: str | None = None,
        weights: str | Path | None = None,
        device: str = 'auto',
        *,
        infrared: bool = False,
        views: int = 1,
        precision: str = 'auto',
    ) -> None:
        if views not in VIEWS:
            raise InputError(f'{views} views: give 1, 2, 4 or 8')
        self.views = VIEWS[views]
        found = find_model(model or default_model(weights, infrared=infrared), weights)
        self.name = found.name
        self.detector = _load_detector(found.config, found.weights, device, precision)
        self.calibration = read_calibration(found.calibration) if found.calibration else Calibration()

    def look(self, sky: Sky, centres: NDArray, progress: Progress | None = None) -> Detections:
        """Show fields of view to the detector, each view as a field of its own; bring what it finds onto the image."""
        method, options = self.detector.method, self.detector.fusion_options
        if method in NEEDS_INFRARED and sky.infrared is None:
            raise InputError(f'model {self.name} fuses radio and infrared ({method}); give an image with --infrared')

        def pictures() -> Iterator[NDArray]:
            for centre in progress(centres, len(centres)) if progress else centres:
                subject = sky.cut(centre)
                picture = FUSIONS[method](subject.radio, subject.infrared, rms=1.0, **options)
                yield from (turned(picture, view) for view in self.views)

        boxes: list[NDArray] = [np.empty((0, 4))]
        probabilities: list[NDArray] = [np.empty((0, 6))]
        field: list[NDArray] = [np.empty(0, int)]
        for number, found in enumerate(self.detector.in_batches(pictures())):
            kept = found.scores.astype(float).sum(axis=1) > MIN_PROBABILITY
            found = found[kept]  # what claims would leave out
            likeliest = found.scores.argmax(axis=1)
            view = self.views[number % len(self.views)]
            seen = turned_back_boxes(found.bboxes[np.arange(len(likeliest)), likeliest], FIELD_PIXELS, view)
            boxes.append(to_image(seen, centres[number // len(self.views)], sky.step))
            probabilities.append(found.scores)
            field.append(np.full(len(likeliest), number))
        return Detections(np.concatenate(boxes), np.concatenate(probabilities), np.concatenate(field))

    def partition(
        self, sky: Sky, components: Components, looked_at: NDArray, progress: Progress | None = None
    ) -> Looked:
        """Choose fields of view, look, and solve; fields of twice the size follow, and so on up to the whole image."""
        centres = choose_centres(components.xy[looked_at], components.flux[looked_at], sky)
        centres = in_blocks(centres)
        coarser = [(coarse, in_blocks(coarse_centres(coarse))) for coarse in coarser_skies(sky, components)]
        n_fields = len(centres) + sum(len(middles) for _, middles in coarser)
        everywhere = np.concatenate([centres, *(middles for _, middles in coarser)])
        told = iter(progress(everywhere, n_fields)) if progress else iter(everywhere)

        def counted(middles: Iterable[NDArray], number: int) -> Iterable[NDArray]:
            return (middle for middle, _ in zip(middles, told, strict=False))

        detections = self.look(sky, centres, counted)
        larger: list[Hypothesis] = []
        largest = sky.field_pix
        for coarse, middles in coarser:
            if not len(middles):
                continue
            seen = self.look(coarse.sky, middles, counted)
            around = surroundings(coarse.components, coarse.sky)._replace(resolved=frozenset(coarse.resolved))
            views = np.repeat(middles, len(self.views), axis=0)
            found = claims(coarse.components, seen, views, coarse.sky.step, FIELD_PIXELS, around)
            larger += large_only(found, coarse)
            largest = coarse.sky.field_pix * coarse.scale
        around = surroundings(components, sky)
        views = np.repeat(centres, len(self.views), axis=0)
        partition = solve(components, detections, views, sky.step, FIELD_PIXELS, around, larger)
        return Looked(partition, n_fields, largest)


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
    fov: float | None = None,
    look_at_all: bool = False,
    overwrite_columns: bool = False,
    associator: Associator | None = None,
    progress: Progress | None = None,
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
    model, weights, device, views, precision
        See `Associator`.
    fov : float, optional
        Side of the fields of view, arcsec; by default 33 beams.
    look_at_all : bool
        Show isolated, unresolved components to the detector too.
    overwrite_columns : bool
        Replace the columns of an earlier run.
    associator : Associator, optional
        A detector that is loaded already; `model`, `weights`, `device`, `views` and `precision` are then not used.
    progress : callable, optional
        Wraps the iteration over fields of view: ``progress(centres, number)``.

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
    name = 'catalogue' if isinstance(catalogue, Table) else str(catalogue)
    original = catalogue if isinstance(catalogue, Table) else read_catalogue(catalogue)
    standard = standardise(original, name)
    if associator is None:
        associator = Associator(model, weights, device, infrared=infrared is not None, views=views, precision=precision)
    sky = Sky(radio, near_infrared, field_arcsec=fov)
    components = on_image(standard, sky, name)
    skipped: NDArray = np.zeros(len(standard), bool)
    if not look_at_all:
        widths = standard['Maj'].to_value(u.arcsec) / pixel_scale(radio)
        skipped = isolated(components.xy, widths, standard['Peak_flux'].value, sky)
    partition, n_fields, largest = associator.partition(sky, components, ~skipped, progress)
    groups = describe_sources(sky, components, partition, skipped, associator.calibration, largest)
    sources = build_source_table(standard, partition.labels, groups)
    assoc_prob = logistic(partition.margin, associator.calibration.membership)[partition.labels]
    table = build_component_table(original, sources, partition.labels, assoc_prob, overwrite_columns=overwrite_columns)
    provenance = {
        'CLVERS': __version__,
        'CLMODEL': associator.name,
        'CLWHASH': associator.detector.weights_hash,
        'CLPREC': associator.detector.precision,
        'CLIMAGE': Path(str(radio.meta.get('FILENAME', ''))).name,
    }
    if near_infrared is not None:
        provenance['CLINFRA'] = Path(str(near_infrared.meta.get('FILENAME', ''))).name
    return Association(table, sources, partition.labels, radio, near_infrared, n_fields, provenance, partition)


def associate_pybdsf(img: Any, infrared: ImageLike | None = None, **options: Any) -> Association:
    """Associate the sources of a PyBDSF image object, in the order of its srl list; options as for `associate`."""
    major, minor, angle = (float(value) for value in img.beam)
    radio = read_image(_pixels_of(img), beam=(major, minor, angle), frequency=float(img.frequency))
    return associate(radio, Table(from_pybdsf(img, 'srl')), infrared, **options)


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
    islands = island_components(Sky(radio, field_arcsec=fov))
    return associate(radio, islands, infrared, fov=fov, look_at_all=True, **options)


def _load_detector(config: Path, weights: Path, device: str, precision: str) -> 'Detector':
    """Import torch only now: reading and checking inputs should not wait for it."""
    try:
        with quick_imports():
            from claran_plugin.detection.inference import Detector
    except ImportError as err:  # its text, from `detection.check_stack`, has the remedy
        raise InputError(str(err)) from err
    return Detector(config, weights, device, precision)


def _pixels_of(img: Any) -> CCDData:
    """Take the image out of PyBDSF's object, where it is transposed."""
    if img.opts.trim_box is not None:
        raise InputError(f'{img.filename}: was trimmed by PyBDSF (trim_box); cut the image out first instead')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', FITSFixedWarning)
        wcs = WCS(img.header).celestial
    header = img.header.copy()
    header['FILENAME'] = Path(str(img.filename)).name
    header['BUNIT'] = 'Jy/beam'
    return CCDData(np.ascontiguousarray(img.ch0_arr.T, np.float32), unit='Jy / beam', wcs=wcs, meta=header)

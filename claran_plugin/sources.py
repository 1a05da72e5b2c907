"""What the catalogue says of each physical source: class, probabilities, counts, box and flags."""

from typing import NamedTuple

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import QTable
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from claran_plugin.association import Partition
from claran_plugin.boxes import box_iou
from claran_plugin.calibration import Calibration, class_probabilities, nearest_class
from claran_plugin.catalogue import MorphFlag
from claran_plugin.celestial import to_sky
from claran_plugin.claimed import Components
from claran_plugin.contours import noise
from claran_plugin.hosts import RadioShape, choose_host
from claran_plugin.hypotheses import Hypothesis
from claran_plugin.images import pixel_scale
from claran_plugin.infrared_objects import NO_OBJECTS, find_objects
from claran_plugin.morphology import CLASSES, Counts, component_labels, peak_positions, source_box
from claran_plugin.subjects import Sky, resample
from claran_plugin.unlisted import ListedEmission

LOW_PROBABILITY = 0.8
COUNTING_PIXELS_PER_BEAM = 9.0
"""Sampling on which components and peaks are counted: 0.6" for FIRST, where the counts agree best with RGZ's."""
MARGIN_BEAMS = 3.0
"""Sky around a source that is cut out with it."""
LARGEST_COUNTED_BEAMS = 264.0
"""A source larger than this is counted on coarser pixels."""
LEAST_OVERLAP = 0.6
"""Intersection over union below which the detector's box is not that of the source it was assigned."""


class Measured(NamedTuple):
    """What is seen of a source on the image.

    Attributes
    ----------
    counts : Counts
    box : (4,) array or None
        ClaRAN's box around what was counted, pixels of the image; None where nothing was.
    shape : RadioShape
        Of what was counted, otherwise of the catalogue's components.
    """

    counts: Counts
    box: NDArray | None
    shape: RadioShape


def describe_sources(
    sky: Sky,
    components: Components,
    partition: Partition,
    skipped: NDArray,
    calibration: Calibration,
    largest_field: float,
) -> QTable:
    """Describe the sources of a partition.

    Parameters
    ----------
    sky : Sky
    components : Components
        n components.
    partition : Partition
        S sources.
    skipped : (n,) bool array
        Components that were not looked at.
    calibration : Calibration
    largest_field : float
        Side of the largest field of view that was looked at, pixels.

    Returns
    -------
    QTable of S rows, as `catalogue.build_source_table` takes it
    """
    rows, hosts = [], []
    tree = cKDTree(components.xy) if len(components.xy) else None
    objects = find_objects(sky.infrared) if sky.infrared is not None else NO_OBJECTS
    objects_tree = cKDTree(objects.xy)
    listed = ListedEmission(sky, components)
    for label, hypothesis in enumerate(partition.hypotheses):
        members = np.array(sorted(hypothesis.members))
        measured = measure(sky, components, partition.labels, label, members, tree)
        flag = MorphFlag(0)
        if hypothesis.box is not None:
            probabilities = class_probabilities(hypothesis.probabilities, measured.counts, calibration)
            chosen = int(np.argmax(probabilities))
        else:
            chosen = nearest_class(measured.counts) if measured.counts.components else 0
            unlooked = skipped[members].all()
            probabilities = np.zeros(len(CLASSES))
            probabilities[chosen] = calibration.isolated if unlooked else calibration.unseen
            flag |= MorphFlag.NOT_LOOKED_AT if unlooked else MorphFlag.NO_DETECTION
        if hypothesis.box is not None and listed.lacks_some(hypothesis.box):
            flag |= MorphFlag.UNLISTED_EMISSION
        box = box_of(hypothesis, measured)
        flag |= _flags(sky, box, hypothesis.box, measured.counts, chosen, float(probabilities[chosen]), largest_field)
        rows.append((CLASSES[chosen], probabilities[chosen], probabilities, *measured.counts, int(flag), box))
        hosts.append(choose_host(measured.shape, objects, objects_tree, sky.beam_pix))
    table = _to_table(rows, sky)
    if sky.infrared is not None:
        table['Host'], table['Host_Prob'] = _host_columns(hosts, sky)
    return table


def measure(
    sky: Sky, components: Components, labels: NDArray, label: int, members: NDArray, tree: cKDTree | None
) -> Measured:
    """Count components and peaks of one source on the image.

    Islands above the threshold belong to the source whose component they hold; one that holds components of several
    sources is divided among them by nearness.
    """
    xy = components.xy[members]
    centre = (xy.min(axis=0) + xy.max(axis=0)) / 2
    extent = 3 * np.sqrt(np.max(np.einsum('nii->ni', components.covariance[members]))) if len(members) else 0
    side_beams = (np.ptp(xy, axis=0).max() + 2 * extent) / sky.beam_pix + 2 * MARGIN_BEAMS
    sampling = COUNTING_PIXELS_PER_BEAM * min(1.0, LARGEST_COUNTED_BEAMS / side_beams)
    step = sky.beam_pix / sampling
    size = int(np.ceil(side_beams * sampling))
    nothing = Measured(Counts(0, 0), None, _shape_of_components(components, members, sky))
    if np.any(centre + step * size / 2 < 0) or np.any(centre - step * size / 2 > sky.radio.shape[::-1]):
        return nothing
    snr = resample(sky.radio.data, centre, step, size) / counting_noise(sky, centre)
    islands, n = component_labels(snr, sampling)
    if not n or tree is None:
        return nothing
    own_pixels = np.rint((xy - centre) / step + (size - 1) / 2).astype(int).clip(0, size - 1)
    touched = np.zeros(n + 1, bool)
    reach = max(int(sampling / 2), 1)
    for px, py in own_pixels:
        touched[islands[max(py - reach, 0) : py + reach + 1, max(px - reach, 0) : px + reach + 1]] = True
    touched[0] = False
    near = np.array(tree.query_ball_point(centre, step * size))
    if (labels[near] == label).all():  # no other source to share islands with
        own, n_own = np.where(touched, np.cumsum(touched), 0)[islands], int(touched.sum())
    else:
        y, x = np.nonzero(touched[islands])
        local = (components.xy[near] - centre) / step + (size - 1) / 2
        nearest = near[cKDTree(local).query(np.stack([x, y], axis=-1))[1]]
        footprint = np.zeros(islands.shape, bool)
        footprint[y, x] = labels[nearest] == label
        own, n_own = component_labels(np.where(footprint, snr, 0), sampling)
    if not n_own:
        return nothing
    peaks = peak_positions(snr, own > 0)
    counts = Counts(n_own, len(peaks))
    box = source_box(own, np.arange(1, n_own + 1), counts.peaks)
    y, x = np.nonzero(own)
    centroid = np.average(np.stack([x, y], axis=-1), axis=0, weights=snr[y, x])
    outline = np.array([x.min() - 0.5, y.min() - 0.5, x.max() + 0.5, y.max() + 0.5])

    def on_image(points: NDArray) -> NDArray:
        return (points - (size - 1) / 2) * step + np.tile(centre, np.shape(points)[-1] // 2)

    return Measured(counts, on_image(box), RadioShape(on_image(centroid), on_image(outline), on_image(peaks)))


def counting_noise(sky: Sky, centre: NDArray) -> float:
    """Give the noise that Radio Galaxy Zoo's contours start from, Jy/beam: that of the 33 beams around the source.

    On 136 real sources it gives the catalogue's number of peaks for 86 %, that of a 5' image for 77 %: the source
    itself raises it a little, which leaves out the faintest peaks. It is taken from the image's own pixels, as
    interpolation would smooth it.
    """
    low = np.maximum(np.rint(centre - sky.field_pix / 2).astype(int), 0)
    high = np.maximum(np.rint(centre + sky.field_pix / 2).astype(int) + 1, low + 1)
    sigma = noise(sky.radio.data[low[1] : high[1], low[0] : high[0]])
    return sigma if sigma > 0 else max(sky.noise_at(centre), 1e-30)


def box_of(hypothesis: Hypothesis, measured: Measured) -> NDArray:
    """Give a source's box: the detector's, unless it misses what was counted; without either one around the components.

    Of 136 real sources, 125 have an IoU above 0.5 with the detector's box, and 127 with the one given here.
    """
    if hypothesis.box is not None and measured.box is not None:
        overlap = float(box_iou(hypothesis.box[None], measured.box[None])[0, 0])
        return hypothesis.box if overlap > LEAST_OVERLAP else measured.box
    if hypothesis.box is not None:
        return hypothesis.box
    return measured.shape.box if measured.box is None else measured.box


def _shape_of_components(components: Components, members: NDArray, sky: Sky) -> RadioShape:
    """Describe a source by the catalogue alone."""
    xy, flux = components.xy[members], np.nan_to_num(components.flux[members])
    half = np.maximum(2 * np.sqrt(np.einsum('nii->ni', components.covariance[members])), sky.beam_pix)
    weight = np.where(flux > 0, flux, 0) if (flux > 0).any() else np.ones(len(flux))
    box = np.concatenate([(xy - half).min(axis=0), (xy + half).max(axis=0)])
    return RadioShape(np.average(xy, axis=0, weights=weight), box, xy[np.argsort(-flux, kind='stable')])


def _host_columns(hosts: list[tuple[NDArray, float]], sky: Sky) -> tuple[SkyCoord, NDArray]:
    """Give the hosts' positions and probabilities, NaN where there is no candidate."""
    xy = np.array([position for position, _ in hosts], float).reshape(-1, 2)
    probability = np.array([value for _, value in hosts], float)
    known = np.isfinite(xy).all(axis=1)
    ra, dec = np.full((2, len(xy)), np.nan)
    position = to_sky(sky.radio.wcs, xy[known])
    ra[known], dec[known] = position.ra.deg, position.dec.deg
    return SkyCoord(ra, dec, unit='deg'), np.where(known, probability, np.nan)


def _flags(
    sky: Sky,
    box: NDArray,
    detected: NDArray | None,
    counts: Counts,
    chosen: int,
    probability: float,
    largest_field: float,
) -> MorphFlag:
    flag = MorphFlag(0)
    if detected is not None:  # where the image cuts a source, only the detector's box may tell
        box = np.concatenate([np.minimum(box, detected)[:2], np.maximum(box, detected)[2:]])
    ny, nx = sky.radio.shape
    if probability < LOW_PROBABILITY:
        flag |= MorphFlag.LOW_PROBABILITY
    if box[0] < 0.5 or box[1] < 0.5 or box[2] > nx - 1.5 or box[3] > ny - 1.5:
        flag |= MorphFlag.EDGE
    if max(box[2] - box[0], box[3] - box[1]) > 0.95 * largest_field:
        flag |= MorphFlag.LARGER_THAN_FIELD
    if not counts.components:
        flag |= MorphFlag.NOTHING_COUNTED
    elif CLASSES[chosen] != f'{counts.components}C_{counts.peaks}P':
        flag |= MorphFlag.COUNTS_DISAGREE
    low = np.clip(np.floor(box[:2]).astype(int), 0, (nx - 1, ny - 1))
    high = np.clip(np.ceil(box[2:]).astype(int), 0, (nx - 1, ny - 1))
    if not np.isfinite(sky.radio.data[low[1] : high[1] + 1, low[0] : high[0] + 1]).all():
        flag |= MorphFlag.BLANK_PIXELS
    return flag


def _to_table(rows: list[tuple], sky: Sky) -> QTable:
    n = len(rows)
    columns: list = list(zip(*rows, strict=True)) if rows else [[]] * 7
    boxes = np.array(columns[6], float).reshape(n, 4)
    table = QTable()
    table['Morphology'] = np.array(columns[0], dtype='U5')
    table['Morph_Prob'] = np.array(columns[1], float)
    table['P'] = np.array(columns[2], float).reshape(n, len(CLASSES))
    table['N_Components'], table['N_Peaks'] = (np.array(columns[k], int) for k in (3, 4))
    table['Morph_Flag'] = np.array(columns[5], int)
    table['Box'] = to_sky(sky.radio.wcs, (boxes[:, :2] + boxes[:, 2:]) / 2)
    scale = pixel_scale(sky.radio) * u.arcsec
    table['Box_Width'], table['Box_Height'] = (boxes[:, 2] - boxes[:, 0]) * scale, (boxes[:, 3] - boxes[:, 1]) * scale
    return table

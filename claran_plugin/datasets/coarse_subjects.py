"""Simulated subjects as a coarser sky shows them: sources larger than a field of view among unrelated ones.

A sky is drawn at the image's own beam, 2, 4 or 8 times as wide as a packed subject, and brought to the coarser beam by
the code that looks for large sources (`claran_plugin.scales`).
"""

from collections.abc import Iterator

import numpy as np
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.wcs import WCS
from numpy.random import Generator
from numpy.typing import NDArray

from claran_plugin.calibration import nearest_class
from claran_plugin.datasets.packed_subjects import WIDE, PackedSubject, drawn_infrared
from claran_plugin.interferometer import draw_instrument
from claran_plugin.morphology import CLASSES, Counts, component_labels, count, source_box
from claran_plugin.radio_galaxies import FIRST_BEAM_ARCSEC, draw_large_blobs, paint
from claran_plugin.scales import coarser
from claran_plugin.subjects import FIELD_PIXELS, PIXELS_PER_BEAM, Sky
from claran_plugin.synthetic_sky import Source, claim_bright, combine, scatter

LEVELS = {1: 0.4, 2: 0.35, 3: 0.25}
"""How often the beam is doubled once, twice and three times."""
LARGE_SHARE = 0.75
"""Share of subjects with a large source; in the others all are unrelated."""
SIDE = (0.25, 0.95)
"""Size of the large source in sides of the coarser field of view."""
TOO_LARGE = 0.15
"""Share of large sources that are up to 1.7 sides: parts of them are no sources."""
PER_BEAM_SQUARED = (2e-4, 2e-3)
"""Density of the unrelated sources: from FIRST's to LoTSS's."""
LN_PEAK = (3.4, 0.8)
"""Mean and standard deviation of ln(brightest pixel of the large source / noise)."""
LEAST_WIDTH, HOTSPOT = (0.015, 0.06), (5e-4, 2e-2)
"""Ranges of what `radio_galaxies.draw_large_blobs` takes."""
SHIFT = 16
"""How far the large source is from the middle, pixels."""
LEAST_SHARE = 0.3
"""An island of which the models explain less is noise or an artefact."""


def coarse_simulated(number: int, seed: int, *, infrared_rng: Generator | None = None) -> Iterator[PackedSubject]:
    """Pack simulated subjects of coarser skies, each from a seed of its own.

    With `infrared_rng`, each has a drawn infrared image, without hosts.
    """
    for k in range(number):
        rng = np.random.default_rng([seed, k])
        level = int(rng.choice(list(LEVELS), p=list(LEVELS.values())))
        subject = coarse_subject(rng, level, f'coarse_{k:06d}')
        if infrared_rng:
            subject = subject._replace(
                infrared=drawn_infrared(infrared_rng, np.empty((0, 2)), FIRST_BEAM_ARCSEC * 2**level)
            )
        yield subject


def coarse_subject(rng: Generator, level: int, name: str = 'coarse') -> PackedSubject:
    """Draw one subject.

    A source's label is what is counted on the coarser image, the nearest of the six classes: a large source may have
    any number of islands there. Islands belong to the source that is brightest on them; blends are one source.

    Parameters
    ----------
    rng : numpy.random.Generator
    level : int
        How often the beam is doubled.
    name : str
    """
    scale = 2**level
    size = WIDE * scale
    sources = []
    taken = np.zeros((size, size), bool)
    if rng.random() < LARGE_SHARE:
        sources.append(_large(rng, size, scale))
        claim_bright(taken, sources[0])
    density = np.exp(rng.uniform(*np.log(PER_BEAM_SQUARED)))
    number = rng.poisson(density * (size / PIXELS_PER_BEAM) ** 2)
    sources += scatter(rng, taken, number, PIXELS_PER_BEAM)
    model, _ = combine(sources, taken.shape)
    fine = (model + draw_instrument(rng, model, PIXELS_PER_BEAM)).astype(np.float32)
    sky = Sky(_image(fine))
    for _ in range(level):
        sky = coarser(sky)
    middle = np.full(2, (WIDE - 1) / 2)
    snr = np.asarray(sky.radio.data) / sky.noise_at(middle)
    islands, n = component_labels(snr, PIXELS_PER_BEAM)
    owner = _owners(np.kron(islands, np.ones((scale, scale), islands.dtype)), n, sources, fine)
    boxes, labels = [], []
    for own in np.unique(owner[owner >= 0]):
        members = np.flatnonzero(owner == own) + 1
        counts = count(snr, np.isin(islands, members), PIXELS_PER_BEAM)
        boxes.append(source_box(islands, members, counts.peaks))
        labels.append(nearest_class(counts))
    return PackedSubject(name, 'coarse', snr, np.array(boxes).reshape(-1, 4), labels, [False] * len(labels))


def _large(rng: Generator, size: int, scale: int) -> Source:
    """Draw the large source near the middle of an image of some size, pixels."""
    side = rng.uniform(*SIDE) if rng.random() > TOO_LARGE else rng.uniform(SIDE[1], 1.7)
    beams = side * FIELD_PIXELS / PIXELS_PER_BEAM * scale
    x, y = (size - 1) / 2 + rng.uniform(-SHIFT, SHIFT, 2) * scale
    width, hotspot = (float(np.exp(rng.uniform(*np.log(limits)))) for limits in (LEAST_WIDTH, HOTSPOT))
    blobs, _ = draw_large_blobs(rng, str(rng.choice(CLASSES[1:])), beams, least_width=width, hotspot=hotspot)
    stamp = paint(blobs, (x, y), PIXELS_PER_BEAM)
    factor = np.exp(rng.normal(*LN_PEAK)) / stamp.image.max()
    blobs[:, 2] *= factor
    return Source(blobs, (x, y), (x, y), stamp._replace(image=stamp.image * factor), Counts(1, 1))


def _owners(labels: NDArray, n: int, sources: list[Source], snr: NDArray) -> NDArray:
    """Find the source that is brightest on each of n islands, labelled on the image `snr`; -1 for noise, (n,) int."""
    seen = np.bincount(labels.ravel(), snr.ravel(), n + 1)[1:]
    most: NDArray = np.zeros(n)
    total: NDArray = np.zeros(n)
    owner = np.full(n, -1)
    for number, source in enumerate(sources):
        pixels, part = source.stamp.clipped(labels.shape)
        flux = np.bincount(labels[pixels].ravel(), part.ravel(), n + 1)[1:]
        total += flux
        owner[flux > most] = number
        most = np.maximum(most, flux)
    owner[total < LEAST_SHARE * seen] = -1
    return owner


def _image(snr: NDArray) -> CCDData:
    """Make an image of `PIXELS_PER_BEAM`, of one arcsec each, in units of the noise."""
    header = fits.Header(dict(CTYPE1='RA---TAN', CTYPE2='DEC--TAN', CRVAL1=180.0, CRVAL2=0.0, BPA=0.0))
    for axis in (1, 2):
        header[f'CRPIX{axis}'] = (snr.shape[0] + 1) / 2
        header[f'CDELT{axis}'] = (-1 if axis == 1 else 1) / 3600
    header['BMAJ'] = header['BMIN'] = PIXELS_PER_BEAM / 3600
    return CCDData(snr, unit='Jy / beam', wcs=WCS(header), meta=header)

"""Places model sources on a sky so that the class of each is beyond doubt.

Classes are decided after drawing, by the counting rule of `claran_plugin.morphology`, twice: on the model without noise
and on the noisy image. A source for which the two disagree sits at a contour by chance and is drawn anew, because its
label would be a matter of the noise.
"""

from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

from claran_plugin.interferometer import draw_instrument
from claran_plugin.morphology import (
    CLASSES,
    COMPONENT_SIGMA,
    Counts,
    class_name,
    component_labels,
    count,
    peak_positions,
)
from claran_plugin.radio_galaxies import Stamp, draw_blobs, paint

FOOTPRINT_SIGMA = 1.0
"""Where a model without noise is brighter than this, an island may belong to its source."""
CLAIM_SIGMA = 0.3
"""Where two models are both brighter than this, their islands might blend."""
BRIGHT = 0.5
"""Pixels of a model above this, in units of the noise, are no other's where sources are scattered at random."""
LN_PEAK_SNR = {'compact': (3.2, 1.1), 'extended': (3.9, 0.9)}
"""Mean and standard deviation of ln(peak / noise); as the Radio Galaxy Zoo subjects seen in FIRST, a little fainter."""
PEAK_SNR_RANGE = (7.0, 1200.0)
COUNTS_SLOPE = 0.8
"""Unrelated compact sources: the number brighter than S falls as S to minus this."""
CROWDED_SHARE = 0.25
"""Share of sources that others may enter the rectangle of."""
NOISE_MARGIN_PIX = 8
"""How far noise may widen an island beyond its source's stamp."""


class Source(NamedTuple):
    """A source in units of the noise: blobs (in beams), centre and nucleus (pixels), picture, noise-free counts."""

    blobs: NDArray
    xy: tuple[float, float]
    host_xy: tuple[float, float]
    stamp: Stamp
    counts: Counts


class View(NamedTuple):
    """What is seen of some sources.

    Attributes
    ----------
    snr : (ny, nx) float32 array
        Brightness in units of the noise.
    labels : (ny, nx) int array
        Components, from 1; 0 elsewhere.
    source_of : (n_components,) int array
        Source of component ``i + 1``; -1 for noise and artefacts that stand out as much.
    certain : (n_sources,) bool array
        Whether a source is alone in its components and counted as it is without noise.
    """

    snr: NDArray
    labels: NDArray
    source_of: NDArray
    certain: NDArray

    def components(self, index: int, source: Source) -> tuple[NDArray, NDArray, tuple[int, int]]:
        """Cut out one source: its components, labelled from 1, the brightness, and the x, y of the first pixel."""
        m = NOISE_MARGIN_PIX
        y0, x0 = max(source.stamp.y0 - m, 0), max(source.stamp.x0 - m, 0)
        y1, x1 = (start + n + m for start, n in zip(source.stamp[1:], source.stamp.image.shape, strict=True))
        near = self.labels[y0:y1, x0:x1]
        members = np.flatnonzero(self.source_of == index) + 1
        own = np.where(np.isin(near, members), np.searchsorted(members, near) + 1, 0)
        return own, self.snr[y0:y1, x0:x1], (x0, y0)


def draw_source(
    rng: Generator,
    name: str,
    xy: tuple[float, float],
    beam_pix: float,
    *,
    peak_snr: float | None = None,
    tries: int = 60,
) -> Source:
    """Draw a source of a wanted class; after `tries` failures, of any class that came out.

    Parameters
    ----------
    rng : numpy.random.Generator
    name : str
        The class wanted.
    xy : tuple of float
        Centre of the source, pixels.
    beam_pix : float
        FWHM of the beam, pixels.
    peak_snr : float, optional
        Brightest pixel of the model in units of the noise; drawn from the class' distribution by default.

    Raises
    ------
    ValueError
        `name` is not a class.
    """
    fallback = None
    for _ in range(tries):
        blobs, host = draw_blobs(rng, name)
        stamp = paint(blobs, xy, beam_pix)
        scale = (peak_snr if peak_snr is not None else _draw_peak(rng, name)) / stamp.image.max()
        blobs[:, 2] *= scale
        stamp = stamp._replace(image=stamp.image * scale)
        counts = count(stamp.image, stamp.image > COMPONENT_SIGMA, beam_pix)
        if class_name(*counts) is None:
            continue
        host_xy = (float(xy[0] + host[0] * beam_pix), float(xy[1] + host[1] * beam_pix))
        fallback = Source(blobs, xy, host_xy, stamp, counts)
        if class_name(*counts) == name:
            return fallback
    if fallback is None:
        return draw_source(rng, '1C_1P', xy, beam_pix, peak_snr=peak_snr, tries=tries)
    return fallback


def _draw_peak(rng: Generator, name: str) -> float:
    mean, width = LN_PEAK_SNR['compact' if name == '1C_1P' else 'extended']
    while True:
        peak = np.exp(rng.normal(mean, width))
        if PEAK_SNR_RANGE[0] < peak < PEAK_SNR_RANGE[1]:
            return peak


def fill(
    rng: Generator,
    sources: list[Source],
    wanted: int,
    shape: tuple[int, int],
    beam_pix: float,
    *,
    fraction_extended: float,
    tries: int = 5,
) -> list[Source]:
    """Add unrelated sources that do not blend with any other until there are as many as wanted, or no room is left.

    Parameters
    ----------
    rng : numpy.random.Generator
    sources : list of Source
        Those that are there already; not changed.
    wanted : int
        Number of sources in all.
    shape : tuple of int
        Rows and columns of the image.
    beam_pix : float
        FWHM of the beam, pixels.
    fraction_extended : float
        Share of the new sources that are drawn as one of the classes other than 1C_1P.
    tries : int
        How many places are tried for one source.

    Returns
    -------
    list of Source
    """
    taken = np.zeros(shape, bool)
    for source in sources:
        _claim(rng, taken, source)
    sources = list(sources)
    for _ in range(wanted - len(sources)):
        name, peak = '1C_1P', None
        if rng.random() < fraction_extended:
            name = str(rng.choice(CLASSES[1:]))
        else:
            peak = min(PEAK_SNR_RANGE[0] * rng.random() ** (-1 / COUNTS_SLOPE), PEAK_SNR_RANGE[1])
        for _ in range(tries):
            x = rng.uniform(beam_pix, shape[1] - 1 - beam_pix)
            y = rng.uniform(beam_pix, shape[0] - 1 - beam_pix)
            source = draw_source(rng, name, (x, y), beam_pix, peak_snr=peak, tries=20)
            if _claim(rng, taken, source):
                sources.append(source)
                break
    return sources


def _claim(rng: Generator, taken: NDArray, source: Source) -> bool:
    """Mark a source's pixels in `taken`; False, and nothing marked, where it leaves the frame or touches another.

    Mostly, the whole rectangle around the source is taken: simulated skies are several times as crowded as the real
    one, and a source between another's lobes should stay about as rare as it is.
    """
    bright = source.stamp.image > CLAIM_SIGMA
    ys, xs = ndimage.find_objects(bright.astype(np.int8))[0]
    y0, x0 = ys.start + source.stamp.y0, xs.start + source.stamp.x0
    y1, x1 = ys.stop + source.stamp.y0, xs.stop + source.stamp.x0
    if min(y0, x0) < 1 or y1 >= taken.shape[0] or x1 >= taken.shape[1]:
        return False
    claim = bright[ys, xs] | (rng.random() > CROWDED_SHARE)
    if (taken[y0:y1, x0:x1] & claim).any():
        return False
    taken[y0:y1, x0:x1] |= claim
    return True


def scatter(
    rng: Generator, taken: NDArray, number: int, beam_pix: float, *, fraction_extended: float = 0.25
) -> list[Source]:
    """Put unrelated sources at random places, between the lobes of others, too, where no bright pixels overlap.

    Parameters
    ----------
    rng : numpy.random.Generator
    taken : (ny, nx) bool array
        Pixels that are somebody's; those of the new sources are added.
    number : int
        How many are tried once.
    beam_pix : float
        FWHM of the beam, pixels.
    fraction_extended : float
        Share of the five classes other than 1C_1P.
    """
    sources = []
    for _ in range(number):
        x, y = rng.uniform(0, taken.shape[1] - 1), rng.uniform(0, taken.shape[0] - 1)
        kind = str(rng.choice(CLASSES[1:])) if rng.random() < fraction_extended else '1C_1P'
        source = draw_source(rng, kind, (x, y), beam_pix, tries=20)
        if claim_bright(taken, source):
            sources.append(source)
    return sources


def claim_bright(taken: NDArray, source: Source) -> bool:
    """Mark a source's bright pixels; False, and nothing marked, where they overlap with others."""
    pixels, part = source.stamp.clipped(taken.shape)
    if taken[pixels][part > BRIGHT].any():
        return False
    taken[pixels] |= part > BRIGHT
    return True


def observe(rng: Generator, sources: list[Source], shape: tuple[int, int], beam_pix: float) -> View:
    """Add noise and artefacts to the sources and find their components.

    Parameters
    ----------
    rng : numpy.random.Generator
        In equal states it gives equal noise, whatever the sources.
    sources : list of Source
    shape : tuple of int
        Rows and columns of the image.
    beam_pix : float
        FWHM of the beam, pixels.
    """
    sky, owner = combine(sources, shape)
    snr = (sky + draw_instrument(rng, sky, beam_pix)).astype(np.float32)
    labels, n = component_labels(snr, beam_pix)
    source_of, blended = _match(labels, n, owner)
    view = View(snr, labels, source_of, np.ones(len(sources), bool))
    for k, source in enumerate(sources):
        own, near, _ = view.components(k, source)
        view.certain[k] = (own.max(), len(peak_positions(near, own > 0))) == source.counts
    view.certain[np.unique(owner[np.isin(labels, np.flatnonzero(blended) + 1) & (owner >= 0)])] = False
    return view


def combine(sources: list[Source], shape: tuple[int, int]) -> tuple[NDArray, NDArray]:
    """Add up the models; say which is the brightest in each pixel, -1 where all are below the footprints' limit."""
    sky = np.zeros(shape, np.float32)
    brightest = np.full(shape, FOOTPRINT_SIGMA, np.float32)
    owner = np.full(shape, -1, np.int32)
    for k, source in enumerate(sources):
        big, model = source.stamp.clipped(shape)
        sky[big] += model
        brighter = model > brightest[big]
        owner[big][brighter] = k
        brightest[big][brighter] = model[brighter]
    return sky, owner


def _match(labels: NDArray, n: int, owner: NDArray) -> tuple[NDArray, NDArray]:
    """Find the source of every component, the one with most pixels, -1 where none; and whether it blends several."""
    seen = (labels > 0) & (owner >= 0)
    pairs, pixels = np.unique(np.stack([labels[seen] - 1, owner[seen]]), axis=1, return_counts=True)
    source_of, most, owners = np.full(n, -1), np.zeros(n, int), np.zeros(n, int)
    for component, source, area in zip(*pairs, pixels, strict=True):
        owners[component] += 1
        if area > most[component]:
            most[component], source_of[component] = area, source
    return source_of, owners > 1

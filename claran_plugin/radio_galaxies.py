"""Brightness models of radio galaxies, as sums of Gaussians with the beam folded in.

Lengths are in beams (FWHM), so one model serves every survey. A source is an ``(n, 6)`` array of *blobs*, one row per
Gaussian: x, y, integrated flux, standard deviation along and across its axis before the beam, and the axis' angle from
x (rad). A string of blobs along a curve makes a jet, a tail or a lobe.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from claran_plugin.morphology import CLASSES

FWHM_PER_SIGMA = float(np.sqrt(8 * np.log(2)))
BEAM_SIGMA = 1 / FWHM_PER_SIGMA
FIRST_BEAM_ARCSEC = 5.4
CUT_SIGMA = 5.0
"""Radius, in standard deviations, beyond which a blob is not painted (1e-5 of its peak)."""

# ln of the distance between the outermost peaks, arcsec: mean and standard deviation over the Radio Galaxy Zoo
# sources of each class in ClaRAN's catalogue (11,836 sources). For 2C and 3C it is measured between the catalogued
# component positions; for 1C, where the catalogue has one position, it is the angular extent less what the lowest
# contour adds outside the outer peaks of a source of median brightness (about 1.3 beams at either end). The widths are
# a little larger than fitted, because the counting rule removes the extremes again.
LN_SEPARATION = {
    '1C_2P': (2.62, 0.36),
    '1C_3P': (3.45, 0.36),
    '2C_2P': (3.28, 0.53),
    '2C_3P': (3.58, 0.48),
    '3C_3P': (3.86, 0.42),
}
MAX_SEPARATION_ARCSEC = 130.0
# That catalogue is dominated by small sources near the resolution; catalogues of FR I and FR II galaxies prefer
# resolved ones, 1.4 times larger at equal class (measured on 125 FIRST subjects). The mixture serves both.
WELL_RESOLVED = {'chance': 0.5, 'factor': 1.5}
# Where the middle component of a 3C_3P divides the source: shorter over longer arm, quartiles 0.59, 0.76, 0.88; a beta
# distribution of the same quartiles. The angle between the arms falls short of 180 deg by 3.7, 8.1, 17 (quartiles).
ARM_RATIO_BETA = (3.4, 1.4)
LN_BEND_DEG = (2.1, 1.1)


class Arm(NamedTuple):
    """How one side of a source looks; lengths in beams."""

    length: float
    heading: float
    turn: float
    flux: float
    width: float
    reach: float
    hotspot: float


class Stamp(NamedTuple):
    """A small image and where its first pixel lies on the big one."""

    image: NDArray
    y0: int
    x0: int

    def clipped(self, shape: tuple[int, ...]) -> tuple[tuple[slice, slice], NDArray]:
        """Give the pixels of an image of some shape that the stamp covers, and the part of the stamp for them."""
        ny, nx = self.image.shape
        y0, x0 = max(self.y0, 0), max(self.x0, 0)
        y1, x1 = max(min(self.y0 + ny, shape[0]), y0), max(min(self.x0 + nx, shape[1]), x0)
        part = self.image[y0 - self.y0 : y1 - self.y0, x0 - self.x0 : x1 - self.x0]
        return (slice(y0, y1), slice(x0, x1)), part


def paint(blobs: NDArray, xy: tuple[float, float], beam_pix: float) -> Stamp:
    """Draw a source, convolved with a round beam.

    Parameters
    ----------
    blobs : (n, 6) array
        The source, in beams about its centre.
    xy : tuple of float
        Where its centre lies, pixels.
    beam_pix : float
        FWHM of the beam, pixels.

    Returns
    -------
    Stamp, in flux units per beam: a point source of unit flux has a peak of 1
    """
    x, y = blobs[:, 0] * beam_pix + xy[0], blobs[:, 1] * beam_pix + xy[1]
    flux = blobs[:, 2]
    cos, sin = np.cos(blobs[:, 5]), np.sin(blobs[:, 5])
    major, minor = blobs[:, 3] ** 2, blobs[:, 4] ** 2
    xx = (major * cos**2 + minor * sin**2 + BEAM_SIGMA**2) * beam_pix**2
    yy = (major * sin**2 + minor * cos**2 + BEAM_SIGMA**2) * beam_pix**2
    xy_ = (major - minor) * cos * sin * beam_pix**2
    det = xx * yy - xy_**2
    peak = flux * (BEAM_SIGMA * beam_pix) ** 2 / np.sqrt(det)
    rx, ry = CUT_SIGMA * np.sqrt(xx), CUT_SIGMA * np.sqrt(yy)
    left, right = np.floor(x - rx).astype(int), np.ceil(x + rx).astype(int) + 1
    low, high = np.floor(y - ry).astype(int), np.ceil(y + ry).astype(int) + 1
    x0, y0 = int(left.min()), int(low.min())
    image = np.zeros((int(high.max()) - y0, int(right.max()) - x0))
    for i in range(len(blobs)):
        dx = np.arange(left[i], right[i]) - x[i]
        dy = (np.arange(low[i], high[i]) - y[i])[:, None]
        form = (yy[i] * dx**2 + xx[i] * dy**2 - (2 * xy_[i] * dy) * dx) * (-0.5 / det[i])
        image[low[i] - y0 : high[i] - y0, left[i] - x0 : right[i] - x0] += peak[i] * np.exp(form)
    return Stamp(image, y0, x0)


def draw_blobs(rng: Generator, name: str) -> tuple[NDArray, NDArray]:
    """Draw a source that is likely, not certain, to be counted as a class.

    Parameters
    ----------
    rng : numpy.random.Generator
    name : str
        One of the six classes.

    Returns
    -------
    blobs : (n, 6) array
        The source about its middle, of total flux 1, turned at random.
    host : (2,) array
        x, y of the nucleus, in the same frame.
    """
    if name not in CLASSES:
        raise ValueError(f'unknown class {name!r}; the classes are {", ".join(CLASSES)}')
    kinds = _KINDS[name]
    chances = np.array([chance for chance, _ in kinds])
    make = kinds[rng.choice(len(kinds), p=chances / chances.sum())][1]
    blobs = make(rng, 0.0 if name == '1C_1P' else _separation(rng, name), name)
    host = -(blobs[:, :2].min(0) + blobs[:, :2].max(0)) / 2
    blobs[:, :2] += host
    blobs[:, 2] /= blobs[:, 2].sum()
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    blobs[:, :2] = blobs[:, :2] @ turn.T
    blobs[:, 5] += angle
    return blobs, turn @ host


def draw_large_blobs(
    rng: Generator, name: str, beams: float, *, least_width: float, hotspot: float
) -> tuple[NDArray, NDArray]:
    """Draw a source of a class and stretch it, lobes and jets with it; give what `draw_blobs` gives.

    Parameters
    ----------
    rng : numpy.random.Generator
    name : str
        One of the five extended classes.
    beams : float
        Diagonal of the rectangle that its blobs' middles span.
    least_width : float
        Least width (standard deviation) of what is not a hotspot, in sizes of the source.
    hotspot : float
        Share of the flux of each blob that is added to it as a point.
    """
    blobs, host = draw_blobs(rng, name)
    factor = beams / max(float(np.linalg.norm(np.ptp(blobs[:, :2], axis=0))), 1e-3)
    blobs[:, :2] *= factor
    blobs[:, 3:5] = np.maximum(blobs[:, 3:5] * factor, least_width * beams)
    spots = blobs.copy()
    spots[:, 2] *= hotspot
    spots[:, 3:5] = 0
    return np.concatenate([blobs, spots]), host * factor


def _separation(rng: Generator, name: str) -> float:
    mean, width = LN_SEPARATION[name]
    factor = WELL_RESOLVED['factor'] if rng.random() < WELL_RESOLVED['chance'] else 1.0
    return min(factor * np.exp(rng.normal(mean, width)), MAX_SEPARATION_ARCSEC) / FIRST_BEAM_ARCSEC


def _blob(x: float, y: float, flux: float, major: float = 0.0, minor: float = 0.0, angle: float = 0.0) -> NDArray:
    return np.array([[x, y, flux, major, minor, angle]])


def _compact(rng: Generator, separation: float, name: str) -> NDArray:
    """Draw a source that the beam hardly resolves: half are narrower than 0.3 beams."""
    major = min(rng.exponential(0.4), 1.2) * BEAM_SIGMA * 1.5
    return _blob(0, 0, 1, major, major * rng.uniform(0.1, 0.8))


def _elongated(rng: Generator, separation: float, name: str) -> NDArray:
    """Draw a jet, a pair of jets or an unresolved double without a second maximum."""
    n = rng.integers(2, 6)
    length = rng.uniform(0.5, 4.0)
    x = np.linspace(0, length, n)
    flux = np.exp(-x / length * rng.uniform(-0.5, 3)) * rng.lognormal(0, 0.25, n)
    y = rng.normal(0, 0.3) * (x / length) ** 2
    sigma = rng.uniform(0.05, 0.2) * (1 + length / 2)
    return np.column_stack([x, y, flux, np.full(n, max(sigma, length / n / 2)), np.full(n, sigma), np.zeros(n)])


def _diffuse(rng: Generator, separation: float, name: str) -> NDArray:
    """Draw a resolved patch of low surface brightness, such as a relic lobe or a nearby spiral."""
    n = rng.integers(3, 9)
    size = rng.uniform(0.4, 2.0)
    x, y = rng.normal(0, 0.5 * size, n), rng.normal(0, 0.3 * size, n)
    sigma = rng.uniform(0.3, 0.6, n) * size
    return np.column_stack([x, y, rng.uniform(0.3, 1, n), sigma, sigma * rng.uniform(0.5, 1, n), rng.uniform(0, 3, n)])


def _arm(rng: Generator, arm: Arm, *, edge_brightened: bool) -> NDArray:
    """String blobs along one side of a source, from the core at the origin outwards.

    The curve's heading turns by `turn` (rad), mostly in its outer part. An edge-brightened arm (FR II) fills the
    outer `reach` of its length and brightens outwards up to a hotspot; the other kind (FR I) fills the inner `reach`,
    flares near the core and fades and widens outwards.
    """
    steps = 24
    s = np.linspace(0, 1, steps)
    heading = arm.heading + arm.turn * s ** rng.uniform(1.0, 2.5)
    path_x = np.concatenate([[0], np.cumsum(np.cos(heading[:-1]))]) * arm.length / (steps - 1)
    path_y = np.concatenate([[0], np.cumsum(np.sin(heading[:-1]))]) * arm.length / (steps - 1)
    start, stop = (1 - arm.reach, 1.0) if edge_brightened else (rng.uniform(0.0, 0.1), arm.reach)
    filled = arm.length * (stop - start)
    n = int(np.clip(np.ceil(filled / 0.5), 2, 14))
    t = np.linspace(start, stop, n)
    depth = (t - start) / max(stop - start, 1e-6)
    if edge_brightened:
        flux = np.exp((depth - 1) * rng.uniform(0.0, 2.5))
        width = arm.width * (1 - rng.uniform(0.0, 0.6) * depth)
    else:
        flux = np.exp(-depth * rng.uniform(0.3, 2.5)) * (depth + 0.05) ** rng.uniform(0, 0.4)
        width = arm.width * (0.15 + depth)
    flux = flux * rng.lognormal(0, 0.35, n)
    along = np.maximum(width * rng.uniform(1.0, 1.8), filled / n * 0.6)
    jitter = width * rng.normal(0, 0.3, (2, n))
    blobs = np.column_stack(
        [
            np.interp(t, s, path_x) + jitter[0],
            np.interp(t, s, path_y) + jitter[1],
            flux / flux.sum() * arm.flux * (1 - arm.hotspot),
            along,
            width,
            np.interp(t, s, heading),
        ]
    )
    if arm.hotspot <= 0:
        return blobs
    where = 1.0 if edge_brightened else rng.uniform(0.15, 0.6) * stop
    side = arm.width * rng.normal(0, 0.4)
    angle = np.interp(where, s, heading)
    spot = _blob(
        np.interp(where, s, path_x) - side * np.sin(angle),
        np.interp(where, s, path_y) + side * np.cos(angle),
        arm.flux * arm.hotspot,
        size := rng.uniform(0, 0.25),
        size * rng.uniform(0.3, 1),
        angle,
    )
    return np.concatenate([blobs, spot])


def _two_arms(
    rng: Generator, separation: float, *, ratio: float, bend: float, spread: float, width: float
) -> list[Arm]:
    """Lay out two opposite arms; `bend` (rad) is shared between kinks at the core and turns along the arms."""
    long = separation / (1 + ratio)
    share = rng.uniform(0, 1)
    mirrored = rng.random() < 0.3  # an S; otherwise a C
    flux = np.exp(rng.normal(0, spread))
    fraction = flux / (1 + flux)
    width = width * rng.lognormal(0, 0.3)
    kink, turn = bend * share / 2, bend * (1 - share)
    return [
        Arm(long, kink, turn, fraction, width * rng.uniform(0.7, 1.3), 1, 0),
        Arm(long * ratio, np.pi - kink, turn if mirrored else -turn, 1 - fraction, width * rng.uniform(0.7, 1.3), 1, 0),
    ]


def _bend(rng: Generator) -> float:
    return np.radians(min(np.exp(rng.normal(*LN_BEND_DEG)), 120))


def _edge_brightened(rng: Generator, separation: float, name: str) -> NDArray:
    """Draw an FR II: lobes brightest at their outer ends, tails towards the core, a core where the class needs one."""
    one_island = name.startswith('1C')
    has_core = name in ('1C_3P', '3C_3P') or (name == '2C_3P' and rng.random() < 0.65)
    ratio = rng.beta(*ARM_RATIO_BETA)
    if name == '2C_3P' and has_core:
        ratio = rng.beta(2.5, 2.5)
    width = np.clip(separation * rng.uniform(0.04, 0.18), 0.1, 1.8)
    arms = _two_arms(rng, separation, ratio=ratio, bend=_bend(rng), spread=0.6, width=width)
    blobs = []
    for arm in arms:
        reach = rng.uniform(0.6, 1.0) if one_island else rng.uniform(0.05, 0.7)
        if name == '2C_3P' and has_core and arm is arms[1]:
            reach = rng.uniform(0.6, 1.0)
        hotspot = rng.beta(1.2, 3.5) if rng.random() < 0.85 else 0.0
        blobs.append(_arm(rng, arm._replace(reach=reach, hotspot=hotspot), edge_brightened=True))
    if has_core:
        blobs.append(_blob(0, 0, np.exp(rng.normal(np.log(0.15), 0.8)), rng.uniform(0, 0.15)))
    elif name == '2C_3P':  # a second hotspot in one lobe
        side = blobs[int(rng.random() < 0.5)]
        end = side[-1]
        away = rng.uniform(1.1, 2.4) * np.array([np.cos(a := rng.uniform(0, 2 * np.pi)), np.sin(a)])
        blobs.append(_blob(end[0] + away[0], end[1] + away[1], side[:, 2].sum() * rng.uniform(0.2, 0.8), 0.2, 0.1))
    elif rng.random() < 0.3:
        blobs.append(_blob(0, 0, rng.uniform(0.005, 0.03)))
    return np.concatenate(blobs)


def _core_brightened(rng: Generator, separation: float, name: str) -> NDArray:
    """Draw an FR I: twin jets that flare and fade, often bent into a wide- or narrow-angle tail."""
    bend = _bend(rng) if rng.random() < 0.5 else rng.uniform(0.4, 2.4)
    width = np.clip(separation * rng.uniform(0.05, 0.15), 0.1, 1.3)
    ratio = rng.uniform(0.4, 1.0)
    arms = _two_arms(rng, separation * rng.uniform(1.0, 1.5), ratio=ratio, bend=bend, spread=0.4, width=width)
    knots = name in ('1C_3P', '2C_3P') or rng.random() < 0.5
    blobs = [
        _arm(
            rng,
            arm._replace(reach=rng.uniform(0.7, 1), hotspot=rng.uniform(0.1, 0.6) if knots else 0.0),
            edge_brightened=False,
        )
        for arm in arms
    ]
    if name != '1C_2P' or rng.random() < 0.4:
        blobs.append(_blob(0, 0, np.exp(rng.normal(np.log(0.25), 0.7)), rng.uniform(0, 0.15)))
    return np.concatenate(blobs)


def _one_sided(rng: Generator, separation: float, name: str) -> NDArray:
    """Draw a core with a jet, a tail or a lobe on one side."""
    edge = rng.random() < 0.6
    width = np.clip(separation * rng.uniform(0.04, 0.15), 0.05, 1.0)
    reach = rng.uniform(0.1, 0.5) if name[0] != '1' else rng.uniform(0.5, 1)
    arm = Arm(separation, 0, rng.normal(0, 0.4), 1.0, width, reach if edge else 1.0, rng.uniform(0.1, 0.8))
    core = _blob(0, 0, np.exp(rng.normal(np.log(0.7), 0.8)), rng.uniform(0, 0.15))
    return np.concatenate([_arm(rng, arm, edge_brightened=edge), core])


def _detached(rng: Generator, separation: float, name: str) -> NDArray:
    """Draw a bright core between two detached, diffuse lobes without hotspots."""
    ratio = rng.beta(*ARM_RATIO_BETA)
    width = np.clip(separation * rng.uniform(0.06, 0.17), 0.1, 1.8)
    arms = _two_arms(rng, separation, ratio=ratio, bend=_bend(rng), spread=0.5, width=width)
    blobs = [_arm(rng, arm._replace(reach=rng.uniform(0.1, 0.4)), edge_brightened=True) for arm in arms]
    core = _blob(0, 0, np.exp(rng.normal(np.log(0.4), 0.9)), rng.uniform(0, 0.2))
    return np.concatenate([*blobs, core])


_KINDS: dict[str, list[tuple[float, Callable[[Generator, float, str], NDArray]]]] = {
    '1C_1P': [(0.45, _compact), (0.35, _elongated), (0.20, _diffuse)],
    '1C_2P': [(0.60, _edge_brightened), (0.20, _one_sided), (0.20, _core_brightened)],
    '1C_3P': [(0.60, _edge_brightened), (0.40, _core_brightened)],
    '2C_2P': [(0.85, _edge_brightened), (0.15, _one_sided)],
    '2C_3P': [(0.85, _edge_brightened), (0.15, _core_brightened)],
    '3C_3P': [(0.80, _edge_brightened), (0.20, _detached)],
}

"""Properties of a physical source on the sky, from its components: position, name and extent."""

from collections import defaultdict

import numpy as np
import shapely
from astropy import units as u
from astropy.coordinates import CartesianRepresentation, SkyCoord
from astropy.table import QTable
from numpy.typing import NDArray
from scipy.spatial.distance import pdist, squareform

from claran_plugin.errors import InputError

NAME_PREFIX = 'CLARAN'
ELLIPSE_POINTS = 72
"""Points on the outline of a component; a length is then right to 0.1 %."""


def mean_positions(sky: SkyCoord, flux_jy: NDArray, labels: NDArray, n: int) -> SkyCoord:
    """Average the positions of each source's components on the sphere, weighted by flux density.

    Components whose flux density is negative or unknown have no weight; where all are so, all weigh the same. The mean
    of unit vectors knows neither a break at 0/360 deg nor a pole.

    Parameters
    ----------
    sky : SkyCoord, (m,)
        Positions of the components.
    flux_jy : (m,) array
        Flux densities, Jy.
    labels : (m,) int array
        Source of each component, 0 to n-1.
    n : int
        Number of sources.
    """
    if n == 0:
        return SkyCoord([], [], unit='deg')
    weight = _weights(flux_jy, labels, n)
    xyz = sky.icrs.cartesian.xyz.value
    mean = np.array([np.bincount(labels, weight * axis, minlength=n) for axis in xyz])
    position = SkyCoord(CartesianRepresentation(mean), frame='icrs')
    alone = np.bincount(labels, minlength=n) == 1
    ra, dec = position.spherical.lon.deg % 360, position.spherical.lat.deg
    own = np.empty(n, int)
    own[labels] = np.arange(len(labels))
    # The position of a lone component is its own to the last bit.
    ra[alone], dec[alone] = sky.icrs.ra.deg[own[alone]], sky.icrs.dec.deg[own[alone]]
    return SkyCoord(ra, dec, unit='deg')


def position_errors(error: NDArray, flux_jy: NDArray, labels: NDArray, n: int) -> NDArray:
    """Give the errors (n,) of the means of `mean_positions` along one coordinate, from those (m,) of the components.

    They are taken to be independent; NaN where that of a component that has weight is unknown.
    """
    weight = _weights(flux_jy, labels, n)
    weight /= np.bincount(labels, weight, minlength=n)[labels]
    squares = np.where(weight > 0, (weight * error) ** 2, 0.0)
    return np.sqrt(np.bincount(labels, squares, minlength=n))


def _weights(flux_jy: NDArray, labels: NDArray, n: int) -> NDArray:
    """Give the components' weights (m,) in the means over their sources."""
    weight = np.where(np.isfinite(flux_jy) & (flux_jy > 0), flux_jy, 0.0)
    weightless = np.bincount(labels, weight, minlength=n) == 0
    return np.where(weightless[labels], 1.0, weight)


def source_names(sky: SkyCoord, prefix: str = NAME_PREFIX) -> list[str]:
    """Name sources by their positions as the IAU recommends: ``CLARAN J112443.8+384547``.

    The digits are truncated, not rounded; sources with the same digits get the letters a, b, ... in their order.

    Raises
    ------
    InputError
        Where the prefix is longer than 12 characters (names are 32 wide) or not plain text.
    """
    if len(prefix) > 12 or not prefix.isascii():
        raise InputError(f'prefix {prefix!r} of source names: at most 12 ASCII characters are possible; shorten it')
    names = []
    for ra, dec in zip(np.atleast_1d(sky.icrs.ra.deg), np.atleast_1d(sky.icrs.dec.deg), strict=True):
        # 1e-6 of the last digit: what is exact in the sexagesimal system is not in binary
        tenths = int(ra % 360 / 15 * 36000 + 1e-6) % 864000
        seconds = int(abs(dec) * 3600 + 1e-6)
        hms = f'{tenths // 36000:02d}{tenths // 600 % 60:02d}{tenths // 10 % 60:02d}.{tenths % 10}'
        dms = f'{seconds // 3600:02d}{seconds // 60 % 60:02d}{seconds % 60:02d}'
        names.append(f'{prefix} J{hms}{"-" if dec < 0 else "+"}{dms}'.strip())
    places = defaultdict(list)
    for i, name in enumerate(names):
        places[name].append(i)
    for name, clashing in places.items():
        if len(clashing) > 1:
            for rank, i in enumerate(clashing):
                names[i] = name + _letters(rank)
    return names


def _letters(rank: int) -> str:
    """Count a, b, ..., z, aa, ab, ..."""
    text = ''
    while rank >= 0:
        text = chr(ord('a') + rank % 26) + text
        rank = rank // 26 - 1
    return text


def composite_shapes(standard: QTable, labels: NDArray, centre: SkyCoord) -> tuple[u.Quantity, u.Quantity, u.Quantity]:
    """Measure the extent of each source on the sky.

    As in LoTSS (Williams et al. 2019, A&A 622, A2) the size is the largest distance between two points on the outlines
    of the components; the width is the extent perpendicular to it. The outline is the ellipse at half power, so that a
    lone component has its own Maj, Min and PA. Components without a size count as points.

    Parameters
    ----------
    standard : QTable, m rows
        Standard component table.
    labels : (m,) int array
        Source of each component, 0 to S-1.
    centre : SkyCoord, (S,)
        Positions of the sources.

    Returns
    -------
    size, width, angle : (S,) Quantities
        arcsec, arcsec and deg (north through east, 0 to 180).
    """
    n = len(centre)
    rows = np.empty(n, int)
    rows[labels] = np.arange(len(labels))
    size, width = (standard[axis][rows].to_value(u.arcsec) for axis in ('Maj', 'Min'))
    angle = standard['PA'][rows].to_value(u.deg) % 180
    grouped = np.flatnonzero((np.bincount(labels, minlength=n) > 1)[labels]) if n else np.empty(0, int)
    if grouped.size:
        grouped = grouped[np.argsort(labels[grouped], kind='stable')]
        points = _outlines(standard[grouped], centre[labels[grouped]])
        sources, starts = np.unique(labels[grouped], return_index=True)
        for source, outline in zip(sources, np.split(points, starts[1:]), strict=True):
            size[source], width[source], angle[source] = _extent(outline.reshape(-1, 2))
    return size * u.arcsec, width * u.arcsec, angle * u.deg


def _outlines(components: QTable, centre: SkyCoord) -> NDArray:
    """Give points on the ellipses at half power as offsets east and north of a centre, (m, points, 2) arcsec."""
    semi = [np.nan_to_num(components[axis].to_value(u.arcsec)) / 2 for axis in ('Maj', 'Min')]
    phase = np.linspace(0, 2 * np.pi, ELLIPSE_POINTS, endpoint=False)
    along, across = semi[0][:, None] * np.cos(phase), semi[1][:, None] * np.sin(phase)
    bearing = np.nan_to_num(components['PA'].to_value(u.rad))[:, None] + np.arctan2(across, along)
    sky = SkyCoord(components['RA'], components['DEC'])[:, None]
    points = sky.directional_offset_by(bearing * u.rad, np.hypot(along, across) * u.arcsec)
    offsets = centre[:, None].spherical_offsets_to(points)
    return np.stack([offset.to_value(u.arcsec) for offset in offsets], axis=-1)


def _extent(points: NDArray) -> tuple[float, float, float]:
    """Give the largest distance of points (n, 2), east and north, the extent across it and its position angle, deg."""
    hull = shapely.get_coordinates(shapely.convex_hull(shapely.multipoints(points)))
    distances = squareform(pdist(hull)) if len(hull) > 1 else np.zeros((1, 1))
    first, second = np.unravel_index(np.argmax(distances), distances.shape)
    axis = hull[second] - hull[first]
    length = float(distances[first, second])
    if length == 0:
        return 0.0, 0.0, 0.0
    across = hull @ np.array([-axis[1], axis[0]]) / length
    return length, float(np.ptp(across)), float(np.degrees(np.arctan2(axis[0], axis[1])) % 180)

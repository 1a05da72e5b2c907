"""Where components lie on the image: the standard table -> pixels, shapes and islands."""

import numpy as np
from astropy import units as u
from astropy.table import QTable, Table
from astropy.wcs import WCS
from numpy.typing import NDArray
from scipy import ndimage

from claran_plugin.claims import Components, members_of
from claran_plugin.division import Surroundings
from claran_plugin.errors import InputError
from claran_plugin.images import pixel_scale
from claran_plugin.morphology import EIGHT_CONNECTED, component_labels
from claran_plugin.subjects import Sky

ISLAND_SIGMA = 3.0
"""Where a catalogue names no islands, they are the pixels above this, as PyBDSF's are by default."""
FWHM = 2.3548


def on_image(standard: QTable, sky: Sky, name: str = 'catalogue') -> Components:
    """Bring components onto the image.

    Parameters
    ----------
    standard : QTable
        Standard component table, n rows.
    sky : Sky
    name : str
        The catalogue, for errors.

    Raises
    ------
    InputError
        Where none of the components lies on the image.
    """
    if not len(standard):
        return Components(np.empty((0, 2)), np.empty((0, 2, 2)), np.empty(0), np.empty(0, int))
    ra, dec = standard['RA'].to_value(u.deg), standard['DEC'].to_value(u.deg)
    wcs = sky.radio.wcs
    xy = _to_pixels(wcs, ra, dec)
    ny, nx = sky.radio.shape
    inside = np.all((xy > -0.5) & (xy < (nx - 0.5, ny - 0.5)), axis=1)
    if not inside.any():
        centre = wcs.pixel_to_world((nx - 1) / 2, (ny - 1) / 2)
        raise InputError(
            f'{name}: none of its {len(standard)} components lies on the image, whose centre is at '
            f'{centre.to_string("decimal", precision=4)} deg; give the catalogue of this field'
        )
    # Components beyond the projection's horizon have no pixel; they stay sources of their own, far outside.
    xy = np.where(np.isfinite(xy), xy, -1e6 - 1e4 * np.arange(len(xy))[:, None])
    flux = np.nan_to_num(standard['Total_flux'].to_value(u.Jy))
    island = np.asarray(standard['Isl_id']).astype(int)
    if (island < 0).all():
        island = islands_of(xy, sky)
    lone = island < 0
    island = np.where(lone, island.max(initial=0) + 1 + np.cumsum(lone), island)
    return Components(xy, _covariances(standard, wcs, xy, sky), flux, island)


def islands_of(xy: NDArray, sky: Sky) -> NDArray:
    """Tell which island of emission each pixel position (n, 2) lies on; -1 for none."""
    labels, _ = ndimage.label(np.nan_to_num(sky.radio.data) > ISLAND_SIGMA * sky.rms, EIGHT_CONNECTED)
    x, y = np.round(xy).astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < labels.shape[1]) & (y < labels.shape[0])
    island = np.full(len(xy), -1)
    island[inside] = labels[y[inside], x[inside]]
    return np.where(island > 0, island, -1)


def surroundings(components: Components, sky: Sky) -> Surroundings:
    """Find what the image tells of the source finder's islands: the components that are counted on each.

    A component of a source is counted as Radio Galaxy Zoo does (`morphology.component_labels`), on the image's own
    pixels, and belongs to every island that has a component of the catalogue within half a beam of it.
    """
    snr = np.nan_to_num(sky.radio.data) / np.maximum(sky.rms, 1e-30)
    labels, _ = component_labels(snr, sky.beam_pix)
    slices = ndimage.find_objects(labels)
    ny, nx = labels.shape
    near = labels_near(labels, components.xy, sky.beam_pix / 2)
    counted, outlines = {}, {}
    for island, members in members_of(components.island).items():
        touched: set[int] = set().union(*(near[member] for member in members))
        bounds = {number: bounds_of(slices[number - 1]) for number in sorted(touched)}
        half = np.sqrt(np.einsum('nii->ni', components.covariance[members])) * FWHM / 2
        ends = np.concatenate([components.xy[members] - half, components.xy[members] + half])
        counted[island] = bounds
        outlines[island] = np.concatenate([ends.min(axis=0), ends.max(axis=0)])
    return Surroundings(counted, outlines, float(nx * ny))


def labels_near(labels: NDArray, xy: NDArray, reach: float) -> list[set[int]]:
    """Give the labels above 0 of a (ny, nx) int image within `reach` pixels, along each axis, of positions (n, 2)."""
    near = max(int(reach), 1)
    ny, nx = labels.shape
    found = []
    for x, y in np.rint(np.clip(xy, -1e6, 1e6)).astype(int):
        inside = -near <= x < nx + near and -near <= y < ny + near
        part = labels[max(y - near, 0) : y + near + 1, max(x - near, 0) : x + near + 1] if inside else labels[:0]
        found.append(set(np.unique(part[part > 0]).tolist()))
    return found


def bounds_of(slices: tuple[slice, ...]) -> NDArray:
    """Give the bounding box (4,), xyxy, of what `scipy.ndimage.find_objects` has found."""
    ys, xs = slices
    return np.array([xs.start, ys.start, xs.stop, ys.stop], float) - 0.5


def island_components(sky: Sky, labels: NDArray | None = None) -> Table:
    """Make a component table of an image's islands, with positions, fluxes and moments.

    Parameters
    ----------
    sky : Sky
    labels : (ny, nx) int array, optional
        Number of the island on each pixel, from 1 without gaps; by default those above the threshold are found.
    """
    if labels is None:
        labels, _ = component_labels(np.nan_to_num(sky.radio.data) / np.maximum(sky.rms, 1e-30), sky.beam_pix)
    beam_area = np.pi / (4 * np.log(2)) * sky.beam_pix**2
    scale = pixel_scale(sky.radio)
    rows = []
    for number, (ys, xs) in enumerate(ndimage.find_objects(labels), 1):
        part = np.where(labels[ys, xs] == number, np.nan_to_num(sky.radio.data[ys, xs]), 0)
        y, x = np.indices(part.shape)
        weight = part / part.sum()
        mx, my = (weight * x).sum(), (weight * y).sum()
        spread = np.array([(weight * (x - mx) ** 2).sum(), (weight * (y - my) ** 2).sum()])
        ra, dec = sky.radio.wcs.all_pix2world(mx + xs.start, my + ys.start, 0)
        width = FWHM * np.sqrt(max(spread.mean(), 0.1)) * scale / 3600
        rows.append((number, float(ra), float(dec), part.sum() / beam_area, part.max(), width, number))
    names = ('Source_id', 'RA', 'DEC', 'Total_flux', 'Peak_flux', 'Maj', 'Isl_id')
    table = Table(rows=rows or None, names=names, dtype=(int, float, float, float, float, float, int))
    table['Min'], table['PA'] = table['Maj'], np.zeros(len(table))
    for column, unit in dict(RA='deg', DEC='deg', Total_flux='Jy', Peak_flux='Jy/beam', Maj='deg', Min='deg').items():
        table[column].unit = unit
    return table


def _to_pixels(wcs: WCS, ra: NDArray, dec: NDArray) -> NDArray:
    with np.errstate(invalid='ignore'):
        return np.stack(wcs.wcs_world2pix(ra, dec, 0), axis=-1)


def _covariances(standard: QTable, wcs: WCS, xy: NDArray, sky: Sky) -> NDArray:
    """Give the components' Gaussians in pixels, (n, 2, 2); never narrower than a third of the beam."""
    beam_arcsec = sky.beam_pix * pixel_scale(sky.radio)
    major, minor = (np.nan_to_num(standard[name].to_value(u.arcsec), nan=beam_arcsec) for name in ('Maj', 'Min'))
    least = beam_arcsec / 3
    sigma_major, sigma_minor = np.maximum(major, least) / FWHM, np.maximum(minor, least) / FWHM
    angle = np.radians(np.nan_to_num(standard['PA'].to_value(u.deg)))
    # Unit vectors (east, north) along the axes; position angle runs from north through east.
    axes = np.stack([np.stack([np.sin(angle), np.cos(angle)], -1), np.stack([np.cos(angle), -np.sin(angle)], -1)], -2)
    on_sky = np.einsum('nk,nki,nkj->nij', np.stack([sigma_major, sigma_minor], -1) ** 2, axes, axes)
    jacobian = _pixels_per_arcsec(standard, wcs, xy, pixel_scale(sky.radio))
    return jacobian @ on_sky @ np.swapaxes(jacobian, -1, -2)


def _pixels_per_arcsec(standard: QTable, wcs: WCS, xy: NDArray, scale: float) -> NDArray:
    """Give d(x, y) / d(east, north), (n, 2, 2), pixels per arcsec."""
    ra, dec = standard['RA'].to_value(u.deg), standard['DEC'].to_value(u.deg)
    step = np.where(dec < 89.9, 1.0, -1.0)
    north = (_to_pixels(wcs, ra, dec + step / 3600) - xy) * step[:, None]
    # East is north turned by a quarter, in the sense that the image has (left of north on most).
    handedness = np.sign(np.linalg.det(wcs.pixel_scale_matrix)) or -1.0
    east = np.stack([north[:, 1], -north[:, 0]], axis=-1) * handedness
    jacobian = np.stack([east, north], axis=-1)
    bad = ~np.isfinite(jacobian).all(axis=(1, 2)) | (np.abs(np.linalg.det(np.nan_to_num(jacobian))) < 1e-12)
    jacobian[bad] = np.diag([-1, 1]) / scale
    return jacobian

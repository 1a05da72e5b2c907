"""Where components lie on the image: the standard table -> pixels, shapes and islands."""

import warnings

import numpy as np
from astropy import units as u
from astropy.table import QTable, Table
from astropy.wcs import WCS
from numpy.typing import NDArray

from claran_plugin.boxes import boxes_around
from claran_plugin.celestial import to_pixels, to_sky, turn_of_north
from claran_plugin.claimed import Components, members_of
from claran_plugin.divided_islands import divide_islands
from claran_plugin.division import Surroundings
from claran_plugin.emission import Emission, find_emission
from claran_plugin.errors import InputError, InputWarning
from claran_plugin.images import beam, pixel_scale
from claran_plugin.morphology import COMPONENT_SIGMA, least_component_area
from claran_plugin.pixels import values_at
from claran_plugin.standard_components import ASSUMED
from claran_plugin.subjects import Sky

ISLAND_SIGMA = 3.0
"""Where a catalogue names no islands, they are the pixels above this, as PyBDSF's are by default."""
FWHM = 2.3548
LEAST_ABOVE = 0.1
"""Logarithm of an island's peak over its threshold, at least, where its position's error is told."""
LEAST_VARIANCE = 0.1
"""Of an island, square pixels."""
MOST_BEAMS, MOST_TIMES = 50.0, 30.0
"""Median width of components, and ratio of their peaks to the image's, beyond which an assumed unit is wrong."""
NARROW_BEAMS, MOST_NARROW = 0.8, 0.2
"""Width below which no fit is, and the share of components below it beyond which sizes are no fitted ones."""
LEAST_ISLANDS = 3
"""On so many islands of the image, components of a single island number have no island numbers at all."""
MOST_GAP_BEAMS = 15.0
"""Between components of one island of emission, half maximum to half maximum."""


def on_image(standard: QTable, sky: Sky, name: str = 'catalogue') -> Components:
    """Bring components onto the image.

    Parameters
    ----------
    standard : QTable
        Standard component table, n rows.
    sky : Sky
    name : str
        The catalogue, for errors and warnings.

    Returns
    -------
    Components
        In pixels, with islands from the image where the catalogue names none, or one for all.

    Raises
    ------
    InputError
        Where none of the components lies on the image, or units that were assumed cannot be right.

    Warns
    -----
    InputWarning
        Where some lie off the image, many are narrower than the beam, all are said to be on one island, or islands of
        several lists have the same numbers and are divided.
    """
    if not len(standard):
        return Components(np.empty((0, 2)), np.empty((0, 2, 2)), np.empty(0), np.empty(0, int))
    ra, dec = standard['RA'].to_value(u.deg), standard['DEC'].to_value(u.deg)
    wcs = sky.radio.wcs
    xy = to_pixels(wcs, ra, dec)
    ny, nx = sky.radio.shape
    inside = np.all((xy > -0.5) & (xy < (nx - 0.5, ny - 0.5)), axis=1)
    if not inside.any():
        (centre,) = to_sky(wcs, ((nx - 1) / 2, (ny - 1) / 2))
        raise InputError(
            f'{name}: none of its {len(standard)} components lies on the image, whose centre is at '
            f'{centre.to_string("decimal", precision=4)} deg; give the catalogue of this field'
        )
    if not inside.all():
        warnings.warn(
            f'{name}: {(~inside).sum()} of its {len(inside)} components lie off the image: each island of them stays a '
            'source of its own that nothing is known of',
            InputWarning,
            stacklevel=3,
        )
    _check_assumed(standard, xy, inside, sky, name)
    _check_sizes(standard, sky, name)
    # Components beyond the projection's horizon have no pixel; they stay sources of their own, far outside.
    xy = np.where(np.isfinite(xy), xy, -1e6 - 1e4 * np.arange(len(xy))[:, None])
    flux = np.nan_to_num(standard['Total_flux'].to_value(u.Jy))
    island = np.asarray(standard['Isl_id']).astype(int)
    if (island < 0).all() or not np.ptp(island):
        island = _islands_instead(island, xy, sky, name)
    lone = island < 0
    island = np.where(lone, island.max(initial=0) + 1 + np.cumsum(lone), island)
    found = Components(xy, _covariances(standard, wcs, xy, sky), flux, island)
    gap = MOST_GAP_BEAMS * sky.beam_pix
    renumbered, n_divided = divide_islands(xy, outlines(found), island, gap, lambda rows: islands_of(xy[rows], sky))
    if n_divided:
        warnings.warn(
            f'{name}: {n_divided} islands have components more than {MOST_GAP_BEAMS:g} beams from the others, as in '
            'lists put together that number theirs alike: they are divided',
            InputWarning,
            stacklevel=3,
        )
    return found._replace(island=renumbered)


def _islands_instead(island: NDArray, xy: NDArray, sky: Sky, name: str) -> NDArray:
    """Take islands (n,) from the image where the catalogue names none, or one though the image shows several."""
    if island[0] >= 0 and len(island) < LEAST_ISLANDS:
        return island
    found = islands_of(xy, sky)
    number = len(np.unique(found[found >= 0]))
    if island[0] >= 0:
        if number < LEAST_ISLANDS:
            return island
        warnings.warn(
            f'{name}: all of its {len(island)} components are said to be on one island, {island[0]}, but lie on '
            f'{number} of the image: these are taken instead',
            InputWarning,
            stacklevel=4,
        )
    return found


def on_sight(components: Components, sky: Sky) -> NDArray:
    """Tell which components (n,) have a part of them on the image."""
    boxes = outlines(components)
    ny, nx = sky.radio.shape
    return np.all((boxes[:, 2:] > -0.5) & (boxes[:, :2] < (nx - 0.5, ny - 0.5)), axis=1)


def _check_assumed(standard: QTable, xy: NDArray, inside: NDArray, sky: Sky, name: str) -> None:
    """Raise InputError where units that a catalogue does not state, and that were assumed, cannot be right."""
    assumed = standard.meta.get(ASSUMED, {})
    remedy = 'state its unit, as FITS, VOTable and ECSV can, or convert it'
    if 'Maj' in assumed:
        beams = float(np.nanmedian(standard['Maj'].to_value(u.arcsec)[inside])) / sky.beam_pix / pixel_scale(sky.radio)
        if beams > MOST_BEAMS and 0.2 < beams / 3600 < MOST_BEAMS:  # which arcsec would explain
            column, unit = assumed['Maj']
            raise InputError(
                f'{name}: column {column} has no unit; in {unit} its median would be {beams:.3g} beams: {remedy}'
            )
    if 'Peak_flux' in assumed:
        shown = values_at(sky.radio.data, np.rint(xy[inside]).astype(int))
        with np.errstate(invalid='ignore', divide='ignore'):
            ratios = standard['Peak_flux'].value[inside] / shown
        ratios = ratios[np.isfinite(ratios) & (shown > COMPONENT_SIGMA * sky.rms.median)]
        if len(ratios) and not 1 / MOST_TIMES < (ratio := float(np.median(ratios))) < MOST_TIMES:
            column, unit = assumed['Peak_flux']
            raise InputError(
                f"{name}: column {column} has no unit; in {unit} its median would be {ratio:.3g} times the image's "
                f'brightness there: {remedy}'
            )


def _check_sizes(standard: QTable, sky: Sky, name: str) -> None:
    """Warn where sizes seem to be deconvolved ones, or in another unit."""
    widths = standard['Maj'].to_value(u.arcsec) / pixel_scale(sky.radio) / sky.beam_pix
    known = widths[np.isfinite(widths)]
    if len(known) and (middle := float(np.median(known))) > MOST_BEAMS:
        warnings.warn(
            f'{name}: its components are {middle:.3g} beams wide in the median, so that most lie on one another: is '
            'the unit that the column states the right one?',
            InputWarning,
            stacklevel=4,
        )
    narrow = int((known < NARROW_BEAMS).sum())
    if narrow > max(MOST_NARROW * len(known), 1):
        warnings.warn(
            f'{name}: {narrow} of its {len(known)} components are narrower than the beam, so its sizes are not those '
            'of fitted Gaussians but deconvolved: resolved sources may be taken for unresolved (--all shows all to the '
            'detector), and sizes of sources come out too small; give the columns of fitted sizes',
            InputWarning,
            stacklevel=4,
        )


def islands_of(xy: NDArray, sky: Sky) -> NDArray:
    """Tell which island of emission each pixel position (n, 2) lies on; -1 for none."""
    near = find_emission(sky, ISLAND_SIGMA, xy=xy, reach=0).near
    return np.array([min(islands, default=-1) for islands in near], int)


def surroundings(components: Components, sky: Sky) -> Surroundings:
    """Find what the image tells of the source finder's islands: the components that are counted on each.

    A component of a source is counted as Radio Galaxy Zoo does (`morphology.component_labels`), on the image's own
    pixels, and belongs to every island that has a component of the catalogue within half a beam of it.
    """
    emission = counted_emission(sky, components.xy)
    ny, nx = sky.radio.shape
    counted, island_outlines, flux = {}, {}, {}
    boxes = outlines(components)
    for island, members in members_of(components.island).items():
        touched: set[int] = set().union(*(emission.near[member] for member in members))
        counted[island] = {number: emission.bounds[number] for number in sorted(touched)}
        island_outlines[island] = boxes_around(boxes[members])
        flux[island] = float(np.nan_to_num(components.flux[members]).clip(0).sum())
    n_islands = len(np.unique(components.island[on_sight(components, sky)]))
    area = max(nx * ny * sky.rms.filled, 1.0)
    emitted = dict(enumerate(emission.total.tolist()))
    return Surroundings(counted, island_outlines, flux, area, n_islands=n_islands, emitted=emitted)


def outlines(components: Components) -> NDArray:
    """Give the bounding boxes (n, 4), xyxy in pixels, of the components to half of their maximum."""
    half = np.sqrt(np.einsum('nii->ni', components.covariance)) * FWHM / 2
    return np.concatenate([components.xy - half, components.xy + half], axis=1)


def counted_emission(sky: Sky, xy: NDArray | None = None) -> Emission:
    """Find the components of emission that are counted (`morphology.component_labels`), and which are near positions.

    Near is within half a beam.
    """
    return find_emission(
        sky, COMPONENT_SIGMA, least_area=least_component_area(sky.beam_pix), xy=xy, reach=max(sky.beam_pix / 2, 1)
    )


def island_components(sky: Sky, emission: Emission | None = None) -> Table:
    """Make a component table of an image's islands, with positions, fluxes, their errors, and moments.

    Islands that are found here end at a threshold. What a point source of the same peak has below it is added to flux
    density and widths: of a Gaussian of peak P the pixels above T hold 1 - T/P of the flux density, and T times its
    area is missing. So both are right for point sources, and somewhat low for faint extended ones.

    Parameters
    ----------
    sky : Sky
    emission : Emission, optional
        Islands that are taken as they are, with one width; by default those above the threshold (`counted_emission`).

    Returns
    -------
    Table with positions, their errors, `Maj`, `Min` and `PA` in deg, flux densities in Jy, peaks in Jy/beam; the errors
    of given islands, whose threshold is not known, are NaN
    """
    beam_area = np.pi / (4 * np.log(2)) * sky.beam_pix**2
    if emission is None:
        emission = counted_emission(sky)
        noise = emission.brightest / emission.peak
        missing, share = COMPONENT_SIGMA * noise, COMPONENT_SIGMA / emission.peak
        arcsec = _arcsec_per_pixel(emission, sky)
        shape = _ellipses(emission, arcsec, 1 - _clipped_variance(share), sky)
        error = _position_errors(emission, arcsec, noise * np.sqrt(beam_area))
    else:
        noise, missing = np.full((2, len(emission.area)), [[np.nan], [0]])
        variance = np.maximum(np.trace(emission.covariance, axis1=1, axis2=2) / 2, LEAST_VARIANCE)
        width = FWHM * np.sqrt(variance) * pixel_scale(sky.radio) / 3600
        shape = (width, width, np.zeros(len(width)))
        error = np.full((2, len(width)), np.nan)
    number = np.arange(1, len(emission.area) + 1)
    table = Table(dict(Source_id=number))
    at = to_sky(sky.radio.wcs, emission.mean)
    table['RA'], table['DEC'] = at.ra.deg, at.dec.deg
    table['E_RA'], table['E_DEC'] = error
    table['Total_flux'], table['Peak_flux'] = emission.total / beam_area + missing, emission.brightest
    table['E_Total_flux'] = noise * np.sqrt(np.maximum(emission.area / beam_area, 1))
    table['E_Peak_flux'] = noise
    table['Maj'], table['Min'], table['PA'] = shape
    table['Isl_id'] = number
    units = {
        'deg': 'RA DEC E_RA E_DEC Maj Min PA',
        'Jy': 'Total_flux E_Total_flux',
        'Jy/beam': 'Peak_flux E_Peak_flux',
    }
    for unit, names in units.items():
        for name in names.split():
            table[name].unit = unit
    return table


def _arcsec_per_pixel(emission: Emission, sky: Sky) -> NDArray:
    """Give d(east, north) / d(x, y) at the middles of n islands, (n, 2, 2), arcsec per pixel."""
    at = to_sky(sky.radio.wcs, emission.mean)
    jacobian = _pixels_per_arcsec(at.ra.deg, at.dec.deg, sky.radio.wcs, emission.mean, pixel_scale(sky.radio))
    return np.linalg.inv(jacobian)


def _position_errors(emission: Emission, arcsec: NDArray, noise: NDArray) -> NDArray:
    """Give the errors of islands' middles (2, n), east and north, deg.

    Noise in a pixel moves the middle by its distance from there, over the island's brightness. This is summed over an
    ellipse of the island's area and shape: with `noise` (n,), that of a pixel times the square root of the beam's area
    in pixels, as neighbouring pixels share theirs. Noise moves the island's edge, too, the more the flatter the source
    is there: of a Gaussian of peak P above a threshold T that adds 2 / ln(P / T) of the variance. Together, near
    Condon's (1997) half a beam over the signal-to-noise ratio for a point source.
    """
    above = np.maximum(np.log(emission.peak / COMPONENT_SIGMA), LEAST_ABOVE)
    shape = emission.covariance + np.eye(2) / 12  # a pixel is wide
    spread = shape * (emission.area / (4 * np.pi) / np.sqrt(np.linalg.det(shape)))[:, None, None]
    spread = np.einsum('nii->in', arcsec @ spread @ np.swapaxes(arcsec, -1, -2))
    return noise * np.sqrt(emission.area * spread * (1 + 2 / above)) / emission.total / 3600


def _ellipses(emission: Emission, arcsec: NDArray, narrower: NDArray, sky: Sky) -> tuple[NDArray, NDArray, NDArray]:
    """Give islands' widths along and across them and their position angles, deg, with so much of the beam added."""
    own = sky.radio.wcs.pixel_to_world(*emission.mean.T)
    size = beam(sky.radio)
    angle = (size.pa + turn_of_north(own)).to_value(u.rad)  # the header's is in the image's own frame
    sigma = np.tile([size.major.to_value(u.arcsec) / FWHM, size.minor.to_value(u.arcsec) / FWHM], (len(angle), 1))
    covariance = arcsec @ emission.covariance @ np.swapaxes(arcsec, -1, -2)
    covariance += narrower[:, None, None] * _on_sky(sigma, angle)
    variance, axes = np.linalg.eigh(covariance)  # the larger one comes last
    across, along = FWHM * np.sqrt(np.maximum(variance, LEAST_VARIANCE * pixel_scale(sky.radio) ** 2)).T / 3600
    return along, across, np.degrees(np.arctan2(axes[:, 0, 1], axes[:, 1, 1])) % 180


def _clipped_variance(share: NDArray) -> NDArray:
    """Give the variance of a round Gaussian's part above some shares of its peak, along an axis, over the whole's."""
    return (1 - share * (1 - np.log(share))) / (1 - share)


def _covariances(standard: QTable, wcs: WCS, xy: NDArray, sky: Sky) -> NDArray:
    """Give the components' Gaussians in pixels, (n, 2, 2); never narrower than a third of the beam."""
    beam_arcsec = sky.beam_pix * pixel_scale(sky.radio)
    major, minor = (np.nan_to_num(standard[name].to_value(u.arcsec), nan=beam_arcsec) for name in ('Maj', 'Min'))
    least = beam_arcsec / 3
    sigma_major, sigma_minor = np.maximum(major, least) / FWHM, np.maximum(minor, least) / FWHM
    angle = np.radians(np.nan_to_num(standard['PA'].to_value(u.deg)))
    on_sky = _on_sky(np.stack([sigma_major, sigma_minor], -1), angle)
    ra, dec = standard['RA'].to_value(u.deg), standard['DEC'].to_value(u.deg)
    jacobian = _pixels_per_arcsec(ra, dec, wcs, xy, pixel_scale(sky.radio))
    return jacobian @ on_sky @ np.swapaxes(jacobian, -1, -2)


def _on_sky(sigma: NDArray, angle: NDArray) -> NDArray:
    """Give covariances (n, 2, 2), east and north, of Gaussians: sigma (n, 2), along and across, angles (n,), rad."""
    # Unit vectors (east, north) along the axes; position angle runs from north through east.
    axes = np.stack([np.stack([np.sin(angle), np.cos(angle)], -1), np.stack([np.cos(angle), -np.sin(angle)], -1)], -2)
    return np.einsum('nk,nki,nkj->nij', sigma**2, axes, axes)


def _pixels_per_arcsec(ra: NDArray, dec: NDArray, wcs: WCS, xy: NDArray, scale: float) -> NDArray:
    """Give d(x, y) / d(east, north), (n, 2, 2), pixels per arcsec, at positions in ICRS, deg, and pixels xy."""
    step = np.where(dec < 89.9, 1.0, -1.0)
    north = (to_pixels(wcs, ra, dec + step / 3600) - xy) * step[:, None]
    # East is north turned by a quarter, in the sense that the image has (left of north on most).
    handedness = np.sign(np.linalg.det(wcs.pixel_scale_matrix)) or -1.0
    east = np.stack([north[:, 1], -north[:, 0]], axis=-1) * handedness
    jacobian = np.stack([east, north], axis=-1)
    bad = ~np.isfinite(jacobian).all(axis=(1, 2)) | (np.abs(np.linalg.det(np.nan_to_num(jacobian))) < 1e-12)
    jacobian[bad] = np.diag([-1, 1]) / scale
    return jacobian

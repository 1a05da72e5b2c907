"""Infrared images, brought onto the radio image's grid."""

import numpy as np
from astropy import units as u
from astropy.nddata import CCDData
from astropy.wcs import WCS
from numpy.typing import NDArray

from claran_plugin.errors import InputError
from claran_plugin.fits_pixels import MOST_PIXELS_IN_MEMORY, ImageLike, blank_mask, load_pixels, quiet
from claran_plugin.images import pixel_side
from claran_plugin.pixels import BLOCK, WindowedPixels, average_pixels, tiles
from claran_plugin.zero_margins import without_zero_margins


def read_infrared(path: ImageLike, radio: CCDData) -> CCDData:
    """Read an infrared (or optical) image and bring it onto a radio image's grid.

    Parameters
    ----------
    path : path of a FITS file, or CCDData
        Any grid, projection and unit.
    radio : CCDData
        The radio image, see `read_image`.

    Returns
    -------
    CCDData
        (ny, nx) float32 with the radio image's shape and WCS, NaN where the infrared image has nothing; ``meta`` is
        the infrared file's header.

    Raises
    ------
    InputError
        Where the file is missing, not FITS or truncated, has no image or celestial WCS, or does not overlap.

    Warns
    -----
    InputWarning
        Where an axis beyond the sky's has several planes (the first is used), or zeros around the image are taken to
        be blank.
    """
    data, header, wcs, _, name = load_pixels(path)
    data = without_zero_margins(data, name, with_background=True)
    blank_mask(data, name)
    aligned: NDArray | WindowedPixels = _onto(radio, data, wcs)
    mask = None
    if aligned.size <= MOST_PIXELS_IN_MEMORY:
        aligned = np.asarray(aligned)
        mask = ~np.isfinite(aligned)
    if not any(np.isfinite(aligned[ys, xs]).any() for ys, xs in tiles(radio.shape, BLOCK)):
        raise InputError(
            f'{name}: the infrared image does not overlap the radio image '
            f'{radio.meta.get("FILENAME", "")}: give one of the same field'
        )
    unit = u.Unit(header.get('BUNIT') or '', parse_strict='silent')
    if isinstance(unit, u.UnrecognizedUnit):
        unit = u.dimensionless_unscaled
    return CCDData(aligned, unit=unit, wcs=radio.wcs, meta=header, mask=mask)


def _onto(radio: CCDData, data: NDArray | WindowedPixels, wcs: WCS) -> WindowedPixels:
    """Bring an image onto the radio image's grid; each window from the part of the image that it needs."""
    from reproject import reproject_interp  # slow to import, and not always needed

    factor = max(int(pixel_side(radio.wcs) / pixel_side(wcs)), 1)  # interpolating in a finer image would skip pixels
    margin = 3 * factor

    def read(ys: slice, xs: slice) -> NDArray:
        window = (ys.stop - ys.start, xs.stop - xs.start)
        with quiet(), np.errstate(invalid='ignore'):
            x, y = np.meshgrid(np.linspace(xs.start, xs.stop - 1, 9), np.linspace(ys.start, ys.stop - 1, 9))
            world = radio.wcs.pixel_to_world(x, y)
            where = wcs.world_to_pixel(world)
        cut = []
        for place, n in zip(where[::-1], data.shape, strict=True):
            place = place[np.isfinite(place)]
            if not place.size or place.max() < -margin or place.min() > n + margin:
                return np.full(window, np.nan, np.float32)
            low = max(int(place.min()) - margin, 0) // factor * factor
            cut.append(slice(low, max(min(int(place.max()) + margin + factor, n), low + 1)))
        with quiet():
            return reproject_interp(
                average_pixels(data[cut[0], cut[1]], wcs[cut[0], cut[1]], factor),
                radio.wcs[ys, xs],
                shape_out=window,
                return_footprint=False,
                roundtrip_coords=False,
            )

    return WindowedPixels(radio.shape, read)

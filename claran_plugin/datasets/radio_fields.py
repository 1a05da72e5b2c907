"""One subject's field of view: 132 x 132 px of 1.375", read from FITS files and fused into the detector's picture.

The field is the one that Radio Galaxy Zoo's volunteers saw, 3' around the subject's position (Wu et al. 2019, Figure
3). Row 0 is the southernmost, x runs to the west.
"""

import inspect
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.nddata import CCDData
from astropy.wcs import WCS
from numpy.typing import NDArray

from claran_plugin.errors import InputError
from claran_plugin.fusion import FUSIONS
from claran_plugin.images import read_image
from claran_plugin.infrared_images import read_infrared
from claran_plugin.subjects import FIELD_PIXELS, Sky, resample

PIXEL_ARCSEC = 1.375
"""Side of a pixel of Radio Galaxy Zoo's images."""
FIELD_ARCSEC = FIELD_PIXELS * PIXEL_ARCSEC
MIN_COVERED = 0.5
"""Share of the field that an image must have pixels for."""
MAX_TURN = 0.1
"""Largest sine of the angle between a FITS image's columns and north."""

FilePath = str | PathLike[str]


class Field(NamedTuple):
    """A field of view.

    Attributes
    ----------
    radio : (132, 132) array
        Brightness in units of the noise; 0 where blank.
    infrared : (132, 132) array or None
        As it is in its file; NaN where blank.
    sky : Sky
        The radio image as it is in its file.
    centre : (2,) array
        Pixel (x, y) of that image in the middle of the field.
    """

    radio: NDArray
    infrared: NDArray | None
    sky: Sky
    centre: NDArray

    def from_image(self, xy: NDArray) -> NDArray:
        """Carry pixels (..., 2) of the image to the field's, whose corners are (0, 0) and (132, 132)."""
        return (np.asarray(xy, float) - self.centre) / self.sky.step + FIELD_PIXELS / 2


def read_field(radio: FilePath, centre: SkyCoord, infrared: FilePath | None = None) -> Field:
    """Read the field of view around a position.

    Parameters
    ----------
    radio : path
        FITS image; where the header lacks beam and unit, those of FIRST are taken.
    centre : SkyCoord
        Middle of the field.
    infrared : path, optional
        FITS image on any grid.

    Raises
    ------
    InputError
        Where an image cannot be read, does not show half of the field, or is not north up and east left.
    """
    image = read_image(radio, survey='first')
    _check_orientation(image.wcs, str(radio))
    sky = Sky(image, field_arcsec=FIELD_ARCSEC)
    xy = np.array(image.wcs.world_to_pixel(centre), float)
    covered = _covered(image, xy, sky.step)
    if covered < MIN_COVERED:
        raise InputError(
            f'{radio}: shows {covered:.0%} of the {FIELD_ARCSEC / 60:.1f} arcmin around '
            f'{centre.to_string("hmsdms", precision=0)}, at least {MIN_COVERED:.0%} are needed: give a larger cut-out'
        )
    cut = sky.cut(xy)
    other = None if infrared is None else read_infrared(infrared, _frame(image, xy, sky.step)).data
    return Field(cut.radio, other, sky, xy)


def fusion_keywords(
    method: str, means: Mapping[str, Sequence[float]] | None = None, options: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Complete the keyword arguments of a fusion method.

    Parameters
    ----------
    method : str
        Key of `FUSIONS`.
    means : mapping, optional
        Mean of each channel over the training set by fusion method. D4 is filled with that of D3 outside the hull
        (Section 3.4); without, with the constant of ClaRAN's released code.
    options : mapping, optional
        Keyword arguments of the method's function, for example ``dict(sigma=4.0)``.
    """
    keywords = dict(options or {})
    if method == 'D4' and means and 'D3' in means:
        keywords.setdefault('background', [round(value) for value in means['D3']])
    return keywords


def fuse(field: Field, method: str, **keywords: Any) -> NDArray:
    """Turn a field into the picture of a fusion method.

    Parameters
    ----------
    field : Field
    method : str
        Key of `FUSIONS`.
    **keywords
        See `fusion_keywords`.

    Returns
    -------
    (132, 132, 3) uint8 array, red, green, blue

    Raises
    ------
    InputError
        Where there is no such method, it needs an infrared image and there is none, or it has no such option.
    """
    if method not in FUSIONS:
        raise InputError(f'fusion {method!r}: unknown; choose one of {", ".join(FUSIONS)}')
    unknown = set(keywords) - set(inspect.signature(FUSIONS[method]).parameters)
    if unknown:
        raise InputError(f'fusion {method} has no option {", ".join(sorted(unknown))}: leave it out')
    return FUSIONS[method](field.radio, field.infrared, rms=1.0, **keywords)


def _check_orientation(wcs: WCS, name: str) -> None:
    matrix = wcs.pixel_scale_matrix / np.sqrt(wcs.proj_plane_pixel_area().to_value('deg2'))
    if matrix[0, 0] >= 0 or matrix[1, 1] <= 0 or abs(matrix[0, 1]) > MAX_TURN or abs(matrix[1, 0]) > MAX_TURN:
        raise InputError(f'{name}: is not north up and east left: reproject it')


def _covered(image: CCDData, xy: NDArray, step: float) -> float:
    """Give the share of the field's pixels that the image has values for."""
    if not np.all(np.isfinite(xy)):
        return 0.0
    return float(resample(np.isfinite(image.data), xy, step, FIELD_PIXELS, order=0).mean())


def _frame(image: CCDData, xy: NDArray, step: float) -> CCDData:
    """Give an empty image with the field's grid."""
    wcs = image.wcs.deepcopy()
    wcs.wcs.crpix = (wcs.wcs.crpix - 1 - xy) / step + (FIELD_PIXELS - 1) / 2 + 1
    if wcs.wcs.has_cd():
        wcs.wcs.cd = wcs.wcs.cd * step
    else:
        wcs.wcs.cdelt = wcs.wcs.cdelt * step
    wcs.array_shape = (FIELD_PIXELS, FIELD_PIXELS)
    return CCDData(np.zeros((FIELD_PIXELS, FIELD_PIXELS), np.float32), unit=image.unit, wcs=wcs, meta=image.meta)

"""Turn a radio image, and an infrared image where there is one, into the three-channel picture a detector looks at.

F, D1, D2, D3 and D4 are the methods of Wu et al. 2019, Section 3.4 and Figure 4; S and SI are the bundled models' own.
Every function has the same signature and keeps the arrays' row order.
"""

from collections.abc import Callable

import numpy as np
from astropy.visualization import AsinhStretch, LogStretch, ZScaleInterval
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from claran_plugin.contours import contour_lines, hull_mask, noise
from claran_plugin.errors import InputError

CONTOUR_SIGMA = 5.0
"""Brightness of the contours of D3 and D4 in units of the noise (the paper's footnote 4)."""
CONTOUR_COLOUR = (0, 0, 255)
D4_BACKGROUND = (213, 45, 14)
"""Red, green, blue outside D4's hull: the channel means over ClaRAN's training set, from its released code."""
DS9_LOG_EXPONENT = 1000.0
S_LOG_SNR = 3.0
"""S/N at which channel 0 of S turns from linear to logarithmic."""
S_LOG_MIN_PEAK = 20.0
"""S/N at which channel 0 of S is full in a cut-out without anything brighter."""
S_LINEAR_SNR = (-1.0, 20.0)
"""S/N at which channel 1 of S is empty and full."""
S_MASK_SNR = 4.0
"""S/N at which channel 2 of S is half full: the threshold of a component."""
S_MASK_STEEPNESS = 2.0
GREY_PERCENTILES = (10.0, 50.0, 99.5)
"""Percentiles of an infrared image: drawn black, its middle, drawn white."""
GREY_MIN_WHITE = 16.0
"""White is at least this many times as far above the middle as black is below it, about 20 times the noise, so that
a field without bright galaxies does not show its noise."""
GREY_ASINH = 0.15
"""Where, between black and white, the stretch of an infrared image turns from linear to logarithmic."""
LINE_SAMPLES = 3
"""Points per piece of a contour line, which spans at most one pixel diagonal."""

# DS9's colour map 'cool' (cool.sao): corners of the ramp of each channel, (position, intensity).
_COOL_CORNERS = (
    ((0, 0), (0.29, 0), (0.76, 0.1), (1, 1)),
    ((0, 0), (0.22, 0), (0.96, 1), (1, 1)),
    ((0, 0), (0.53, 1), (1, 1)),
)
_STEPS = np.linspace(0, 1, 256)
_RAMPS = [np.interp(_STEPS, *np.array(corners, float).T) for corners in _COOL_CORNERS]
COOL = np.rint(255 * np.stack(_RAMPS, axis=1)).astype(np.uint8)
"""(256, 3) red, green, blue of DS9's colour map 'cool'."""

Fusion = Callable[..., NDArray]


def zscale_cool(radio: NDArray, infrared: NDArray | None = None, *, rms: ArrayLike | None = None) -> NDArray:
    """Make F: the radio image on DS9's linear zscale, colour map 'cool'.

    Parameters
    ----------
    radio : (ny, nx) float array
        Jy/beam; non-finite pixels are drawn as the faintest.
    infrared, rms
        Not used.

    Returns
    -------
    (ny, nx, 3) uint8 array, red, green, blue
    """
    radio = _plane(radio, 'radio')
    return COOL[_levels(_unit_range(radio, _finite_limits(radio, ZScaleInterval())))]


def log_cool(radio: NDArray, infrared: NDArray | None = None, *, rms: ArrayLike | None = None) -> NDArray:
    """Make D1: the radio image on DS9's logarithmic scale from minimum to maximum, colour map 'cool'.

    Parameters
    ----------
    radio : (ny, nx) float array
        Jy/beam; non-finite pixels are drawn as the faintest.
    infrared, rms
        Not used.

    Returns
    -------
    (ny, nx, 3) uint8 array, red, green, blue
    """
    radio = _plane(radio, 'radio')
    stretched = LogStretch(DS9_LOG_EXPONENT)(_unit_range(radio, _finite_limits(radio)), clip=False)
    return COOL[_levels(stretched)]


def log_cool_infrared(radio: NDArray, infrared: NDArray | None = None, *, rms: ArrayLike | None = None) -> NDArray:
    """Make D2: D1 with the infrared image added to the red channel.

    Parameters
    ----------
    radio : (ny, nx) float array
        Jy/beam.
    infrared : (ny, nx) float array
        Any unit, on the radio image's grid; non-finite pixels count as empty.
    rms
        Not used.

    Returns
    -------
    (ny, nx, 3) uint8 array, red, green, blue

    Raises
    ------
    InputError
        Where there is no infrared image or its shape is another.
    """
    grey = infrared_grey(_matching_infrared('D2', infrared, radio))
    picture = log_cool(radio)
    picture[..., 0] = np.minimum(picture[..., 0].astype(np.uint16) + grey, 255)
    return picture


def contours_on_infrared(
    radio: NDArray,
    infrared: NDArray | None = None,
    *,
    rms: ArrayLike | None = None,
    sigma: float = CONTOUR_SIGMA,
) -> NDArray:
    """Make D3: thin blue radio contours at five times the noise over the grey infrared image.

    Parameters
    ----------
    radio : (ny, nx) float array
        Jy/beam.
    infrared : (ny, nx) float array
        Any unit, on the radio image's grid; non-finite pixels count as empty.
    rms : float or (ny, nx) array, optional
        Noise of `radio`, Jy/beam; measured from the median absolute deviation by default.
    sigma : float
        Brightness of the contours in units of the noise; the paper also tries 4 (Section 5.3).

    Returns
    -------
    (ny, nx, 3) uint8 array, red, green, blue

    Raises
    ------
    InputError
        Where there is no infrared image or its shape is another.
    """
    infrared = _matching_infrared('D3', infrared, radio)
    return _draw_contours(infrared_grey(infrared), contour_lines(signal_to_noise(radio, rms), sigma))


def contours_in_hull(
    radio: NDArray,
    infrared: NDArray | None = None,
    *,
    rms: ArrayLike | None = None,
    sigma: float = CONTOUR_SIGMA,
    background: tuple[int, int, int] = D4_BACKGROUND,
) -> NDArray:
    """Make D4: D3 with one colour outside the convex hull of all contours.

    Parameters
    ----------
    radio : (ny, nx) float array
        Jy/beam.
    infrared : (ny, nx) float array
        Any unit, on the radio image's grid; non-finite pixels count as empty.
    rms : float or (ny, nx) array, optional
        Noise of `radio`, Jy/beam; measured from the median absolute deviation by default.
    sigma : float
        Brightness of the contours in units of the noise.
    background : (3,) sequence of int
        Red, green, blue outside the hull, meant to be the channels' means over the training set.

    Returns
    -------
    (ny, nx, 3) uint8 array, red, green, blue; the background everywhere where there is no contour

    Raises
    ------
    InputError
        Where there is no infrared image or its shape is another.
    """
    grey = infrared_grey(_matching_infrared('D4', infrared, radio))
    lines = contour_lines(signal_to_noise(radio, rms), sigma)
    picture = _draw_contours(grey, lines)
    hull = hull_mask(lines, grey.shape, margin=1)  # margin: keeps the outer contours whole
    return np.where(hull[..., None], picture, np.array(background, np.uint8))


def signal_to_noise_channels(
    radio: NDArray, infrared: NDArray | None = None, *, rms: ArrayLike | None = None
) -> NDArray:
    """Make S: three views of the radio image's signal-to-noise ratio, for the bundled model.

    Channel 0 is logarithmic up to the cut-out's own maximum (structure inside bright sources), channel 1 linear from
    -1 to 20 times the noise (faint emission), channel 2 a soft mask of what is above four times the noise (components).

    Parameters
    ----------
    radio : (ny, nx) float array
        Jy/beam; non-finite pixels count as no signal.
    infrared
        Not used.
    rms : float or (ny, nx) array, optional
        Noise of `radio`, Jy/beam; measured from the median absolute deviation by default.

    Returns
    -------
    (ny, nx, 3) uint8 array
    """
    snr = signal_to_noise(radio, rms)
    mask = expit(S_MASK_STEEPNESS * (snr - S_MASK_SNR))
    return np.stack([*_structure_and_faint(snr), _levels(mask)], axis=-1)


def signal_to_noise_infrared(
    radio: NDArray, infrared: NDArray | None = None, *, rms: ArrayLike | None = None
) -> NDArray:
    """Make SI: the first two channels of S, and the infrared image above its median in place of the mask.

    Parameters
    ----------
    radio : (ny, nx) float array
        Jy/beam; non-finite pixels count as no signal.
    infrared : (ny, nx) float array
        Any unit, on the radio image's grid; non-finite pixels count as empty.
    rms : float or (ny, nx) array, optional
        Noise of `radio`, Jy/beam; measured from the median absolute deviation by default.

    Returns
    -------
    (ny, nx, 3) uint8 array

    Raises
    ------
    InputError
        Where there is no infrared image or its shape is another.
    """
    infrared = _matching_infrared('SI', infrared, radio)
    limits = _infrared_limits(infrared)
    grey = np.zeros(infrared.shape, np.uint8)
    if limits:
        grey = _levels(AsinhStretch(GREY_ASINH)(_unit_range(infrared, limits[1:]), clip=False))
    return np.stack([*_structure_and_faint(signal_to_noise(radio, rms)), grey], axis=-1)


def _structure_and_faint(snr: NDArray) -> tuple[NDArray, NDArray]:
    """Give channels 0 and 1 of S, levels."""
    positive = np.maximum(snr, 0)
    full = np.log1p(max(float(positive.max(initial=0)), S_LOG_MIN_PEAK) / S_LOG_SNR)
    low, high = S_LINEAR_SNR
    return _levels(np.log1p(positive / S_LOG_SNR) / full), _levels((snr - low) / (high - low))


FUSIONS: dict[str, Fusion] = {
    'F': zscale_cool,
    'D1': log_cool,
    'D2': log_cool_infrared,
    'D3': contours_on_infrared,
    'D4': contours_in_hull,
    'S': signal_to_noise_channels,
    'SI': signal_to_noise_infrared,
}
NEEDS_INFRARED = frozenset({'D2', 'D3', 'D4', 'SI'})


def signal_to_noise(radio: NDArray, rms: ArrayLike | None = None) -> NDArray:
    """Divide a radio image by its noise.

    Parameters
    ----------
    radio : (ny, nx) float array
        Jy/beam.
    rms : float or (ny, nx) array, optional
        Noise, Jy/beam; measured from the median absolute deviation by default.

    Returns
    -------
    (ny, nx) float32 array; 0 where the image is not finite or the noise is not above 0
    """
    radio = _plane(radio, 'radio')
    sigma = np.asarray(noise(radio) if rms is None else rms, np.float32)
    good = np.isfinite(radio) & np.isfinite(sigma) & (sigma > 0)
    return np.divide(radio, sigma, out=np.zeros(radio.shape, np.float32), where=good)


def infrared_grey(infrared: NDArray) -> NDArray:
    """Stretch an infrared image to grey levels: faint galaxies visible, stars not overwhelming.

    Parameters
    ----------
    infrared : (ny, nx) float array
        Any unit; non-finite pixels count as empty.

    Returns
    -------
    (ny, nx) uint8 array
    """
    infrared = _plane(infrared, 'infrared')
    limits = _infrared_limits(infrared)
    if not limits:
        return np.zeros(infrared.shape, np.uint8)
    black, _, white = limits
    return _levels(AsinhStretch(GREY_ASINH)(_unit_range(infrared, (black, white)), clip=False))


def _infrared_limits(infrared: NDArray) -> tuple[float, float, float] | None:
    """Give what is drawn black, the median, and what is drawn white; None where no pixel is finite."""
    values = infrared[np.isfinite(infrared)]
    if not values.size:
        return None
    black, middle, white = (float(value) for value in np.percentile(values, GREY_PERCENTILES))
    white = max(white, middle + GREY_MIN_WHITE * (middle - black))
    if white == black:  # an empty sky with few bright pixels
        white = float(values.max())
    return black, middle, white


def _plane(image: NDArray, name: str) -> NDArray:
    image = np.asarray(image, np.float32)
    if image.ndim != 2:
        raise InputError(f'the {name} image must have two axes, got shape {image.shape}: give one plane')
    return image


def _matching_infrared(method: str, infrared: NDArray | None, radio: NDArray) -> NDArray:
    if infrared is None:
        raise InputError(f'fusion {method} needs an infrared image: give --infrared FILE, or use F, D1 or S')
    infrared = _plane(infrared, 'infrared')
    if infrared.shape != np.shape(radio):
        raise InputError(
            f'the infrared image has shape {infrared.shape}, the radio image {np.shape(radio)}: '
            'bring it onto the radio grid with read_infrared'
        )
    return infrared


def _finite_limits(image: NDArray, interval: ZScaleInterval | None = None) -> tuple[float, float]:
    """Give the limits of the finite pixels, by default their minimum and maximum."""
    values = image[np.isfinite(image)]
    if not values.size:
        return 0.0, 0.0
    low, high = interval.get_limits(values) if interval else (values.min(), values.max())
    return float(low), float(high)


def _unit_range(image: NDArray, limits: tuple[float, float]) -> NDArray:
    """Scale to 0...1 between limits; 0 where not finite or where the limits are equal."""
    low, high = limits
    if not high > low:
        return np.zeros(image.shape, np.float32)
    scaled = (np.where(np.isfinite(image), image, low) - low) / (high - low)
    return np.clip(scaled, 0, 1)


def _levels(unit: NDArray) -> NDArray:
    """Turn 0...1 into 0...255."""
    return np.rint(255 * np.clip(unit, 0, 1)).astype(np.uint8)


def _draw_contours(grey: NDArray, lines: list[NDArray]) -> NDArray:
    """Draw lines one pixel wide, anti-aliased, over a grey picture."""
    picture = np.repeat(grey[..., None], 3, axis=-1)
    lines = [line for line in lines if len(line) > 1]
    if not lines:
        return picture
    start = np.concatenate([line[:-1] for line in lines])
    end = np.concatenate([line[1:] for line in lines])
    part = np.arange(LINE_SAMPLES)[:, None, None] / LINE_SAMPLES
    points = (start + part * (end - start)).reshape(-1, 2)
    # A pixel is covered by one minus its distance from the nearest point of a line.
    corners = np.floor(points)[None] + np.array([(0, 0), (1, 0), (0, 1), (1, 1)])[:, None]
    weights = np.clip(1 - np.linalg.norm(points - corners, axis=-1), 0, 1).ravel()
    x, y = corners.reshape(-1, 2).astype(int).T
    ny, nx = grey.shape
    on = (x >= 0) & (x < nx) & (y >= 0) & (y < ny)
    cover = np.zeros(ny * nx)
    np.maximum.at(cover, (y * nx + x)[on], weights[on])
    drawn = cover > 0
    share = cover[drawn][:, None]
    flat = picture.reshape(-1, 3)
    flat[drawn] = np.rint(flat[drawn] * (1 - share) + np.array(CONTOUR_COLOUR) * share)
    return picture

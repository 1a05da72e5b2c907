"""The overlay picture: image, contours, boxes, labels, and the components coloured by the source they belong to."""

import warnings
from pathlib import Path
from textwrap import wrap
from typing import NamedTuple

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.nddata import CCDData
from astropy.table import QTable
from astropy.visualization import AsinhStretch, ImageNormalize
from astropy.visualization.wcsaxes import WCSAxes, add_beam, add_scalebar
from astropy.wcs import WCS
from matplotlib.backend_bases import RendererBase
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.transforms import Affine2D
from numpy.typing import NDArray
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import pdist, squareform

from claran_plugin.catalogue import MorphFlag
from claran_plugin.catalogue_writing import FRAME_CARD
from claran_plugin.celestial import in_icrs, to_pixels
from claran_plugin.components import standardise
from claran_plugin.contours import contour_lines
from claran_plugin.errors import InputWarning
from claran_plugin.images import beam, pixel_scale
from claran_plugin.label_placing import place_labels
from claran_plugin.morphology import COMPONENT_SIGMA
from claran_plugin.pipeline import Association
from claran_plugin.pixels import average_pixels

LONGEST_SIDE_PIX = 2000
"""A larger image is averaged down to this."""
CROWDED = 150
"""From so many sources on, those of one component get neither box nor label."""
MOST_LABELS = 300
"""So many labels can be read in one picture."""
DPI = 160
PANEL_INCHES = (9.0, 13.0)
"""Longer side of a panel, by the size of the image."""
LETTERS_PER_INCH, LINE_INCHES = 15.0, 0.16
"""Of the titles, about."""
INFRARED_TITLE = 'infrared, with the radio contours; +: likeliest host'
COLOURS = ('#d62728', '#1f77b4', '#2ca02c', '#9467bd', '#e07b00', '#0aa3a3', '#c2188b', '#7a4a1e')
"""Of the sources of several components, in turn."""
MUTED = '#4d6a80'
"""Of the sources of one component."""
GROUND = (232, 228, 218)
"""Where there is no image."""
CONTOUR = '#27506e'
HOST = '#007a3d'
HOURS = ('\u02b0', '\u1d50', '\u02e2')
"""Raised h, m and s as letters of their own: as mathematics, the first picture would wait for matplotlib's parser."""
SCALE_BARS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 18000, 36000)
"""Possible lengths of the scale bar, arcsec; of smaller ones 1, 2 and 5 times a power of ten."""


class Layer(NamedTuple):
    """What is drawn over the image, in pixels of the picture.

    Attributes
    ----------
    xy : (n, 2) array
        Components.
    labels : (n,) int array
        Source of each.
    boxes : (s, 4) array
        xyxy of each source.
    texts : list of s str
        Class and probability of each source.
    multiple : (s,) bool array
        Sources of several components.
    unseen, unlooked : (s,) bool arrays
        Sources whose box and class are not the detector's, and which of them it was not shown.
    """

    xy: NDArray
    labels: NDArray
    boxes: NDArray
    texts: list[str]
    multiple: NDArray
    unseen: NDArray
    unlooked: NDArray


def overlay(association: Association, path: str | Path, *, title: str = '') -> None:
    """Draw what was found over the image, as PNG.

    Where there is an infrared image, it becomes a second panel with the radio contours over it.

    Parameters
    ----------
    association : Association
    path : path
        Where to write; a file that exists is replaced.
    title : str
        First words of the title.
    """
    radio = association.radio
    factor = int(np.ceil(max(radio.shape) / LONGEST_SIDE_PIX))
    brightness, wcs = average_pixels(radio.data, radio.wcs, factor)
    rms = association.rms
    snr = brightness / rms[::factor, ::factor][: brightness.shape[0], : brightness.shape[1]]
    layer = _layer(association, wcs)
    infrared = association.infrared

    ny, nx = snr.shape
    panels = 1 if infrared is None else 2
    side = np.clip(max(nx, ny) / DPI, *PANEL_INCHES)
    width, height = side * min(nx / ny, 1), side * min(ny / nx, 1)
    words = _title(layer, rms.median)
    if layer.unseen[_boxed(layer)].any():
        words += "; dotted: not the detector's"
    columns = max(int(LETTERS_PER_INCH * (width + 0.2)), 12)
    titles = ['\n'.join([title, *wrap(words, columns)]).strip(), '\n'.join(wrap(INFRARED_TITLE, columns))]
    lines = max(text.count('\n') + 1 for text in titles[:panels])
    figure = Figure(figsize=(panels * (width + 1.0) + 0.2, height + 1.2 + LINE_INCHES * max(lines - 3, 0)))
    axes = []
    for k in range(panels):
        place = ((k * (width + 1.0) + 0.95) / figure.get_figwidth(), 0.6 / figure.get_figheight())
        size = (width / figure.get_figwidth(), height / figure.get_figheight())
        axes.append(figure.add_axes((*place, *size), projection=wcs))
    _draw_radio(axes[0], snr, radio)
    _draw_sources(axes[0], layer, nx / width)
    if infrared is not None:
        _draw_infrared(axes[1], average_pixels(infrared.data, infrared.wcs, factor)[0])
        _draw_hosts(axes[1], association.sources)
        _draw_sources(axes[1], layer, nx / width, with_labels=False)
    for axis in axes:
        _contour(axis, snr)
        _name_axes(axis, snr.shape)
    for axis, text in zip(axes, titles, strict=False):
        axis.set_title(text, fontsize=9, loc='left', parse_math=False)
    figure.savefig(path, format='png', dpi=DPI, facecolor='white', pil_kwargs=dict(compress_level=1))


def _layer(association: Association, wcs: WCS) -> Layer:
    sources = association.sources
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', InputWarning)  # given when the catalogue was read
        own_frame = association.provenance.get(FRAME_CARD, 'icrs') != 'icrs'
        standard, _ = in_icrs(standardise(association.components), association.radio, own_frame=own_frame)
    xy = to_pixels(wcs, standard['RA'].to_value(u.deg), standard['DEC'].to_value(u.deg))
    middle = np.stack(wcs.world_to_pixel(SkyCoord(sources['Box_RA'], sources['Box_DEC'])), axis=-1)
    scale = pixel_scale(association.radio) * np.sqrt(
        wcs.proj_plane_pixel_area() / association.radio.wcs.proj_plane_pixel_area()
    )
    half = np.stack([sources[f'Box_{side}'].to_value(u.arcsec) for side in ('Width', 'Height')], axis=-1) / scale / 2
    unlooked, undetected = (
        (np.asarray(sources['Morph_Flag']) & flag) > 0 for flag in (MorphFlag.NOT_LOOKED_AT, MorphFlag.NO_DETECTION)
    )
    texts = [f'{name} {probability:.2f}' for name, probability in sources['Morphology', 'Morph_Prob'].iterrows()]
    boxes = np.concatenate([middle - half, middle + half], axis=-1)
    multiple = np.asarray(sources['Assoc']) > 1
    return Layer(xy.reshape(-1, 2), association.labels, boxes, texts, multiple, unlooked | undetected, unlooked)


def _draw_radio(axis: WCSAxes, snr: NDArray, radio: CCDData) -> None:
    # Of the pixels of sources, not of all: otherwise it would depend on how empty the image is.
    emission = snr[snr > COMPONENT_SIGMA]
    brightest = max(float(np.percentile(emission, 99)), 30.0) if emission.size else 30.0
    stretch = AsinhStretch(min(6 / brightest, 0.2))  # linear in the noise, logarithmic in the sources
    _draw_pixels(axis, snr, ImageNormalize(vmin=-1.5, vmax=brightest, stretch=stretch, clip=True))
    size = beam(radio)
    add_beam(axis, major=size.major, minor=size.minor, angle=size.pa, corner='bottom left', frame=True, color=CONTOUR)


def _draw_infrared(axis: WCSAxes, infrared: NDArray) -> None:
    low, high = np.nanpercentile(infrared, [25, 99.7])
    high = high if high > low else low + max(abs(low), 1)  # one value nearly everywhere
    _draw_pixels(axis, infrared, ImageNormalize(vmin=low, vmax=high, stretch=AsinhStretch(0.1), clip=True))


def _draw_pixels(axis: WCSAxes, pixels: NDArray, norm: ImageNormalize) -> None:
    """Draw an image, dark on white; where it is blank, the ground shows."""
    blank = ~np.isfinite(pixels)
    grey = np.rint(255 * (1 - norm(np.where(blank, norm.vmin, pixels)))).astype(np.uint8)
    colours = np.repeat(grey[..., None], 4, axis=2)
    colours[blank, :3] = GROUND
    colours[..., 3] = 255
    # As `axis.imshow` does it, which would draw the image itself.
    extent = (-0.5, pixels.shape[1] - 0.5, -0.5, pixels.shape[0] - 0.5)
    image = _Pixels(axis, extent=extent, origin='lower')
    image.set_data(colours)
    axis.set(xlim=extent[:2], ylim=extent[2:])  # nothing that is drawn later changes them
    image.set_clip_path(axis.patch)
    axis.set_aspect('equal')
    axis.add_image(image)
    axis.set_facecolor(np.array(GROUND) / 255)


class _Pixels(AxesImage):
    """Colours (n, m, 4), uint8, that fill their axes: the nearest pixel everywhere.

    matplotlib's own way resamples with weights, to the same end, in twenty times the time.
    """

    def make_image(
        self, renderer: RendererBase, magnification: float = 1.0, unsampled: bool = False
    ) -> tuple[NDArray, float, float, Affine2D]:
        """Give the picture, its lower left corner in pixels of the canvas, and what is left to transform."""
        colours: NDArray = np.asarray(self.get_array())
        left, bottom, right, top = np.rint(np.array(self.axes.bbox.extents) * magnification).astype(int).tolist()
        rows, columns = (
            ((np.arange(length) + 0.5) / length * number).astype(int)
            for length, number in zip((top - bottom, right - left), colours.shape[:2], strict=True)
        )
        return np.ascontiguousarray(colours[rows][:, columns]), left, bottom, Affine2D()


def _draw_hosts(axis: WCSAxes, sources: QTable) -> None:
    """Mark the likeliest hosts, the likelier the bolder."""
    size, width = (14, 2.2) if len(sources) < CROWDED else (7, 1.2)  # so that objects are not hidden
    for row in sources[np.isfinite(sources['Host_RA'])]:
        place = (row['Host_RA'].value, row['Host_DEC'].value)
        strength = float(np.clip(0.4 + 0.6 * row['Host_Prob'], 0.4, 1))
        look = dict(color=HOST, ms=size, mew=width, alpha=strength, zorder=6)
        axis.plot(*place, '+', transform=axis.get_transform('icrs'), **look)


def _contour(axis: WCSAxes, snr: NDArray) -> None:
    lines = contour_lines(np.nan_to_num(snr), COMPONENT_SIGMA)
    axis.add_collection(LineCollection(lines, colors=CONTOUR, linewidths=0.6, alpha=0.8), autolim=False)


def _draw_sources(axis: WCSAxes, layer: Layer, pixels_per_inch: float, *, with_labels: bool = True) -> None:
    """Draw markers, links, boxes and labels."""
    several = np.flatnonzero(layer.multiple)
    colour = np.full(len(layer.multiple), MUTED, dtype=object)
    colour[several] = [COLOURS[k % len(COLOURS)] for k in range(len(several))]
    sizes = np.where(layer.multiple[layer.labels], 11, 5)
    axis.scatter(*layer.xy.T, s=sizes, c=colour[layer.labels], edgecolors='white', linewidths=0.4, zorder=5)
    links, of_source = _links(layer, several)
    axis.add_collection(LineCollection(links, colors=colour[of_source], linewidths=1.0, zorder=4))
    boxed = _boxed(layer)
    for kind, style in ((~layer.unseen, '-'), (layer.unseen, ':')):
        chosen = [k for k in boxed if kind[k] and np.isfinite(layer.boxes[k]).all()]
        patches = [Rectangle(b[:2], *(b[2:] - b[:2])) for b in layer.boxes[chosen]]
        widths = np.where(layer.multiple[chosen], 1.1, 0.6)
        axis.add_collection(
            PatchCollection(
                patches, facecolors='none', edgecolors=colour[chosen], linewidths=widths, linestyles=style, zorder=2
            )
        )
    if with_labels:
        _draw_labels(axis, layer, boxed, colour, pixels_per_inch)


def _boxed(layer: Layer) -> NDArray:
    """Choose the sources that get a box."""
    n = len(layer.multiple)
    return np.arange(n) if n < CROWDED else np.flatnonzero(layer.multiple)


def _links(layer: Layer, several: NDArray) -> tuple[list[NDArray], NDArray]:
    """Join the components of each source by the shortest tree of lines; give the lines and the source of each."""
    lines, of_source = [], []
    order = np.argsort(layer.labels, kind='stable')
    starts = np.searchsorted(layer.labels[order], [several, several + 1])
    for source, start, end in zip(several, *starts, strict=True):
        points = layer.xy[order[start:end]]
        if len(points) == 2:
            lines.append(points)
            of_source.append(source)
            continue
        tree = minimum_spanning_tree(squareform(np.maximum(pdist(points), 1e-6))).tocoo()  # 0 would mean no edge
        lines += [points[[i, j]] for i, j in zip(tree.row, tree.col, strict=True)]
        of_source += [source] * tree.nnz
    return lines, np.array(of_source, int)


def _draw_labels(axis: WCSAxes, layer: Layer, boxed: NDArray, colour: NDArray, pixels_per_inch: float) -> None:
    """Label the sources of several components, and others where there is room."""
    wanted = sorted(boxed[~layer.unseen[boxed] | layer.multiple[boxed]], key=lambda k: not layer.multiple[k])
    wanted = wanted[:MOST_LABELS]
    points = 7.0 if len(wanted) < 60 else 5.0
    height = points / 72 * pixels_per_inch
    sizes = np.array([(0.62 * len(layer.texts[k]), 1.15) for k in wanted]).reshape(-1, 2) * height
    low, high = (np.array(limits) for limits in zip(axis.get_xlim(), axis.get_ylim(), strict=True))
    corners = place_labels(
        layer.boxes[wanted], sizes, layer.boxes[boxed], (*low, *high), gap=0.25 * height, needed=layer.multiple[wanted]
    )
    for k, corner in zip(wanted, corners, strict=True):
        if np.isfinite(corner).all():
            weight = 'bold' if layer.multiple[k] else 'normal'
            axis.text(*corner, layer.texts[k], fontsize=points, color=colour[k], weight=weight, va='bottom', zorder=6)


def _name_axes(axis: WCSAxes, shape: tuple[int, ...]) -> None:
    ny, nx = shape
    axis.set_xlim(-0.5, nx - 0.5)
    axis.set_ylim(-0.5, ny - 0.5)
    names = ('l', 'b') if axis.wcs.wcs.ctype[0].startswith('GLON') else ('RA', 'Dec')
    for coordinate, name in zip(axis.coords, names, strict=False):
        coordinate.set_axislabel(name, fontsize=9, minpad=0.5)
        coordinate.set_ticklabel(size=8, exclude_overlapping=True)
        if coordinate.get_format_unit() == u.hourangle:
            coordinate.set_separator(HOURS)
    axis.coords.grid(color='black', alpha=0.06, linewidth=0.5)
    side_arcsec = nx * np.sqrt(axis.wcs.proj_plane_pixel_area().to_value(u.arcsec**2))
    length, text = _scale_bar(side_arcsec)
    add_scalebar(
        axis, length * u.arcsec, label=text, corner='bottom right', frame=True, color=CONTOUR, size_vertical=0, pad=0.3
    )


def _scale_bar(side_arcsec: float) -> tuple[float, str]:
    """Choose the scale bar of an image of some width: the longest of a fifth of it or so at most, and its label."""
    most = 0.22 * side_arcsec
    fitting = [bar for bar in SCALE_BARS if bar <= most]
    if not fitting:
        unit = 10 ** np.floor(np.log10(most))
        length = float(max(number * unit for number in (1, 2, 5) if number * unit <= most))
        return length, f'{1000 * length:.3g} mas'
    length = fitting[-1]
    return length, f'{length}"' if length < 60 else f"{length // 60}'" if length < 3600 else f'{length // 3600}°'


def _title(layer: Layer, rms_jy: float) -> str:
    n_several, n_unlooked = int(layer.multiple.sum()), int(layer.unlooked.sum())
    parts = {'not detected': int(layer.unseen.sum()) - n_unlooked, 'isolated points, not looked at': n_unlooked}
    told = ', '.join(f'{number} {what}' for what, number in parts.items() if number)
    unseen = f' ({told})' if told else ''
    counts = f'{len(layer.xy)} components in {len(layer.multiple)} sources{unseen}, {n_several} of more than one'
    noise = f'{1e6 * rms_jy:.3g} µJy' if rms_jy < 0.9995e-3 else f'{1e3 * rms_jy:.3g} mJy'
    return f'{counts}; contour at {COMPONENT_SIGMA:.1f} x {noise}/beam'

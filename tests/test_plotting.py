import sys
from itertools import product

import matplotlib
import numpy as np
import pytest
from astropy.nddata import CCDData
from astropy.table import Table
from astropy.visualization import ImageNormalize
from astropy.visualization.wcsaxes import WCSAxes
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st
from known_grouping import KnownAssociator
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from PIL import Image, ImageColor
from small_field import COMPONENTS, write_field

from claran_plugin.components import from_pybdsf, run_pybdsf
from claran_plugin.images import read_image
from claran_plugin.label_placing import place_labels
from claran_plugin.pipeline import associate
from claran_plugin.plotting import COLOURS, CROWDED, GROUND, LONGEST_SIDE_PIX, MUTED, _draw_pixels, _scale_bar, overlay


@pytest.fixture(scope='module')
def radio(tmp_path_factory):
    return read_image(write_field(tmp_path_factory.mktemp('field') / 'field.fits'))


@pytest.fixture(scope='module')
def components(radio):
    return Table(from_pybdsf(run_pybdsf(radio)))


def draw(result, path, **options):
    overlay(result, path, **options)
    with Image.open(path) as picture:
        picture.load()
        assert picture.format == 'PNG'
        return np.asarray(picture.convert('RGB')).astype(int)


@pytest.mark.parametrize('shape', [(41, 60), (200, 133)])
def test_pixels_are_drawn_where_matplotlib_draws_them(shape):
    pixels = np.random.default_rng(3).normal(size=shape)
    pixels[5:9, 7:30] = np.nan
    norm = ImageNormalize(vmin=-2, vmax=2, clip=True)
    wcs = WCS(naxis=2)
    pictures = []
    for ours in (True, False):
        figure = Figure(figsize=(3.0, 2.7), dpi=100)
        axis = figure.add_axes((0.1, 0.1, 0.8, 0.8), projection=wcs)
        if ours:
            _draw_pixels(axis, pixels, norm)
        else:
            colour = matplotlib.colormaps['gray_r'].with_extremes(bad=np.array(GROUND) / 255)
            axis.imshow(
                np.ma.masked_invalid(pixels),
                cmap=colour,
                norm=Normalize(-2, 2),
                origin='lower',
                interpolation='nearest',
            )
        axis.set(xlim=(-0.5, shape[1] - 0.5), ylim=(-0.5, shape[0] - 0.5))
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        pictures.append(np.asarray(canvas.buffer_rgba())[..., :3].astype(int))
    apart = [
        np.abs(pictures[0] - np.roll(pictures[1], shift, (0, 1))).max(axis=2) for shift in product((-1, 0, 1), repeat=2)
    ]
    assert (apart[4] > 2).mean() < 0.05  # where a pixel ends, by at most one row or column of the canvas:
    assert np.min(apart, axis=0).max() <= 2


def of_colour(picture, colour):
    """Pixels that have a colour, as a mask."""
    return np.abs(picture - ImageColor.getrgb(colour)).max(axis=-1) < 12


def test_groups_can_be_seen(radio, components, tmp_path, known_grouping):
    result = associate(radio, components, associator=known_grouping())
    assert (result.sources['Assoc'] > 1).sum() == 1
    picture = draw(result, tmp_path / 'a.png', title='a field')
    red = of_colour(picture, COLOURS[0])
    assert red.sum() > 300  # box, link, markers and label of the double
    assert of_colour(picture, MUTED).sum() > 100
    assert not of_colour(picture, COLOURS[1]).any()
    # The box is where it was put: 36 by 24 pixels of 256, a frame's width from the bottom left corner.
    y, x = np.nonzero(red)
    axes = of_axes(picture)
    scale = (axes[1] - axes[0]) / 256
    np.testing.assert_allclose([x.min() - axes[0], x.max() - axes[0]], [50.5 * scale, 86.5 * scale], atol=3)
    assert abs(axes[3] - y.max() - 48.5 * scale) < 3  # rows of a picture count from its top


def of_axes(picture):
    """First and last column and row of the frame: its long black lines."""
    black = picture.max(axis=-1) < 60
    columns = np.flatnonzero(black.mean(axis=0) > 0.7)
    rows = np.flatnonzero(black.mean(axis=1) > 0.7)
    return columns[0], columns[-1], rows[0], rows[-1]


def test_no_pyplot_state(radio, components, tmp_path):
    backend = matplotlib.get_backend() if 'matplotlib.pyplot' in sys.modules else None
    overlay(associate(radio, components, associator=KnownAssociator()), tmp_path / 'a.png')
    if 'matplotlib.pyplot' in sys.modules:
        assert sys.modules['matplotlib.pyplot'].get_fignums() == []
        assert matplotlib.get_backend() == (backend or matplotlib.get_backend())


def test_infrared_is_a_second_panel(radio, components, tmp_path):
    alone = draw(associate(radio, components, associator=KnownAssociator()), tmp_path / 'a.png')
    infrared = CCDData(np.abs(radio.data), unit='Jy / beam', wcs=radio.wcs, meta={'FILENAME': 'w1.fits'})
    both = draw(associate(radio, components, infrared, associator=KnownAssociator()), tmp_path / 'b.png')
    assert both.shape[1] > 1.9 * alone.shape[1]
    halves = [of_colour(half, COLOURS[0]).sum() for half in np.array_split(both, 2, axis=1)]
    assert min(halves) > 200  # the double is shown on both


def test_nothing_found(radio, components, tmp_path):
    result = associate(radio, components[:0], associator=KnownAssociator())
    assert draw(result, tmp_path / 'a.png').shape[0] > 500


def test_blank_pixels_and_a_long_image(tmp_path):
    radio = read_image(write_field(tmp_path / 'field.fits'))
    data = radio.data[50:70].copy()
    data[:, 200:] = np.nan
    strip = CCDData(data, unit=radio.unit, wcs=radio.wcs[50:70], meta=radio.meta)
    picture = draw(associate(strip, Table(names=('RA', 'DEC', 'Total_flux')), associator=KnownAssociator()),
                   tmp_path / 'a.png')  # fmt: skip
    assert picture.shape[1] > 3 * picture.shape[0]


def test_the_titles_of_a_narrow_image_are_not_cut(radio, tmp_path):
    strip = CCDData(radio.data[:, 50:90], unit=radio.unit, wcs=radio.wcs[:, 50:90], meta=radio.meta)
    empty = Table(names=('RA', 'DEC', 'Total_flux'))
    picture = draw(associate(strip, empty, associator=KnownAssociator()), tmp_path / 'a.png', title='a strip')
    assert picture[:, -4:].min() > 200
    assert picture[:4].min() > 200


@pytest.mark.parametrize(
    ('side', 'length', 'text'),
    [
        (5e-3, 1e-3, '1 mas'),
        (0.054, 0.01, '10 mas'),
        (3.0, 0.5, '500 mas'),
        (1 / 0.22, 1, '1"'),
        (5.0, 1, '1"'),
        (540, 60, "1'"),
        (2e4, 3600, '1°'),
    ],
)
def test_the_scale_bar_fits_into_the_image(side, length, text):
    assert _scale_bar(side) == (pytest.approx(length), text)


def test_what_was_not_looked_at_is_told_from_what_was_not_detected(radio, components, tmp_path, monkeypatch):
    titles = []
    monkeypatch.setattr(WCSAxes, 'set_title', lambda self, text, **_: titles.append(' '.join(text.split())))
    result = associate(radio, components, associator=KnownAssociator())
    flags = np.asarray(result.sources['Morph_Flag'])
    n_unlooked, n_undetected = (int((flags & bit > 0).sum()) for bit in (16, 1))
    assert n_unlooked and n_undetected
    draw(result, tmp_path / 'a.png')
    assert f'({n_undetected} not detected, {n_unlooked} isolated points, not looked at)' in titles[0]


def test_noise_above_a_millijansky_is_told_in_mjy(radio, tmp_path, monkeypatch):
    empty = Table(names=('RA', 'DEC', 'Total_flux'))
    titles = []
    monkeypatch.setattr(WCSAxes, 'set_title', lambda self, text, **_: titles.append(' '.join(text.split())))
    for scale in (1, 1000):
        bright = CCDData(radio.data * scale, unit=radio.unit, wcs=radio.wcs, meta=radio.meta)
        draw(associate(bright, empty, associator=KnownAssociator()), tmp_path / f'{scale}.png')
    noise = [title.split('contour at 5.2 x ')[1] for title in titles]
    assert noise[0].endswith(' µJy/beam')
    assert noise[1] == noise[0].replace('µ', 'm')


def test_infrared_in_tiny_units_is_seen(radio, components, tmp_path):
    pictures = []
    for k, scale in enumerate((1.0, 1e-33)):
        data = np.random.default_rng(2).normal(size=radio.shape) * scale
        infrared = CCDData(data, unit='', wcs=radio.wcs, meta={'FILENAME': 'w1.fits'})
        result = associate(radio, components, infrared, associator=KnownAssociator())
        pictures.append(draw(result, tmp_path / f'{k}.png'))
    assert np.abs(pictures[0] - pictures[1]).mean() < 1


def test_a_large_image_gives_a_small_file(tmp_path):
    n, repeat = 256, 9
    radio = read_image(write_field(tmp_path / 'field.fits'))
    large = CCDData(np.tile(radio.data, (repeat, repeat)), unit=radio.unit, wcs=radio.wcs, meta=radio.meta)
    assert max(large.shape) > LONGEST_SIDE_PIX
    shifts = n * np.stack(np.meshgrid(range(repeat), range(repeat)), axis=-1).reshape(-1, 1, 2)
    x, y = (COMPONENTS[:, :2] + shifts).reshape(-1, 2).T
    sky = radio.wcs.pixel_to_world(x, y)
    table = Table({'RA': sky.ra.deg, 'DEC': sky.dec.deg, 'Total_flux': np.ones(len(x))})
    table['Total_flux'].unit = 'Jy'
    result = associate(large, table, associator=KnownAssociator())
    assert len(result.sources) > CROWDED
    picture = draw(result, tmp_path / 'a.png')
    assert max(picture.shape) <= 2600
    assert (tmp_path / 'a.png').stat().st_size < 6e6
    assert of_colour(picture, COLOURS[0]).any()


# ---- labels


boxes = st.lists(
    st.tuples(st.floats(0, 900), st.floats(0, 900), st.floats(5, 100), st.booleans()), min_size=1, max_size=25
)


@settings(deadline=None)
@given(boxes)
def test_labels_stay_in_the_frame_and_apart(drawn):
    corners = np.array([(x, y, x + side, y + side) for x, y, side, _ in drawn])
    needed = np.array([flag for *_, flag in drawn])
    sizes = np.tile([60.0, 14.0], (len(drawn), 1))
    placed = place_labels(corners, sizes, corners, (0, 0, 1000, 1000), gap=3, needed=needed)
    there = np.isfinite(placed).all(axis=1)
    assert there[needed].all()
    assert (placed[there] >= 0).all()
    assert (placed[there] + sizes[there] <= 1000).all()
    for i in np.flatnonzero(there & ~needed):
        for j in np.flatnonzero(there[:i]):
            shared = np.minimum(placed[i], placed[j]) + sizes[i] - np.maximum(placed[i], placed[j])
            assert np.prod(np.maximum(shared, 0)) <= 0.02 * sizes[i].prod() + 1e-9


def test_label_beside_a_lone_box_is_above_it():
    box = np.array([[100.0, 100, 140, 140]])
    assert place_labels(
        box, np.array([[50.0, 10]]), box, (0, 0, 500, 500), gap=2, needed=np.array([True])
    ).tolist() == [[100, 142]]
    at_top = box + np.array([0, 355, 0, 355])
    placed = place_labels(at_top, np.array([[50.0, 10]]), at_top, (0, 0, 500, 500), gap=2, needed=np.array([True]))
    assert placed[0, 1] < at_top[0, 1]


def test_boxes_outside_get_no_label():
    boxes = np.array([[600.0, 10, 640, 40], [np.nan] * 4])
    placed = place_labels(boxes, np.full((2, 2), 10.0), boxes, (0, 0, 500, 500), gap=2, needed=np.ones(2, bool))
    assert np.isnan(placed).all()

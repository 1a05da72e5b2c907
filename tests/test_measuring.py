"""What is seen of a source on the image: which emission is its own, and what is counted with uncertain noise."""

import numpy as np
import pytest
from known_grouping import KnownAssociator
from small_field import BEAM_DEG, NOISE_JY, PIXEL_DEG, write_field

from claran_plugin import measuring
from claran_plugin.catalogue import MorphFlag
from claran_plugin.claimed import Components
from claran_plugin.components import standardise
from claran_plugin.counting_window import NOISE_TRIED
from claran_plugin.footprints import island_components, on_image
from claran_plugin.images import read_image
from claran_plugin.listed_emission import ListedEmission
from claran_plugin.measuring import Measuring
from claran_plugin.pipeline import associate
from claran_plugin.scales import coarser
from claran_plugin.subjects import Sky

BEAM_PIX = BEAM_DEG / PIXEL_DEG
BOX = np.array(KnownAssociator.boxes[0])


def field_sky(path, *blobs, **options):
    """Write a field of blobs (x, y, peak in units of the noise, width in beams) and read it."""
    components = np.array([(x, y, peak * NOISE_JY, width) for x, y, peak, width in blobs])
    return Sky(read_image(write_field(path / 'field.fits', components=components, **options)))


def listed(*places, sigma=1.3):
    """Make components of a catalogue at some pixels (x, y), each an island of its own."""
    n = len(places)
    return Components(np.array(places, float), np.tile(np.eye(2) * sigma**2, (n, 1, 1)), np.ones(n), np.arange(n))


def test_a_lobe_that_is_not_listed_is_counted_and_told(tmp_path):
    image = read_image(write_field(tmp_path / 'field.fits'))
    islands = island_components(Sky(image))

    def told(catalogue):
        result = associate(image, catalogue, associator=KnownAssociator(), look_at_all=True)
        x, y = image.wcs.world_to_pixel_values(result.sources['RA'].value, result.sources['DEC'].value)
        inside = (x > BOX[0]) & (x < BOX[2]) & (y > BOX[1]) & (y < BOX[3])
        flagged = (np.asarray(result.sources['Morph_Flag']) & MorphFlag.UNLISTED_EMISSION) > 0
        columns = np.asarray(result.sources['N_Components']), np.asarray(result.sources['Morphology'])
        return [column[inside].tolist() for column in (flagged, *columns)], flagged[~inside].any()

    assert told(islands) == ([[False], [2], ['2C_2P']], False)
    x, y = image.wcs.world_to_pixel_values(islands['RA'], islands['DEC'])
    double = np.flatnonzero((x > BOX[0]) & (x < BOX[2]) & (y > BOX[1]) & (y < BOX[3]))
    assert len(double) == 2
    islands.remove_row(int(double[0]))
    assert told(islands) == ([[True], [2], ['2C_2P']], False)


def test_whose_component_stands_for_an_island(tmp_path):
    sky = field_sky(tmp_path, (60, 60, 100, 1), (90, 60, 40, 1), noise=1e-7)
    box = np.array([40.0, 25.0, 110.0, 95.0])

    def seen(components, labels, box=box):
        found = Measuring({1: sky}, components, np.array(labels)).source(0, box)
        return tuple(found.counts), found.unlisted

    one = listed((60, 60))
    assert seen(one, [0]) == ((2, 2), True)
    assert seen(one, [0], None) == ((1, 1), False)
    edge = np.array([53.0, 35.0, 93.0, 75.0])  # the island's middle is in its outer part
    assert seen(one, [0], edge) == ((1, 1), False)
    wide = Components(*(np.concatenate(part) for part in zip(one, listed((75, 60), sigma=20.0), strict=True)))
    wide = wide._replace(island=np.arange(2))
    assert seen(wide, [0, 0]) == ((2, 2), False)  # its own component's middle is beside both
    assert seen(wide, [0, 1]) == ((1, 1), False)
    assert seen(listed((60, 60), (90, 60)), [0, 1]) == ((1, 1), False)


def test_only_what_both_have_components_on_is_divided(tmp_path):
    sky = field_sky(tmp_path, (60, 60, 100, 4), (84, 60, 100, 1), noise=1e-7)
    alone, beside = listed((60, 60)), listed((60, 60), (84, 60))
    bounds = [
        Measuring({1: sky}, components, labels).source(0).shape.box
        for components, labels in ((alone, np.zeros(1, int)), (beside, np.arange(2)))
    ]
    assert bounds[0][2] > 72.5  # beyond the middle between them
    np.testing.assert_array_equal(*bounds)
    both = listed((57, 60), (63, 60))
    left, right = (Measuring({1: sky}, both, np.arange(2)).source(label).shape.box for label in (0, 1))
    assert left[2] == pytest.approx(60, abs=0.5)
    assert right[0] == pytest.approx(60, abs=0.5)


@pytest.mark.parametrize('seed', range(4))
def test_each_level_of_the_noise_is_that_noise(tmp_path, monkeypatch, seed):
    rng = np.random.default_rng(seed)
    blobs = np.column_stack([rng.uniform(20, 236, (90, 2)), rng.lognormal(3, 0.7, 90), rng.choice([1.0, 2.0, 4.0], 90)])
    sky = field_sky(tmp_path, *blobs)
    components = on_image(standardise(island_components(sky), 'islands'), sky)
    labels = np.arange(len(components.xy)) // 2
    tried = [Measuring({1: sky}, components, labels).source(label).tried for label in range(labels.max() + 1)]
    measured = measuring.counting_noise
    for number, level in enumerate(NOISE_TRIED):
        monkeypatch.setattr(measuring, 'counting_noise', lambda *at, level=level: measured(*at) * level)
        for label, counts in enumerate(tried):
            seen = Measuring({1: sky}, components, labels).source(label)
            assert (counts.components[number], counts.peaks[number]) == seen.counts
    assert len({tuple(np.ravel(counts)) for counts in tried}) > 5


def test_what_only_the_lowest_level_shows_is_not_forgotten(tmp_path, monkeypatch):
    sky = field_sky(tmp_path, (60, 60, 100, 1), (75, 60, 6.25, 1), noise=1e-7)  # the second has hardly the least area
    monkeypatch.setattr(measuring, 'counting_noise', lambda *_: NOISE_JY)
    seen = Measuring({1: sky}, listed((60, 60)), np.zeros(1, int)).source(0, np.array([40.0, 33.0, 94.0, 87.0]))
    assert seen.counts == (1, 1)
    assert seen.tried.components.tolist() == [1, 2, 1]
    assert seen.tried.peaks.tolist() == [1, 2, 1]


def test_what_only_the_lowest_level_shows_is_told_where_else_there_is_nothing(tmp_path, monkeypatch):
    sky = field_sky(tmp_path, (60, 60, 6.25, 1), noise=1e-7)  # hardly the least area
    monkeypatch.setattr(measuring, 'counting_noise', lambda *_: NOISE_JY)
    seen = Measuring({1: sky}, listed((60, 60)), np.zeros(1, int)).source(0)
    assert (seen.counts, seen.box) == ((0, 0), None)
    assert seen.tried.components.tolist() == [0, 1, 0]


def wide_double(path):
    """Give the sky of two lobes of 15 beams, 40 beams apart, and their components."""
    places, sigma = [(150, 225), (300, 225)], 15 * BEAM_PIX / 2.3548
    sky = field_sky(path, *((*place, 15, 15) for place in places), size=450)
    return sky, listed(*places, sigma=sigma), np.array([90.0, 90.0, 360.0, 360.0])


def test_a_giant_is_measured_on_the_sky_on_which_it_was_found(tmp_path):
    sky, _, box = wide_double(tmp_path)
    fragments = listed(*((x + dx, 225 + dy) for x in (150, 300) for dx in (-14, 14) for dy in (-14, 14)))
    one = np.zeros(8, int)
    measuring = Measuring({1: sky, 8: coarser(coarser(coarser(sky)))}, fragments, one)
    assert measuring.source(0, box).counts.peaks > 10
    seen = measuring.source(0, box, scale=8)
    assert (seen.counts, seen.unlisted) == ((2, 2), False)
    np.testing.assert_allclose(seen.shape.centroid, [225, 225], atol=4)
    np.testing.assert_allclose(seen.shape.peaks[np.argsort(seen.shape.peaks[:, 0])], [[150, 225], [300, 225]], atol=25)
    middle = seen.box.reshape(2, 2).mean(axis=0)
    np.testing.assert_allclose(middle, [225, 225], atol=10)
    assert seen.box[2] - seen.box[0] == pytest.approx(1.13 * 1.2 * 150, rel=0.1)
    assert measuring.source(0, box, scale=2).counts == measuring.source(0, box).counts


def test_bumps_at_the_outskirts_of_a_wide_lobe_are_the_lobe_s(tmp_path):
    sky, lobes, box = wide_double(tmp_path)
    seen = Measuring({1: sky}, lobes, np.zeros(2, int)).source(0, box)
    assert (seen.counts.components, seen.unlisted) == (2, False)


def test_an_island_that_nobody_lists_is_one_source_s(tmp_path):
    sky = field_sky(tmp_path, (60, 100, 50, 1), (100, 100, 50, 1), (146, 100, 50, 1), noise=1e-7)
    boxes = np.array([[48.0, 66, 116, 134], [82, 66, 150, 134]])
    measuring = Measuring({1: sky}, listed((60, 100), (146, 100)), np.arange(2), boxes)
    assert [measuring.source(label, box).counts.components for label, box in enumerate(boxes)] == [1, 2]
    boxes = np.vstack([boxes[:1], np.full(4, np.nan)])
    measuring = Measuring({1: sky}, listed((60, 100), (146, 100)), np.arange(2), boxes)
    assert measuring.source(0, boxes[0]).counts.components == 2


def test_a_source_that_fills_a_field_does_not_hide_itself(tmp_path):
    sky = field_sky(tmp_path, (250, 250, 60, 20), size=500)
    middle = np.array([250.0, 250.0])
    assert measuring.counting_noise(sky, middle) < 2 * NOISE_JY
    lobe = listed(middle, sigma=20 * BEAM_PIX / 2.3548)
    assert Measuring({1: sky}, lobe, np.zeros(1, int)).source(0).counts.components == 1


def test_peaks_are_pixels_of_the_image(tmp_path):
    sky = field_sky(tmp_path, (60, 60, 100, 1), (72, 61, 40, 1), (31, 80, 30, 1.3))
    for labels in ([0, 0, 0], [0, 1, 2]):
        measured = Measuring({1: sky}, listed((60, 60), (72, 61), (31, 80)), np.array(labels))
        for label in set(labels):
            peaks = measured.source(label).shape.peaks
            np.testing.assert_allclose(peaks, np.rint(peaks), atol=1e-6)


@pytest.mark.parametrize(('step', 'whole'), [(0.11, 1 / 9), (1 / 3, 1 / 3), (0.28, 0.25), (0.8, 1), (1.4, 1), (4.6, 5)])
def test_pixels_that_are_counted_on_hit_those_of_the_image(step, whole):
    assert measuring._whole_steps(step) == pytest.approx(whole)


def test_nothing_is_seen_off_the_image_or_where_it_is_dark(tmp_path):
    sky = field_sky(tmp_path, (60, 60, 100, 1))
    measured = Measuring({1: sky}, listed((-500, 60), (150, 150)), np.arange(2))
    for label in (0, 1):
        seen = measured.source(label, np.array([10.0, 10.0, 20.0, 20.0]))
        assert (seen.counts, seen.box, seen.unlisted) == ((0, 0), None, False)
        assert np.ravel(seen.tried).tolist() == [0] * 2 * len(NOISE_TRIED)


def test_which_components_stand_for_some_points(tmp_path):
    sky = field_sky(tmp_path, (60, 60, 100, 1))
    emission = ListedEmission(sky, listed((60, 60), (75, 60), (75, 60.5), sigma=5.0))
    points = np.array([[70.0, 60.0], [71.0, 60.0]])
    assert emission.standing_for(points).tolist() == [1, 2]
    assert emission.standing_for(points - [100, 0]).tolist() == []
    assert emission.standing_for(points - [15, 0]).tolist() == [0]
    nothing = Components(np.empty((0, 2)), np.empty((0, 2, 2)), np.empty(0), np.empty(0, int))
    assert ListedEmission(sky, nothing).standing_for(points).tolist() == []

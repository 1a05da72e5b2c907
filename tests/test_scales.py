"""Sources larger than a field of view: the coarser skies, and how islands are joined and looked at there."""

import gc
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.nddata import CCDData
from known_grouping import KnownAssociator

from claran_plugin import associator, scales
from claran_plugin.association import associate as solve
from claran_plugin.association import partition
from claran_plugin.associator import Associator, choose_coarser_fields, choose_fields
from claran_plugin.claimed import Components
from claran_plugin.claims import Detections, log_odds
from claran_plugin.components import standardise
from claran_plugin.embedding import light_around
from claran_plugin.footprints import island_components, on_image
from claran_plugin.hypotheses import Hypotheses, Hypothesis
from claran_plugin.images import beam_pix, pixel_scale
from claran_plugin.measuring import Measuring
from claran_plugin.pipeline import associate
from claran_plugin.scales import (
    Coarse,
    coarse_centres,
    coarser,
    coarser_skies,
    large_sets,
    likeliest_variants,
    on_the_image,
)
from claran_plugin.simulation import simulate_field
from claran_plugin.subjects import FIELD_PIXELS, Sky

RMS = 1.0
BEAM = 3.0


def sky_of(*blobs, size=400, seed=1, blank=None):
    """An image with noise and Gaussians (x, y, peak, FWHM in beams), 1.8" pixels, a beam of 3 pixels."""
    template = simulate_field(np.random.default_rng(0), size_arcmin=size * 0.03, n_sources=0).image
    rng = np.random.default_rng(seed)
    from scipy import ndimage

    data = ndimage.gaussian_filter(rng.normal(size=(size, size)), BEAM / 2.3548)
    data *= RMS / data.std()
    y, x = np.mgrid[:size, :size]
    for cx, cy, peak, width in blobs:
        data += peak * np.exp(-4 * np.log(2) * ((x - cx) ** 2 + (y - cy) ** 2) / (width * BEAM) ** 2)
    if blank is not None:
        data[blank] = np.nan
    image = CCDData(data.astype(np.float32), unit='Jy / beam', wcs=template.wcs, meta=template.meta)
    return Sky(image)


def found_in(sky):
    return on_image(standardise(island_components(sky), 'islands'), sky)


def test_a_coarser_sky_is_the_same_sky():
    sky = sky_of((100.3, 250.8, 80, 1))
    wide = coarser(sky)
    assert wide.radio.shape == (200, 200)
    assert beam_pix(wide.radio) == pytest.approx(BEAM, rel=0.01)
    assert pixel_scale(wide.radio) == pytest.approx(2 * pixel_scale(sky.radio))
    assert wide.field_pix * 2 == pytest.approx(2 * sky.field_pix)
    y, x = np.unravel_index(np.argmax(wide.radio.data), wide.radio.shape)
    there = sky.radio.wcs.world_to_pixel(wide.radio.wcs.pixel_to_world(x, y))
    np.testing.assert_allclose(there, (100.3, 250.8), atol=1.5)
    # brightness is kept as a mean over the beam, so a point source has a quarter of its peak
    assert wide.radio.data.max() == pytest.approx(80 / 4, rel=0.1)


def test_blank_pixels_stay_blank_and_do_not_darken_their_surroundings():
    hole = (slice(190, 210), slice(190, 210))
    plain, pierced = sky_of((200, 200, 50, 20)), sky_of((200, 200, 50, 20), blank=hole)
    a, b = coarser(plain).radio.data, coarser(pierced).radio.data
    assert np.isnan(b[96:104, 96:104]).all()
    assert np.isfinite(b[:94]).all()
    np.testing.assert_allclose(b[92:94, 95:105], a[92:94, 95:105], rtol=0.1)


def test_scales_go_on_until_a_field_shows_the_image():
    sky = sky_of((100, 100, 50, 1))
    scales = [coarse.scale for coarse in coarser_skies(sky, found_in(sky))]
    assert scales == [2, 4, 8]  # 33 beams of 3 pixels: 99, 198, 396, 792
    assert not list(coarser_skies(sky_of((20, 20, 50, 1), size=90), found_in(sky_of((20, 20, 50, 1), size=90))))


def test_fragments_of_a_lobe_are_joined_and_a_stranger_beside_it_is_not():
    lobe = (200, 200, 4.0, 25)  # below the threshold for the most part: it shows as fragments
    sky = sky_of(lobe, (200, 255, 100, 1), seed=3)
    components = found_in(sky)
    near = np.linalg.norm(components.xy - 200, axis=1) < 35
    assert near.sum() > 3
    stranger = np.argmin(np.linalg.norm(components.xy - (200, 255), axis=1))
    coarse = next(c for c in coarser_skies(sky, components) if c.scale == 4)
    joined = coarse.components.island
    main = np.bincount(joined[near]).argmax()
    assert (joined[near] == main).mean() > 0.8
    assert joined[stranger] != main
    assert main in coarse.resolved


def test_where_a_coarser_sky_is_looked_at():
    pair = sky_of((135, 200, 20, 8), (225, 200, 20, 8))
    coarse = next(coarser_skies(pair, found_in(pair)))
    centres = coarse_centres(coarse)
    assert np.min(np.linalg.norm(centres - ((180 + 0.5) / 2 - 0.5, (200 + 0.5) / 2 - 0.5), axis=1)) < 6
    points = sky_of((100, 200, 50, 1), (260, 200, 50, 1))
    assert len(coarse_centres(next(coarser_skies(points, found_in(points))))) == 0
    near = sky_of((170, 200, 20, 8), (190, 200, 20, 8))
    assert len(coarse_centres(next(coarser_skies(near, found_in(near))))) == 0


def test_a_pair_of_which_one_is_compact_at_a_coarser_beam_is_looked_at_there():
    pair = sky_of((60, 400, 60, 8), (560, 400, 60, 3), size=800)
    skies = list(coarser_skies(pair, found_in(pair)))
    components = found_in(pair)
    compact = int(np.argmin(np.linalg.norm(components.xy - (560, 400), axis=1)))
    coarse = next(c for c in skies if c.scale == 8)
    island = int(coarse.components.island[compact])
    assert island not in coarse.resolved
    assert island in coarse.once_resolved
    middle = (np.array([310, 400]) + 0.5) / 8 - 0.5
    assert np.linalg.norm(coarse_centres(coarse) - middle, axis=1).min() < 6


def test_compact_islands_are_bare_unless_embedded_in_a_lobe():
    lobe = (200, 200, 4.0, 25)
    sky = sky_of(lobe, (200, 205, 30, 1), (200, 330, 60, 1), (330, 330, 30, 8), seed=3)
    components = found_in(sky)
    at = {
        name: int(np.argmin(np.linalg.norm(components.xy - place, axis=1)))
        for name, place in dict(embedded=(200, 205), alone=(200, 330), large=(330, 330)).items()
    }
    light = light_around(sky, components.xy, components.covariance)
    assert light[at['embedded']] > 2
    assert abs(light[at['alone']]) < 0.5
    for coarse in coarser_skies(sky, components):
        bare = {name for name, k in at.items() if int(coarse.components.island[k]) in coarse.bare}
        assert bare == ({'alone'} if coarse.scale < 8 else {'alone', 'large'})


def test_light_around_components_beside_edges_and_blank_pixels():
    sky = sky_of((2, 2, 60, 1), (100, 100, 60, 1), size=300, blank=(slice(80, 120), slice(80, 120)))
    xy = np.array([[2.0, 2.0], [100.0, 100.0], [-500.0, 40.0]])
    light = light_around(sky, xy, np.tile(np.eye(2) * (BEAM / 2.3548) ** 2, (3, 1, 1)))
    assert abs(light[0]) < 0.6
    assert light[1:].tolist() == [0, 0]  # nothing of their rings was observed
    assert light_around(sky, np.empty((0, 2)), np.empty((0, 2, 2))).shape == (0,)


def test_of_sets_that_differ_in_compact_islands_the_likeliest_is_kept():
    components = Components(np.zeros((5, 2)), np.tile(np.eye(2), (5, 1, 1)), np.ones(5), np.arange(5))
    coarse = Coarse(SimpleNamespace(), components, {}, {0, 1}, {0, 1}, {2, 3}, 4)
    evidence = {(0, 1): 1.0, (0, 1, 2): 2.0, (0, 1, 2, 3): 0.5, (0,): -1.0, (2, 3): 0.3, (3,): 0.2}
    offered = [Hypothesis(frozenset(members), e, np.zeros(6), None) for members, e in evidence.items()]
    kept = likeliest_variants(Hypotheses.of(offered), coarse)
    assert [sorted(h.members) for h in kept] == [[0, 1, 2], [0], [2, 3], [3]]
    assert len(likeliest_variants(Hypotheses.of([]), coarse)) == 0


def test_only_what_is_too_large_for_finer_fields_counts():
    sky = sky_of((125, 200, 20, 8), (235, 200, 20, 8))
    components = found_in(sky)
    coarse = next(coarser_skies(sky, components))
    ends = [int(np.argmin(np.linalg.norm(components.xy - point, axis=1))) for point in ((125, 200), (235, 200))]
    is_large = large_sets(coarse)
    islands = [int(coarse.components.island[end]) for end in ends]
    assert is_large(islands)
    assert not any(is_large([island]) for island in islands)
    seen = Hypothesis(frozenset(range(len(components.xy))), 2.0, np.zeros(6), np.array([10.0, 20, 30, 40]), 0.9)
    (kept,) = on_the_image(Hypotheses.of([seen]), coarse)
    assert kept.members == seen.members
    assert kept.scale == 2
    assert kept.evidence == 2.0
    np.testing.assert_allclose(kept.box, [20.5, 40.5, 60.5, 80.5])


def test_a_crowd_is_no_large_source(monkeypatch):
    sky = sky_of((125, 200, 20, 8), (235, 200, 20, 8))
    components = found_in(sky)
    coarse = next(coarser_skies(sky, components))
    islands = sorted(set(coarse.components.island.tolist()))
    assert large_sets(coarse)(islands)
    monkeypatch.setattr(scales, 'MOST_COMPONENTS', len(components.xy) - 1)
    assert not large_sets(coarse)(islands)


def test_skies_that_have_been_looked_at_are_let_go(monkeypatch, require_detector):
    from mmengine.structures import InstanceData

    def see_nothing(pictures):
        for _ in pictures:
            yield InstanceData(bboxes=np.empty((0, 6, 4)), scores=np.empty((0, 6)))

    class SeesNothing(KnownAssociator):
        look_in_turn = Associator.look_in_turn

    sky = sky_of((145, 200, 20, 8), (255, 200, 20, 8))
    components = found_in(sky)
    centres = choose_fields(sky, components, np.ones(len(components.xy), bool))
    skies, left = [], []

    def choose(*given):
        fields = choose_coarser_fields(*given)
        skies.extend((coarse.scale, weakref.ref(coarse.sky)) for coarse, _ in fields)
        return fields

    def note(*given):
        gc.collect()
        left.extend(scale for scale, sky in skies if sky() is not None)
        return partition(*given)

    monkeypatch.setattr(associator, 'choose_coarser_fields', choose)
    monkeypatch.setattr(associator, 'partition', note)
    seeing = SeesNothing()
    seeing.detector.in_batches = see_nothing
    looked = seeing.partition(sky, components, centres)
    assert [scale for scale, _ in skies] == [2, 4, 8]
    assert left == [4]  # a source that is found there is measured there
    assert looked.skies == {1: sky}


def test_what_speaks_for_a_part_is_limited_by_what_speaks_against_the_whole():
    xy = np.array([[20.0, 66.0], [110.0, 66.0]])
    components = Components(xy, np.tile(np.eye(2), (2, 1, 1)), np.ones(2), np.arange(2))
    boxes = np.array([[10.0, 56, 30, 76], [100.0, 56, 120, 76]])
    seen = Detections(boxes, np.tile(0.95 * np.eye(6)[0], (2, 1)), np.zeros(2, int))
    centres = np.array([[66.0, 66.0]])
    for evidence, expected in ((1.0, [0, 0]), (-1.0, [0, 1])):
        whole = Hypothesis(frozenset([0, 1]), evidence, np.zeros(6), np.array([0.0, 0, 132, 132]), scale=2)
        partition = solve(components, seen, centres, 1.0, FIELD_PIXELS, None, Hypotheses.of([whole]))
        assert partition.labels.tolist() == expected
        weighed = {h.members: h.evidence for h in partition.considered}
        assert weighed[frozenset([0])] == pytest.approx(min(-evidence, log_odds(0.95)), abs=0.1)


class SeesLarge(KnownAssociator):
    """Sees one source of class 2C_2P over most of every field at twice the beam."""

    def look(self, sky, centres, progress=None):
        list(progress(centres, len(centres)) if progress else ())
        if sky.radio.shape[0] > 300:
            return Detections(np.empty((0, 4)), np.empty((0, 6)), np.empty(0, int))
        half = 0.48 * sky.field_pix
        boxes = np.concatenate([centres - half, centres + half], axis=1)
        probabilities = np.tile(0.95 * np.eye(6)[3], (len(centres), 1))
        return Detections(boxes, probabilities, np.arange(len(centres)))


def test_a_source_larger_than_a_field_comes_back_whole():
    sky = sky_of((145, 200, 20, 8), (255, 200, 20, 8), (390, 20, 60, 1))
    table = island_components(sky)
    result = associate(sky.radio, table, associator=SeesLarge())
    at = [int(np.argmin(np.linalg.norm(found_in(sky).xy - p, axis=1))) for p in ((145, 200), (255, 200), (390, 20))]
    labels = result.labels[at]
    assert labels[0] == labels[1] != labels[2]
    source = result.sources[labels[0]]
    assert source['Morph_Flag'] & 8 == 0  # not larger than the largest field
    assert source['Morphology'] == '2C_2P'


class SeesGiant(SeesLarge):
    """Sees it at four times the beam only."""

    def look(self, sky, centres, progress=None):
        return super().look(sky, centres if sky.radio.shape[0] == 100 else centres[:0], progress)


def test_a_giant_is_counted_at_the_beam_at_which_it_was_found():
    sky = sky_of((90, 200, 9, 12), (310, 200, 9, 12))
    result = associate(sky.radio, island_components(sky), associator=SeesGiant())
    number = int(result.partition.hypotheses.scale.argmax())
    assert result.partition.hypotheses.scale[number] == 4
    source = result.sources[number]
    assert (source['N_Components'], source['N_Peaks'], source['Morphology']) == (2, 2, '2C_2P')
    at_the_image_s = Measuring({1: sky}, found_in(sky), result.labels).source(number)
    assert at_the_image_s.counts.components + at_the_image_s.counts.peaks > 8


def test_a_long_strip_has_coarser_skies_too():
    sky = sky_of((300, 20, 50, 1), size=600)
    strip = CCDData(sky.radio.data[:37], unit='Jy / beam', wcs=sky.radio.wcs, meta=sky.radio.meta)
    long = Sky(strip)
    shapes = [coarse.sky.radio.shape for coarse in coarser_skies(long, found_in(long))]
    assert shapes == [(19, 300), (10, 150), (5, 75)]  # nothing is cut off


def test_crowds_do_not_make_more_fields_than_there_is_room():
    rng = np.random.default_rng(2)
    n = 3000
    xy = rng.uniform(0, 2000, (n, 2))
    sky = SimpleNamespace(field_pix=99.0, beam_pix=3.0, radio=np.empty((2000, 2000)))
    boxes = {k: np.concatenate([p - 2, p + 2]) for k, p in enumerate(xy)}
    components = Components(xy, np.tile(np.eye(2), (n, 1, 1)), np.ones(n), np.arange(n))
    centres = coarse_centres(Coarse(sky, components, boxes, set(range(n)), set(range(n)), set(), 2))
    assert 0 < len(centres) < (2000 / (99 * 6 / 33)) ** 2 * 2


def test_a_giant_is_counted_whole():
    blobs = [(100, 400, 60, 6), (400, 400, 40, 2), (700, 400, 60, 6)]
    sky = sky_of(*blobs, size=800)
    sky.beam_pix = 2.0  # so that it is 400 beams long
    components = found_in(sky)
    at = [int(np.argmin(np.linalg.norm(components.xy - b[:2], axis=1))) for b in blobs]
    labels = np.full(len(components.xy), -1)
    labels[at] = 0
    seen = Measuring({1: sky}, components, labels).source(0)
    assert seen.counts == (3, 3)
    assert seen.box[2] - seen.box[0] > 600


def test_without_counted_emission_the_shape_is_that_of_the_components():
    sky = sky_of(size=70)
    components = Components(np.array([[25.0, 35.0]]), np.eye(2)[None], np.ones(1), np.zeros(1, int))
    seen = Measuring({1: sky}, components, np.zeros(1, int)).source(0)
    assert seen.counts == (0, 0)
    assert seen.box is None
    beam = sky.beam_pix  # larger than two standard deviations, 2 px
    np.testing.assert_allclose(seen.shape.box, [25 - beam, 35 - beam, 25 + beam, 35 + beam])
    np.testing.assert_allclose(seen.shape.centroid, [25, 35])

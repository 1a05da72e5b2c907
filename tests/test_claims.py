"""What a detection may be: how it is divided among the islands in its box."""

import numpy as np
import pytest
from astropy.nddata import CCDData
from hypothesis import given, settings
from hypothesis import strategies as st
from small_partitions import FIELD, components, sources

from claran_plugin import claims as claims_module
from claran_plugin.association import associate
from claran_plugin.claims import Detections, claims
from claran_plugin.division import BETWEEN, Division, Surroundings, _between
from claran_plugin.footprints import surroundings
from claran_plugin.morphology import CLASSES, box_around
from claran_plugin.simulation import simulate_field
from claran_plugin.subjects import Sky

CENTRE = np.array([[66.0, 66.0]])
EMPTY, CROWDED = 1e7, 2e4
"""Areas of an image, square pixels, in which a few islands are few or many."""


def square(x, y, half=6.0):
    return np.array([x - half, y - half, x + half, y + half])


def scene(positions, counted, area=EMPTY):
    """Make islands of one component each, of which some are bright enough to be counted."""
    parts = components(positions)
    boxes = {i: square(*xy) for i, xy in enumerate(positions)}
    flux = dict(enumerate(parts.flux.tolist()))
    return parts, Surroundings({i: {i + 1: boxes[i]} if i in counted else {} for i in boxes}, boxes, flux, area)


def detection(box, kind, probability=0.9):
    probabilities = np.zeros((1, len(CLASSES)))
    probabilities[0, CLASSES.index(kind)] = probability
    return Detections(np.asarray(box, float)[None], probabilities, np.zeros(1, int))


def grouped(parts, found, around):
    return sources(associate(parts, found, CENTRE, 1.0, FIELD, around))


def test_lobes_are_joined_by_the_box_around_them():
    places = [(40, 66), (66, 66), (92, 66)]
    parts, around = scene(places, {0, 1, 2})
    box = box_around(np.array([square(*xy) for xy in places]), 3)
    assert grouped(parts, detection(box, '3C_3P'), around) == {frozenset({0, 1, 2})}


@pytest.mark.parametrize('counted', [{0}, {0, 1}])
def test_a_neighbour_in_the_corner_of_a_box_is_a_source_of_its_own_where_sources_are_many(counted):
    # or where it is a component of its own, as the detector sees one only
    places = [(66, 66), (81, 81)]
    bounds = np.array([46.0, 60.0, 86.0, 72.0])  # elongated, so that the square box around it has empty corners
    for area, joined in ((EMPTY, True), (CROWDED, False)):
        parts, around = scene([*places, (10, 10), (120, 15), (12, 118), (115, 120)], counted, area)
        around.components[0][1] = around.outlines[0][:] = bounds
        found = detection(box_around(bounds[None], 2), '1C_2P')
        assert (frozenset({0, 1}) in grouped(parts, found, around)) == (joined and counted == {0})


def test_what_lies_between_two_lobes_goes_with_them():
    places = [(40, 66), (66, 68), (92, 66)]
    box = box_around(np.array([square(*xy) for xy in places]), 3)
    for middle, joined in (((66, 68), True), ((66, 95), False)):  # on the line, or in a corner of the box
        places[1] = middle
        parts, around = scene(places, {0, 1, 2}, CROWDED)
        assert (frozenset({0, 1, 2}) in grouped(parts, detection(box, '3C_3P'), around)) == joined


def test_islands_between():
    outlines = np.array([square(*xy) for xy in [(0, 0), (100, 0), (50, 0), (50, 60), (20, 4)]], float)
    inside = np.array([[1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 0, 1, 0, 0], [1, 0, 0, 1, 0], [1, 1, 1, 1, 1]], bool)
    found = _between(outlines, inside, 5)
    # the third is on the line, the fourth far off, the last nearly on it
    ways = np.array([100, 2 * np.hypot(50, 60), np.hypot(20, 4) + np.hypot(80, 4)])
    assert found[0] == pytest.approx(np.exp(-(ways / 100 - 1) / BETWEEN).sum())
    way = np.hypot(20, 4) + np.hypot(30, 4)
    assert found[2] == pytest.approx(np.exp(-(way / 50 - 1) / BETWEEN), abs=1e-3)
    assert found[4] == 0


def test_a_set_has_as_many_components_as_the_detector_sees():
    places = [(50, 66), (82, 66)]
    parts, around = scene(places, {0, 1}, CROWDED)
    box = box_around(np.array([square(*xy) for xy in places]), 3)
    assert grouped(parts, detection(box, '2C_3P'), around) == {frozenset({0, 1})}
    one = square(50, 66, 8.5)
    assert grouped(parts, detection(one, '1C_2P'), around) == {frozenset({0}), frozenset({1})}


def test_without_surroundings_a_box_claims_all():
    parts, _ = scene([(66, 66), (81, 81)], {0})
    assert grouped(parts, detection(square(70, 70, 30), '1C_2P'), None) == {frozenset({0, 1})}


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9))
def test_a_detection_is_divided_not_multiplied(seed, n):
    rng = np.random.default_rng(seed)
    places = rng.uniform(40, 92, (n, 2))
    parts, around = scene([tuple(xy) for xy in places], set(np.flatnonzero(rng.random(n) < 0.6).tolist()), CROWDED)
    found = Detections(square(66, 66, 40)[None], rng.dirichlet(np.ones(6))[None] * 0.9, np.zeros(1, int))
    made = claims(parts, found, CENTRE, 1.0, FIELD, around)
    likely = [1 / (1 + np.exp(-h.evidence)) for h in made]
    assert sum(likely) <= 0.9 + 1e-6
    assert len({h.members for h in made}) == len(made)


def test_components_are_counted_where_they_are():
    field = simulate_field(np.random.default_rng(4), size_arcmin=6, n_sources=8)
    sky = Sky(CCDData(field.image.data, unit='Jy / beam', wcs=field.image.wcs, meta=field.image.meta))
    xy = np.stack(field.image.wcs.world_to_pixel_values(field.truth['RA'], field.truth['DEC']), axis=-1)
    bright = [
        i for i, p in enumerate(np.rint(xy).astype(int)) if field.image.data[p[1], p[0]] > 8 * float(np.median(sky.rms))
    ]
    parts = components(np.concatenate([xy[bright], [[-500.0, -500.0]]]))
    around = surroundings(parts, sky)
    assert around.area == field.image.data.size
    assert not around.components[len(bright)]  # nothing off the image
    for island in range(len(bright)):
        assert around.components[island]
        assert any(
            np.all((box[:2] <= parts.xy[island]) & (parts.xy[island] <= box[2:]))
            for box in around.components[island].values()
        )
        np.testing.assert_allclose(
            around.outlines[island], square(*parts.xy[island], half=2.3548), rtol=1e-4
        )  # of Gaussians of 2 pixels


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_only_wanted_sets_are_made_and_are_as_likely_as_among_all(seed, n):
    rng = np.random.default_rng(seed)
    parts, around = scene([tuple(xy) for xy in rng.uniform(30, 102, (n, 2))], set(range(0, n, 2)), CROWDED)
    parts = parts._replace(island=np.arange(n) // 2)
    around = around._replace(
        components={k: around.components[2 * k] for k in range(n)[: (n + 1) // 2]},
        outlines={k: around.outlines[2 * k] for k in range(n)[: (n + 1) // 2]},
        flux=dict.fromkeys(range((n + 1) // 2), 1.0),
    )
    boxes = np.stack([square(*rng.uniform(40, 92, 2), rng.uniform(5, 50)) for _ in range(8)])
    found = Detections(boxes, rng.dirichlet(np.ones(7), 8)[:, :6], np.zeros(8, int))

    def told(made):
        return {h.members: (h.evidence, h.n_shown, h.n_found, *h.probabilities, *h.box) for h in made}

    every = told(claims(parts, found, CENTRE, 1.0, FIELD, around))
    some = told(claims(parts, found, CENTRE, 1.0, FIELD, around, lambda islands: len(islands) != 2))
    whole = [frozenset(np.flatnonzero(parts.island == k).tolist()) for k in range((n + 1) // 2)]
    unions = {members for members in every if all(island <= members or not island & members for island in whole)}
    assert some == {k: every[k] for k in unions if len(set(parts.island[list(k)])) != 2}


def test_any_number_of_islands_in_a_box():
    rng = np.random.default_rng(3)
    places = rng.uniform(10, 122, (700, 2))
    parts, around = scene([tuple(xy) for xy in places], set(range(0, 700, 2)))
    around = around._replace(resolved=frozenset({0, 1}))
    found = claims(parts, detection([0, 0, 132, 132], '3C_3P'), CENTRE, 1.0, FIELD, around)
    assert found
    assert all(np.isfinite(h.evidence) and 0 <= h.probability <= 1 for h in found)


def test_on_a_coarser_sky_what_lies_on_a_lobe_goes_with_it():
    # Two lobes, and an island on the emission of one of them, or beside it as a component of its own, extended, or
    # compact and bare.
    places = [(40, 66), (92, 66), (48, 66)]
    box = box_around(np.array([square(*xy, half=12) for xy in places[:2]]), 3)
    left_out, members = {}, {}
    for on_it, half in ((True, 2.0), (True, 12.0), (False, 2.0), (False, 12.0)):
        parts, around = scene([*places, (10, 10), (120, 15)], set(range(5)))
        lobe, other = square(40, 66, half=12), square(92, 66, half=12)
        around = around._replace(
            components={
                **around.components,
                0: {1: lobe},
                1: {2: other},
                2: {1: lobe} if on_it else {3: square(48, 66, half)},
            },
            resolved=frozenset({0, 1, 2} if half > 6 else {0, 1}),
            bare=frozenset() if on_it or half > 6 else frozenset({2}),
            emitted={1: 100.0, 2: 100.0, 3: 1.0 if half < 6 else 100.0, 4: 1.0, 5: 1.0},
        )
        made = claims(parts, detection(box, '2C_2P'), CENTRE, 1.0, FIELD, around, lambda islands: True, 4)
        evidence = {h.members: h.evidence for h in made}
        left_out[on_it, half] = evidence.get(frozenset({0, 1}), -9.0)
        members[on_it, half] = evidence.get(frozenset({0, 1, 2}), -9.0)
    assert members[True, 12.0] > left_out[True, 12.0] + 1
    assert left_out[False, 2.0] > members[False, 2.0] + 0.3
    assert members[True, 12.0] > members[False, 12.0] > members[False, 2.0]


def test_on_a_coarser_sky_what_is_bare_is_a_part_of_a_source_only_in_its_middle():
    place = {'middle': (66, 66), 'off the axis': (66, 84), 'near an end': (84, 66)}
    likely = {}
    for name, xy in place.items():
        places = [(40, 66), (92, 66), xy]
        _, around = scene([*places, (10, 10), (120, 15)], set(range(5)))
        shapes = [square(*places[0], half=12), square(*places[1], half=12), square(*xy, half=2)]
        around = around._replace(
            components={**around.components, **{k: {k + 1: shape} for k, shape in enumerate(shapes)}},
            outlines={**around.outlines, **dict(enumerate(shapes))},
            resolved=frozenset({0, 1}),
            bare=frozenset({2, 3, 4}),
            emitted={1: 100.0, 2: 100.0, 3: 1.0, 4: 1.0, 5: 1.0},
        )
        division = Division(around, 5)
        sets, shares = division.shares(frozenset({0, 1, 2}), box_around(np.array(shapes), 3)[None], np.eye(6)[3:4])
        number = {frozenset(sets.choice(k)): k for k in range(len(sets.patterns))}
        with_it, without = (shares[0, number[frozenset(members)]] for members in ((0, 1, 2), (0, 1)))
        likely[name] = float(np.log(with_it / without))
    assert likely['middle'] > likely['near an end'] + 1
    assert likely['middle'] > likely['off the axis']
    assert likely['near an end'] < 0


def test_of_many_islands_the_bare_ones_are_no_part_of_the_rest():
    n = 12
    places = [(10.0 + 9 * k, 66.0) for k in range(n)]
    _, around = scene(places, set(range(n)))
    around = around._replace(
        resolved=frozenset({0, 1}), bare=frozenset(range(6, n, 2)), emitted=dict.fromkeys(range(n + 1), 1.0)
    )
    sets = Division(around, n).sets(frozenset(range(n)))
    wholes = [frozenset(sets.choice(k)) for k in range(len(sets.patterns)) if len(sets.patterns[k]) > 6]
    assert frozenset(range(n)) in wholes
    (other,) = set(wholes) - {frozenset(range(n))}
    left_out = frozenset(range(n)) - other
    assert left_out
    assert left_out <= around.bare


def test_far_coarser_skies_weigh_a_set_against_nothing_only():
    places = [(40, 66), (92, 66), (66, 100)]
    parts, around = scene([*places, (10, 10), (120, 15)], set(range(5)))
    found = detection(box_around(np.array([square(*xy) for xy in places[:2]]), 3), '2C_2P', 0.9)

    def told(scale):
        made = claims(parts, found, CENTRE, 1.0, FIELD, around._replace(resolved=frozenset(range(5))), None, scale)
        return {h.members: h for h in made}

    near, far = told(2), told(4)
    assert near.keys() == far.keys()
    several = [members for members, h in near.items() if len(members) > 1 and h.probability < 0.8]
    assert several
    for members, hypothesis in near.items():
        other = far[members]
        assert other.probability == hypothesis.probability
        least = np.log(hypothesis.probability / (1 - hypothesis.probability)) + hypothesis.certainty
        assert hypothesis.evidence == pytest.approx(least)
        assert other.evidence == pytest.approx(np.log(other.probability / 0.1) + other.certainty)
        assert other.evidence >= least - 1e-9


def test_parts_of_an_image_give_what_it_gives_as_a_whole(monkeypatch):
    rng = np.random.default_rng(9)
    parts = components([tuple(xy) for xy in rng.uniform(0, 900, (250, 2))])
    # islands of several components, some much wider than a part
    parts = parts._replace(island=np.where(np.arange(250) < 60, np.arange(250) % 12, np.arange(250)))
    boxes = {i: square(*parts.xy[parts.island == i].mean(axis=0)) for i in np.unique(parts.island).tolist()}
    around = Surroundings({i: {i + 1: box} for i, box in boxes.items()}, boxes, dict.fromkeys(boxes, 1.0), 810000.0)
    centres = rng.uniform(0, 900, (200, 2))
    field = np.repeat(np.arange(200), 4)
    corner = centres[field] + rng.uniform(-66, 20, (800, 2))
    found = Detections(
        np.concatenate([corner, corner + rng.uniform(10, 90, (800, 1))], axis=1),
        rng.dirichlet(np.ones(7), 800)[:, :6],
        field,
    )

    def told():
        made = claims(parts, found, centres, 1.0, FIELD, around)
        assert len({h.members for h in made}) == len(made)
        return {h.members: (h.evidence, h.n_shown, h.n_found, *h.probabilities, *h.box) for h in made}

    whole = told()
    monkeypatch.setattr(claims_module, 'TILE', 1.5)
    assert told() == whole
    assert len(whole) > 250


def test_islands_off_the_image_make_it_no_denser():
    parts, around = scene([(50, 66), (82, 66)], {0, 1})
    wider = components([(50, 66), (82, 66), *((5000, 100 * k) for k in range(40))])
    found = detection([40, 46, 92, 86], '1C_1P')

    def told(components, around):
        return [h.evidence for h in claims(components, found, CENTRE, 1.0, FIELD, around) if max(h.members) < 2]

    assert told(wider, around._replace(n_islands=2)) == told(parts, around) != told(wider, around)
    sky = Sky(simulate_field(np.random.default_rng(1), size_arcmin=6, n_sources=2).image)
    assert surroundings(wider, sky).n_islands == 2

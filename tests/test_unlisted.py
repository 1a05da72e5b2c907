"""Emission that no component of the catalogue stands for."""

import numpy as np
from known_grouping import KnownAssociator
from small_field import write_field

from claran_plugin.catalogue import MorphFlag
from claran_plugin.claimed import Components
from claran_plugin.components import standardise
from claran_plugin.footprints import island_components, on_image
from claran_plugin.images import read_image
from claran_plugin.pipeline import associate
from claran_plugin.subjects import Sky
from claran_plugin.unlisted import ListedEmission


def test_a_source_is_flagged_where_a_lobe_in_its_box_is_not_listed(tmp_path):
    image = read_image(write_field(tmp_path / 'field.fits'))
    islands = island_components(Sky(image))

    def flags(catalogue):
        result = associate(image, catalogue, associator=KnownAssociator(), look_at_all=True)
        x, y = image.wcs.world_to_pixel_values(result.sources['RA'].value, result.sources['DEC'].value)
        x0, y0, x1, y1 = KnownAssociator.boxes[0]
        inside = (x > x0) & (x < x1) & (y > y0) & (y < y1)
        flagged = (np.asarray(result.sources['Morph_Flag']) & MorphFlag.UNLISTED_EMISSION) > 0
        return flagged[inside].tolist(), flagged[~inside].any()

    assert flags(islands) == ([False], False)
    x, y = image.wcs.world_to_pixel_values(islands['RA'], islands['DEC'])
    x0, y0, x1, y1 = KnownAssociator.boxes[0]
    double = np.flatnonzero((x > x0) & (x < x1) & (y > y0) & (y < y1))
    assert len(double) == 2
    islands.remove_row(int(double[0]))
    assert flags(islands) == ([True], False)


def test_wide_components_stand_for_what_they_lie_on(tmp_path):
    sky = Sky(read_image(write_field(tmp_path / 'field.fits')))
    components = on_image(standardise(island_components(sky), 'islands'), sky)
    box = KnownAssociator.boxes[0]
    centre, nowhere = (box[:2] + box[2:]) / 2, np.array([10.0, 200.0])

    def lacks(xy, sigma):
        return ListedEmission(
            sky, Components(xy[None], np.eye(2)[None] * sigma**2, np.ones(1), np.zeros(1, int))
        ).lacks_some(box)

    assert not ListedEmission(sky, components).lacks_some(box)
    assert lacks(centre, 1.0)
    assert not lacks(centre, 30.0)
    assert lacks(nowhere, 1.0)
    nothing = Components(np.empty((0, 2)), np.empty((0, 2, 2)), np.empty(0), np.empty(0, int))
    assert ListedEmission(sky, nothing).lacks_some(box)
    assert not ListedEmission(sky, nothing).lacks_some(np.array([5.0, 190.0, 15.0, 205.0]))
    assert not ListedEmission(sky, nothing).lacks_some(np.array([-80.0, -80.0, -60.0, -60.0]))

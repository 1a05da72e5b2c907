"""Images whose sources somebody knows: a catalogue of components with a column that says which belong together."""

import re
from typing import Any, NamedTuple

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import Table
from numpy.typing import NDArray

from claran_plugin.catalogue_columns import text_values
from claran_plugin.celestial import in_icrs, to_sky
from claran_plugin.claimed import Components, members_of
from claran_plugin.components import read_catalogue, standardise
from claran_plugin.errors import InputError
from claran_plugin.footprints import on_image, on_sight
from claran_plugin.images import read_image
from claran_plugin.infrared_images import read_infrared
from claran_plugin.morphology import CLASSES
from claran_plugin.subjects import Sky
from claran_plugin.survey.listing import Pointing

SOURCE_COLUMN = 'Source_Name'
"""Says which components are one source, in what `claran associate` writes and in LoTSS's component lists."""
UNKNOWN = -1
"""Class number of a true source of none of the six classes."""
N_FOLDS = 5
CELL_BEAMS = (200.0, 140.0, 100.0, 70.0, 50.0)
"""How wide the cells are that are dealt into folds: a packed cut-out is 50 beams wide."""
BELOW_0 = re.compile(r'-\d+(\.\d*)?')
UNTOLD = ('', '-', 'nan', 'none', '--')
"""Text of a component whose source is not known; so are blank values and numbers below 0."""


class LabelledImage(NamedTuple):
    """An image, its components, and which of them are one source.

    Attributes
    ----------
    name : str
    sky : Sky
    components : Components
        n of them, on the image.
    source : (n,) int array
        Number of each one's source, from 0; -1 where nobody has told.
    names : list of t str
        What the catalogue calls the sources.
    given : (t,) int array
        Class number of each source where the catalogue tells it, else `UNKNOWN`.
    classified : bool
        Whether the catalogue tells classes at all; if not, they are counted on the image.
    """

    name: str
    sky: Sky
    components: Components
    source: NDArray
    names: list[str]
    given: NDArray
    classified: bool

    @property
    def members(self) -> list[list[int]]:
        """Rows of each source."""
        rows = members_of(self.source)
        return [rows[number].tolist() for number in range(len(self.names))]

    def deg_of(self, xy: NDArray) -> NDArray:
        """Give right ascension and declination (n, 2), ICRS, deg, of pixels (n, 2)."""
        at = to_sky(self.sky.radio.wcs, xy)
        return np.stack([at.ra.deg, at.dec.deg], axis=-1)


def read_labelled(
    pointing: Pointing, source_column: str = SOURCE_COLUMN, class_column: str | None = None, **about_image: Any
) -> LabelledImage:
    """Read an image and the catalogue that tells its sources.

    Sources of which a component lies off the image are not told.

    Parameters
    ----------
    pointing : Pointing
        With a catalogue.
    source_column : str
        Its column in which components of one source have the same value; see `UNTOLD`.
    class_column : str, optional
        Its column with the sources' classes, such as 1C_2P; by default they are counted on the image.
    **about_image
        ``beam, frequency, survey``, as `images.read_image` takes them.

    Raises
    ------
    InputError
        Where an input is at fault, a column is missing, no source is told, or components of one source have different
        classes.
    """
    path = pointing.catalogue
    if not path:
        raise InputError(f'{pointing.image}: no catalogue in the list; name the one that tells its sources')
    radio = read_image(pointing.image, **about_image)
    infrared = read_infrared(pointing.infrared, radio) if pointing.infrared else None
    table = read_catalogue(path)
    sky = Sky(radio, infrared)
    components = on_image(in_icrs(standardise(table, path), radio, path)[0], sky, path)
    names = text_values(table[_column(table, source_column, path, '--truth')])
    told = _told(names)
    seen = on_sight(components, sky)
    told &= ~np.isin(names, names[told & ~seen])
    if not told.any():
        raise InputError(f'{path}: column {source_column} tells no source that lies on the image as a whole')
    source = np.full(len(names), -1)
    values, source[told] = np.unique(names[told], return_inverse=True)
    given: NDArray = np.full(len(values), UNKNOWN)
    if class_column is not None:
        given = _classes(text_values(table[_column(table, class_column, path, '--classes')]), source, values, path)
    return LabelledImage(pointing.name, sky, components, source, values.tolist(), given, class_column is not None)


def folds_on_sky(positions: SkyCoord, beam_arcsec: float) -> NDArray:
    """Deal positions into folds by cells of the sky, so that what is near is mostly in the same fold.

    Cells are `CELL_BEAMS` wide, or as much smaller as leaves two of them for each fold.

    Parameters
    ----------
    positions : (n,) SkyCoord
    beam_arcsec : float

    Returns
    -------
    (n,) int array of 0 ... 4
    """
    ra, dec = positions.icrs.ra.deg, positions.icrs.dec.deg
    number: NDArray = np.zeros(len(ra), int)
    for beams in CELL_BEAMS:
        size = beams * beam_arcsec / 3600
        row = np.floor((dec + 90) / size)
        column = np.floor(ra * np.cos(np.radians((row + 0.5) * size - 90)) / size)
        _, number = np.unique(np.stack([row, column]), axis=1, return_inverse=True)
        if number.max(initial=0) + 1 >= 2 * N_FOLDS:
            break
    return np.random.default_rng(5).permutation(number.max(initial=0) + 1)[number.ravel()] % N_FOLDS


def _column(table: Table, name: str, path: str, option: str) -> str:
    found = [own for own in table.colnames if own == name] or [
        own for own in table.colnames if own.lower() == name.lower()
    ]
    if not found:
        raise InputError(f'{path}: no column {name}, name one with {option}: it has {", ".join(table.colnames)}')
    return found[0]


def _told(names: NDArray) -> NDArray:
    """Tell which texts (n,) name a source."""
    plain = np.char.lower(names)
    below_0 = [BELOW_0.fullmatch(name) is not None for name in plain.tolist()]
    return ~np.isin(plain, UNTOLD) & ~np.array(below_0, bool)


def _classes(names: NDArray, source: NDArray, values: NDArray, path: str) -> NDArray:
    """Give the class number of each source, `UNKNOWN` where it has none of the six."""
    known = {name: number for number, name in enumerate(CLASSES)}
    given = np.full(len(values), UNKNOWN)
    for number, value in enumerate(values):
        own = np.unique(names[source == number])
        if len(own) > 1:
            raise InputError(f'{path}: components of source {value} have different classes ({", ".join(own)})')
        given[number] = known.get(own[0].replace('-', '_'), UNKNOWN)
    if (given == UNKNOWN).all():
        raise InputError(f'{path}: no class in its column of classes is one of {", ".join(CLASSES)}')
    return given

"""Images whose sources somebody knows: a catalogue of components with a column that says which belong together."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import Table
from numpy.typing import NDArray

from claran_plugin.boxes import box_iou
from claran_plugin.catalogue_columns import text_values
from claran_plugin.celestial import in_icrs, to_sky
from claran_plugin.claimed import Components, members_of
from claran_plugin.components import read_catalogue, standardise
from claran_plugin.errors import InputError
from claran_plugin.footprints import on_image, on_sight
from claran_plugin.hypotheses import Hypothesis
from claran_plugin.images import read_image
from claran_plugin.infrared_images import read_infrared
from claran_plugin.measuring import Measured, Measuring
from claran_plugin.morphology import CLASSES, class_name
from claran_plugin.subjects import Sky
from claran_plugin.survey.listing import Pointing

SOURCE_COLUMN = 'Source_Name'
"""Says which components are one source, in what `claran associate` writes and in LoTSS's component lists."""
UNKNOWN = -1
"""Class number of a true source of none of the six classes."""
NO_SOURCE = len(CLASSES)
"""Class number of a detection that is no true source."""
LEAST_IOU = 0.5
"""Intersection over union above which a box is a true source's."""
N_FOLDS = 5
CELL_BEAMS = (200.0, 140.0, 100.0, 70.0, 50.0)
"""How wide the cells are that are dealt into folds: a packed cut-out is 50 beams wide."""
BELOW_0 = re.compile(r'-\d+(\.\d*)?')
UNTOLD = ('', '-', 'nan', 'none', '--')
"""Text of a component whose source is not known; so are blank values and numbers below 0."""


class Truth(NamedTuple):
    """The true sources of an image.

    Attributes
    ----------
    members : list of t lists of int
        Rows of the component table that make up each; none empty, none shared.
    boxes : (t, 4) array
        ClaRAN's boxes (`morphology.source_box`), xyxy in pixels.
    classes : (t,) int array
        Class numbers, `UNKNOWN` for another one.
    """

    members: list[list[int]]
    boxes: NDArray
    classes: NDArray

    def classes_on(self, skies: Mapping[int, Sky]) -> 'ClassOf':
        """Give what tells the true class of a detection: that of the source whose box its own is most like."""
        return lambda hypothesis, box: class_of_box(box, self.boxes, self.classes)


class MeasuredTruth:
    """The true sources of an image, measured as a detection is that they are compared with.

    That is on the sky on which it was found, and, as the catalogue may lack a lobe, with the emission in its box that
    no component stands for. Where nothing is counted, a source of one component is 1C_1P, and what any other is stays
    unknown.

    Parameters
    ----------
    image : LabelledImage
    """

    def __init__(self, image: 'LabelledImage') -> None:
        self._image = image
        self.members = image.members

    def classes_on(self, skies: Mapping[int, Sky]) -> 'ClassOf':
        """Give what tells the true class of a detection, on one of some skies."""
        image = self._image
        measuring = _measuring(image, skies)

        def class_of(hypothesis: Hypothesis, box: NDArray) -> int:
            numbers = np.unique(image.source[sorted(hypothesis.members)])
            seen = [measuring.source(number, hypothesis.box, hypothesis.scale) for number in numbers[numbers >= 0]]
            boxes, classes = _told_by(seen, [len(self.members[number]) for number in numbers[numbers >= 0]])
            given = image.given[numbers[numbers >= 0]] if image.classified else classes
            return class_of_box(box, boxes, given)

        return class_of


ClassOf = Callable[[Hypothesis, NDArray], int]
"""Gives the true class number of a detection with some box (4,): `NO_SOURCE` where it is none, `UNKNOWN` for one that
is none of the six."""


def class_of_box(box: NDArray, boxes: NDArray, classes: NDArray) -> int:
    """Give the class (of t) of the source whose box (of (t, 4)) is most like one, `NO_SOURCE` where none is."""
    overlap = box_iou(box[None], boxes)[0]
    return int(classes[overlap.argmax()]) if overlap.max(initial=0) > LEAST_IOU else NO_SOURCE


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


def true_sources(image: LabelledImage) -> Truth:
    """Measure the true sources of an image at its own beam.

    Where nothing is counted, a source of one component is 1C_1P, and what any other is stays unknown.
    """
    members = image.members
    measuring = _measuring(image, {1: image.sky})
    seen = [measuring.source(number) for number in range(len(members))]
    boxes, classes = _told_by(seen, [len(rows) for rows in members])
    return Truth(members, boxes, image.given if image.classified else classes)


def _measuring(image: LabelledImage, skies: Mapping[int, Sky]) -> Measuring:
    """Give what measures the true sources; a component whose source is not told has the emission around it."""
    labels = np.where(image.source < 0, len(image.names) + np.arange(len(image.source)), image.source)
    return Measuring(skies, image.components, labels)


def _told_by(seen: Sequence[Measured], n_components: Sequence[int]) -> tuple[NDArray, NDArray]:
    """Give the boxes (t, 4) and classes (t,) of measured sources of so many components."""
    boxes, classes = [], []
    for measured, number in zip(seen, n_components, strict=True):
        boxes.append(measured.shape.box if measured.box is None else measured.box)
        name = class_name(*measured.counts)
        if measured.box is None and number == 1:
            name = CLASSES[0]
        classes.append(CLASSES.index(name) if name else UNKNOWN)
    return np.array(boxes, float).reshape(-1, 4), np.array(classes, int)


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

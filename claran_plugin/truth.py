"""What is true of an image whose sources somebody knows, and what a detection on it would have to be."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from claran_plugin.boxes import box_iou
from claran_plugin.hypotheses import Hypothesis
from claran_plugin.labelled import UNKNOWN, LabelledImage
from claran_plugin.measuring import Measured, Measuring
from claran_plugin.morphology import CLASSES, class_name
from claran_plugin.subjects import Sky

NO_SOURCE = len(CLASSES)
"""Class number of a detection that is no true source."""
LEAST_IOU = 0.5
"""Intersection over union above which a box is a true source's."""
ClassOf = Callable[[Hypothesis, NDArray], int]
"""Gives the true class number of a detection with some box (4,): `NO_SOURCE` where it is none, `UNKNOWN` for one that
is none of the six."""


class Truth(NamedTuple):
    """The true sources of an image, as somebody has boxed and classified them.

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

    def classes_on(self, skies: Mapping[int, Sky]) -> ClassOf:
        """Give what tells the true class of a detection: that of the source whose box its own is most like."""
        return lambda hypothesis, box: class_of_box(box, self.boxes, self.classes)


class MeasuredTruth:
    """The true sources of an image, measured as the detection is that they are compared with.

    That is on the sky on which it was found, and, as the catalogue may lack a lobe, with the emission in its box that
    no component stands for. Only sources that share a component with the detection are compared with it. Where nothing
    is counted, a source of one component is 1C_1P, and what any other is stays unknown.

    Parameters
    ----------
    image : LabelledImage

    Attributes
    ----------
    members : list of t lists of int
        As of `Truth`.
    """

    def __init__(self, image: LabelledImage) -> None:
        self._image = image
        self.members = image.members

    def classes_on(self, skies: Mapping[int, Sky]) -> ClassOf:
        """Give what tells the true class of a detection that was found on one of some skies (`associator.Looked`)."""
        image = self._image
        measuring = _measuring(image, skies)

        def class_of(hypothesis: Hypothesis, box: NDArray) -> int:
            numbers = np.unique(image.source[sorted(hypothesis.members)])
            numbers = numbers[numbers >= 0]
            seen = [measuring.source(number, hypothesis.box, hypothesis.scale) for number in numbers.tolist()]
            boxes, classes = _told_by(seen, [len(self.members[number]) for number in numbers])
            return class_of_box(box, boxes, image.given[numbers] if image.classified else classes)

        return class_of


def class_of_box(box: NDArray, boxes: NDArray, classes: NDArray) -> int:
    """Give the class (of t) of the source whose box (of (t, 4)) is most like one, `NO_SOURCE` where none is."""
    overlap = box_iou(box[None], boxes)[0]
    return int(classes[overlap.argmax()]) if overlap.max(initial=0) > LEAST_IOU else NO_SOURCE


def true_sources(image: LabelledImage) -> Truth:
    """Measure the true sources of an image at its own beam.

    Where nothing is counted, a source of one component is 1C_1P, and what any other is stays unknown.
    """
    measuring = _measuring(image, {1: image.sky})
    members = image.members
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

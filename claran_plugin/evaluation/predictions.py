"""Reading predictions, COCO results: a list of ``{image_id, category_id, bbox: [x, y, width, height], score}``."""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from claran_plugin.errors import InputError
from claran_plugin.evaluation.fields import Fields, read_json, to_xyxy

REMEDY = (
    'give the COCO results that tools/test.py writes with "--cfg-options test_evaluator.outfile_prefix=PREFIX", '
    'PREFIX.bbox.json'
)


class Detections(NamedTuple):
    """All detections of a file; `place` (n,) is the number of the field of each."""

    place: NDArray
    classes: NDArray
    boxes: NDArray
    probabilities: NDArray


def read_predictions(path: str | Path, truth: Fields) -> Fields:
    """Read what was detected in the fields of a truth.

    Parameters
    ----------
    path : path
        COCO results; boxes in the frame of the truth's.
    truth : Fields

    Returns
    -------
    Fields, with detections

    Raises
    ------
    InputError
        Where the file is missing, is a pickle, or holds something else, other fields or other classes.
    """
    content = read_json(path, REMEDY)
    if not isinstance(content, list):
        raise InputError(f'{path}: holds no list of detections; {REMEDY}')
    found = _detections(path, content, truth)
    order = np.argsort(found.place, kind='stable')
    ends = np.searchsorted(found.place[order], np.arange(len(truth.names) + 1))
    subjects = []
    for subject, start, end in zip(truth.subjects, ends[:-1], ends[1:], strict=True):
        own = order[start:end]
        subjects.append(
            subject._replace(boxes=found.boxes[own], classes=found.classes[own], probabilities=found.probabilities[own])
        )
    return replace(truth, subjects=subjects)


def _detections(path: str | Path, content: list[Any], truth: Fields) -> Detections:
    place_of = {image_id: place for place, image_id in enumerate(truth.image_ids)}
    places, classes = [], []
    for number, entry in enumerate(content):
        try:
            image_id, category_id, _, _ = (entry[key] for key in ('image_id', 'category_id', 'bbox', 'score'))
            place, class_number = place_of.get(image_id), truth.class_of.get(category_id)
        except (KeyError, TypeError) as err:
            raise InputError(
                f'{path}: entry {number} (from 0) lacks image_id, category_id, bbox or score; {REMEDY}'
            ) from err
        if place is None:
            raise InputError(
                f'{path}: entry {number} (from 0) is of image {image_id!r}, which the truth has not; '
                'give the predictions that were made for this truth'
            )
        if class_number is None:
            known = ', '.join(map(str, truth.class_of))
            raise InputError(
                f'{path}: entry {number} (from 0) is of category {category_id!r}, the truth has {known}; '
                'give the predictions that were made for this truth'
            )
        places.append(place)
        classes.append(class_number)
    try:
        boxes = to_xyxy([entry['bbox'] for entry in content])
        probabilities = np.array([entry['score'] for entry in content], float)
        if probabilities.ndim != 1:
            raise ValueError('a score is a list')
    except (TypeError, ValueError) as err:
        raise InputError(f'{path}: boxes or scores are not numbers ({err}); {REMEDY}') from err
    bad = np.flatnonzero(~((probabilities >= 0) & (probabilities <= 1)))
    if bad.size:
        raise InputError(
            f'{path}: entry {bad[0]} (from 0) has the score {probabilities[bad[0]]:g}, no probability; {REMEDY}'
        )
    return Detections(np.array(places, int), np.array(classes, int), boxes, probabilities)

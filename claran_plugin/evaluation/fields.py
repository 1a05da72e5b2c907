"""Fields of view with their true sources and what was detected in them: reading, choosing, filtering."""

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from claran_plugin.errors import InputError
from claran_plugin.evaluation.average_precision import Evaluated
from claran_plugin.morphology import CLASSES

TRUTH_REMEDY = "give the test.json that 'claran dataset rgz' writes"
SEVERAL = 2
"""Sources in a multi-source field, at least (Section 5.4)."""


@dataclass(frozen=True)
class Fields:
    """A set of n fields of view.

    Attributes
    ----------
    names : sequence of n str
    image_ids : sequence of n int
        By which predictions name them.
    centres : (n, 2) array
        Right ascension and declination, deg; NaN where unknown.
    subjects : sequence of n Evaluated
        Boxes are in pixels of the field, whose own corners are (0, 0) and (width, height), row 0 south.
    consensus : sequence of n arrays
        Consensus level of each true source, NaN where unknown.
    sizes : (n, 2) array
        Width and height, pixels.
    pixel_arcsec : float
        NaN where unknown.
    class_of : dict
        Class number of each category id.
    info : dict
        What the file of the truth says about itself.
    """

    names: Sequence[str]
    image_ids: Sequence[int]
    centres: NDArray
    subjects: Sequence[Evaluated]
    consensus: Sequence[NDArray]
    sizes: NDArray
    pixel_arcsec: float
    class_of: dict[int, int]
    info: dict

    @property
    def n_sources(self) -> int:
        """Number of true sources."""
        return sum(len(subject.true_classes) for subject in self.subjects)

    @property
    def n_true(self) -> NDArray:
        """True sources of each field, (n,)."""
        return np.array([len(subject.true_classes) for subject in self.subjects], int)

    @property
    def n_detected(self) -> NDArray:
        """Detections in each field, (n,)."""
        return np.array([len(subject.classes) for subject in self.subjects], int)

    def where(self, keep: NDArray) -> 'Fields':
        """Keep some of the fields, (n,) bool."""
        index = np.flatnonzero(keep)
        return replace(
            self,
            names=[self.names[k] for k in index],
            image_ids=[self.image_ids[k] for k in index],
            centres=self.centres[index],
            subjects=[self.subjects[k] for k in index],
            consensus=[self.consensus[k] for k in index],
            sizes=self.sizes[index],
        )

    def agreed(self, consensus: float) -> 'Fields':
        """Keep the fields whose sources all have at least this consensus level (Section 3.2)."""
        return self.where(np.array([bool((levels >= consensus).all()) for levels in self.consensus], bool))

    def multi_source(self) -> 'Fields':
        """Keep the fields of at least two true sources (Section 5.4)."""
        return self.where(self.n_true >= SEVERAL)

    def detections(self, choose: Callable[[Evaluated], NDArray]) -> 'Fields':
        """Keep the detections that a function chooses in each field."""
        return replace(self, subjects=[subject.select(choose(subject)) for subject in self.subjects])

    def above(self, probability: float) -> 'Fields':
        """Keep the detections of at least this probability."""
        return self.detections(lambda subject: subject.probabilities >= probability)

    def probable(self, probability: float) -> 'Fields':
        """Reject detections below a probability, unless the highest one is below it (Section 6.1.1, rule 1)."""

        def choose(subject: Evaluated) -> NDArray:
            highest = subject.probabilities.max(initial=0.0)
            chosen = subject.probabilities >= probability
            return chosen if highest >= probability else _first_of_highest(subject)

        return self.detections(choose)

    def likeliest(self) -> 'Fields':
        """Keep the most probable detection of each field: one source per field (Section 6.1.1, rule 2)."""
        return self.detections(_first_of_highest)


def _first_of_highest(subject: Evaluated) -> NDArray:
    return np.argsort(-subject.probabilities, kind='stable')[:1]


def read_truth(path: str | Path) -> Fields:
    """Read the fields and true sources of a COCO file of the six classes, without detections.

    Raises
    ------
    InputError
        Where the file is missing, no such JSON, has no fields, or has other classes.
    """
    content = read_json(path, TRUTH_REMEDY)
    if not isinstance(content, dict) or not all(
        isinstance(content.get(key), list) for key in ('images', 'annotations', 'categories')
    ):
        raise InputError(f'{path}: no COCO file, images, annotations and categories are missing; {TRUTH_REMEDY}')
    try:
        return _fields(path, content)
    except (AttributeError, KeyError, TypeError, ValueError) as err:
        if isinstance(err, InputError):
            raise
        raise InputError(
            f'{path}: images or annotations are incomplete ({type(err).__name__}: {err}); {TRUTH_REMEDY}'
        ) from err


def _fields(path: str | Path, content: dict[str, Any]) -> Fields:
    class_of = _class_numbers(path, content['categories'])
    images = content['images']
    if not images:
        raise InputError(
            f'{path}: has no images, as none of the subjects of this half of the split had one; '
            f'use the other half (train.json), or split by a seed of your own (claran dataset rgz --split)'
        )
    if len({image['id'] for image in images}) < len(images):
        raise InputError(f'{path}: two images have the same id; {TRUTH_REMEDY}')
    sources = defaultdict(list)
    for entry in content['annotations']:
        sources[entry['image_id']].append(entry)
    stray = set(sources) - {image['id'] for image in images}
    if stray:
        raise InputError(f'{path}: annotations of image {min(stray)}, which is not listed; {TRUTH_REMEDY}')
    subjects, consensus = [], []
    for image in images:
        own = sources[image['id']]
        classes = np.array([class_of[entry['category_id']] for entry in own], int)
        boxes = to_xyxy([entry['bbox'] for entry in own])
        subjects.append(Evaluated(np.empty((0, 4)), np.empty(0, int), np.empty(0), boxes, classes))
        consensus.append(np.array([entry.get('consensus', np.nan) for entry in own], float))
    centres = np.array([(image.get('ra', np.nan), image.get('dec', np.nan)) for image in images], float)
    if (np.abs(centres[:, 1]) > 90).any():
        raise ValueError('a declination is beyond 90 deg')
    info = content.get('info')
    info = info if isinstance(info, dict) else {}
    return Fields(
        names=[str(image.get('first_id') or image.get('file_name', image['id'])) for image in images],
        image_ids=[image['id'] for image in images],
        centres=centres,
        subjects=subjects,
        consensus=consensus,
        sizes=np.array([(image['width'], image['height']) for image in images], float),
        pixel_arcsec=float(info.get('pixel_arcsec', np.nan)),
        class_of=class_of,
        info=info,
    )


def _class_numbers(path: str | Path, categories: list[Any]) -> dict[int, int]:
    names = [entry['name'] for entry in categories]
    if sorted(names) != sorted(CLASSES):
        listed = ', '.join(map(str, names[:8])) or 'none'
        raise InputError(f'{path}: its categories are {listed}, not {", ".join(CLASSES)}; {TRUTH_REMEDY}')
    return {entry['id']: CLASSES.index(entry['name']) for entry in categories}


def to_xyxy(xywh: Sequence[Sequence[float]]) -> NDArray:
    """Turn COCO boxes (corner, width, height) into (n, 4) xyxy.

    Raises
    ------
    ValueError
        Where they are not four finite numbers each, or a side is negative.
    """
    boxes = np.asarray(xywh, float).reshape(-1, 4) if len(xywh) else np.empty((0, 4))
    if len(boxes) != len(xywh) or not np.isfinite(boxes).all() or (boxes[:, 2:] < 0).any():
        raise ValueError('a box is not four finite numbers x, y, width and height')
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def read_json(path: str | Path, remedy: str) -> Any:
    """Read a JSON file.

    Raises
    ------
    InputError
        Where it is missing, a pickle, or not JSON; the text ends with the remedy.
    """
    try:
        raw = Path(path).read_bytes()
    except FileNotFoundError as err:
        raise InputError(f'{path}: no such file; {remedy}') from err
    except OSError as err:
        raise InputError(f'{path}: cannot be read ({err.strerror}); {remedy}') from err
    if raw[:1] == b'\x80' or raw[:4] == b'PK\x03\x04':
        raise InputError(f'{path}: is a pickle, which is not read because it can run code hidden in it; {remedy}')
    try:
        return json.loads(raw)
    except (UnicodeDecodeError, ValueError, RecursionError) as err:
        raise InputError(f'{path}: is not JSON ({str(err)[:80]}); {remedy}') from err

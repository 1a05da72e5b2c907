"""A detector with its calibration: which fields of view are looked at, and what becomes of what is seen there."""

import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from claran_plugin.association import Partition, partition
from claran_plugin.boxes import boxes_around
from claran_plugin.calibration import Calibration, fitted_to_others, read_calibration
from claran_plugin.claimed import MIN_PROBABILITY, Components, members_of
from claran_plugin.claims import Detections, claims
from claran_plugin.deferred_imports import deferred_imports
from claran_plugin.errors import InputError, InputWarning
from claran_plugin.footprints import on_sight, outlines, surroundings
from claran_plugin.fusion import FUSIONS, NEEDS_INFRARED
from claran_plugin.hypotheses import FAR_COARSER, Hypotheses
from claran_plugin.models import DEFAULT, PRECISIONS, default_model, find_model
from claran_plugin.pixels import in_blocks
from claran_plugin.quick_imports import quick_imports
from claran_plugin.scales import (
    Coarse,
    coarse_centres,
    coarser_skies,
    large_sets,
    likeliest_variants,
    on_the_image,
    with_coarse,
)
from claran_plugin.subjects import FIELD_PIXELS, Sky, choose_centres, to_image
from claran_plugin.turns import VIEWS, turned, turned_back_boxes

if TYPE_CHECKING:
    from mmengine.structures import InstanceData

    from claran_plugin.detection.inference import Detector

Progress = Callable[[Iterable[NDArray], int], Iterable[NDArray]]
T = TypeVar('T')


class Looked(NamedTuple):
    """A partition and what it is made of.

    Attributes
    ----------
    partition : Partition
    n_fields, n_coarse : int
        Fields of view that were looked at, and those of them on coarser skies.
    largest_field : float
        Side of the largest one that there could have been, pixels of the image.
    skies : dict of int to Sky
        The image, by 1, and far coarser ones (`hypotheses.FAR_COARSER`) on which sources of the partition were found,
        by their beam in beams of the image.
    """

    partition: Partition
    n_fields: int
    n_coarse: int
    largest_field: float
    skies: dict[int, Sky]


CoarserFields = list[tuple[Coarse, NDArray]]
"""The sky at twice the beam, four times, ..., with the middles (k, 2) of the fields of view there, in its pixels."""


def choose_fields(sky: Sky, components: Components, looked_at: NDArray) -> NDArray:
    """Choose fields of view on an image.

    Parameters
    ----------
    sky : Sky
    components : Components
        n of them.
    looked_at : (n,) bool array
        Which of them are to be seen.

    Returns
    -------
    (m, 2) array, their middles (x, y), pixels
    """
    boxes = outlines(components)[looked_at]
    islands = [boxes_around(boxes[members]) for members in members_of(components.island[looked_at]).values()]
    return in_blocks(choose_centres(boxes, sky, np.array(islands)))


def choose_coarser_fields(sky: Sky, components: Components) -> CoarserFields:
    """Choose fields of view of twice the size, and so on up to the whole image."""
    return [(coarse, in_blocks(coarse_centres(coarse))) for coarse in coarser_skies(sky, components)]


class Associator:
    """A detector with its calibration, ready for any number of images.

    Parameters
    ----------
    model : str, optional
        Name of a bundled model, or path of an mmdet config; by default ``compact``, or ``compact_infrared`` where there
        is infrared and no weights are given.
    weights : path, optional
        By default those that come with the model.
    device : str
        ``auto``, ``cpu`` or ``cuda:N``.
    infrared : bool
        Whether there will be an infrared image.
    views : int
        How often, turned and mirrored, each field is looked at: 1, 2, 4 or 8. What is seen is averaged.
    precision : str
        ``auto``, ``half`` or ``full``, see `detection.inference.Detector`.
    calibration : path, optional
        By default the one beside the weights.

    Raises
    ------
    InputError
        Where there are no such model or weights, or the calibration is none. What is wrong with weights or device is
        told when `detector` is first asked for, which loads it.
    """

    views: tuple[int, ...] = VIEWS[1]

    def __init__(
        self,
        model: str | None = None,
        weights: str | Path | None = None,
        device: str = 'auto',
        *,
        infrared: bool = False,
        views: int = 1,
        precision: str = 'auto',
        calibration: str | Path | None = None,
    ) -> None:
        if views not in VIEWS:
            raise InputError(f'{views} views: give 1, 2, 4 or 8')
        self.views = VIEWS[views]
        if precision not in PRECISIONS:
            raise InputError(f'{precision}: not a precision; give one of {", ".join(PRECISIONS)}')
        self._found = find_model(model or default_model(weights, infrared=infrared), weights, calibration)
        self.name = self._found.name
        self._device = device, precision
        self.calibration = read_calibration(self._found.calibration) if self._found.calibration else Calibration()

    @cached_property
    def detector(self) -> 'Detector':
        """The detector, loaded when it is first asked for."""
        loaded = _load_detector(self._found.config, self._found.weights, *self._device)
        calibration = self._found.calibration
        if calibration and fitted_to_others(calibration, loaded.weights_hash):
            warnings.warn(
                f'{calibration}: was fitted to other weights than {self._found.weights}: fit it anew with claran '
                'calibrate, or give another one with --calibration',
                InputWarning,
                stacklevel=2,
            )
        return loaded

    def load(self) -> None:
        """Load the detector, if it is not yet."""
        _ = self.detector

    @cached_property
    def coarse_detector(self) -> 'Detector':
        """The detector of coarser skies, which have no infrared image: the same, or the bundled one for radio alone."""
        if self.detector.method not in NEEDS_INFRARED:
            return self.detector
        found = find_model(DEFAULT)
        return _load_detector(found.config, found.weights, *self._device)

    def look_in_turn(
        self, skies: Iterable[tuple[Sky, NDArray]], progress: Progress | None = None, *, coarse: bool = False
    ) -> Iterator[Detections]:
        """Show fields of view of several skies to the detector, without a pause between them.

        Parameters
        ----------
        skies : iterable of (Sky, (m, 2) array)
            With the middles of the fields on each. Each view of a field is a field of its own. A sky is asked for when
            the fields of the one before have been cut out, and let go when it has been looked at.
        progress : callable, optional
        coarse : bool
            Whether to take the detector of coarser skies.

        Yields
        ------
        Detections, one per sky, in pixels of it
        """
        detector = self.coarse_detector if coarse else self.detector
        method, options = detector.method, detector.fusion_options
        wanted, seen = _twice(skies)

        def pictures() -> Iterator[NDArray]:
            for sky, centres in wanted:
                for centre in progress(centres, len(centres)) if progress else centres:
                    subject = sky.cut(centre)
                    picture = FUSIONS[method](subject.radio, subject.infrared, rms=1.0, **options)
                    yield from (turned(picture, view) for view in self.views)

        results = detector.in_batches(pictures())
        for sky, centres in seen:
            yield self._collected(sky, centres, islice(results, len(centres) * len(self.views)))

    def _collected(self, sky: Sky, centres: NDArray, results: Iterable['InstanceData']) -> Detections:
        """Bring what was found in the fields of one sky onto it."""
        boxes: list[NDArray] = [np.empty((0, 4))]
        probabilities: list[NDArray] = [np.empty((0, 6))]
        field: list[NDArray] = [np.empty(0, int)]
        for number, found in enumerate(results):
            kept = found.scores.astype(float).sum(axis=1) > MIN_PROBABILITY
            found = found[kept]  # what claims would leave out
            likeliest = found.scores.argmax(axis=1)
            view = self.views[number % len(self.views)]
            seen = turned_back_boxes(found.bboxes[np.arange(len(likeliest)), likeliest], FIELD_PIXELS, view)
            boxes.append(to_image(seen, centres[number // len(self.views)], sky.step))
            probabilities.append(found.scores)
            field.append(np.full(len(likeliest), number))
        return Detections(np.concatenate(boxes), np.concatenate(probabilities), np.concatenate(field))

    def partition(self, sky: Sky, components: Components, centres: NDArray, progress: Progress | None = None) -> Looked:
        """Look at fields of view around some points (m, 2) of the image, and at all there are on coarser skies; solve.

        Coarser skies are made while the detector looks at the image. They may be large, and are let go one by one, but
        for far coarser ones on which sources of the partition were found.
        Islands that are wholly off the image are weighed with nothing, as nothing is seen of them.

        Raises
        ------
        InputError
            Where the detector wants an infrared image, and there is none.
        """
        method = self.detector.method
        if method in NEEDS_INFRARED and sky.infrared is None:
            raise InputError(f'model {self.name} fuses radio and infrared ({method}); give an image with --infrared')
        rows = np.flatnonzero(np.isin(components.island, components.island[on_sight(components, sky)]))
        seeable = Components(*(part[rows] for part in components))
        coarser: deque[tuple[Coarse, NDArray]] = deque()
        largest = [sky.field_pix]
        told = _Told(progress)
        told.begin(centres)
        with ThreadPoolExecutor(1) as pool:
            making = pool.submit(choose_coarser_fields, sky, seeable)

            def others() -> Iterator[tuple[Sky, NDArray]]:
                made = making.result()
                largest.extend(coarse.sky.field_pix * coarse.scale for coarse, _ in made)
                coarser.extend((coarse, places) for coarse, places in made if len(places))
                made.clear()
                told.begin([place for _, places in coarser for place in places])
                waiting = deque((coarse.sky, places) for coarse, places in coarser)
                while waiting:
                    yield waiting.popleft()

            # What is seen on one sky becomes hypotheses while the detector looks at the next.
            looks = self._looks((sky, centres), others(), told)
            own = pool.submit(self._hypotheses, sky, seeable, centres, next(looks))
            skies, larger, n_coarse = {1: sky}, [], 0
            for seen in looks:
                coarse, places = coarser.popleft()
                n_coarse += len(places)
                if coarse.scale >= FAR_COARSER:
                    skies[coarse.scale] = coarse.sky
                larger.append(pool.submit(self._hypotheses, coarse.sky, coarse.components, places, seen, coarse))
                del coarse, seen
        told.end()
        wholes = Hypotheses.joined(found.result() for found in larger)
        solved = partition(components, own.result().of_rows(rows), wholes.of_rows(rows))
        found_on = {1, *solved.hypotheses.scale.tolist()}
        kept = {scale: one for scale, one in skies.items() if scale in found_on}
        return Looked(solved, len(centres) + n_coarse, n_coarse, max(largest), kept)

    def _looks(
        self, finest: tuple[Sky, NDArray], others: Iterator[tuple[Sky, NDArray]], progress: Progress
    ) -> Iterator[Detections]:
        """Look at the image, then at coarser skies, each with its detector, which is loaded where there are any."""
        if self.detector.method not in NEEDS_INFRARED:
            yield from self.look_in_turn(chain([finest], others), progress)
            return
        yield from self.look_in_turn([finest], progress)
        for first in others:
            yield from self.look_in_turn(chain([first], others), progress, coarse=True)

    def _hypotheses(
        self, sky: Sky, components: Components, centres: NDArray, seen: Detections, coarse: Coarse | None = None
    ) -> Hypotheses:
        """Turn what is seen in some fields into hypotheses, each view being a field of its own.

        On a coarser sky only what is too large for finer fields becomes one, and is brought onto the image.
        """
        around = surroundings(components, sky)
        wanted = None
        if coarse is not None:
            around = with_coarse(around, coarse)
            wanted = large_sets(coarse)
        views = np.repeat(centres, len(self.views), axis=0)
        found = claims(components, seen, views, sky.step, FIELD_PIXELS, around, wanted, coarse.scale if coarse else 1)
        return found if coarse is None else on_the_image(likeliest_variants(found, coarse), coarse)


class _Told:
    """Progress over the fields of view of one sky or of several, told as one; parameter as of `associate`."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._fields: Iterator[NDArray] = iter(())

    def begin(self, centres: Sequence[NDArray] | NDArray) -> None:
        """Tell of these from now on, in their order."""
        self.end()
        if len(centres):
            self._fields = iter(self._progress(centres, len(centres)) if self._progress else centres)

    def __call__(self, _: Iterable[NDArray], number: int) -> Iterator[NDArray]:
        """Give the next so many."""
        return islice(self._fields, number)

    def end(self) -> None:
        """Let the progress come to its end."""
        deque(self._fields, maxlen=0)


def _twice(items: Iterable[T]) -> tuple[Iterator[T], Iterator[T]]:
    """Give two iterators over the same items, as `itertools.tee`, which would keep dozens of items for longer."""
    coming = iter(items)
    queues: tuple[deque[T], deque[T]] = deque(), deque()

    def one(queue: deque[T]) -> Iterator[T]:
        while queue or _extended(queues, coming):
            yield queue.popleft()

    return one(queues[0]), one(queues[1])


def _extended(queues: Iterable[deque[T]], coming: Iterator[T]) -> bool:
    """Put the next item, if there is one, into all queues."""
    for item in coming:
        for queue in queues:
            queue.append(item)
        return True
    return False


def _load_detector(config: Path, weights: Path, device: str, precision: str) -> 'Detector':
    """Import torch only now: reading and checking inputs should not wait for it."""
    try:
        with quick_imports(), deferred_imports():
            from claran_plugin.detection.inference import Detector
    except ImportError as err:  # its text, from `detection.check_stack`, has the remedy
        raise InputError(str(err)) from err
    return Detector(config, weights, device, precision)

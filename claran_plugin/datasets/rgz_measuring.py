"""What a data set needs to know of each Radio Galaxy Zoo subject's images: true boxes, and sums of the fused channels.

Results are kept in a file of one line per subject, so that a run that was interrupted, or is repeated, does only what
is new.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from claran_plugin import morphology
from claran_plugin.catalogue_writing import atomic_outputs
from claran_plugin.datasets import rgz_labels, rgz_tables
from claran_plugin.datasets.fused_cache import code_hash
from claran_plugin.datasets.radio_fields import Field, fuse, read_field
from claran_plugin.datasets.rgz_catalogue import RGZSubject
from claran_plugin.datasets.rgz_labels import islands_at
from claran_plugin.datasets.rgz_tables import box_side
from claran_plugin.errors import InputError
from claran_plugin.morphology import component_labels, source_box
from claran_plugin.progress import Log
from claran_plugin.subjects import FIELD_PIXELS

_CODE = (__name__, morphology.__name__, rgz_labels.__name__, rgz_tables.__name__)
_RADIO_ONLY = ('F', 'D1', 'S')
_PIXELS = FIELD_PIXELS**2
_MIN_SIDE_PIX = 1.0
"""A box of which less is inside the field is left out."""


class Images(NamedTuple):
    """The image files of a subject."""

    radio: Path
    infrared: Path | None


class Rejection(NamedTuple):
    """Something that could not be used, and why."""

    subject: str
    file: str
    reason: str


class Measured(NamedTuple):
    """Results of `measure` by subject, what was rejected, and how many results had been measured before."""

    results: dict[str, dict[str, Any]]
    rejected: list[Rejection]
    n_taken_over: int


def measure(subject: RGZSubject, images: Images) -> dict[str, Any]:
    """Measure a subject on its images.

    Returns
    -------
    dict
        ``ra``, ``dec`` (deg) of the field; ``sources``, see `true_boxes`; ``sums`` of each channel by fusion method;
        ``outside``, the number of pixels outside D4's hull, which count as black in D4's sums.

    Raises
    ------
    InputError
        Where an image cannot be used.
    """
    position = subject.position
    field = read_field(images.radio, position, images.infrared)
    sums = {name: _sums(fuse(field, name)) for name in _RADIO_ONLY}
    outside = 0
    if images.infrared is not None:
        sums |= {name: _sums(fuse(field, name)) for name in ('D2', 'D3')}
        # D4's fill is the mean of D3, which is known only after the last subject.
        sums['D4'], one = (_sums(fuse(field, 'D4', background=(level,) * 3)) for level in (0, 1))
        outside = one[0] - sums['D4'][0]
    return dict(
        ra=float(position.ra.deg),
        dec=float(position.dec.deg),
        sources=true_boxes(subject, field),
        sums=sums,
        outside=outside,
    )


def true_boxes(subject: RGZSubject, field: Field) -> list[dict[str, Any] | None]:
    """Give the box of each source of a subject, None where it is outside the field.

    The side follows from the catalogue's angular extent. The middle is that of the bounding box of the islands above
    the threshold that the components lie on, or, where there are none, the mean of the components' positions.

    Returns
    -------
    list of dict
        ``bbox`` (x, y, width, height) in pixels of the field, whose corners are (0, 0) and (132, 132); ``centre``,
        'islands' or 'components'; ``ra``, ``dec``, the mean of the components' positions.
    """
    islands, _ = component_labels(field.radio, field.sky.beam_pix / field.sky.step)
    boxes: list[dict[str, Any] | None] = []
    for source in subject.sources:
        xy = field.from_image(np.stack(field.sky.radio.wcs.world_to_pixel(source.positions), axis=-1))
        members = islands_at(islands, xy - 0.5)  # from corners at integers to centres at integers
        middle = xy.mean(axis=0)
        if members:
            corners = source_box(islands, members, source.n_peaks) + 0.5
            middle = (corners[:2] + corners[2:]) / 2
        half = box_side(source) / 2
        x1, y1, x2, y2 = np.clip([*(middle - half), *(middle + half)], 0, FIELD_PIXELS).tolist()
        if min(x2 - x1, y2 - y1) < _MIN_SIDE_PIX:
            boxes.append(None)
            continue
        mean = SkyCoord(source.positions.cartesian.mean(), frame='icrs').spherical
        boxes.append(
            dict(
                bbox=[round(value, 3) for value in (x1, y1, x2 - x1, y2 - y1)],
                centre='islands' if members else 'components',
                ra=float(mean.lon.deg),
                dec=float(mean.lat.deg),
            )
        )
    return boxes


def measure_all(subjects: Sequence[RGZSubject], images: Mapping[str, Images], store: Path, log: Log) -> Measured:
    """Measure those subjects that have images, and keep the results in a file.

    A result is taken over from the file where subject, images (by path, size and time) and code are the same.

    Parameters
    ----------
    subjects : sequence of RGZSubject
    images : mapping
        Files of each subject, by its name.
    store : path
        The file of results; made where it is missing.
    log : Log
    """
    known = _read_store(store)
    kept: dict[str, dict[str, Any]] = {}
    results: dict[str, dict[str, Any]] = {}
    rejected: list[Rejection] = []
    with open(store, 'a', encoding='utf-8') as file:
        file.write('\n')  # ends a line that an interruption has cut off
        for subject in log.track([s for s in subjects if s.name in images], None, 'subjects measured'):
            files, faults = images[subject.name], []
            for usable in [files, files._replace(infrared=None)] if files.infrared else [files]:
                try:
                    key = _key(subject, usable)
                    result = known[key] if key in known else measure(subject, usable)
                except (InputError, OSError) as err:
                    # where the infrared image is at fault, the second attempt, without it, succeeds
                    faults.append(Rejection(subject.name, str(usable.infrared or usable.radio), str(err)))
                    continue
                if key not in known:
                    file.write(_line(key, result))
                    file.flush()
                kept[key] = results[subject.name] = result
                break
            rejected += faults[-1:]
    with atomic_outputs([store], overwrite=True) as (temporary,):  # without what no longer holds
        temporary.write_text(''.join(_line(*entry) for entry in kept.items()), encoding='utf-8')
    return Measured(results, rejected, len(known.keys() & kept.keys()))


def channel_means(results: Iterable[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Give the mean of each channel, by fusion method, over the subjects that have the images for it.

    D4 is filled with the mean of D3, as a picture of whole numbers, outside the hull (Section 3.4).

    Parameters
    ----------
    results : iterable of dict
        Results of `measure`, all of them of training subjects.
    """
    totals: dict[str, NDArray] = {}
    numbers: dict[str, int] = {}
    outside = 0
    for result in results:
        outside += result['outside']
        for name, sums in result['sums'].items():
            totals[name] = totals.get(name, np.zeros(3, np.int64)) + np.array(sums, np.int64)
            numbers[name] = numbers.get(name, 0) + 1
    if 'D3' in totals:
        fill = np.rint(totals['D3'] / (numbers['D3'] * _PIXELS)).astype(np.int64)
        totals['D4'] = totals['D4'] + outside * fill
    return {name: (total / (numbers[name] * _PIXELS)).tolist() for name, total in totals.items()}


def _sums(picture: NDArray) -> list[int]:
    return picture.sum(axis=(0, 1), dtype=np.int64).tolist()


def _key(subject: RGZSubject, images: Images) -> str:
    sources = [(s.positions.ra.deg.tolist(), s.positions.dec.deg.tolist(), *s[1:4]) for s in subject.sources]
    files = [
        (os.path.abspath(path), os.stat(path).st_size, os.stat(path).st_mtime_ns) if path else None for path in images
    ]
    parts = json.dumps([code_hash(*_CODE), subject.name, sources, files])
    return hashlib.sha256(parts.encode()).hexdigest()


def _line(key: str, result: Mapping[str, Any]) -> str:
    return json.dumps(dict(key=key, result=result)) + '\n'


def _read_store(path: Path) -> dict[str, dict[str, Any]]:
    """Read results by their keys; a line that was cut off by an interruption is left out."""
    known = {}
    if path.is_file():
        for line in path.read_text(encoding='utf-8', errors='replace').splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):
                entry = json.loads(line)
                known[entry['key']] = entry['result']
    return known

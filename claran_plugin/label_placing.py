"""Finding room for labels beside boxes in a crowded picture."""

import numpy as np
from numpy.typing import NDArray


def place_labels(
    boxes: NDArray,
    sizes: NDArray,
    obstacles: NDArray,
    frame: tuple[float, float, float, float],
    *,
    gap: float,
    needed: NDArray,
) -> NDArray:
    """Place one label beside each box, one after the other, where it covers least.

    A label stands above, below, right or left of its box and inside the frame. Where every place is taken by another
    label, it is left out, unless it is needed.

    Parameters
    ----------
    boxes : (n, 4) array
        xyxy.
    sizes : (n, 2) array
        Width and height of the labels.
    obstacles : (m, 4) array
        xyxy of what should rather not be covered.
    frame : (x1, y1, x2, y2)
    gap : float
        Between box and label.
    needed : (n,) bool array

    Returns
    -------
    (n, 2) array, lower left corners; NaN where a label is left out
    """
    low, high = np.array(frame[:2]), np.array(frame[2:])
    placed = np.empty((0, 4))
    corners = np.full((len(boxes), 2), np.nan)
    for k, (box, size) in enumerate(zip(boxes, sizes, strict=True)):
        if not np.isfinite(box).all() or (box[2:] < low).any() or (box[:2] > high).any():
            continue
        choices = np.clip(_choices(box, size, gap), low + gap, np.maximum(high - gap - size, low + gap))
        extents = np.concatenate([choices, choices + size], axis=-1)
        area = size.prod()
        on_labels = _overlap(extents, placed) / area
        cost = 10 * on_labels + _overlap(extents, obstacles) / area + 0.01 * np.arange(len(choices))
        best = int(np.argmin(cost))
        if on_labels[best] > 0.02 and not needed[k]:
            continue
        corners[k] = choices[best]
        placed = np.vstack([placed, extents[best]])
    return corners


def _choices(box: NDArray, size: NDArray, gap: float) -> NDArray:
    """Give the lower left corners (c, 2) of places around a box, best first."""
    x1, y1, x2, y2 = box
    width, height = size
    return np.array(
        [
            (x1, y2 + gap),
            (x1, y1 - gap - height),
            (x2 - width, y2 + gap),
            (x2 - width, y1 - gap - height),
            (x2 + gap, y2 - height),
            (x2 + gap, y1),
            (x1 - gap - width, y2 - height),
            (x1 - gap - width, y1),
        ]
    )


def _overlap(extents: NDArray, others: NDArray) -> NDArray:
    """Sum the areas that each extent (c, 4) shares with the others (m, 4)."""
    low = np.maximum(extents[:, None, :2], others[None, :, :2])
    high = np.minimum(extents[:, None, 2:], others[None, :, 2:])
    return np.nan_to_num(np.prod(np.maximum(high - low, 0), axis=-1)).sum(axis=-1)

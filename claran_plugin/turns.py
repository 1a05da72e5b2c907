"""The square's eight symmetries, numbered 0 to 7: 1 mirrors left and right, then 2 up and down, then 4 transposes."""

import numpy as np
from numpy.typing import NDArray

VIEWS = {1: (0,), 2: (0, 3), 4: (0, 3, 5, 6), 8: tuple(range(8))}
"""Symmetries under which a picture is looked at 1, 2, 4 (the quarter turns) or 8 times."""


def turned(image: NDArray, number: int) -> NDArray:
    """Turn an image (n, n) or a picture (n, n, channels)."""
    if number & 1:
        image = image[:, ::-1]
    if number & 2:
        image = image[::-1]
    if number & 4:
        image = image.swapaxes(0, 1)
    return np.ascontiguousarray(image)


def turned_boxes(boxes: NDArray, size: int, number: int) -> NDArray:
    """Turn boxes (..., 4), xyxy, with the image of some side that they lie on."""
    if number & 1:
        boxes = _mirrored(boxes, size, 0)
    if number & 2:
        boxes = _mirrored(boxes, size, 1)
    return boxes[..., [1, 0, 3, 2]] if number & 4 else boxes


def turned_back_boxes(boxes: NDArray, size: int, number: int) -> NDArray:
    """Undo `turned_boxes`."""
    if number & 4:
        boxes = boxes[..., [1, 0, 3, 2]]
    return turned_boxes(boxes, size, number & 3)


def _mirrored(boxes: NDArray, size: int, axis: int) -> NDArray:
    mirrored = boxes.copy()
    mirrored[..., axis], mirrored[..., axis + 2] = size - 1 - boxes[..., axis + 2], size - 1 - boxes[..., axis]
    return mirrored

"""Boxes on an image: xyxy, pixels."""

import numpy as np
from numpy.typing import NDArray


def box_iou(a: NDArray, b: NDArray) -> NDArray:
    """Give intersection over union of boxes (n, 4) and (m, 4), xyxy, as (n, m)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=-1)
    area_a, area_b = (np.prod(x[:, 2:] - x[:, :2], axis=1) for x in (a, b))
    union = area_a[:, None] + area_b[None] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def boxes_around(boxes: NDArray) -> NDArray:
    """Give the smallest box (4,) that holds boxes (n, 4), n > 0."""
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])

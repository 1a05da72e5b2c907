"""Training transforms: from a wide cut-out in units of the noise to the picture that the network sees."""

from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

from claran_plugin.fusion import FUSIONS


@TRANSFORMS.register_module()
class CutSubject(BaseTransform):
    """Cut a field of view out of a wider one, at random in training.

    Adds ``snr`` (size, size) float32 and moves ``gt_bboxes`` (n, 4) with it. Sources whose box lies less than half
    inside are dropped; those that are cut by the edge are marked in ``gt_ignore_flags``, as nobody could tell what they
    are.

    Parameters
    ----------
    size : int
        Side of the field of view, pixels.
    shift : int
        Largest random shift from the middle, pixels.
    zoom : float
        Largest random change of scale, as a fraction.
    turn : bool
        Random flips and quarter turns.
    """

    def __init__(self, size: int = 132, shift: int = 0, zoom: float = 0.0, turn: bool = False) -> None:
        self.size, self.shift, self.zoom, self.turn = size, shift, zoom, turn

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Cut, turn and zoom one subject."""
        wide = np.asarray(results['wide_snr'], np.float32)
        boxes = np.asarray(results['gt_bboxes'], np.float32).reshape(-1, 4)
        if self.turn:
            wide, boxes = turn(wide, boxes, np.random.randint(8))
        zoom = 1 + np.random.uniform(-self.zoom, self.zoom) if self.zoom else 1.0
        centre = (wide.shape[0] - 1) / 2 + np.random.uniform(-self.shift, self.shift, 2)
        offset = (self.size - 1) / 2 - zoom * centre
        to_field = np.array([[zoom, 0, offset[0]], [0, zoom, offset[1]]])
        snr = cv2.warpAffine(
            wide, to_field, (self.size, self.size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
        )
        boxes = boxes * zoom + np.tile(offset, 2).astype(np.float32)
        clipped = boxes.clip(-0.5, self.size - 0.5)
        inside = _areas(clipped) / np.maximum(_areas(boxes), 1e-6)
        keep = inside > 0.5
        results['snr'] = snr
        results['gt_bboxes'] = (clipped + 0.5)[keep]
        results['gt_bboxes_labels'] = np.asarray(results['gt_bboxes_labels'], np.int64)[keep]
        ignored = np.asarray(results['gt_ignore_flags'], bool)[keep]
        results['gt_ignore_flags'] = ignored | (inside[keep] < 0.8)
        return results


def turn(wide: np.ndarray, boxes: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Apply one of the square's eight symmetries to an image (n, n) and its boxes (k, 4)."""
    last = wide.shape[0] - 1
    if number & 1:
        wide, boxes = wide[:, ::-1], np.stack([last - boxes[:, 2], boxes[:, 1], last - boxes[:, 0], boxes[:, 3]], 1)
    if number & 2:
        wide, boxes = wide[::-1], np.stack([boxes[:, 0], last - boxes[:, 3], boxes[:, 2], last - boxes[:, 1]], 1)
    if number & 4:
        wide, boxes = wide.T, boxes[:, [1, 0, 3, 2]]
    return np.ascontiguousarray(wide), boxes


def _areas(boxes: np.ndarray) -> np.ndarray:
    return np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)


@TRANSFORMS.register_module()
class FuseSubject(BaseTransform):
    """Turn ``snr`` (and ``infrared``, where there is one) into the picture ``img`` (size, size, 3) uint8.

    Parameters
    ----------
    method : str
        One of the names in `claran_plugin.fusion.FUSIONS`.
    """

    def __init__(self, method: str = 'S') -> None:
        self.method = method

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Fuse one subject."""
        picture = FUSIONS[self.method](results['snr'], results.get('infrared'), rms=1.0)
        results['img'] = picture
        results['img_shape'] = results['ori_shape'] = picture.shape[:2]
        results['scale_factor'] = (1.0, 1.0)
        return results

"""Training transforms: from a wide cut-out in units of the noise to the picture that the network sees."""

from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes

from claran_plugin.fusion import FUSIONS
from claran_plugin.turns import turned, turned_boxes


@TRANSFORMS.register_module()
class CutSubject(BaseTransform):
    """Cut a field of view out of a wider one, at random in training.

    Adds ``snr`` (size, size) float32, and ``infrared`` where the subject has one, and moves ``gt_bboxes`` (n, 4) with
    it. Sources whose box lies less than half inside are dropped; those that are cut by the edge are marked in
    ``gt_ignore_flags``, as nobody could tell what they are.

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
    tilt : float
        Largest random turn by a small angle, deg. Boxes move with their middles and keep their sides, which follow from
        the extent of a source and do not depend on its direction.
    """

    def __init__(
        self, size: int = 132, shift: int = 0, zoom: float = 0.0, turn: bool = False, tilt: float = 0.0
    ) -> None:
        self.size, self.shift, self.zoom, self.turn, self.tilt = size, shift, zoom, turn, tilt

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Cut, turn and zoom one subject."""
        boxes = np.asarray(results['gt_bboxes'], np.float32).reshape(-1, 4)
        planes = [np.asarray(results['wide_snr'], np.float32)]
        if results.get('wide_infrared') is not None:
            planes.append(np.asarray(results['wide_infrared'], np.float32))
        if self.turn:
            number = np.random.randint(8)
            planes, boxes = [turned(plane, number) for plane in planes], turned_boxes(boxes, planes[0].shape[0], number)
        zoom = 1 + np.random.uniform(-self.zoom, self.zoom) if self.zoom else 1.0
        centre = (planes[0].shape[0] - 1) / 2 + np.random.uniform(-self.shift, self.shift, 2)
        angle = np.radians(np.random.uniform(-self.tilt, self.tilt)) if self.tilt else 0.0
        cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
        linear = np.array([[cos, -sin], [sin, cos]])
        offset = (self.size - 1) / 2 - linear @ centre
        to_field = np.column_stack([linear, offset])
        fields = [
            cv2.warpAffine(
                plane, to_field, (self.size, self.size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
            )
            for plane in planes
        ]
        middles = (boxes[:, :2] + boxes[:, 2:]) / 2 @ linear.T + offset
        half = (boxes[:, 2:] - boxes[:, :2]) / 2 * zoom
        boxes = np.concatenate([middles - half, middles + half], axis=1).astype(np.float32)
        clipped = boxes.clip(-0.5, self.size - 0.5)
        inside = _areas(clipped) / np.maximum(_areas(boxes), 1e-6)
        keep = inside > 0.5
        results.update(zip(('snr', 'infrared'), fields, strict=False))
        results['gt_bboxes'] = (clipped + 0.5)[keep]
        results['gt_bboxes_labels'] = np.asarray(results['gt_bboxes_labels'], np.int64)[keep]
        ignored = np.asarray(results['gt_ignore_flags'], bool)[keep]
        results['gt_ignore_flags'] = ignored | (inside[keep] < 0.8)
        return results


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
        if 'gt_bboxes' in results:
            results['gt_bboxes'] = HorizontalBoxes(results['gt_bboxes'])  # what mmdet's transforms take
        return results


@TRANSFORMS.register_module()
class TurnPicture(BaseTransform):
    """Turn a square picture ``img`` (n, n, channels) and its ``gt_bboxes`` by a random one of its eight symmetries."""

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Turn one picture."""
        number = np.random.randint(8)
        boxes = results['gt_bboxes']
        # mmdet's boxes are counted from the edge of the first pixel, ours from its centre
        boxes.tensor = boxes.tensor.new_tensor(
            turned_boxes(boxes.tensor.numpy() - 0.5, results['img'].shape[0], number) + 0.5
        )
        results['img'] = turned(results['img'], number)
        return results

"""mmengine hooks that draw what the detector finds beside the truth, during validation and in tests."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import mmcv
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from mmdet.engine.hooks import DetVisualizationHook
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from numpy.typing import NDArray

COLOURS = ('#4fc3f7', '#81c784', '#ff8a65', '#ce93d8', '#ffd54f', '#4db6ac')
"""Of the classes, in turn."""


class Subject(NamedTuple):
    """A validation subject, in pixels of the picture; row 0 is the southernmost.

    `picture` is (H, W, 3) uint8, the boxes are (n, 4) xyxy, `labels` and `found_labels` are class numbers.
    """

    name: str
    picture: NDArray
    boxes: NDArray
    labels: NDArray
    found_boxes: NDArray
    found_labels: NDArray
    probabilities: NDArray


@HOOKS.register_module()
class PredictionPictures(Hook):
    """Draw a few subjects, always the same, at every validation: truth on the left, detections on the right.

    North is up. The picture goes to the run's visualizer, whose local backend writes
    ``vis_data/vis_image/predictions_ITERATION.png``.

    Parameters
    ----------
    number : int
        Of subjects, evenly spread over the validation set.
    min_probability : float
        Detections below this are not drawn.
    """

    priority = 'LOW'

    def __init__(self, number: int = 4, min_probability: float = 0.3) -> None:
        self.number, self.min_probability = number, min_probability
        self.subjects: list[Subject] = []

    def before_val_epoch(self, runner: Runner) -> None:
        """Begin anew."""
        self.subjects = []

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Sequence[Any] | None = None
    ) -> None:
        """Keep a batch's subjects that are to be drawn."""
        if not is_main_process() or data_batch is None or outputs is None:
            return
        loader = runner.val_dataloader
        wanted = set(np.linspace(0, len(loader.sampler) - 1, self.number).round().astype(int).tolist())
        first = batch_idx * (loader.batch_size or 1)
        for k, sample in enumerate(outputs):
            if first + k in wanted:
                self.subjects.append(subject_of(data_batch['inputs'][k], sample, self.min_probability))

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Draw them."""
        if self.subjects:
            classes = runner.val_dataloader.dataset.metainfo['classes']
            runner.visualizer.add_image('predictions', draw_subjects(self.subjects, classes), step=runner.iter)


@HOOKS.register_module()
class DetectionPictures(DetVisualizationHook):
    """Write a picture of each subject that is tested with ``--show-dir``: truth beside detections.

    Pictures are called as the subjects and lie in the folder that mmdet's tool gives, ``WORK_DIR/TIME/SHOW_DIR``.
    """

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch: Any, outputs: Sequence[Any]) -> None:
        """Draw a batch's subjects; of several views of one the first."""
        if not self.draw or self.test_out_dir is None:
            return
        folder = Path(runner.work_dir) / runner.timestamp / self.test_out_dir
        folder.mkdir(parents=True, exist_ok=True)
        classes = runner.test_dataloader.dataset.metainfo['classes']
        inputs = data_batch['inputs']
        for k, sample in enumerate(outputs):
            view = inputs[0][k] if isinstance(inputs[0], list | tuple) else inputs[k]
            subject = subject_of(view, sample, self.score_thr)
            mmcv.imwrite(draw_subjects([subject], classes)[..., ::-1], str(folder / f'{subject.name}.png'))


def subject_of(inputs: Any, sample: Any, min_probability: float) -> Subject:
    """Take what is drawn of a subject out of a batch: its picture (3, H, W) and mmdet's sample."""
    scale = np.tile(np.asarray(sample.metainfo.get('scale_factor', (1.0, 1.0)), float), 2)
    found = sample.pred_instances
    found = found[found.scores >= min_probability]
    truth = sample.gt_instances.bboxes
    return Subject(
        name=Path(sample.metainfo.get('img_path', '')).name.split('.fits')[0].removesuffix('.png'),
        picture=inputs.permute(1, 2, 0).cpu().numpy().astype(np.uint8),
        boxes=np.asarray(getattr(truth, 'tensor', truth).cpu(), float),
        labels=sample.gt_instances.labels.cpu().numpy(),
        found_boxes=found.bboxes.cpu().numpy() * scale,  # detections are in pixels of the unscaled field
        found_labels=found.labels.cpu().numpy(),
        probabilities=found.scores.cpu().numpy(),
    )


def draw_subjects(subjects: Sequence[Subject], classes: Sequence[str]) -> NDArray:
    """Draw subjects, one per row, as one picture (H, W, 3) uint8."""
    figure = Figure(figsize=(6, 3.2 * len(subjects)), layout='constrained', dpi=110)
    canvas = FigureCanvasAgg(figure)
    for (left, right), subject in zip(figure.subplots(len(subjects), 2, squeeze=False), subjects, strict=True):
        _draw(left, subject.picture, subject.boxes, subject.labels, [classes[k] for k in subject.labels])
        texts = [f'{classes[k]} {p:.2f}' for k, p in zip(subject.found_labels, subject.probabilities, strict=True)]
        _draw(right, subject.picture, subject.found_boxes, subject.found_labels, texts)
        left.set_title(f'{subject.name}\ntruth', fontsize=8)
        right.set_title('\ndetections', fontsize=8)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _draw(axis: Axes, picture: NDArray, boxes: NDArray, labels: NDArray, texts: Sequence[str]) -> None:
    height, width = picture.shape[:2]
    axis.imshow(picture, origin='lower', extent=(0, width, 0, height))
    axis.set(xticks=[], yticks=[], xlim=(0, width), ylim=(0, height))
    for (x1, y1, x2, y2), label, text in zip(boxes, labels, texts, strict=True):
        colour = COLOURS[label % len(COLOURS)]
        axis.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=1.2))
        below = y2 > 0.93 * height  # there is no room above
        axis.annotate(
            text,
            (min(max(x1, 0), 0.75 * width), y1 if below else y2),
            xytext=(0, -2 if below else 2),
            textcoords='offset points',
            va='top' if below else 'bottom',
            fontsize=7,
            color='black',
            bbox=dict(facecolor=colour, edgecolor='none', alpha=0.85, pad=1),
        )

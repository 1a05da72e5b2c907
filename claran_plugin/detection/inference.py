"""Running a trained detector on pictures of fields of view, in batches."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from mmcv.cnn.utils import fuse_conv_bn
from mmdet.models.roi_heads.bbox_heads import BBoxHead
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from mmengine.utils import import_modules_from_strings
from numpy.typing import NDArray
from torch.nn import functional

from claran_plugin.detection import eight_bits, mixed_precision
from claran_plugin.detection.config_facts import fusion_of, input_size_of
from claran_plugin.detection.devices import choose_device, in_single_precision, on_one_thread
from claran_plugin.detection.weights_files import read_weights, said
from claran_plugin.errors import InputError
from claran_plugin.models import PRECISIONS, ranges_beside
from claran_plugin.morphology import CLASSES

HALVED = ('backbone', 'neck', 'rpn_head.rpn_conv', 'roi_head.bbox_head')
"""The detector's parts where the time goes; they multiply in bfloat16 on CPUs that are fast in it."""
HALVED_STILL = ('roi_head.bbox_head',)
"""Those of them that do where the others use eight bits."""
FOR_TRAINING = 'claran_plugin.detection.training'
"""A module that running a detector does not need, though its config imports it."""
BATCH_ON_CPU, BATCH_ON_GPU = 16, 64
"""Pictures that are looked at together."""
MOST_THREADS = 16
"""Batches that are looked at at once on a CPU, at most."""


class Detector:
    """A Faster R-CNN that gives every proposal's six class probabilities.

    Parameters
    ----------
    config : path
        An mmdet config of this package or one derived from it.
    weights : path
        A state dictionary, as it is or under ``state_dict``; loaded with ``weights_only=True``. Beside them there may
        be ``NAME.ranges.json`` for convolutions in eight bits (`eight_bits`).
    device : str
        See `devices.choose_device`.
    precision : str
        ``auto``: ``half`` on a GPU; on a CPU eight bits in the convolutions where there are ranges for it and the CPU
        is fast in it, otherwise ``half``; ``half``: float16 on a GPU, bfloat16 on a CPU that multiplies in it;
        ``full``: float32. Eight bits make probabilities differ by some hundredths, bfloat16 by some thousandths.

    Attributes
    ----------
    precision : str
        ``int8``, ``float16``, ``bfloat16`` or ``float32``.

    Raises
    ------
    InputError
        Where the config or the weights cannot be read, do not belong together, the detector gives something else than
        a box for each of the six classes, or the device is not there.
    """

    @on_one_thread()
    def __init__(self, config: str | Path, weights: str | Path, device: str = 'auto', precision: str = 'auto') -> None:
        if precision not in PRECISIONS:
            raise InputError(f'{precision}: not a precision; give one of {", ".join(PRECISIONS)} with --precision')
        self.device = choose_device(device)
        read = read_weights(weights)
        self.weights_hash, state = read.digest, read.state
        self.config = _read_config(config)
        self.method, self.fusion_options = fusion_of(self.config)
        if read.fusion not in (None, self.method):
            raise InputError(
                f'{weights}: was trained on pictures {read.fusion}, and {config} looks at pictures {self.method}: give '
                'the config that it was trained by with --model'
            )
        init_default_scope('mmdet')
        self.model = _build(self.config, config)
        _check_heads(self.model, config)
        _load(self.model, state, weights)
        # Batch normalisation goes into the convolutions before it, for a sixth of the time and no difference but
        # rounding. The model moves to the device when it is first used: PyBDSF forks, which is safest before CUDA
        # starts.
        self.model = fuse_conv_bn(self.model.eval()).to(memory_format=torch.channels_last)
        self.precision = _precision(precision, self.device)
        beside = ranges_beside(weights)
        if precision == 'auto' and self.device.type == 'cpu' and beside.is_file() and eight_bits.is_fast_on_cpu():
            ranges = eight_bits.read_ranges(beside, self.weights_hash, self.model)
            if ranges is not None:
                eight_bits.run_in_eight_bits(self.model, ranges)
                self.precision = 'int8'
        self._takes_pictures = self.precision == 'int8' and eight_bits.takes_pictures(self.model)
        if self.precision in ('int8', 'bfloat16') and mixed_precision.is_fast_on_cpu():
            parts = HALVED if self.precision == 'bfloat16' else HALVED_STILL
            modules = dict(self.model.named_modules())
            mixed_precision.run_in_bfloat16([modules[name] for name in parts if name in modules], 'cpu')
        # Without a test configuration the RoI head returns all proposals with all class probabilities.
        self.model.roi_head.test_cfg = None
        self.input_size = input_size_of(self.config)

    def __call__(self, pictures: NDArray) -> list[InstanceData]:
        """Look at pictures.

        Parameters
        ----------
        pictures : (n, s, s, 3) uint8 array
            Where a GPU's memory is too small for all at once, halves are looked at in turn.

        Returns
        -------
        n InstanceData with `bboxes` (p, 6, 4) float32, the box of each proposal for each class, xyxy in pixels of the
        picture with integral pixel centres, and `scores` (p, 6) float32, its class probabilities (the rest is
        background)

        Raises
        ------
        InputError
            Where a GPU cannot be used, or its memory is too small for one picture.
        """
        try:
            return self._look(pictures)
        except torch.OutOfMemoryError as err:
            if len(pictures) < 2:
                raise InputError(
                    f'{self.device}: too little memory is free ({said(err)}); run fewer programs (survey: --workers) '
                    'on it, or give --device cpu'
                ) from err
        except RuntimeError as err:
            if self.device.type == 'cpu':
                raise
            raise InputError(f'{self.device}: cannot be used ({said(err)}); give --device cpu or another') from err
        torch.cuda.empty_cache()
        half = len(pictures) // 2
        return [*self(pictures[:half]), *self(pictures[half:])]

    @cached_property
    def _moved(self) -> torch.nn.Module:
        """The model, on its device. Its parameters are ordinary ones, so that others may train them further."""
        with torch.inference_mode(False):
            return self.model.to(self.device)

    @torch.inference_mode()
    def _look(self, pictures: NDArray) -> list[InstanceData]:
        model = self._moved
        side = pictures.shape[1]
        batch = torch.from_numpy(np.ascontiguousarray(pictures)).to(self.device).permute(0, 3, 1, 2)
        samples = [DetDataSample(metainfo=self._metainfo()) for _ in range(len(batch))]
        if not (side == self.input_size and self._takes_pictures):
            batch = batch.float()
            if side != self.input_size:
                batch = functional.interpolate(batch, (self.input_size,) * 2, mode='bilinear', align_corners=False)
            batch = model.data_preprocessor(dict(inputs=batch, data_samples=samples), False)['inputs']
        exact = in_single_precision(self.device) if self.precision == 'float32' else nullcontext()
        with exact, torch.autocast(self.device.type, dtype=torch.float16, enabled=self.precision == 'float16'):
            results = model.predict(batch, samples, rescale=False)
        return _in_numpy([sample.pred_instances for sample in results], side / self.input_size)

    def in_batches(self, pictures: Iterable[NDArray], batch_size: int | None = None) -> Iterator[InstanceData]:
        """Look at single pictures (s, s, 3) as they come, by default 16 at a time on a CPU and 64 on a GPU.

        Batches are looked at in threads, on a CPU as many as torch would use for one batch: that leaves no core waiting
        in the small steps between the convolutions, and the caller makes the next pictures meanwhile.
        """
        on_cpu = self.device.type == 'cpu'
        number = min(torch.get_num_threads(), MOST_THREADS) if on_cpu else 1
        size = batch_size or (BATCH_ON_CPU if on_cpu else BATCH_ON_GPU)
        waiting: deque[Future] = deque()
        with ThreadPoolExecutor(number, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            try:
                for batch in batches(pictures, size):
                    waiting.append(pool.submit(self, batch))
                    if len(waiting) > number:
                        yield from waiting.popleft().result()
                while waiting:
                    yield from waiting.popleft().result()
            finally:
                pool.shutdown(cancel_futures=True)

    def _metainfo(self) -> dict:
        size = (self.input_size, self.input_size)
        return dict(img_shape=size, ori_shape=size, pad_shape=size, batch_input_shape=size, scale_factor=(1.0, 1.0))


def _in_numpy(found: list[InstanceData], scale: float) -> list[InstanceData]:
    """Bring what is found on each picture to the CPU, all at once, and onto pictures of another size."""
    # where a picture has no proposals, mmdet's boxes of it are of another width
    boxes = torch.cat([one.bboxes for one in found if len(one.scores)] or [found[0].bboxes]).float().cpu().numpy()
    boxes = boxes.reshape(-1, len(CLASSES), 4) * scale - 0.5
    scores = torch.cat([one.scores for one in found]).float().cpu().numpy()[:, : len(CLASSES)]
    last = np.cumsum([len(one.scores) for one in found])[:-1]
    parts = zip(np.split(boxes, last), np.split(scores, last), strict=True)
    return [InstanceData(bboxes=box, scores=score) for box, score in parts]


def batches(pictures: Iterable[NDArray], size: int) -> Iterator[NDArray]:
    """Stack pictures as they come, `size` at a time."""
    waiting: list[NDArray] = []
    for picture in pictures:
        waiting.append(picture)
        if len(waiting) == size:
            yield np.stack(waiting)
            waiting = []
    if waiting:
        yield np.stack(waiting)


def _load(model: torch.nn.Module, state: dict[str, torch.Tensor], path: str | Path) -> None:
    own = model.state_dict()
    missing, foreign = sorted(set(own) - set(state)), sorted(set(state) - set(own))
    misfits = [name for name in set(own) & set(state) if own[name].shape != state[name].shape]
    if missing or foreign or misfits:
        faults = [f'{len(names)} {what} ({names[0]}, ...)' for what, names in
                  (('missing', missing), ('unknown', foreign), ('of another shape', misfits)) if names]  # fmt: skip
        raise InputError(
            f'{path}: weights of another model: {"; ".join(faults)}; give the config they belong to with --model'
        )
    model.load_state_dict(state)


def _read_config(path: str | Path) -> Config:
    if not Path(path).is_file():
        raise InputError(
            f'{path}: no such config; give an mmdet config file, or the name of a bundled model, with --model'
        )
    try:
        config = Config.fromfile(path, import_custom_modules=False)
        custom = dict(config.get('custom_imports') or dict(imports=[]))
        names = [custom['imports']] if isinstance(custom['imports'], str) else custom['imports']
        import_modules_from_strings(**{**custom, 'imports': [name for name in names if name != FOR_TRAINING]})
    except Exception as err:
        raise InputError(f'{path}: not a readable mmdet config ({said(err)}); correct it') from err
    if 'model' not in config:
        raise InputError(f'{path}: has no "model"; give an mmdet config of a detector')
    return config


def _build(config: Config, path: str | Path) -> torch.nn.Module:
    try:
        return MODELS.build(config.model)
    except Exception as err:
        raise InputError(f'{path}: its model cannot be built ({said(err)}); correct the config') from err


def _check_heads(model: torch.nn.Module, path: str | Path) -> None:
    head = getattr(getattr(model, 'roi_head', None), 'bbox_head', None)
    if not isinstance(head, BBoxHead) or head.num_classes != len(CLASSES) or head.reg_class_agnostic:
        raise InputError(
            f'{path}: has no second stage that gives the {len(CLASSES)} classes {" ".join(CLASSES)} and a box for each '
            '(a Faster R-CNN with reg_class_agnostic=False), so its sources cannot be associated; give another config'
        )


def _precision(name: str, device: torch.device) -> str:
    if name == 'full':
        return 'float32'
    if device.type == 'cuda':
        return 'float16'
    return 'bfloat16' if mixed_precision.is_fast_on_cpu() else 'float32'

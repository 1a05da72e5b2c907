"""Training in bfloat16 and float32, on a CPU too."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import Tensor, nn

PARTS = ('backbone', 'neck', 'rpn_head', 'roi_head.bbox_head')
"""The detector's parts that consist of convolutions and fully-connected layers."""


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Let the convolutions and the fully-connected layers multiply in bfloat16 while training.

    The weights, and all that is computed with the layers' results (boxes, RoI pooling, suppression, losses), stay in
    float32: eight binary digits do not tell neighbouring pixels apart in a picture of 600, and mmdet's operators take
    no bfloat16 on a CPU. bfloat16 has the range of float32, so the loss needs no scaling.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Compute the losses in mixed precision."""
        detector = model.module if is_model_wrapper(model) else model
        modules = dict(detector.named_modules())
        parts = [modules[name] for name in PARTS if name in modules]
        with super().optim_context(model):
            try:
                for part in parts:
                    part.forward = _in_bfloat16(part.forward)
                yield
            finally:
                for part in parts:
                    vars(part).pop('forward', None)


def _in_bfloat16(forward: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(forward)
    def mixed(*args: Any, **kwargs: Any) -> Any:
        with torch.autocast(get_device(), dtype=torch.bfloat16):
            result = forward(*args, **kwargs)
        return _to_float32(result)

    return mixed


def _to_float32(result: Any) -> Any:
    if isinstance(result, Tensor):
        return result.float() if result.dtype == torch.bfloat16 else result
    if isinstance(result, list | tuple):
        return type(result)(_to_float32(part) for part in result)
    return result

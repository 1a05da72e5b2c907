"""Convolutions and fully-connected layers in bfloat16, the rest in float32, on a CPU too."""

from collections.abc import Callable, Iterator, Sequence
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
        with super().optim_context(model), in_bfloat16(parts, get_device()):
            yield


def is_fast_on_cpu() -> bool:
    """Tell whether this CPU multiplies in bfloat16 (AVX512-BF16 or AMX), which it then does twice as fast."""
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def run_in_bfloat16(parts: Sequence[nn.Module], device: str) -> None:
    """Let some parts of a detector multiply in bfloat16 from now on; their results are float32."""
    for part in parts:
        part.forward = _in_bfloat16(part.forward, device)


@contextmanager
def in_bfloat16(parts: Sequence[nn.Module], device: str) -> Iterator[None]:
    """Let some parts of a detector multiply in bfloat16 within a with statement."""
    try:
        run_in_bfloat16(parts, device)
        yield
    finally:
        for part in parts:
            vars(part).pop('forward', None)


def _in_bfloat16(forward: Callable[..., Any], device: str) -> Callable[..., Any]:
    @wraps(forward)
    def mixed(*args: Any, **kwargs: Any) -> Any:
        with torch.autocast(device, dtype=torch.bfloat16):
            result = forward(*args, **kwargs)
        return _to_float32(result)

    return mixed


def _to_float32(result: Any) -> Any:
    if isinstance(result, Tensor):
        return result.float() if result.dtype == torch.bfloat16 else result
    if isinstance(result, list | tuple):
        return type(result)(_to_float32(part) for part in result)
    return result

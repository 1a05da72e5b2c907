"""Tensors that say that they are on a GPU while their numbers are on the CPU: so any build of torch runs a GPU's paths.

An operator that gets tensors of several devices fails, as it would on a real GPU.
"""

import contextlib
import ctypes
import sys
from pathlib import Path
from unittest import mock

import mmcv.ops  # noqa: F401
import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

TAKE_BOTH = ('aten::index', 'aten::_unsafe_index', 'aten::_index_put', 'aten::copy_')
"""Operators that take CPU tensors beside those of a GPU."""
GUARDS, CUDA, META = '_ZN3c104impl26device_guard_impl_registryE', 1, 14
"""torch's table of what guards each kind of device, and places in it."""


def is_possible():
    """Tell whether this torch has the table."""
    try:
        _guards()
    except (OSError, ValueError):
        return False
    return True


class Pretended(torch.Tensor):
    @staticmethod
    def __new__(cls, inside, device):
        like = dict(strides=inside.stride(), dtype=inside.dtype, storage_offset=inside.storage_offset())
        made = torch.Tensor._make_wrapper_subclass(cls, inside.shape, **like, device=device)
        made.inside = inside
        return made

    # torch makes the results of these two past __torch_dispatch__.

    def new_tensor(self, data, dtype=None, device=None):
        return torch.tensor(data, dtype=dtype or self.dtype).to(device or self.device)

    def __getitem__(self, index):
        parts = index if isinstance(index, tuple) else (index,)
        return super().__getitem__(
            tuple(torch.as_tensor(part) if isinstance(part, list | np.ndarray) else part for part in parts)
        )

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        """Check an operator's devices, run it on the CPU, and say that its result is where it would be."""
        kwargs, name = kwargs or {}, func.name()
        if 'shallow_copy' in name:
            return False  # modules get new parameters when they move
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        there = {tensor.device for tensor in tensors if isinstance(tensor, cls)}
        if there and not name.startswith(TAKE_BOTH):
            stray = [(tuple(one.shape), one.dtype) for one in tensors if not isinstance(one, cls) and one.dim()]
            assert len(there) == 1, f'{func}: tensors on {there}'
            assert not stray, f'{func}: on {there}, beside tensors on the CPU {stray}'
        asked = kwargs.get('device')
        device = torch.device(asked) if asked is not None else next(iter(there), torch.device('cpu'))
        moved, plain = tree_map(lambda leaf: leaf.inside if isinstance(leaf, cls) else leaf, (args, kwargs))
        out = func(*moved, **plain | ({'device': 'cpu'} if asked is not None else {}))
        if device.type == 'cpu' or (name.startswith('aten::copy_') and not isinstance(args[0], cls)):
            return out
        device = torch.device('cuda', max(device.index or 0, 0))  # 'cuda' without a number arrives as meta
        out = tree_map(lambda leaf: cls(leaf, device) if isinstance(leaf, torch.Tensor) else leaf, out)
        return return_and_correct_aliasing(func, args, kwargs, out) if there else out


class PretendedMode(TorchDispatchMode):
    """Catches what makes tensors on a GPU; each thread needs its own."""

    def __torch_dispatch__(self, *call):
        return Pretended.__torch_dispatch__(*call)


@contextlib.contextmanager
def pretended_gpus(number=1, *, operators=True):
    """Pretend that there are GPUs, and, unless told otherwise, that mmcv has operators for them."""
    guards = _guards()
    guards[CUDA] = guards[CUDA] or guards[META]  # a CPU build then guards GPUs as it does meta devices: not at all
    module = sys.modules['mmcv.ops.nms'].ext_module
    real = module.nms

    def nms(boxes, scores, **options):
        assert boxes.device == scores.device
        assert boxes.dtype == scores.dtype == torch.float32  # as CUDA's own wants it
        plain, device = [getattr(x, 'inside', x).contiguous() for x in (boxes, scores)], boxes.device
        kept = real(*plain, **options)
        return kept if device.type == 'cpu' else Pretended(kept, device)

    overwrite = torch.__future__.set_overwrite_module_params_on_conversion
    told = dict(is_available=lambda: True, device_count=lambda: number, is_bf16_supported=lambda *_, **__: True)
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.multiple(torch.cuda, _initialized=True, **told))
        stack.enter_context(mock.patch.object(torch.version, 'cuda', '12.9'))
        stack.enter_context(mock.patch('torch.cuda.amp.common.amp_definitely_not_available', lambda: False))
        if operators:
            stack.enter_context(mock.patch.object(module, 'nms', nms))
            built = 'claran_plugin.detection.devices.get_compiling_cuda_version'
            stack.enter_context(mock.patch(built, lambda: '12.9'))
        stack.enter_context(PretendedMode())
        overwrite(True)
        stack.callback(overwrite, False)
        yield


def _guards():
    library = ctypes.CDLL(str(Path(torch.__file__).parent / 'lib' / 'libc10.so'))
    return (ctypes.c_void_p * 21).in_dll(library, GUARDS)

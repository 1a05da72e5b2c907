"""Where a detector runs: which devices there are, and what they can do."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmcv.ops import get_compiling_cuda_version

from claran_plugin.errors import InputError, InputWarning

REBUILD = 'build mmcv with them ("make FORCE_CUDA=1", which needs nvcc of the CUDA that torch is for)'


def choose_device(name: str) -> torch.device:
    """Choose a device.

    Parameters
    ----------
    name : str
        ``cpu``, ``cuda`` or ``cuda:N``; ``auto``, a GPU where there is one that can be used, or ``auto:N``, where
        several programs are to share the GPUs: number N's is the (N + 1)th, and again from the first.

    Raises
    ------
    InputError
        Where there is no such device, or mmcv's operators have not been built for it.

    Warns
    -----
    InputWarning
        Where there is a GPU that ``auto`` cannot use.
    """
    kind, _, number = name.partition(':')
    if kind == 'auto' and (not number or number.isdigit()):
        return _best(int(number or 0))
    try:
        device = torch.device(name)
    except RuntimeError as err:
        raise InputError(f'{name}: not a device; give auto, cpu or cuda:N with --device') from err
    if device.type not in ('cpu', 'cuda'):
        raise InputError(f'{name}: devices of this kind are not supported; give auto, cpu or cuda:N with --device')
    if device.type == 'cpu':
        return device
    if torch.version.cuda is None and not torch.cuda.is_available():
        raise InputError(f'{name}: this torch was built for CPUs only; install one for CUDA, or give --device cpu')
    if (device.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f'{name}: there are {torch.cuda.device_count()} CUDA devices here; give --device cpu or another'
        )
    if not has_cuda_operators():
        raise InputError(f'{name}: mmcv has no operators for CUDA; {REBUILD}, or give --device cpu')
    return torch.device('cuda', device.index or 0)


def _best(number: int) -> torch.device:
    if not torch.cuda.is_available():
        return torch.device('cpu')
    if not has_cuda_operators():
        warnings.warn(
            f'there is a GPU, but mmcv has no operators for CUDA, so the CPU is used: to use the GPU, {REBUILD}',
            InputWarning,
            stacklevel=4,
        )
        return torch.device('cpu')
    return torch.device('cuda', number % torch.cuda.device_count())


def has_cuda_operators() -> bool:
    """Tell whether mmcv was built with its operators for CUDA; torch may see a GPU without."""
    return get_compiling_cuda_version() != 'not available'


@contextmanager
def in_single_precision(device: torch.device) -> Iterator[None]:
    """Let a GPU's convolutions keep the digits of single precision: by default cuDNN leaves 13 of 23 out (TF32)."""
    if device.type != 'cuda':
        yield
        return
    cudnn = torch.backends.cudnn
    with cudnn.flags(
        enabled=cudnn.enabled, benchmark=cudnn.benchmark, deterministic=cudnn.deterministic, allow_tf32=False
    ):
        yield


@contextmanager
def on_one_thread() -> Iterator[None]:
    """Let torch calculate on one thread: in many small steps, several mostly wait for each other."""
    number = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(number)

"""mmengine's Runner, for machines without a GPU too."""

import atexit
import os
import subprocess
from typing import Any

import torch
from mmengine.device import utils as mmengine_device
from mmengine.dist import is_distributed
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from mmengine.registry import RUNNERS
from mmengine.runner import CheckpointLoader, Runner
from torch import nn
from torch.distributed import barrier, destroy_process_group, init_process_group, is_initialized

from claran_plugin.detection.devices import REBUILD, has_cuda_operators
from claran_plugin.errors import InputError

if mmengine_device.DEVICE == 'mps':
    # mmengine would train on a Mac's GPU, for which mmcv has neither suppression nor RoI pooling.
    mmengine_device.DEVICE = 'cpu'

LAUNCHED = dict(
    mpi=dict(RANK='OMPI_COMM_WORLD_RANK', WORLD_SIZE='OMPI_COMM_WORLD_SIZE', LOCAL_RANK='OMPI_COMM_WORLD_LOCAL_RANK'),
    slurm=dict(RANK='SLURM_PROCID', WORLD_SIZE='SLURM_NTASKS', LOCAL_RANK='SLURM_LOCALID'),
)
"""What torch, and what a launcher, calls the number of a process, that of all, and the number on its machine."""


@RUNNERS.register_module()
class ClaranRunner(Runner):
    """A Runner that can also train on CPUs in several processes, and in mixed precision.

    mmdet's tools use it where a config says ``runner_type = 'ClaranRunner'``. Where there is a GPU, it does as mmengine
    does; where there is none, mmengine's launcher, its wrapper of the model and its ``AmpOptimWrapper`` refuse to work.
    """

    _is_testing = False

    def setup_env(self, env_cfg: dict) -> None:
        """Start the processes' group, over gloo where there is no GPU.

        Raises
        ------
        InputError
            Where mmcv was not built for the GPU that there is, or there are fewer GPUs than processes; or where the
            launcher has not started this process.
        """
        _check_gpus()
        if self.distributed and not is_distributed() and not torch.cuda.is_available():
            _number_processes(self.launcher)
            init_process_group('gloo')
            # gloo's threads must end before the interpreter does, or else a process may be aborted after its work.
            atexit.register(_leave_group)
        super().setup_env(env_cfg)

    def train(self) -> nn.Module:
        """Train; the processes end together."""
        model = super().train()
        self._wait()
        return model

    def test(self) -> dict:
        """Test; the processes end together."""
        self._is_testing = True
        metrics = super().test()
        self._wait()
        return metrics

    def load_checkpoint(self, filename: str, *args: Any, **options: Any) -> dict:
        """Load a checkpoint; a damaged file is named, and one of another model is refused where it is tested."""
        if self._is_testing:
            options['strict'] = True
        try:
            return super().load_checkpoint(filename, *args, **options)
        except (FileNotFoundError, InputError):
            raise
        except Exception as err:
            told = ' '.join(str(err).split())[:200]
            signs = ('size mismatch', 'missing key', 'unexpected key')
            if isinstance(err, RuntimeError) and any(sign in str(err) for sign in signs):
                raise InputError(
                    f'{filename}: weights of another model ({told}); give the config they belong to'
                ) from err
            if isinstance(err, OSError) and '://' in str(filename):
                raise InputError(
                    f'{filename}: cannot be fetched ({type(err).__name__}: {told}); check the address and the '
                    'connection, or fetch it by other means and give the file'
                ) from err
            if _is_readable(filename):
                raise
            raise InputError(
                f'{filename}: not a checkpoint, or cut off while it was written ({type(err).__name__}: {told}); '
                'give another one, to resume with --resume FILE'
            ) from err

    def _wait(self) -> None:
        if self.distributed and is_initialized() and not torch.cuda.is_available():
            barrier()

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Wrap the model for several processes."""
        if model_wrapper_cfg is None and self.distributed and not torch.cuda.is_available():
            return MMDistributedDataParallel(
                module=model,
                broadcast_buffers=False,
                find_unused_parameters=self.cfg.get('find_unused_parameters', False),
            )
        return super().wrap_model(model_wrapper_cfg, model)

    def build_optim_wrapper(self, optim_wrapper: Any) -> OptimWrapper:
        """Build the optimiser; without a GPU, what ``--amp`` asks for becomes `BFloat16OptimWrapper`."""
        if isinstance(optim_wrapper, dict) and not torch.cuda.is_available():
            optim_wrapper = dict(optim_wrapper)
            if optim_wrapper.get('type') == 'AmpOptimWrapper':
                optim_wrapper['type'] = 'BFloat16OptimWrapper'
                for option in ('loss_scale', 'dtype', 'use_fsdp'):
                    optim_wrapper.pop(option, None)
        return super().build_optim_wrapper(optim_wrapper)


def _check_gpus() -> None:
    """Raise InputError where the GPUs do not suffice."""
    if not torch.cuda.is_available():
        return
    without = 'to train on CPUs, set CUDA_VISIBLE_DEVICES to nothing'
    if not has_cuda_operators():
        raise InputError(f'there is a GPU, but mmcv has no operators for CUDA: {REBUILD}; {without}')
    number, there = int(os.environ.get('LOCAL_RANK', 0)) + 1, torch.cuda.device_count()
    if number > there:
        raise InputError(f'{number} processes or more, but {there} GPUs: start fewer (--processes {there}); {without}')


def _is_readable(filename: str) -> bool:
    """Tell whether there is a checkpoint in a file; where there is none, torch may fail in any way."""
    try:
        CheckpointLoader.load_checkpoint(filename, map_location='cpu')
    except Exception:
        return False
    return True


def _number_processes(launcher: str) -> None:
    """Tell torch what a launcher says of this process, as mmengine does where there is a GPU."""
    if launcher not in LAUNCHED:
        return
    for name, given in LAUNCHED[launcher].items():
        if given not in os.environ:
            starter = dict(mpi='mpirun', slurm='srun')[launcher]
            raise InputError(f'--launcher {launcher}: {given} is not set; start the processes with {starter}')
        os.environ[name] = os.environ[given]
    os.environ.setdefault('MASTER_PORT', '29500')
    if 'MASTER_ADDR' not in os.environ:
        os.environ['MASTER_ADDR'] = _first_machine(launcher)


def _first_machine(launcher: str) -> str:
    if launcher == 'slurm':
        show = ['scontrol', 'show', 'hostnames', os.environ.get('SLURM_NODELIST', '')]
        try:
            return subprocess.run(show, check=True, capture_output=True, text=True).stdout.split()[0]
        except (OSError, subprocess.SubprocessError, IndexError):
            pass
    elif os.environ.get('OMPI_COMM_WORLD_LOCAL_SIZE') == os.environ['WORLD_SIZE']:
        return '127.0.0.1'
    raise InputError(f'--launcher {launcher}: set MASTER_ADDR to the name of the machine of the first process')


def _leave_group() -> None:
    if is_initialized():
        destroy_process_group()

"""Imports that the detector defers: nothing is missing for others in the same process."""

import importlib
import subprocess
import sys

import pytest

from claran_plugin import deferred_imports
from claran_plugin.deferred_imports import deferred_imports as deferring

LOADED = """
import sys
from claran_plugin.associator import Associator
associator = Associator()
associator.load()
for name in ('sympy', 'torch.distributed.fsdp', 'torch.distributed.optim', 'matplotlib.backend_bases'):
    assert name not in sys.modules, name
"""
TRAINED = f"""
{LOADED}
import inspect, tempfile, torch
import mmengine.model, mmengine.optim, mmengine.runner
from mmengine.registry import MODEL_WRAPPERS, OPTIMIZERS, RUNNERS

# asking whether something is one imports nothing
assert not mmengine.model.is_model_wrapper(torch.nn.Linear(1, 1))
assert not issubclass(int, mmengine.runner.FlexibleRunner)
assert 'sympy' not in sys.modules

# built by its name
torch.distributed.init_process_group('gloo', init_method=f'file://{{tempfile.mktemp()}}', rank=0, world_size=1)
options = dict(type='ZeroRedundancyOptimizer', optimizer_type='SGD', lr=0.1)
model = torch.nn.Linear(1, 1)
wrapper = mmengine.optim.build_optim_wrapper(model, dict(type='OptimWrapper', optimizer=options))
assert isinstance(wrapper.optimizer, torch.optim.Optimizer)
assert type(wrapper.optimizer) is mmengine.optim.ZeroRedundancyOptimizer is OPTIMIZERS.get('ZeroRedundancyOptimizer')
wrapper.update_params(model(torch.ones(1, 1)).sum())
torch.distributed.destroy_process_group()

# derived from
class Own(mmengine.runner.FlexibleRunner):
    def train(self):
        return super().train()
assert inspect.isclass(Own) and Own.__mro__[1] is RUNNERS.get('FlexibleRunner') is mmengine.runner.FlexibleRunner
assert issubclass(Own, mmengine.runner.FlexibleRunner)

# taken from its module
from torch.distributed.fsdp import FullyShardedDataParallel
from mmengine.model.wrappers.fully_sharded_distributed import MMFullyShardedDataParallel
assert issubclass(mmengine.model.MMFullyShardedDataParallel, FullyShardedDataParallel)
assert issubclass(MODEL_WRAPPERS.get('MMFullyShardedDataParallel'), FullyShardedDataParallel)
assert issubclass(MMFullyShardedDataParallel, FullyShardedDataParallel)
"""
DRAWN = f"""
{LOADED}
import matplotlib
matplotlib.use('agg')
from mmdet.utils import mot_error_visualize
import matplotlib.pyplot as plt
plt.plot([1, 2])
assert mot_error_visualize.plt is plt is matplotlib.pyplot is sys.modules['matplotlib.pyplot']
assert plt.gcf().axes
"""
ALL_NAMES = f'{LOADED}\nfrom matplotlib.pyplot import *\nfigure()'
TRAINING = f'{LOADED}\nimport claran_plugin.detection.training, mmdet.apis, mmengine.hooks, mmdet.visualization'


@pytest.mark.parametrize('code', [TRAINED, DRAWN, ALL_NAMES, TRAINING], ids=['trained', 'drawn', 'names', 'training'])
def test_nothing_is_missing(require_detector, code):
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A library whose package takes a class from one of its modules."""
    folder = tmp_path / 'own_library'
    folder.mkdir()
    (folder / '__init__.py').write_text('from .part import Part\nfrom . import other\n')
    (folder / 'part.py').write_text('class Part: pass\n')
    (folder / 'other.py').write_text('import own_library\nvalue = 3\n')
    monkeypatch.syspath_prepend(tmp_path)
    yield 'own_library'
    for name in [name for name in sys.modules if name.startswith('own_library')]:
        del sys.modules[name]


@pytest.mark.parametrize('registry', ['OPTIMIZERS', 'NO_SUCH_REGISTRY'])
def test_a_class_without_registry_is_imported_at_once(require_detector, library, monkeypatch, registry):
    from mmengine.registry import OPTIMIZERS

    monkeypatch.setattr(deferred_imports, 'DEFERRED', {f'{library}.part': ('Part', registry)})
    with deferring():
        module = importlib.import_module(library)
    assert (type(module.Part) is type) == (registry == 'NO_SUCH_REGISTRY')
    assert OPTIMIZERS.module_dict.pop('Part', None) is (None if registry == 'NO_SUCH_REGISTRY' else module.Part)
    assert type(module.Part()) is module.Part
    assert type(module.Part) is type


def test_a_module_is_imported_when_something_of_it_is_used(library, monkeypatch):
    monkeypatch.setattr(deferred_imports, 'DEFERRED', {f'{library}.other': None, f'{library}.none': None})
    with deferring():
        module = importlib.import_module(library)
        with pytest.raises(ImportError):
            importlib.import_module(f'{library}.none')
    before = module.other
    assert 'value' not in vars(before)
    assert before.value == 3
    assert module.other is sys.modules[f'{library}.other'] is not before
    assert not hasattr(before, 'nothing')


def test_what_is_imported_already_stays(library, monkeypatch):
    module = importlib.import_module(library)
    monkeypatch.setattr(deferred_imports, 'DEFERRED', {f'{library}.other': None, f'{library}.part': ('Part', 'HOOKS')})
    with deferring():
        importlib.import_module(f'{library}.other')
        assert importlib.import_module(library).Part is module.Part
    assert vars(module.other)['value'] == 3
    assert type(module.Part) is type
    assert not any(type(finder).__module__ == deferred_imports.__name__ for finder in sys.meta_path)

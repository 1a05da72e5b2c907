"""Importing parts of the detector's libraries only when they are used, which for a trained detector is never."""

import contextlib
import importlib
import sys
import threading
from abc import ABCMeta
from collections.abc import Iterator, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from inspect import Signature, signature
from types import ModuleType, new_class
from typing import Any

DEFERRED: dict[str, tuple[str, str] | None] = {
    'matplotlib.pyplot': None,
    'mmengine.model.wrappers.fully_sharded_distributed': ('MMFullyShardedDataParallel', 'MODEL_WRAPPERS'),
    'mmengine.optim.optimizer.zero_optimizer': ('ZeroRedundancyOptimizer', 'OPTIMIZERS'),
    'mmengine.runner._flexible_runner': ('FlexibleRunner', 'RUNNERS'),
}
"""Modules, with the class that others take from them while they are imported themselves, and its registry.

mmengine's are for training on many machines: torch's parts for that, and sympy with them, take longer to import than
all else of mmengine, mmcv and mmdet."""

_STAND_INS: dict[str, type] = {}
"""What stands for the class of a module."""
_LOCK = threading.Lock()


@contextlib.contextmanager
def deferred_imports() -> Iterator[None]:
    """Defer some imports, of what is not imported yet, until something of it is used.

    Others, in this process, find everything in its place: classes in their modules and registries, where stand-ins for
    them import the real ones when they are called, derived from or asked for anything.
    """
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name, stand_in in _STAND_INS.items():
            module = sys.modules.get(name)
            if isinstance(module, _Deferred):  # who asks for the class there from now on gets the real one
                vars(module).pop(stand_in.__name__, None)


class _Finder(MetaPathFinder):
    """Finds each of the modules once, with a loader that defers its import."""

    def __init__(self) -> None:
        self.waiting = set(DEFERRED)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module; None leaves it to others."""
        if fullname not in self.waiting:
            return None
        self.waiting.remove(fullname)
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(Loader):
    """Makes a module that is imported when something of it is used, in the place of its own loader."""

    def __init__(self, own: Loader) -> None:
        self.own = own

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__spec__
        assert spec is not None
        spec.loader = module.__loader__ = self.own
        made = DEFERRED[module.__name__]
        if made:
            name, registry = made[0], _registry(made[1])
            if registry is None or name in registry.module_dict:
                self.own.exec_module(module)
                return
            stand_in = _StandIn(name, (), {'__module__': module.__name__})
            registry.register_module(name=name, module=stand_in)
            setattr(module, name, stand_in)
            _STAND_INS[module.__name__] = stand_in
        module.__class__ = _Deferred


class _Deferred(ModuleType):
    """A module that is not imported yet; what is asked for is the real one's."""

    def __getattr__(self, name: str) -> Any:
        if name == '__all__':  # of ``import *``, which would take the names from here
            real = _imported(self.__name__)
            return getattr(real, name, [each for each in vars(real) if not each.startswith('_')])
        if name.startswith('__'):
            raise AttributeError(f'module {self.__name__!r} has no attribute {name!r}')
        return getattr(_imported(self.__name__), name)


class _StandIn(ABCMeta):
    """Metaclass of stand-ins, each for the class of its name in its module."""

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any) -> Any:
        if not bases:
            return super().__new__(mcs, name, bases, namespace)
        own = tuple(_real(base) if isinstance(base, _StandIn) else base for base in bases)
        return new_class(name, own, options, lambda body: body.update(namespace))

    def __call__(cls, *args: Any, **options: Any) -> Any:
        return _real(cls)(*args, **options)

    def __getattr__(cls, name: str) -> Any:
        if name.startswith('__'):
            raise AttributeError(f'type object {cls.__name__!r} has no attribute {name!r}')
        return getattr(_real(cls), name)

    def __instancecheck__(cls, instance: Any) -> bool:
        return _is_imported(cls) and isinstance(instance, _real(cls))

    def __subclasscheck__(cls, subclass: type) -> bool:
        return subclass is cls or (_is_imported(cls) and issubclass(subclass, _real(cls)))

    @property
    def __signature__(cls) -> Signature:
        return signature(_real(cls))


def _registry(name: str) -> Any:
    return getattr(importlib.import_module('mmengine.registry'), name, None)


def _is_imported(stand_in: type) -> bool:
    return not isinstance(sys.modules.get(stand_in.__module__), _Deferred)


def _real(stand_in: type) -> type:
    """Give the class that something stands for."""
    return getattr(_imported(stand_in.__module__), stand_in.__name__)


def _imported(name: str) -> ModuleType:
    """Import a deferred module, if it is not yet, and put it and its class where others had what stood for them."""
    deferred = sys.modules.get(name)
    if not isinstance(deferred, _Deferred):
        return importlib.import_module(name)
    class_name, registry = DEFERRED[name] or ('', '')
    stand_in = _STAND_INS.get(name)
    registered = _registry(registry).module_dict if stand_in else {}
    with _LOCK:
        if sys.modules.get(name) is deferred:
            if stand_in and registered.get(class_name) is stand_in:
                del registered[class_name]  # or the class itself could not be registered
            del sys.modules[name]
    real = importlib.import_module(name)
    for module in list(sys.modules.values()):
        if isinstance(module, ModuleType):
            for key, value in list(vars(module).items()):
                if value is deferred:
                    setattr(module, key, real)
                elif stand_in and value is stand_in:
                    setattr(module, key, getattr(real, class_name))
    return real

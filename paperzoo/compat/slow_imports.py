"""Puts off imports that mmengine, mmdet and mmseg make at start-up and hardly ever use.

Ailment: a prediction of one image takes a third of its start-up for matplotlib's pyplot
(a picture of tracking errors), scipy's optimizers and linear algebra (an assignment, a
Kalman filter), CLIP's tokenizer, and torch's distributed optimizers and FSDP with sympy
behind them (two classes for trainings on many GPUs). What is put off is imported when
it is called, asked for an attribute, or inherited from.
Upstream thread: none.
Delete when: the entry of a module, when that imports inside of what needs it.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any

from paperzoo.utils.when_imported import (
    import_after_all,
    imported_instead,
    imported_within,
)

_TASKS = 'mmdet.models.task_modules'
_ASSIGNMENT: dict[str, tuple[str, ...]] = {'scipy.optimize': ('linear_sum_assignment',)}
_SEG_LOSS = 'mmseg.models.losses.huasdorff_distance_loss'
# What a module imports from packages, and uses inside of functions only.
_USES: dict[str, dict[str, tuple[str, ...]]] = {
    f'{_TASKS}.assigners.hungarian_assigner': _ASSIGNMENT,
    f'{_TASKS}.assigners.topk_hungarian_assigner': _ASSIGNMENT,
    f'{_TASKS}.tracking.aflink': _ASSIGNMENT,
    # It writes scipy.linalg.name, which scipy imports at the first access.
    f'{_TASKS}.tracking.kalman_filter': {'scipy.linalg': ()},
    'mmdet.evaluation.metrics.crowdhuman_metric': {
        'scipy.sparse': ('csr_matrix',),
        'scipy.sparse.csgraph': ('maximum_bipartite_matching',),
    },
    'mmseg.datasets.transforms.transforms': {'scipy.ndimage': ('gaussian_filter',)},
    'mmseg.models.assigners.hungarian_assigner': _ASSIGNMENT,
    # It takes scipy.interpolate from scipy, as an attribute.
    'mmseg.models.backbones.beit': {'scipy.interpolate': ()},
    _SEG_LOSS: {'scipy.ndimage': ('distance_transform_edt',)},
}
# Modules of one class each, with the registry that it is in.
_CLASSES = {
    'mmengine.optim.optimizer.zero_optimizer': (
        'ZeroRedundancyOptimizer',
        'OPTIMIZERS',
    ),
    'mmengine.model.wrappers.fully_sharded_distributed': (
        'MMFullyShardedDataParallel',
        'MODEL_WRAPPERS',
    ),
    'mmengine._strategy.fsdp': ('FSDPStrategy', 'STRATEGIES'),
}
_FUNCTIONS = {
    'mmdet.utils.mot_error_visualize': 'imshow_mot_errors',
    'mmseg.utils.tokenizer': 'tokenize',
}


def apply() -> None:
    """Say what is to be put off; what has been imported stays as it is."""
    for module, packages in _USES.items():
        imported_within(module, partial(_all_put_off, packages))
    for module, (name, registry) in _CLASSES.items():
        imported_instead(module, partial(_with_class, name=name, registry=registry))
    for module, name in _FUNCTIONS.items():
        imported_instead(module, partial(_with_function, name=name))


@contextmanager
def _all_put_off(packages: dict[str, tuple[str, ...]]) -> Iterator[None]:
    with ExitStack() as stack:
        for package, names in packages.items():
            stack.enter_context(_put_off(package, names))
        yield


@contextmanager
def _put_off(package: str, names: tuple[str, ...]) -> Iterator[None]:
    """Let functions be imported from a package without importing it."""
    if package in sys.modules:
        yield
        return
    stand_in = ModuleType(package)
    for name in names:
        setattr(stand_in, name, _late(partial(_package, stand_in), name))
    # Another thread may ask for more in the meantime: it gets the package's own.
    vars(stand_in)['__getattr__'] = partial(_of_the_package, stand_in)
    sys.modules[package] = stand_in
    try:
        yield
    finally:
        _remove(stand_in)


def _of_the_package(stand_in: ModuleType, name: str) -> Any:
    if name.startswith('__'):  # the import system asks whether it is a package
        raise AttributeError(name)
    return getattr(_package(stand_in), name)


def _package(stand_in: ModuleType) -> ModuleType:
    _remove(stand_in)
    return import_module(stand_in.__name__)


def _remove(stand_in: ModuleType) -> None:
    if sys.modules.get(stand_in.__name__) is stand_in:
        del sys.modules[stand_in.__name__]


def _late(module: Callable[[], ModuleType], name: str) -> Callable[..., Any]:
    """Return a function that imports another one when it is called."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return getattr(module(), name)(*args, **kwargs)

    call.__name__ = call.__qualname__ = name
    return call


def _with_function(module: ModuleType, *, name: str) -> None:
    own = partial(import_after_all, module.__name__)
    setattr(module, name, _late(own, name))
    vars(module)['__getattr__'] = partial(_of_the_other, own)


def _of_the_other(own: Callable[[], ModuleType], name: str) -> Any:
    if name.startswith('__'):
        raise AttributeError(name)
    return getattr(own(), name)


def _with_class(module: ModuleType, *, name: str, registry: str) -> None:
    import mmengine.registry

    registered = getattr(mmengine.registry, registry)
    stand_in: type = _Late(name, (), {'__module__': module.__name__})
    stand_in._place = module.__name__, registered  # type: ignore[attr-defined]
    registered.register_module(module=stand_in)
    setattr(module, name, stand_in)
    vars(module)['__getattr__'] = partial(_of_the_module, stand_in)


def _of_the_module(stand_in: Any, name: str) -> Any:
    if name.startswith('__'):
        raise AttributeError(name)
    return getattr(sys.modules[stand_in._real().__module__], name)


class _Late(type):
    """The class of a class that becomes another one when it is used."""

    _place: tuple[str, Any]
    _own: type

    def __new__(mcs, name: str, bases: tuple[type, ...], body: dict) -> Any:
        """Let a class inherit from the other one."""
        if not bases:
            return super().__new__(mcs, name, bases, body)
        own = tuple(base._real() if isinstance(base, _Late) else base for base in bases)
        return type(own[0])(name, own, body)

    def _real(cls) -> type:
        if '_own' not in vars(cls):
            module, registered = cls._place
            # It registers itself when it is imported, and only then.
            registered.module_dict.pop(cls.__name__, None)
            cls._own = getattr(import_after_all(module), cls.__name__)
        return cls._own

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return cls._real()(*args, **kwargs)

    def __getattr__(cls, name: str) -> Any:
        if name in ('_own', '_place'):
            raise AttributeError(name)
        return getattr(cls._real(), name)

    def __instancecheck__(cls, instance: Any) -> bool:
        # Nothing is an instance of a class that has not been imported.
        return '_own' in vars(cls) and isinstance(instance, cls._own)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return subclass is cls or (
            '_own' in vars(cls) and issubclass(subclass, cls._own)
        )

"""Stand in for mmcv's compiled module `mmcv._ext` where it is not installed.

Ailment: on mmcv-lite, `import mmcv.ops`, and with it most of mmdet and mmseg, ends in
    "No module named 'mmcv._ext'", even for models that call no compiled op; compiling
    mmcv fails on most of today's set-ups.
Upstream: https://github.com/open-mmlab/mmcv/issues/2059
    https://github.com/open-mmlab/mmdetection/issues/11475
    https://github.com/open-mmlab/mmcv/issues/3325 (the build under setuptools 82)
Delete when: mmcv publishes compiled wheels for the torch versions that we support, or
    mmdet and mmseg import without `mmcv._ext`.
"""

import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any, NoReturn

NAME = 'mmcv._ext'


class StandIn(ModuleType):
    """`mmcv._ext` in pure PyTorch: the ops of `paperzoo.compat.ops`.

    Any other public name is there too, because mmcv checks at import time that each of
    its 112 ops exists; calling one raises `NotImplementedError`.
    """

    def __getattr__(self, name: str) -> Callable[..., NoReturn]:
        if name.startswith('_'):
            raise AttributeError(
                f'module {NAME!r} has no attribute {name!r}', name=name
            )
        return _missing(name)


class StandInFinder(MetaPathFinder, Loader):
    """Finds `mmcv._ext`; last on `sys.meta_path`, so that a compiled one wins."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Return the stand-in's spec for `mmcv._ext` and nothing for any other name."""
        if fullname != NAME:
            return None
        return ModuleSpec(NAME, self, origin='paperzoo.compat.ops')

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the empty stand-in."""
        return StandIn(NAME, StandIn.__doc__)

    def exec_module(self, module: ModuleType) -> None:
        """Fill the stand-in; only here are the ops, and so torch, imported."""
        from paperzoo.compat.ops import OPS

        vars(module).update(OPS)


def apply() -> None:
    """Let `import mmcv._ext` find the stand-in where no compiled one is installed.

    Costs no import of torch or mmcv, may be called any number of times, and does
    nothing without mmcv.
    """
    if any(isinstance(finder, StandInFinder) for finder in sys.meta_path):
        return
    if 'mmcv' in sys.modules or find_spec('mmcv') is not None:
        sys.meta_path.append(StandInFinder())


def _missing(name: str) -> Callable[..., NoReturn]:
    """Return what stands for an op that has no pure PyTorch version."""

    def op(*_: Any, **__: Any) -> NoReturn:
        raise NotImplementedError(
            f"mmcv's compiled op '{name}' was called, but compiled mmcv is not "
            f'installed and paperzoo has no stand-in for this op. Remedy: '
            f"`pip uninstall mmcv-lite`, then `pip install 'paperzoo[full]'`. That "
            f"builds mmcv, which needs a C++ compiler, `pip install 'setuptools<81'` "
            f'before it and the option --no-build-isolation.'
        )

    op.__name__ = op.__qualname__ = name
    return op

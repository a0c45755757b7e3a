"""Attaches the remedies of `paperzoo.compat` at the first import of the stack.

`import paperzoo` only puts a finder in place. The remedies cost an import of mmengine
and torch, and change what mmengine does: who asks for a paper's mathematics alone gets
neither. A program that has imported mmengine before gets them with the first registry,
or at the first import of mmcv's ops, mmdet or mmseg.
"""

import sys
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_AFTER = 'mmengine'  # the remedies import it themselves
_BEFORE = ('mmcv', 'mmcv.ops', 'mmdet', 'mmseg')


class RemedyFinder(MetaPathFinder):
    """Finds nothing itself; notices the first import of a package of the stack."""

    def find_spec(
        self,
        fullname: str,
        path: Any = None,  # a namespace's is no Sequence
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Let the remedies come after mmengine's import, before that of the others.

        Not here, only when the module is executed: who asks where a package lies does
        not import it.
        """
        if fullname != _AFTER and fullname not in _BEFORE:
            return None
        if 'paperzoo.compat' in sys.modules:
            return None
        spec = self._found(fullname, path, target)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            if fullname in _BEFORE:
                _apply()
            execute(module)
            if fullname == _AFTER:
                _apply()

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec

    def _found(
        self, fullname: str, path: Any, target: ModuleType | None
    ) -> ModuleSpec | None:
        for finder in list(sys.meta_path):
            if finder is self:
                continue
            if spec := finder.find_spec(fullname, path, target):
                return spec
        return None


def attach() -> None:
    """Put the finder in place, once, if the remedies are not there yet."""
    if 'paperzoo.compat' in sys.modules:
        return
    if not any(isinstance(finder, RemedyFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, RemedyFinder())


def _apply() -> None:
    try:
        import_module('paperzoo.compat')
    except ModuleNotFoundError as error:
        # Without torch or mmengine there is nothing to repair: their import says so.
        if (error.name or '').partition('.')[0] not in ('torch', 'mmengine'):
            raise

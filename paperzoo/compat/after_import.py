"""Mends modules of the stack when they are imported, and not before.

A part of the remedies that change one module, such as `data_files`: importing it for
their sake would cost every start its time. Delete it with the last of them.
"""

import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_LATER: dict[str, Callable[[Any], None]] = {}


def after_import(name: str, mend: Callable[[Any], None]) -> None:
    """Have a module mended once it is there: now, or after its import.

    Args:
        name: Of the module.
        mend: Gets the module, and changes it.

    Example:
        >>> from paperzoo.compat.after_import import after_import
        >>> after_import('json', lambda module: print(module.__name__))
        json
    """
    if name in sys.modules:
        mend(sys.modules[name])
        return
    _LATER[name] = mend
    if not any(isinstance(finder, _Mender) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Mender())


class _Mender(MetaPathFinder):
    """Finds nothing of its own; mends modules when they are imported."""

    def find_spec(
        self, fullname: str, path: Any = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in _LATER:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            _LATER[fullname](module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec

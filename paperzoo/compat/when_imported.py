"""Mends a module when it is imported, for remedies that need not import it themselves.

A tool of the other files, no remedy; delete it with the last that uses it.
"""

import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_LATER: dict[str, Callable[[Any], None]] = {}


class Mender(MetaPathFinder):
    """Finds nothing of its own; what it is asked for is mended after its import."""

    def find_spec(
        self, fullname: str, path: Any = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a module that is to be mended, nothing for others."""
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


def when_imported(name: str, mend: Callable[[Any], None]) -> None:
    """Mend a module: now if it is there, else when it is imported.

    Args:
        name: The module's full name.
        mend: Called with the module; it may be called again.
    """
    _LATER[name] = mend
    if name in sys.modules:
        mend(sys.modules[name])
    if not any(isinstance(finder, Mender) for finder in sys.meta_path):
        sys.meta_path.insert(0, Mender())

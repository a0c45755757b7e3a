"""Does something around the import of a module, or after it, whoever imports it."""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType
from typing import Any

_AROUND: dict[str, Callable[[], AbstractContextManager[None]]] = {}
_LATER: dict[str, list[Callable[[Any], None]]] = {}
_INSTEAD: dict[str, Callable[[ModuleType], None]] = {}


class Mender(MetaPathFinder):
    """Finds only what is to be mended, or stood in for."""

    def find_spec(
        self, fullname: str, path: Any = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a module that is to be mended, nothing for others."""
        if fullname in _INSTEAD:
            return spec_from_loader(fullname, _Filled(_INSTEAD[fullname]))
        if fullname not in _LATER and fullname not in _AROUND:
            return None
        found = (
            finder.find_spec(fullname, path, target)
            for finder in list(sys.meta_path)
            if finder is not self
        )
        spec = next(filter(None, found), None)
        if spec is None or spec.loader is None:
            return spec
        # Not here, only when it is executed: who asks where a module lies imports none.
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            with _AROUND.get(fullname, nullcontext)():
                execute(module)
            for mend in _LATER.get(fullname, ()):
                mend(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


class _Filled(Loader):
    """Makes a module of what a function puts into it."""

    def __init__(self, fill: Callable[[ModuleType], None]) -> None:
        self.fill = fill

    def exec_module(self, module: ModuleType) -> None:
        """Fill the module."""
        self.fill(module)


def when_imported(name: str, mend: Callable[[Any], None]) -> None:
    """Mend a module: now if it is there, else when it is imported.

    Args:
        name: The module's full name.
        mend: Called with the module; it may be called again.

    Example:
        >>> from paperzoo.utils.when_imported import when_imported
        >>> when_imported('sys', lambda module: print(module.__name__))
        sys
    """
    _LATER.setdefault(name, []).append(mend)
    if name in sys.modules and name not in _INSTEAD:
        mend(sys.modules[name])
    _attach()


def imported_within(
    name: str, context: Callable[[], AbstractContextManager[None]]
) -> None:
    """Import a module within a context, unless it has been imported.

    Args:
        name: The module's full name.
        context: Makes the context.

    Example:
        >>> from contextlib import redirect_stdout
        >>> from io import StringIO
        >>> from paperzoo.utils.when_imported import imported_within
        >>> imported_within('this', lambda: redirect_stdout(StringIO()))
        >>> import this
    """
    _AROUND[name] = context
    _attach()


def imported_instead(name: str, fill: Callable[[ModuleType], None]) -> None:
    """Give another module for a module, unless it has been imported.

    Args:
        name: The module's full name.
        fill: Called with an empty module.

    Example:
        >>> from paperzoo.utils.when_imported import imported_instead
        >>> imported_instead('module_of_nothing', lambda module: None)
        >>> import module_of_nothing
    """
    if name not in sys.modules:
        _INSTEAD[name] = fill
        _attach()


def import_after_all(name: str) -> ModuleType:
    """Return the module that `imported_instead` stands in for.

    Args:
        name: The module's full name.

    Example:
        >>> from paperzoo.utils.when_imported import import_after_all, imported_instead
        >>> imported_instead('rlcompleter', lambda module: None)
        >>> hasattr(import_after_all('rlcompleter'), 'Completer')
        True
    """
    if _INSTEAD.pop(name, None):
        sys.modules.pop(name, None)
    return import_module(name)


def _attach() -> None:
    if not any(isinstance(finder, Mender) for finder in sys.meta_path):
        sys.meta_path.insert(0, Mender())

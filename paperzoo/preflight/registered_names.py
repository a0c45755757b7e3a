"""What the registries hold, under the names that a config may use for it."""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import mmengine.registry as root
from mmengine.registry import Registry

# The kinds of things at the places of a config where there is no doubt.
KIND_OF = {
    'pipeline': 'TRANSFORMS',
    'transforms': 'TRANSFORMS',
    'default_hooks': 'HOOKS',
    'custom_hooks': 'HOOKS',
    'dataset': 'DATASETS',
    'datasets': 'DATASETS',
    'sampler': 'DATA_SAMPLERS',
    'batch_sampler': 'DATA_SAMPLERS',
    'evaluator': 'METRICS',
    'optimizer': 'OPTIMIZERS',
    'optim_wrapper': 'OPTIM_WRAPPERS',
    'param_scheduler': 'PARAM_SCHEDULERS',
    'vis_backends': 'VISBACKENDS',
    'visualizer': 'VISUALIZERS',
    'log_processor': 'LOG_PROCESSORS',
}


class KnownNames:
    """The names of all registries under a default scope.

    Args:
        default_scope: The config's.
        scopes: Further packages that the config names.
    """

    def __init__(self, default_scope: str, scopes: set[str]) -> None:
        self.default_scope = default_scope
        self.scopes: dict[str, dict[str, list[Callable]]] = defaultdict(dict)
        self.kinds: dict[str, set[str]] = defaultdict(set)
        for scope in sorted({default_scope, *scopes}):
            if scope.isidentifier() and find_spec(scope) is not None:
                with _quiet():
                    _import_registries(scope)
        for kind, registry in list(vars(root).items()):
            if isinstance(registry, Registry):
                self._add(kind, registry, scopes | {default_scope, 'mmengine'})

    def _add(self, kind: str, registry: Registry, wanted: set[str]) -> None:
        if registry.scope in wanted:
            with _quiet():
                registry.import_from_location()
        for name, built in list(registry.module_dict.items()):
            self.scopes[registry.scope].setdefault(name, []).append(built)
            self.kinds[kind].add(self._short(registry.scope, name))
        for child in list(registry.children.values()):
            self._add(kind, child, wanted)

    def _short(self, scope: str, name: str) -> str:
        """Return how the config may write the name: what is at hand needs no scope."""
        if scope in (self.default_scope, 'mmengine'):
            return name
        return f'{scope}.{name}'

    def find(self, name: str) -> list[Callable] | None:
        """Return what a type may mean, or None.

        Args:
            name: As written in the config: bare, scoped or with its module.
        """
        scope, dot, rest = name.partition('.')
        if not dot:
            for one in (self.default_scope, 'mmengine'):
                if name in self.scopes.get(one, {}):
                    return self.scopes[one][name]
            return None
        if '.' not in rest and scope in self.scopes:
            return self.scopes[scope].get(rest) or _by_path(name)
        return _by_path(name)

    def choices(self, kind: str | None) -> set[str]:
        """Return the names to look for the nearest in: of one kind, or all."""
        if kind in self.kinds:
            return self.kinds[kind]
        return set().union(*self.kinds.values())


def find_spec_of(package: str) -> Any:
    """Return the spec of a top-level package, or None; never raises.

    Example:
        >>> find_spec_of('torch').name, find_spec_of('no_such_package')
        ('torch', None)
    """
    try:
        return find_spec(package)
    except (ImportError, ValueError):
        return None


def _by_path(name: str) -> list[Callable] | None:
    module, _, attribute = name.rpartition('.')
    try:
        return [getattr(import_module(module), attribute)]
    except (ImportError, AttributeError):
        pass
    try:  # a method or class inside a class
        owner, _, middle = module.rpartition('.')
        return [getattr(getattr(import_module(owner), middle), attribute)]
    except (ImportError, AttributeError, ValueError):
        return None


def _import_registries(scope: str) -> None:
    try:
        import_module(f'{scope}.registry')
    except ImportError:
        return


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence mmengine's notes on registries without locations."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(level)

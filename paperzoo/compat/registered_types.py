"""What of a foreign config may be built: types by the names that registries hold.

MMEngine imports any module that a type names, and calls what it finds there. Of a
config that came with a checkpoint only what a prediction needs is kept. A type is what
a registry holds under its name: the config cannot name anything else, nor have anything
imported but parts of OpenMMLab's packages and of paperzoo. Weights to start from are
left out, for the checkpoint brings them all.

A part of `config_texts`, which says what ails; delete it together with that.
"""

import builtins
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from paperzoo.errors import UserError

if TYPE_CHECKING:
    from mmengine.registry import Registry

# What may be imported to find a type in it.
PACKAGES = ('paperzoo', 'mmdet', 'mmseg', 'mmcv', 'mmengine', 'mmpretrain')
# What models and pipelines are made of. Hooks, loops and runners are not.
_KINDS = ('MODELS', 'TASK_UTILS', 'TRANSFORMS', 'DATASETS')
# Files that a part would load, from which some loaders run code.
_FILES = (
    *('.py', '.yml', '.yaml', '.json', '.pkl', '.pickle', '.npy', '.npz'),
    *('.pth', '.pt', '.ckpt', '.bin', '.tar', '.zip'),
)
# Where a type is an operator of mmcv.
_OPERATORS = ('nms', 'nms_cfg', 'roi_layer')
_WEIGHTS = ('init_cfg', 'pretrained')
_SPLITS = ('test', 'val', 'train')


def scope_of(given: dict[str, Any]) -> str:
    """Return the package whose names a config uses without a scope.

    Raises:
        UserError: If `default_scope` is no package that may be imported.
    """
    scope = given.get('default_scope') or 'mmengine'
    if scope not in PACKAGES:
        raise UserError(
            f"default_scope='{str(scope)[:80]}' is none of {', '.join(PACKAGES)}"
        )
    return scope


def needed_parts(given: dict[str, Any], scope: str) -> dict[str, Any]:
    """Return what a prediction needs, with the classes that its types name.

    Args:
        given: The config, of plain values.
        scope: The package whose names need no scope before them.

    Raises:
        UserError: If there is no model, or what a part names no registry holds.
    """
    types = RegisteredTypes(scope)
    kept: dict[str, Any] = {'default_scope': scope}
    try:
        for key in ('model', 'data_preprocessor', 'test_pipeline'):
            if given.get(key) is not None:
                kept[key] = _part(_without_truth(given[key]), key, types)
        for split in _SPLITS:
            loader = given.get(f'{split}_dataloader')
            if isinstance(loader, dict) and isinstance(loader.get('dataset'), dict):
                key = f'{split}_dataloader'
                own = _data_set(loader['dataset'], key, types, split == 'test')
                kept[key] = {'dataset': own}
    except UserError as error:
        imports = given.get('custom_imports')
        if not imports:
            raise
        raise UserError(
            f'{error} (its custom_imports, {str(imports)[:100]}, are not followed: '
            'import what you trust of them first)'
        ) from error
    if not isinstance(kept.get('model'), dict):
        raise UserError('it has no model')
    return kept


def visualizer_part(given: dict[str, Any], scope: str) -> dict[str, Any] | None:
    """Return the class of the visualizer that a config names, or None.

    What else it says is left out: where to write.

    Args:
        given: The config, of plain values.
        scope: The package whose names need no scope before them.

    Raises:
        UserError: If no registry holds it.
    """
    spec = given.get('visualizer')
    if not isinstance(spec, dict):
        return None
    types = RegisteredTypes(scope, ['VISUALIZERS'])
    return {'type': types.find(spec.get('type'), 'visualizer.type')}


def _part(value: Any, key: str, types: 'RegisteredTypes') -> Any:
    """Return a part of the config with classes in place of the names of types."""
    if isinstance(value, list | tuple):
        return type(value)(
            _part(one, f'{key}.{number}', types) for number, one in enumerate(value)
        )
    if isinstance(value, str):
        # A file's name would be opened, and mmcv evaluates some texts.
        if value.lower().endswith(_FILES) or '(' in value or '::' in value:
            raise UserError(f'{key}={value[:80]!r} is no plain name')
        return value
    if not isinstance(value, dict):
        return value
    made: dict[str, Any] = {}
    for name, inner in value.items():
        place = f'{key}.{name}'
        if not isinstance(name, str):
            made[name] = _part(inner, place, types)
        elif name in _WEIGHTS:
            made[name] = None
        elif name == '_scope_' and inner not in PACKAGES:
            raise UserError(f'{place}={inner!r} is none of {", ".join(PACKAGES)}')
        elif name == 'type' and isinstance(inner, str):
            operator = key.rpartition('.')[2] in _OPERATORS
            made[name] = (
                _operator(inner, place) if operator else types.find(inner, place)
            )
        else:
            made[name] = _part(inner, place, types)
    return made


def _operator(name: str, place: str) -> str:
    """Return the name of an operator, which mmcv evaluates or takes from `mmcv.ops`."""
    import mmcv.ops

    if name not in mmcv.ops.__all__:
        raise UserError(f'{place}={name[:80]!r} is no operator of mmcv')
    return name


def _data_set(
    spec: dict[str, Any], key: str, types: 'RegisteredTypes', with_pipeline: bool
) -> dict[str, Any]:
    """Return pipeline, class names and class of a data set, of the first of several."""
    inner = spec.get('dataset')
    if not isinstance(inner, dict):
        several = spec.get('datasets')
        inner = several[0] if isinstance(several, list | tuple) and several else None
    if isinstance(inner, dict):
        return _data_set(inner, key, types, with_pipeline)
    made = {'metainfo': spec.get('metainfo') or {}}
    if with_pipeline and spec.get('pipeline') is not None:
        steps = _without_truth(spec['pipeline'])
        made['pipeline'] = _part(steps, f'{key}.dataset.pipeline', types)
    # It only knows the names of the classes, as the checkpoint does.
    with suppress(UserError):
        made['type'] = types.find(spec.get('type'), f'{key}.dataset.type')
    return made


def _without_truth(steps: Any) -> Any:
    if not isinstance(steps, list | tuple):
        return steps
    return [
        step
        for step in steps
        if not (isinstance(step, dict) and 'Annotations' in str(step.get('type')))
    ]


class RegisteredTypes:
    """What the registries of models, pipelines and data sets hold, by name.

    Args:
        default_scope: The package whose names need no scope before them.
        kinds: The registries, by their names in `mmengine.registry`.
    """

    def __init__(self, default_scope: str, kinds: Sequence[str] = _KINDS) -> None:
        import mmengine.registry as root

        self.default_scope = default_scope
        self.kinds = kinds
        self.by_scope: dict[str, dict[str, list[Any]]] = {}
        self.by_path: dict[str, Any] = {}
        # Their parts register themselves when imported.
        for module in ('mmcv.cnn', 'mmcv.ops', 'mmcv.transforms'):
            if find_spec('mmcv') is not None:
                import_module(module)
        for scope in {'mmengine', 'paperzoo', default_scope}:
            self._import(scope)
        for kind in self.kinds:
            for registry in _family(getattr(root, kind)):
                self._add(registry)

    def find(self, name: Any, place: str) -> Any:
        """Return what a registry holds under a name.

        Args:
            name: Bare, with a scope, or with the module of a class.
            place: Where it is written, for messages.

        Raises:
            UserError: If no registry holds it.

        Example:
            >>> from paperzoo.compat.registered_types import RegisteredTypes
            >>> RegisteredTypes('mmdet').find('mmdet.models.FCOS', 'model.type')
            <class 'mmdet.models.detectors.fcos.FCOS'>
        """
        found = self._find(name) if isinstance(name, str) else None
        if found is None:
            raise UserError(
                f'{place}={str(name)[:80]!r} is in none of the registries of '
                f'{self.default_scope}, mmengine and paperzoo'
            )
        return found

    def _find(self, name: str) -> Any:
        scope, dot, rest = name.partition('.')
        if not dot:
            # A text stays one: which registry is meant, the place that builds it knows.
            scopes = (self.default_scope, 'mmengine')
            return name if any(name in self._names(one) for one in scopes) else None
        if '.' not in rest and rest in self._names(scope):
            return name
        return self.by_path.get(name) or self._exported(name)

    def _names(self, scope: str) -> dict[str, list[Any]]:
        if scope not in self.by_scope and scope in PACKAGES:
            self._import(scope)
            import mmengine.registry as root

            for kind in self.kinds:
                for registry in _family(getattr(root, kind)):
                    if registry.scope == scope:
                        self._add(registry)
        return self.by_scope.get(scope, {})

    def _exported(self, path: str) -> Any:
        """Return a registered class by a path of a package that gives it on."""
        module, _, name = path.rpartition('.')
        if module.partition('.')[0] not in PACKAGES:
            return None
        self._names(module.partition('.')[0])
        try:
            found = getattr(import_module(module), name, None)
        except ImportError:
            return None
        return found if any(found is one for one in self.by_path.values()) else None

    def _import(self, scope: str) -> None:
        if find_spec(scope) is not None:
            try:
                import_module(f'{scope}.registry')
            except ModuleNotFoundError:
                return

    def _add(self, registry: 'Registry') -> None:
        if registry.scope in PACKAGES:
            registry.import_from_location()
        own = self.by_scope.setdefault(registry.scope, {})
        for name, built in registry.module_dict.items():
            own.setdefault(name, []).append(built)
            kind = getattr(built, '__qualname__', None)
            # What Python itself brings is no part of a model, whoever registers it.
            if kind and built.__module__ != builtins.__name__:
                self.by_path[f'{built.__module__}.{kind}'] = built


def _family(registry: 'Registry') -> Iterator['Registry']:
    yield registry
    for child in list(registry.children.values()):
        yield from _family(child)

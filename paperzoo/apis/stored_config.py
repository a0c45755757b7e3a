"""The config that a checkpoint holds, read as data: nothing of it is ever run.

MMEngine stores a config as the text of a Python file, and would run it. A checkpoint
may come from anywhere, so here the text is parsed as assignments of literals, and of it
only what a prediction needs is kept. A type is what a registry holds under its name:
the text cannot name anything else, nor have anything imported but parts of OpenMMLab's
packages and of paperzoo. Weights to start from are left out, for the checkpoint brings
them all.
"""

import ast
import builtins
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NoReturn

from paperzoo.apis.stack import check_stack
from paperzoo.errors import UserError

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.registry import Registry

# What may be imported to find a type in it.
PACKAGES = ('paperzoo', 'mmdet', 'mmseg', 'mmcv', 'mmengine', 'mmpretrain')
# What models and pipelines are made of. Hooks, loops and runners are not.
_KINDS = ('MODELS', 'TASK_UTILS', 'TRANSFORMS', 'DATASETS')
# An honest one has some ten thousand characters.
_LONGEST = 4_000_000
# Files that a part would load, from which some loaders run code.
_FILES = (
    *('.py', '.yml', '.yaml', '.json', '.pkl', '.pickle', '.npy', '.npz'),
    *('.pth', '.pt', '.ckpt', '.bin', '.tar', '.zip'),
)
# Where a type is an operator of mmcv.
_OPERATORS = ('nms', 'nms_cfg', 'roi_layer')
_WEIGHTS = ('init_cfg', 'pretrained')
_SPLITS = ('test', 'val', 'train')
_NUMBERS = {'inf': float('inf'), 'nan': float('nan')}


def stored_config(meta: Mapping[str, Any], checkpoint: str) -> 'Config':
    """Return what a prediction needs of the config that a checkpoint holds.

    These are `model`, `data_preprocessor`, `default_scope`, `test_pipeline`, and of the
    data loaders the data sets' pipelines and class names.

    Args:
        meta: Of the checkpoint.
        checkpoint: Its file, for messages.

    Raises:
        UserError: If the checkpoint holds no config, or one that is more than literals
            or names a type that no registry holds.

    Example:
        >>> from paperzoo.apis.stored_config import stored_config
        >>> text = "model = dict(type='mmdet.FCOS', bbox_head=dict(num_classes=7))"
        >>> stored_config({'cfg': text}, 'epoch_1.pth').model.bbox_head.num_classes
        7
    """
    from mmengine.config import Config

    text = meta.get('cfg') or meta.get('config')
    if not isinstance(text, str):
        raise UserError(
            f"the checkpoint '{checkpoint}' holds no config: give the one that it was "
            'trained with, config=FILE (a copy lies beside the checkpoints of a '
            'training)'
        )
    try:
        return Config(_checked(read_literals(text)))
    except Exception as error:  # Anything: the text may come from anywhere.
        said = str(error) or type(error).__name__
        raise UserError(
            f"the config in the checkpoint '{checkpoint}' is not used: {said}. Nothing "
            'of it was run. If you have the config, give it: config=FILE'
        ) from error


def read_literals(text: str) -> dict[str, Any]:
    """Return the names that a text assigns literals to.

    A literal is a number, a text, a boolean, None, a list, tuple, set or dict of
    literals, or a call of `dict` with literals by keyword.

    Args:
        text: As of a Python file.

    Raises:
        UserError: If the text has anything but such assignments; the message names the
            line.
        SyntaxError: If the text is no Python.

    Example:
        >>> from paperzoo.apis.stored_config import read_literals
        >>> read_literals("optimizer = dict(type='SGD', lr=0.1)")
        {'optimizer': {'type': 'SGD', 'lr': 0.1}}
    """
    if len(text) > _LONGEST:
        raise UserError(f'it has {len(text)} characters')
    found: dict[str, Any] = {}
    for statement in ast.parse(text).body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                if name == '_base_':
                    _refuse(statement, text)
                found[name] = _literal(value, text)
            case ast.Expr(value=ast.Constant(value=str())):
                continue  # a docstring
            case _:
                _refuse(statement, text)
    return found


def _literal(node: ast.expr, text: str) -> Any:
    match node:
        case ast.Constant(value=None | bool() | int() | float() | str() as value):
            return value
        case ast.Name(id='inf' | 'nan' as name):
            return _NUMBERS[name]  # as MMEngine writes them
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            value = _literal(operand, text)
            if type(value) in (int, float):
                return -value
        case ast.List(elts=items):
            return [_literal(item, text) for item in items]
        case ast.Tuple(elts=items):
            return tuple(_literal(item, text) for item in items)
        case ast.Set(elts=items):
            return {_literal(item, text) for item in items}
        case ast.Dict(keys=keys, values=values) if None not in keys:
            pairs = zip(keys, values, strict=True)
            return {_literal(k, text): _literal(v, text) for k, v in pairs if k}
        case ast.Call(func=ast.Name(id='dict'), args=[], keywords=keywords):
            if all(keyword.arg for keyword in keywords):
                return {str(k.arg): _literal(k.value, text) for k in keywords}
    _refuse(node, text)


def _refuse(node: ast.stmt | ast.expr, text: str) -> NoReturn:
    said = (ast.get_source_segment(text, node) or '').splitlines()[0][:80]
    raise UserError(f'line {node.lineno} is more than names and values: {said}')


def _checked(given: dict[str, Any]) -> dict[str, Any]:
    """Return what a prediction needs, with the classes that its types name."""
    scope = given.get('default_scope') or 'mmengine'
    if scope not in PACKAGES:
        raise UserError(f"default_scope='{scope}' is none of {', '.join(PACKAGES)}")
    check_stack(scope)
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
    if with_pipeline and spec.get('pipeline'):
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
    """

    def __init__(self, default_scope: str) -> None:
        import mmengine.registry as root

        self.default_scope = default_scope
        self.by_scope: dict[str, dict[str, list[Any]]] = {}
        self.by_path: dict[str, Any] = {}
        # Their parts register themselves when imported.
        for module in ('mmcv.cnn', 'mmcv.ops', 'mmcv.transforms'):
            if find_spec('mmcv') is not None:
                import_module(module)
        for scope in {'mmengine', 'paperzoo', default_scope}:
            self._import(scope)
        for kind in _KINDS:
            for registry in _family(getattr(root, kind)):
                self._add(registry)

    def find(self, name: Any, place: str) -> Any:
        """Return what a registry holds under a name.

        Args:
            name: Bare, with a scope, or with the module of a class.
            place: Where it is written, for messages.

        Raises:
            UserError: If no registry holds the name.

        Example:
            >>> from paperzoo.apis.stored_config import RegisteredTypes
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

            for kind in _KINDS:
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

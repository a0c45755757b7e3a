"""Random weights must all be free to learn: a frozen layer of noise stays noise."""

import inspect
from collections.abc import Iterator
from typing import Any

from mmengine.config import Config

from paperzoo.preflight.config_lines import place_of
from paperzoo.preflight.issues import Issue
from paperzoo.preflight.registered_names import KnownNames

# What keeps a backbone as it was loaded.
_FREEZES = {'frozen_stages': -1, 'norm_eval': False}


def check_frozen(cfg: Config) -> list[Issue]:
    """Return an issue for each backbone with random weights that may not all learn.

    Args:
        cfg: The config.

    Example:
        >>> from mmengine.config import Config
        >>> backbone = dict(type='mmdet.ResNet', depth=50, frozen_stages=1)
        >>> (issue,) = check_frozen(Config(dict(model=dict(backbone=backbone))))
        >>> issue.text.splitlines()[0]
        'model.backbone begins at random weights, but frozen_stages=1, norm_eval=True:'
    """
    if cfg.get('load_from') or cfg.get('resume') or _is_loaded(cfg.get('model')):
        return []
    issues = []
    for key, backbone in _backbones(cfg.get('model'), 'model'):
        frozen = {} if _is_loaded(backbone) else thawed(cfg, backbone)
        if frozen:
            given = ', '.join(
                f'{name}={_given(cfg, backbone, name)}' for name in frozen
            )
            issues.append(
                Issue(
                    f'{key} begins at random weights, but {given}:\n'
                    '  what is frozen stays noise, and the rest learns to read it\n'
                    f'  in {place_of(cfg, "init_cfg")}\n'
                    '  Train with --from-scratch, which frees all of it; or give '
                    "weights: load_from, or init_cfg=dict(type='Pretrained', "
                    'checkpoint=...).'
                )
            )
    return issues


def begin_at_random(cfg: Config) -> None:
    """Let a model begin at random weights, with nothing frozen.

    Args:
        cfg: Changes: no weights are loaded, `frozen_stages`, `norm_eval` and the
            normalisation of every backbone are set to learn.

    Example:
        >>> from mmengine.config import Config
        >>> init = dict(type='Pretrained', checkpoint='torchvision://resnet50')
        >>> backbone = dict(type='mmdet.ResNet', depth=50, init_cfg=init)
        >>> cfg = Config(dict(model=dict(backbone=backbone), load_from='a.pth'))
        >>> begin_at_random(cfg)
        >>> cfg.model.backbone.init_cfg, cfg.model.backbone.norm_eval, cfg.load_from
        (None, False, None)
    """
    if cfg.get('load_from'):
        cfg.load_from = None
    for _, backbone in _backbones(cfg.get('model'), 'model'):
        backbone.update(thawed(cfg, backbone))
    _forget(cfg.get('model'))


def thawed(cfg: Config, backbone: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a backbone that must change for all of it to learn.

    Args:
        cfg: The config, for the default scope of names.
        backbone: Its dict.

    Example:
        >>> from mmengine.config import Config
        >>> norm = dict(type='BN', requires_grad=False)
        >>> backbone = dict(type='mmseg.ResNetV1c', frozen_stages=1, norm_cfg=norm)
        >>> thawed(Config(), backbone)  # mmseg's keeps no statistics by default
        {'frozen_stages': -1, 'norm_cfg': {'type': 'BN', 'requires_grad': True}}
    """
    changes: dict[str, Any] = {}
    for name, free in _FREEZES.items():
        value = _given(cfg, backbone, name)
        if value is not None and value is not free and value != free:
            changes[name] = free
    norm = _given(cfg, backbone, 'norm_cfg')
    if isinstance(norm, dict):
        if norm.get('requires_grad') is False:
            changes['norm_cfg'] = {**norm, 'requires_grad': True}
        if 'BN' not in str(getattr(norm.get('type'), '__name__', norm.get('type'))):
            changes.pop('norm_eval', None)  # no statistics, nothing to keep
    return changes


def _given(cfg: Config, backbone: dict[str, Any], name: str) -> Any:
    """Return an argument as the config or the class itself sets it."""
    if name in backbone:
        return backbone[name]
    kind = backbone.get('type')
    if isinstance(kind, str):
        names = KnownNames(cfg.get('default_scope') or 'mmengine', {'paperzoo'})
        kind = next(iter(names.find(kind) or ()), None)
    try:
        parameters = inspect.signature(kind).parameters if kind else {}
    except (TypeError, ValueError):
        return None
    if name not in parameters:
        return None
    default = parameters[name].default
    return None if default is inspect.Parameter.empty else default


def _backbones(node: Any, key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, inner in node.items() if isinstance(node, dict) else ():
        if name == 'backbone' and isinstance(inner, dict):
            yield f'{key}.{name}', inner
        elif name not in ('teacher', 'init_cfg'):
            yield from _backbones(inner, f'{key}.{name}')


def _is_loaded(part: Any) -> bool:
    """Return whether a part of the model, as a whole, begins at weights of a file."""
    if not isinstance(part, dict):
        return False
    given = part.get('init_cfg')
    some = given if isinstance(given, list | tuple) else [given]
    return bool(part.get('pretrained')) or any(map(_is_pretrained, some))


def _is_pretrained(init: Any) -> bool:
    kind = init.get('type') if isinstance(init, dict) else None
    return str(getattr(kind, '__name__', kind)).startswith('Pretrained')


def _forget(node: Any) -> None:
    """Take every file of weights out of a model."""
    if isinstance(node, list | tuple):
        for inner in node:
            _forget(inner)
    if not isinstance(node, dict):
        return
    if _is_loaded(node):
        if 'init_cfg' in node:
            node['init_cfg'] = None
        if node.get('pretrained'):
            node['pretrained'] = None
    for inner in node.values():
        _forget(inner)

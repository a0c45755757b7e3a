"""Do the heads of a model count as many classes as the data set has?"""

from collections.abc import Iterator
from typing import Any

from mmengine.config import Config

from paperzoo.preflight.config_lines import place_of
from paperzoo.preflight.datasets import DataSpec
from paperzoo.preflight.issues import Issue
from paperzoo.utils.wording import some

_HEADS = ('bbox_head', 'mask_head', 'decode_head', 'auxiliary_head', 'panoptic_head')
# Where a number of classes means something else: proposals, boxes without a class,
# semantic helpers.
_OTHER = ('rpn_head', 'semantic_head', 'teacher', 'init_cfg', 'backbone', 'track')


def check_heads(cfg: Config, sets: list[DataSpec]) -> list[Issue]:
    """Return an issue for each head whose number of classes is another one.

    Args:
        cfg: The config.
        sets: The training's data sets.

    Example:
        >>> data = DataSpec('train', {'metainfo': {'classes': ('cat', 'dog')}}, None)
        >>> cfg = Config(dict(model=dict(bbox_head=dict(num_classes=80))))
        >>> check_heads(cfg, [data])[0].text.splitlines()[0]
        'model.bbox_head.num_classes = 80, but train has 2 classes (cat, dog)'
    """
    model = cfg.get('model') or {}
    if {'language_model', 'text_encoder'} & set(model) or not sets:
        return []  # classes are texts there
    counts = {len(one.classes) for one in sets if one.classes is not None}
    if len(counts) != 1 or any(one.classes is None for one in sets):
        return []
    meta = sets[0].metainfo
    wanted = {
        'num_classes': counts.pop(),
        'num_things_classes': len(meta.get('thing_classes') or ()),
        'num_stuff_classes': len(meta.get('stuff_classes') or ()),
    }
    if wanted['num_things_classes']:
        return _panoptic(cfg, model, sets[0], wanted)
    return [
        _issue(cfg, sets[0], key, given, wanted['num_classes'])
        for key, name, given in _numbers(model, 'model')
        if name == 'num_classes' and given != wanted['num_classes']
    ]


def head_counts(cfg: Config) -> dict[str, int]:
    """Return how many classes each head of a model counts, by dotted key.

    Args:
        cfg: The config.

    Example:
        >>> head_counts(Config(dict(model=dict(bbox_head=dict(num_classes=80)))))
        {'model.bbox_head.num_classes': 80}
    """
    found = _numbers(cfg.get('model') or {}, 'model')
    return {key: count for key, name, count in found if name == 'num_classes'}


def _panoptic(
    cfg: Config, model: dict, data: DataSpec, wanted: dict[str, int]
) -> list[Issue]:
    """Things only are boxes; other heads may count things, stuff or both."""
    sums = {
        wanted['num_classes'],
        wanted['num_things_classes'],
        wanted['num_stuff_classes'],
    }
    issues = []
    for key, name, given in _numbers(model, 'model'):
        if name != 'num_classes':
            right = {wanted[name]}
        elif 'bbox_head' in key:
            right = {wanted['num_things_classes']}
        else:
            right = sums
        if given not in right:
            issues.append(_issue(cfg, data, key, given, min(right)))
    return issues


def _numbers(node: Any, key: str) -> Iterator[tuple[str, str, int]]:
    """Yield the numbers of classes below heads: dotted key, last part, number."""
    if isinstance(node, list | tuple):
        for index, inner in enumerate(node):
            yield from _numbers(inner, f'{key}.{index}')
    if not isinstance(node, dict):
        return
    inside = [part for part in key.split('.') if part.endswith(_HEADS)]
    for name, inner in node.items():
        if name in _OTHER or str(name).startswith('track'):
            continue
        if 'auxiliary_head' in key and name == 'num_classes' and inner in (1, 2):
            continue  # edges against the rest (STDC, PIDNet)
        counts = name in ('num_classes', 'num_things_classes', 'num_stuff_classes')
        if counts and inside and isinstance(inner, int) and not _is_part(key):
            yield f'{key}.{name}', name, inner
        else:
            yield from _numbers(inner, f'{key}.{name}')


def _is_part(key: str) -> bool:
    """Return whether the dict is a part of a head, which may count a background."""
    last = next(part for part in reversed(key.split('.')) if not part.isdigit())
    return not last.endswith(_HEADS)


def _issue(cfg: Config, data: DataSpec, key: str, given: int, right: int) -> Issue:
    classes = data.classes or []
    return Issue(
        f'{key} = {given}, but {data.key} has {right} classes ({some(classes)})\n'
        f'  in {place_of(cfg, key.rpartition(".")[2])}\n'
        f'  --cfg-options {key}={right}, or correct metainfo.classes of the data set.'
    )

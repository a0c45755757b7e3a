"""Weights of other classes: what a checkpoint knows of equal names is kept."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from paperzoo.common import renamed_keys
from paperzoo.utils.run_info import trained_classes
from paperzoo.utils.wording import some

# The last layers of heads: conv_cls, fc_cls, conv_seg, cls_logits, class_embed ...
_CLASS_LAYER = re.compile(r'cls|class|seg|logits')
# Objectness, which knows no classes.
_NO_CLASSES = ('rpn_cls',)


class FitClassesHook(Hook):
    """Fit the class layers of a checkpoint to start from to the classes of the data.

    `paperzoo train` adds it; a training that is resumed has its own classes.
    """

    priority = 'VERY_HIGH'

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Fit before anything of the checkpoint is used, and say what is kept."""
        if runner._resume:
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        meta = getattr(runner.train_loop.dataloader.dataset, 'metainfo', {})
        for line in fit_classes(model, checkpoint, meta.get('classes') or ()):
            print_log(f'{Path(runner._load_from or "").name}: {line}', 'current')


def fit_classes(
    model: nn.Module, checkpoint: dict[str, Any], classes: Sequence[str]
) -> list[str]:
    """Give the class layers in a checkpoint the rows of the model's classes.

    Rows of classes of equal names are kept, in the order of the model's classes; the
    others are those that the model begins with. Capitals, `_` and `-` are no
    difference.

    Args:
        model: With its first weights.
        checkpoint: Its `state_dict` is replaced. The classes are those of its `meta`:
            `dataset_meta` as mmdet 3 writes it, or `CLASSES`.
        classes: Of the model.

    Returns:
        What was kept and what begins anew, as lines for a log.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from paperzoo.engine.fine_tuning import fit_classes
        >>> model = nn.ModuleDict(dict(fc_cls=nn.Linear(1, 2)))
        >>> weights = {'fc_cls.weight': torch.tensor([[1.0], [2.0], [3.0]])}
        >>> meta = {'CLASSES': ('dog', 'cat', 'Cow')}
        >>> checkpoint = {'state_dict': weights, 'meta': meta}
        >>> fit_classes(model, checkpoint, ['cow', 'dog'])
        ['class layers fc_cls: rows kept of all 2 classes']
        >>> checkpoint['state_dict']['fc_cls.weight'].tolist()
        [[3.0], [1.0]]
    """
    before = trained_classes(checkpoint.get('meta') or {})
    state = checkpoint.get('state_dict', checkpoint)
    state = {key.removeprefix('module.'): value for key, value in state.items()}
    state = renamed_keys(model, state)
    # DETR's heads have one class layer under several names; so has a checkpoint.
    own: dict[str, Tensor] = {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }
    pairs = _pairs(before, classes)
    fitted = []
    if before and list(map(_plain, before)) != list(map(_plain, classes)):
        for key in _class_keys(model):
            if key not in state:
                continue
            rows = _fit(state[key], own[key], (len(before), len(classes)), pairs)
            if rows is not None:
                state[key] = rows
                fitted.append(key)
    anew = [
        key
        for key, value in state.items()
        if key in own and isinstance(value, Tensor) and value.shape != own[key].shape
    ]
    if fitted:
        checkpoint['state_dict'] = state
    return [*_kept(fitted, pairs, classes), *_anew(anew, before)]


def _plain(name: str) -> str:
    return re.sub(r'[\s_-]+', ' ', str(name)).strip().casefold()


def _pairs(before: Sequence[str], classes: Sequence[str]) -> dict[int, int]:
    """Return, for classes that both have, the row of the model and that before."""
    places: dict[str, int] = {}
    for number, name in enumerate(before):
        places.setdefault(_plain(name), number)
    return {
        number: places[_plain(name)]
        for number, name in enumerate(classes)
        if _plain(name) in places
    }


def _class_keys(model: nn.Module) -> Iterator[str]:
    for name, module in model.named_modules(remove_duplicate=False):
        last = name.rpartition('.')[2]
        if last in _NO_CLASSES or not _CLASS_LAYER.search(last):
            continue
        for key, _ in module.named_parameters(recurse=False):
            yield f'{name}.{key}'


def _fit(
    value: Tensor, own: Tensor, counts: tuple[int, int], pairs: Mapping[int, int]
) -> Tensor | None:
    """Return rows for the model's classes, or None if the rows are no classes.

    There may be one more row for the background, the last, and all of it once for each
    anchor.
    """
    if value.shape[1:] != own.shape[1:] or not value.dim():
        return None
    for background in (0, 1):
        old, new = (count + background for count in counts)
        anchors, rest = divmod(len(value), old)
        if not anchors or rest or len(own) != anchors * new:
            continue
        source = value.reshape(anchors, old, *value.shape[1:])
        rows = own.detach().to(value).clone().reshape(anchors, new, *own.shape[1:])
        for row, place in pairs.items():
            rows[:, row] = source[:, place]
        if background:
            rows[:, -1] = source[:, -1]
        return rows.reshape(own.shape)
    return None


def _kept(
    fitted: Sequence[str], pairs: Mapping[int, int], classes: Sequence[str]
) -> list[str]:
    if not fitted:
        return []
    layers = list(dict.fromkeys(key.rpartition('.')[0] for key in fitted))
    lead = f'class layers {", ".join(layers)}: '
    if len(pairs) == len(classes):
        return [f'{lead}rows kept of all {len(classes)} classes']
    kept = [classes[row] for row in pairs]
    new = [name for row, name in enumerate(classes) if row not in pairs]
    if not kept:
        return [f'{lead}none of its classes has a name of ours; all begin anew']
    return [
        f'{lead}rows kept of {len(kept)} of {len(classes)} classes ({some(kept, 12)}); '
        f'begin anew: {some(new, 12)}'
    ]


def _anew(keys: Sequence[str], before: Sequence[str]) -> list[str]:
    if not keys:
        return []
    why = '' if before else ' (it does not name its classes)'
    return [f'of another shape, begin anew: {some(keys, 12)}{why}']

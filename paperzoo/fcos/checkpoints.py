"""Weights under the names of the authors' FCOS and of AdelaiDet, renamed to mmdet's."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from paperzoo.errors import UserError
from paperzoo.utils.wording import some

_HEAD = r'(?:rpn\.head|proposal_generator\.fcos_head)\.'
_LEAF = r'(?P<leaf>weight|bias)'
_NORM = r'(?P<leaf>weight|bias|running_mean|running_var|num_batches_tracked)'
_UNIT = r'(?P<stage>\d)\.(?P<block>\d+)\.'

_TOWERS = {'cls': 'cls_convs', 'bbox': 'reg_convs'}
_PREDICTORS = {
    'cls_logits': 'conv_cls',
    'bbox_pred': 'conv_reg',
    'centerness': 'conv_centerness',
    'ctrness': 'conv_centerness',
}
# A deformable convolution is a module of two there, a module with a part here.
_DEFORMABLE = {'conv': '', 'offset': '.conv_offset'}

# Part of a checkpoint, but no weights of the model.
_NOT_WEIGHTS = re.compile(
    r'pixel_mean|pixel_std|(?:rpn|proposal_generator)\.anchor_generator\..+'
)


def _tower(found: re.Match) -> str | None:
    # A tower is a flat list there: convolution, GroupNorm, ReLU, and so on.
    layer, kind = divmod(int(found['index']), 3)
    part = found.groupdict().get('part')
    if kind == 0:
        name = f'conv{_DEFORMABLE[part] if part else ""}'
    elif kind == 1 and part is None:
        name = 'gn'
    else:
        return None
    return f'bbox_head.{_TOWERS[found["tower"]]}.{layer}.{name}.{found["leaf"]}'


def _predictor(found: re.Match) -> str:
    return f'bbox_head.{_PREDICTORS[found["name"]]}.{found["leaf"]}'


def _backbone(part: str) -> Callable[[re.Match], str]:
    """Return the rule for a part of a detectron2 block; its stages count from 2."""

    def rule(found: re.Match) -> str:
        unit = f'layer{int(found["stage"]) - 1}.{found["block"]}'
        number = found.groupdict().get('number', '')
        return f'backbone.{unit}.{part}{number}.{found["leaf"]}'

    return rule


def _fpn(part: str, first: int) -> Callable[[re.Match], str]:
    return lambda found: (
        f'neck.{part}.{int(found["level"]) - first}.conv.{found["leaf"]}'
    )


_RULES: list[tuple[re.Pattern, Callable[[re.Match], str | None]]] = [
    (re.compile(pattern), rule)
    for pattern, rule in [
        # Both.
        (rf'{_HEAD}(?P<tower>cls|bbox)_tower\.(?P<index>\d+)\.{_LEAF}', _tower),
        (
            rf'{_HEAD}(?P<tower>cls|bbox)_tower\.(?P<index>\d+)\.'
            rf'(?P<part>conv|offset)\.{_LEAF}',
            _tower,
        ),
        (rf'{_HEAD}(?P<name>{"|".join(_PREDICTORS)})\.{_LEAF}', _predictor),
        (
            rf'{_HEAD}scales\.(?P<level>\d+)\.scale',
            lambda found: f'bbox_head.scales.{found["level"]}.scale',
        ),
        (
            rf'backbone\.(?:fpn\.top_blocks|top_block)\.p(?P<level>[67])\.{_LEAF}',
            _fpn('fpn_convs', 3),
        ),
        # The authors'.
        (
            rf'backbone\.fpn\.fpn_inner(?P<level>[234])\.{_LEAF}',
            _fpn('lateral_convs', 2),
        ),
        (rf'backbone\.fpn\.fpn_layer(?P<level>[234])\.{_LEAF}', _fpn('fpn_convs', 2)),
        (
            r'backbone\.body\.(?P<name>stem\.(?:conv1|bn1)|layer[1-4]\.\d+\.'
            rf'(?:conv[1-3]|bn[1-3]|downsample\.[01]))\.{_NORM}',
            lambda found: (
                f'backbone.{found["name"].removeprefix("stem.")}.{found["leaf"]}'
            ),
        ),
        (
            r'backbone\.body\.(?P<name>layer[1-4]\.\d+\.conv2)\.'
            rf'(?P<part>conv|offset)\.{_LEAF}',
            lambda found: (
                f'backbone.{found["name"]}{_DEFORMABLE[found["part"]]}.{found["leaf"]}'
            ),
        ),
        # AdelaiDet's.
        (rf'backbone\.fpn_lateral(?P<level>[345])\.{_LEAF}', _fpn('lateral_convs', 3)),
        (rf'backbone\.fpn_output(?P<level>[345])\.{_LEAF}', _fpn('fpn_convs', 3)),
        (
            rf'backbone\.bottom_up\.stem\.conv1\.{_LEAF}',
            lambda found: f'backbone.conv1.{found["leaf"]}',
        ),
        (
            rf'backbone\.bottom_up\.stem\.conv1\.norm\.{_NORM}',
            lambda found: f'backbone.bn1.{found["leaf"]}',
        ),
        (
            rf'backbone\.bottom_up\.res{_UNIT}conv(?P<number>[1-3])\.{_LEAF}',
            _backbone('conv'),
        ),
        (
            rf'backbone\.bottom_up\.res{_UNIT}conv(?P<number>[1-3])\.norm\.{_NORM}',
            _backbone('bn'),
        ),
        (
            rf'backbone\.bottom_up\.res{_UNIT}shortcut\.{_LEAF}',
            _backbone('downsample.0'),
        ),
        (
            rf'backbone\.bottom_up\.res{_UNIT}shortcut\.norm\.{_NORM}',
            _backbone('downsample.1'),
        ),
    ]
]


def find_weights(checkpoint: Any) -> dict[str, Tensor]:
    """Return the weights in a checkpoint, which may be wrapped, under their names.

    Args:
        checkpoint: What was loaded: the weights, or a dict that has them as `model` or
            `state_dict` beside optimizer, scheduler and iteration.

    Raises:
        UserError: If `checkpoint` has no weights, or beside them what is no tensor.

    Example:
        >>> import torch
        >>> checkpoint = {'model': {'module.scale': torch.ones(1)}, 'iteration': 90000}
        >>> find_weights(checkpoint)
        {'scale': tensor([1.])}
    """
    weights = checkpoint
    for name in ('model', 'state_dict'):
        if isinstance(weights, Mapping) and isinstance(weights.get(name), Mapping):
            weights = weights[name]
    if not isinstance(weights, Mapping) or not weights:
        raise UserError(
            f'no weights in it: found a {type(weights).__name__} where names and '
            "tensors should be, at the top, under 'model' or under 'state_dict'"
        )
    strange = [
        str(name)
        for name, value in weights.items()
        if not isinstance(name, str) or not isinstance(value, Tensor)
    ]
    if strange:
        raise UserError(
            f'{some(map(repr, strange), 10)} is no tensor; give the weights alone, or '
            "a checkpoint that has them under 'model' or 'state_dict'"
        )
    # Left by DistributedDataParallel.
    return {name.removeprefix('module.'): value for name, value in weights.items()}


def left_out(weights: Mapping[str, Tensor]) -> list[str]:
    """Return the names that are no weights and have no counterpart in mmdet.

    Example:
        >>> import torch
        >>> left_out({'pixel_mean': torch.zeros(3), 'head.weight': torch.zeros(1)})
        ['pixel_mean']
    """
    names = (name.removeprefix('module.') for name in weights)
    return [name for name in names if _NOT_WEIGHTS.fullmatch(name)]


def convert_state_dict(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights of the authors' FCOS or of AdelaiDet under mmdet's names.

    The towers' convolutions have a bias there: build the head with `conv_bias=True`.
    Values stay as they are; a level's scale, there a vector of one number, becomes a
    number.

    Args:
        weights: The names and tensors, with or without `module.` before each name.

    Returns:
        All weights but those that `left_out` names.

    Raises:
        UserError: If a name is not understood, two names would become the same one, or
            a scale is no single number.

    Example:
        >>> import torch
        >>> weights = {'rpn.head.scales.0.scale': torch.ones(1)}
        >>> convert_state_dict(weights)
        {'bbox_head.scales.0.scale': tensor(1.)}
    """
    weights = find_weights(weights)
    skipped = set(left_out(weights))
    converted: dict[str, Tensor] = {}
    unknown = []
    for name, value in weights.items():
        if name in skipped:
            continue
        new_name = _rename(name)
        if new_name is None:
            unknown.append(name)
        elif new_name in converted:
            raise UserError(
                f"'{name}' and another weight both become '{new_name}': the file mixes "
                'two models; convert each by itself'
            )
        else:
            is_scale = new_name.endswith('.scale')
            if is_scale and value.numel() != 1:
                raise UserError(
                    f"'{name}' has {value.numel()} numbers; a level's scale is one"
                )
            converted[new_name] = value.reshape(()) if is_scale else value
    if unknown:
        raise UserError(_explain(unknown))
    return converted


def _rename(name: str) -> str | None:
    for pattern, rule in _RULES:
        if found := pattern.fullmatch(name):
            return rule(found)
    return None


def _explain(unknown: list[str]) -> str:
    """Return the message for names without a counterpart."""
    reasons = {
        '.share_tower.': 'mmdet has no tower that classes and boxes share (AdelaiDet: '
        'NUM_SHARE_CONVS)',
        '_tower.': 'mmdet normalises all levels of a tower alike, by GroupNorm '
        '(AdelaiDet: FCOS.NORM)',
        'bbox_head.': "these are mmdet's names already: nothing is to be converted",
        'backbone.': "a ResNet or ResNeXt is understood, with the authors' names "
        "(backbone.body) or detectron2's (backbone.bottom_up)",
    }
    why = [text for part, text in reasons.items() if any(part in n for n in unknown)]
    return (
        f'{len(unknown)} weights are not understood, and none is dropped silently: '
        f'{some(map(repr, unknown), 10)}. '
        + ('; '.join(why) or 'Is it a checkpoint of the FCOS authors or of AdelaiDet?')
    )

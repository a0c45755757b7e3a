"""What a model of own data begins with: where the weights are, as text of a config."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from paperzoo.apis.config import type_name
from paperzoo.errors import UserError

if TYPE_CHECKING:
    from mmengine.config import Config

    from paperzoo.apis.own_data import OwnData

_MMDET = 'https://download.openmmlab.com/mmdetection/v2.0/fcos'
_KNET = 'https://download.openmmlab.com/mim-example/knet/det/knet'
_MMSEG = 'https://download.openmmlab.com/mmsegmentation/v0.5/knet'
# Whole models of mmdet, of K-Net's authors and of mmseg, by the base they fit.
_WHOLE = {
    'fcos_r50_fpn': f'{_MMDET}/fcos_r50_caffe_fpn_gn-head_1x_coco/'
    'fcos_r50_caffe_fpn_gn-head_1x_coco-821213aa.pth',
    'knet_r50_fpn_instance': f'{_KNET}/knet_s3_r50_fpn_1x_coco/'
    'knet_s3_r50_fpn_1x_coco_20211016_113017-8a8645d4.pth',
    'knet_r50_fpn_panoptic': f'{_KNET}/knet_s3_r50_fpn_1x_coco-panoptic/'
    'knet_s3_r50_fpn_1x_coco-panoptic_20211017_151750-395fbcba.pth',
    'knet_r50_fcn_semantic': f'{_MMSEG}/'
    'knet_s3_fcn_r50-d8_8x2_512x512_adamw_80k_ade20k/'
    'knet_s3_fcn_r50-d8_8x2_512x512_adamw_80k_ade20k_20220228_043751-abcab920.pth',
}
# mmdet's FCOS is of the ResNet that Caffe's weights are for.
_CAFFE = [
    "model['backbone'].update(style='caffe')",
    "model['data_preprocessor'].update(",
    '    mean=[102.9801, 115.9465, 122.7717], std=[1.0, 1.0, 1.0], bgr_to_rgb=False',
    ')',
    "model['bbox_head'].update(conv_bias='auto')",
]


def weights_url(data: 'OwnData') -> str | None:
    """Return the address of the weights that a training begins with, if there is one.

    Args:
        data: What the config is written from.

    Raises:
        UserError: If no whole model is known for the base, but asked for.

    Example:
        >>> from types import SimpleNamespace
        >>> from paperzoo.apis.own_data import find_base
        >>> from paperzoo.apis.own_weights import weights_url
        >>> base, config = find_base('detection')
        >>> data = SimpleNamespace(
        ...     base=base, base_config=config, scratch=False, fine_tune=False
        ... )
        >>> weights_url(data)
        'https://download.pytorch.org/models/resnet50-0676ba61.pth'
    """
    if data.scratch:
        return None
    if data.fine_tune:
        name = data.base.rpartition('.')[2]
        if name not in _WHOLE:
            raise UserError(
                f'--fine-tune: no weights of a whole model are known for {name}, only '
                f'for {", ".join(_WHOLE)}; of others name a file: load_from in the '
                'config'
            )
        return _WHOLE[name]
    return _address(data.base_config)


def _address(config: 'Config') -> str | None:
    """Return the address of a backbone's weights."""
    from mmengine.runner import checkpoint as mm

    from paperzoo.compat.checkpoints import torchvision_url

    init = (config.model.get('backbone') or {}).get('init_cfg') or {}
    name = init.get('checkpoint') if isinstance(init, Mapping) else None
    if not isinstance(name, str):
        return None
    scheme, mark, rest = name.partition('://')
    if scheme == 'torchvision':
        return torchvision_url(rest)
    if scheme in ('open-mmlab', 'openmmlab'):
        return mm.get_external_models().get(rest)
    return name if mark else None


def weights_note(url: str | None) -> list[str]:
    """Return what to tell of the weights: where they are from, and how without them.

    Args:
        url: Their address, or None.

    Example:
        >>> from paperzoo.apis.own_weights import weights_note
        >>> weights_note('https://host/a-0123abcd.pth')[0]
        'weights: https://host/a-0123abcd.pth'
        >>> weights_note(None)
        []
    """
    if url is None:
        return []
    from paperzoo.compat.download import MIRROR, cache_place

    return [
        f'weights: {url}',
        f'kept as {cache_place(url)}',
        'without a network place the file there, or name the folder or address of a '
        f'mirror by {MIRROR}, or begin at random: --from-scratch',
    ]


def weights_lines(data: 'OwnData') -> list[str]:
    """Return the lines of a config that say what its model begins with.

    Args:
        data: What the config is written from.

    Raises:
        UserError: As of `weights_url`.

    Example:
        >>> from types import SimpleNamespace
        >>> from paperzoo.apis.own_data import find_base
        >>> from paperzoo.apis.own_weights import weights_lines
        >>> base, config = find_base('semantic')
        >>> data = SimpleNamespace(
        ...     base=base, base_config=config, scratch=True, fine_tune=False
        ... )
        >>> weights_lines(data)[1]
        "model['backbone'].update(init_cfg=None)"
    """
    if data.scratch:
        return _random(data.base_config)
    if (url := weights_url(data)) is None:
        return []
    from paperzoo.compat.download import MIRROR, cache_place

    place = ' '.join(str(cache_place(url)).split())  # a comment ends with its line
    note = [
        f'# Weights: {url}',
        f'# kept as {place}',
        f'# (without a network place the file there, or set {MIRROR}).',
    ]
    if not data.fine_tune:
        return note
    return [
        *note,
        '# The rows of classes of equal names are kept, others begin anew.',
        f'load_from = {url!r}',
        "model['backbone'].update(init_cfg=None)",
        *(_CAFFE if data.base.endswith('.fcos_r50_fpn') else ()),
    ]


def _random(config: 'Config') -> list[str]:
    from paperzoo.preflight.random_weights import thawed

    backbone = config.model.backbone
    if not backbone.get('init_cfg'):
        return []
    changes = {'init_cfg': None, **thawed(config, backbone)}
    given = ', '.join(f'{key}={_plain(value)}' for key, value in changes.items())
    return [
        '# Random weights: nothing may be frozen.',
        f"model['backbone'].update({given})",
    ]


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        pairs = (
            (key, one if key != 'type' else type_name(one))
            for key, one in value.items()
        )
        return f'dict({", ".join(f"{key}={one!r}" for key, one in pairs)})'
    return repr(value)

"""The small layers around a kernel update."""

from itertools import pairwise
from typing import Any

from mmcv.cnn import build_activation_layer, build_norm_layer
from torch import Tensor, nn
from torch.nn import functional as F

from paperzoo.knet.kernels import NORM_CFG, KernelUpdater
from paperzoo.registry import MODELS

# Of the authors' updater, mmseg's too.
_UPDATOR_DEFAULTS: dict[str, Any] = {'in_channels': 256, 'feat_channels': 64}


def is_mmsegs(kind: str | type, name: str) -> bool:
    """Return whether a config's type means mmseg's class of this name.

    Args:
        kind: The class, its name with or without the scope, or its dotted path.
        name: Of mmseg's class.
    """
    path = kind if isinstance(kind, str) else f'{kind.__module__}.{kind.__name__}'
    first, last = path.split('.')[0], path.split('.')[-1]
    return last == name and first in ('mmseg', name)


def build_updater(config: dict[str, Any], channels: int) -> nn.Module:
    """Return the updater of a stage.

    Args:
        config: Arguments of the `KernelUpdater`, or of mmseg's `KernelUpdator`, which
            it replaces.
        channels: Channels of the stage.
    """
    config = {'type': KernelUpdater, **config}
    defaults = {'in_channels': channels, 'feat_channels': channels}
    if is_mmsegs(config['type'], 'KernelUpdator'):
        defaults, config = _UPDATOR_DEFAULTS, config | {'type': KernelUpdater}
    return MODELS.build(defaults | config)


def resize(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Return masks at another height and width, bilinearly.

    Args:
        masks: (images, masks, height, width).
        size: Height and width, in pixels.
    """
    if masks.shape[-2:] == size:
        return masks
    return F.interpolate(masks, size, mode='bilinear')


def upsample(maps: Tensor, factor: int) -> Tensor:
    """Return maps enlarged bilinearly.

    Args:
        maps: (images, maps, height, width).
        factor: By which height and width grow.
    """
    if factor == 1:
        return maps
    return F.interpolate(maps, scale_factor=factor, mode='bilinear')


def branch(channels: int, layers: int, act_cfg: dict[str, Any]) -> nn.Sequential:
    """Return layers of a linear map without bias, a normalisation, an activation.

    Args:
        channels: Channels in and out, the last dimension.
        layers: How many.
        act_cfg: The activation.
    """
    modules: list[nn.Module] = []
    for _ in range(layers):
        modules += [
            nn.Linear(channels, channels, bias=False),
            build_norm_layer(NORM_CFG, channels)[1],
            build_activation_layer(act_cfg),
        ]
    return nn.Sequential(*modules)


def feed_forward(
    widths: list[int], act_cfg: dict[str, Any], dropout: float
) -> nn.Sequential:
    """Return a feed-forward network through these widths and back to the first.

    Args:
        widths: Channels, the last dimension, before each but the last layer.
        act_cfg: Activation after each but the last layer.
        dropout: Probability of a zero, after each layer.
    """
    modules: list[nn.Module] = []
    for before, after in pairwise(widths):
        activation = build_activation_layer(act_cfg)
        modules += [nn.Linear(before, after), activation, nn.Dropout(dropout)]
    modules += [nn.Linear(widths[-1], widths[0]), nn.Dropout(dropout)]
    return nn.Sequential(*modules)


def ffn_names(layers: int) -> dict[str, str]:
    """Return mmcv's names of the feed-forward layers, each with ours.

    Args:
        layers: How many linear layers there are.
    """
    hidden = {f'ffn.layers.{i}.0': f'ffn.{3 * i}' for i in range(layers - 1)}
    return hidden | {f'ffn.layers.{layers - 1}': f'ffn.{3 * (layers - 1)}'}

"""The small layers around a kernel update."""

from itertools import pairwise
from typing import Any

from mmcv.cnn import build_activation_layer, build_norm_layer
from torch import Tensor, nn
from torch.nn import functional as F

from paperzoo.knet.kernels import NORM_CFG


def resize(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Return masks (images, masks, height, width) at another height and width."""
    if masks.shape[-2:] == size:
        return masks
    return F.interpolate(masks, size, mode='bilinear')


def upsample(maps: Tensor, factor: int) -> Tensor:
    """Return maps (images, maps, height, width) enlarged by a factor."""
    if factor == 1:
        return maps
    return F.interpolate(maps, scale_factor=factor, mode='bilinear')


def branch(channels: int, layers: int, act_cfg: dict[str, Any]) -> nn.Sequential:
    """Return layers of a linear map without bias, a normalisation, an activation."""
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
    """Return a feed-forward network through these widths and back to the first."""
    modules: list[nn.Module] = []
    for before, after in pairwise(widths):
        activation = build_activation_layer(act_cfg)
        modules += [nn.Linear(before, after), activation, nn.Dropout(dropout)]
    modules += [nn.Linear(widths[-1], widths[0]), nn.Dropout(dropout)]
    return nn.Sequential(*modules)


def ffn_names(layers: int) -> dict[str, str]:
    """Return mmcv's names of the feed-forward layers, each with ours."""
    hidden = {f'ffn.layers.{i}.0': f'ffn.{3 * i}' for i in range(layers - 1)}
    return hidden | {f'ffn.layers.{layers - 1}': f'ffn.{3 * (layers - 1)}'}

"""Fuses the levels of a feature pyramid into one map per purpose."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule, normal_init
from torch import Tensor, nn

from paperzoo.errors import UserError
from paperzoo.registry import MODELS

Config = dict[str, Any]
ACT_CFG: Config = {'type': 'ReLU'}
NORM_CFG: Config = {'type': 'GN', 'num_groups': 32, 'requires_grad': True}
# A scoped name: the detector stack is imported only by those who build one.
POSITIONAL_ENCODING: Config = {
    'type': 'mmdet.SinePositionalEncoding',
    'num_feats': 128,
    'normalize': True,
}


def coordinates(
    features: Float[Tensor, 'images channels height width'],
) -> Float[Tensor, 'images 2 height width']:
    """Return x and y of each position of a feature map, each from -1 to 1.

    Args:
        features: The map.

    Example:
        >>> coordinates(torch.zeros(1, 8, 1, 3))[0, 0]  # x
        tensor([[-1.,  0.,  1.]])
    """
    images, _, height, width = features.shape
    x = torch.linspace(-1, 1, width, device=features.device, dtype=features.dtype)
    y = torch.linspace(-1, 1, height, device=features.device, dtype=features.dtype)
    grid = torch.stack([x.expand(height, width), y[:, None].expand(height, width)])
    return grid.expand(images, 2, height, width)


@MODELS.register_module()
class SemanticFPNWrapper(BaseModule):
    """Brings pyramid levels to one size, adds them up, and maps the sum.

    Each level passes 3x3 convolutions, with a doubling of its size after each of the
    first of them until it has the size of the result; finer levels pass convolutions of
    stride 2 instead. The coarsest level knows where it is, by an encoding of the
    position.

    Args:
        in_channels: Channels of the levels.
        feat_channels: Channels of the sum.
        out_channels: Channels of the results.
        start_level: First level used.
        end_level: Last level used.
        cat_coors: Append coordinates to `cat_coors_level`.
        positional_encoding: Added to `cat_coors_level`; None for none.
        cat_coors_level: The level that knows where it is.
        fuse_by_cat: Concatenate the levels instead of adding them up.
        return_list: Return a list even of one result.
        upsample_times: How often the last level is doubled; it sets the size of the
            result.
        with_pred: Map the sum; without, the first result is the sum.
        num_aux_convs: How many further results the sum is mapped to.
        act_cfg: Activation.
        conv_cfg: Kind of convolution.
        norm_cfg: Normalisation.
        init_cfg: Initial weights, in place of the authors'.

    Raises:
        UserError: If `upsample_times` is more than `end_level`, or negative.

    Example:
        >>> fpn = SemanticFPNWrapper(32, 32, 32, positional_encoding=None)
        >>> levels = [torch.ones(1, 32, size, size) for size in (16, 8, 4, 2)]
        >>> fused, further = fpn(levels)
        >>> fused.shape
        torch.Size([1, 32, 8, 8])

    Paper: knet "K-Net"
    """

    def __init__(
        self,
        in_channels: int = 256,
        feat_channels: int = 256,
        out_channels: int = 256,
        start_level: int = 0,
        end_level: int = 3,
        cat_coors: bool = False,
        positional_encoding: Config | None = POSITIONAL_ENCODING,
        cat_coors_level: int = 3,
        fuse_by_cat: bool = False,
        return_list: bool = False,
        upsample_times: int = 2,
        with_pred: bool = True,
        num_aux_convs: int = 1,
        *,
        act_cfg: Config | None = ACT_CFG,
        conv_cfg: Config | None = None,
        norm_cfg: Config | None = NORM_CFG,
        init_cfg: Config | list[Config] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if not 0 <= upsample_times <= end_level:
            raise UserError(
                f'SemanticFPNWrapper: upsample_times={upsample_times} is not in '
                f'[0, end_level={end_level}]: the result has the size of one level'
            )
        self.start_level = start_level
        self.end_level = end_level
        self.cat_coors = cat_coors
        self.cat_coors_level = cat_coors_level
        self.fuse_by_cat = fuse_by_cat
        self.return_list = return_list
        self.target_level = end_level - upsample_times
        self._options = {
            'conv_cfg': conv_cfg,
            'norm_cfg': norm_cfg,
            'act_cfg': act_cfg,
            'inplace': False,
        }
        self.positional_encoding = (
            MODELS.build(positional_encoding) if positional_encoding else None
        )
        levels = range(start_level, end_level + 1)
        self.convs_all_levels = nn.ModuleList(
            self._level(level, in_channels, feat_channels) for level in levels
        )
        fused = feat_channels * (len(levels) if fuse_by_cat else 1)
        self.conv_pred = (
            ConvModule(fused, out_channels, 1, **self._options) if with_pred else None
        )
        self.aux_convs = nn.ModuleList(
            ConvModule(fused, out_channels, 1, **self._options)
            for _ in range(num_aux_convs)
        )

    def init_weights(self) -> None:
        """Initialise all convolutions with small numbers, as the authors do."""
        super().init_weights()
        if not self.init_cfg:
            for module in self.modules():
                if isinstance(module, nn.Conv2d):
                    normal_init(module, std=0.01)

    def _level(self, level: int, in_channels: int, channels: int) -> nn.Sequential:
        """Return what brings one level to the size of the result."""
        if self.cat_coors and level == self.cat_coors_level:
            in_channels += 2
        steps = level - self.target_level
        stride = 2 if steps < 0 else 1
        layers = nn.Sequential()
        for index in range(-steps if steps < 0 else max(level, 1)):
            width = in_channels if index == 0 else channels
            conv = ConvModule(
                width, channels, 3, padding=1, stride=stride, **self._options
            )
            layers.add_module(f'conv{index}', conv)
            if index < steps:
                layers.add_module(
                    f'upsample{index}', nn.Upsample(scale_factor=2, mode='bilinear')
                )
        return layers

    def forward(self, inputs: Sequence[Tensor]) -> Tensor | list[Tensor]:
        """Return the fused map, or a list with it and its further results.

        Args:
            inputs: The level maps, (images, in_channels, height, width), each half
                the size of the one before.

        Raises:
            UserError: If a level is not half the size of the one before.
        """
        levels = range(self.start_level, self.end_level + 1)
        maps = [
            layers(
                self._located(inputs[level])
                if level == self.cat_coors_level
                else inputs[level]
            )
            for level, layers in zip(levels, self.convs_all_levels, strict=True)
        ]
        sizes = [(one.size(-2), one.size(-1)) for one in maps]
        if any(size != sizes[0] for size in sizes):
            raise UserError(
                f'SemanticFPNWrapper: the pyramid levels become {sizes}, not one size: '
                'each level must be half the one before, so pad images to a multiple '
                'of 32 (pad_size_divisor of the data preprocessor)'
            )
        fused = torch.cat(maps, dim=1) if self.fuse_by_cat else sum(maps[1:], maps[0])
        results = [fused if self.conv_pred is None else self.conv_pred(fused)]
        results += [conv(fused) for conv in self.aux_convs]
        return results if self.return_list or len(results) > 1 else results[0]

    def _located(self, level: Tensor) -> Tensor:
        """Return a level that knows where it is."""
        if self.positional_encoding is not None:
            everywhere = level.new_zeros(1, *level.shape[-2:], dtype=torch.bool)
            level = level + self.positional_encoding(everywhere).to(level.dtype)
        if self.cat_coors:
            level = torch.cat([level, coordinates(level)], dim=1)
        return level

"""A head whose towers may change their kind from layer to layer."""

from collections.abc import Sequence
from typing import Any

from mmcv.cnn import ConvModule
from mmdet.utils import OptConfigType
from mmengine.registry import MODELS
from torch import nn

from paperzoo.errors import UserError
from paperzoo.fcos import FCOSHead


@MODELS.register_module()
class MixedTowerFCOSHead(FCOSHead):
    """An FCOSHead with a `conv_cfg` for each layer of its two towers.

    Args:
        args: Those of `paperzoo.FCOSHead`.
        conv_cfgs: What each layer is made of, as `conv_cfg`; None is a convolution. It
            replaces `conv_cfg`, and must have `stacked_convs` layers.
        kwargs: Those of `paperzoo.FCOSHead`.

    Raises:
        UserError: If it does not go with the other arguments.
    """

    def __init__(
        self, *args: Any, conv_cfgs: Sequence[OptConfigType], **kwargs: Any
    ) -> None:
        for key in ('conv_cfg', 'dcn_on_last_conv'):
            if kwargs.get(key):
                raise UserError(
                    f'MixedTowerFCOSHead: {key}={kwargs[key]!r} beside conv_cfgs: '
                    'write it into those layers of conv_cfgs that it is for'
                )
        stacked = kwargs.setdefault('stacked_convs', len(conv_cfgs))
        if stacked != len(conv_cfgs):
            raise UserError(
                f'MixedTowerFCOSHead: stacked_convs={stacked}, but conv_cfgs has '
                f'{len(conv_cfgs)} layers; give as many, None for a convolution'
            )
        self.conv_cfgs = conv_cfgs
        super().__init__(*args, **kwargs)

    def _init_cls_convs(self) -> None:
        self.cls_convs = self._tower()

    def _init_reg_convs(self) -> None:
        self.reg_convs = self._tower()

    def _tower(self) -> nn.ModuleList:
        widths = [self.in_channels, *[self.feat_channels] * self.stacked_convs]
        return nn.ModuleList(
            ConvModule(
                given,
                self.feat_channels,
                3,
                padding=1,
                conv_cfg=conv_cfg,
                norm_cfg=self.norm_cfg,
                bias=self.conv_bias,
            )
            for given, conv_cfg in zip(widths[:-1], self.conv_cfgs, strict=True)
        )

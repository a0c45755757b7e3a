"""The first kernels, learnt like the weights of a convolution, and their masks."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule, bias_init_with_prob, normal_init
from torch import Tensor, nn

from paperzoo.common import FocalLoss
from paperzoo.errors import UserError
from paperzoo.knet.kernels import assemble_group_features, group_pixels
from paperzoo.knet.losses import LOSS_DICE, LOSS_MASK, build_losses, kernel_losses
from paperzoo.knet.semantic_fpn import NORM_CFG, SemanticFPNWrapper
from paperzoo.knet.targets import KernelTargets
from paperzoo.registry import MODELS

Config = dict[str, Any]

LOCALIZATION_FPN: Config = {'type': SemanticFPNWrapper}
LOSS_SEG: Config = {'type': FocalLoss, 'gamma': 2.0, 'alpha': 0.25, 'loss_weight': 1.0}


class InitialKernels(NamedTuple):
    """What the kernel stages start from; stuff kernels follow the thing kernels.

    Attributes:
        kernels: (images, kernels, channels, size, size).
        features: (images, channels, height, width).
        mask_preds: Mask logits, (images, kernels, height, width).
        seg_preds: Logits of each class at each pixel, (images, classes, height, width);
            None without a semantic branch.
    """

    kernels: Tensor
    features: Tensor
    mask_preds: Tensor
    seg_preds: Tensor | None


@MODELS.register_module()
class KNetKernelInitHead(BaseModule):
    """Predicts a mask with each learnt kernel, and gives it its group's features.

    A second branch classifies pixels. For panoptic segmentation the weights of its
    stuff classes are the stuff kernels.

    Args:
        num_proposals: Number of thing kernels.
        in_channels: Channels of the fused pyramid.
        out_channels: Channels of kernels and features.
        num_classes: Number of classes, background not counted.
        num_thing_classes: Number of thing classes, by default all.
        num_stuff_classes: Number of stuff classes.
        cat_stuff_mask: Add the stuff kernels (panoptic).
        num_loc_convs: Layers before the kernels.
        num_seg_convs: Layers before the classes.
        conv_kernel_size: Size of the kernels, odd.
        localization_fpn: Arguments of the `SemanticFPNWrapper`.
        norm_cfg: Normalisation.
        semantic_fpn: Have the branch that classifies pixels.
        proposal_feats_with_obj: Add to each kernel its group's features.
        use_binary: Pixels of a group count alike, not by their probability.
        hard_target: Masks of objects are made hard in the losses.
        feat_downsample_stride: Factor by which masks are enlarged for the losses.
        feat_refine: Reduce the features by a further convolution.
        feat_refine_stride: Its stride.
        xavier_init_kernel: Initialise kernels by Xavier's rule.
        kernel_init_std: Standard deviation of the initial kernels otherwise.
        conv_normal_init: Initialise the branches' layers with small numbers.
        num_cls_fcs: Not used; the authors' configs name it.
        feat_transform_cfg: Not used; the authors' configs name it.
        loss_seg: Loss of the classes of pixels.
        loss_mask: Loss of the masks, per pixel.
        loss_dice: Loss of the masks, per mask.
        loss_rank: Loss of the kernels that compete for a pixel (panoptic).
        init_cfg: Initial weights, in place of the authors'.

    Raises:
        UserError: If the numbers of thing and stuff classes do not add up,
            `conv_kernel_size` is even, or more than 1 with stuff kernels, stuff kernels
            have no semantic branch, or channels change without `feat_refine`.

    Example:
        >>> fpn = {'type': SemanticFPNWrapper, 'positional_encoding': None}
        >>> head = KNetKernelInitHead(5, num_classes=3, localization_fpn=fpn)
        >>> start = head([torch.ones(1, 256, s, s) for s in (16, 8, 4, 2)])
        >>> start.kernels.shape, start.mask_preds.shape
        (torch.Size([1, 5, 256, 1, 1]), torch.Size([1, 5, 8, 8]))

    Paper: knet "K-Net"
    """

    def __init__(
        self,
        num_proposals: int = 100,
        in_channels: int = 256,
        out_channels: int = 256,
        num_classes: int = 80,
        num_thing_classes: int | None = None,
        num_stuff_classes: int = 0,
        cat_stuff_mask: bool = False,
        num_loc_convs: int = 1,
        num_seg_convs: int = 1,
        conv_kernel_size: int = 1,
        *,
        localization_fpn: Config = LOCALIZATION_FPN,
        norm_cfg: Config = NORM_CFG,
        semantic_fpn: bool = True,
        proposal_feats_with_obj: bool = True,
        use_binary: bool = True,
        hard_target: bool = False,
        feat_downsample_stride: int = 2,
        feat_refine: bool = False,
        feat_refine_stride: int = 1,
        xavier_init_kernel: bool = False,
        kernel_init_std: float = 1.0,
        conv_normal_init: bool = True,
        num_cls_fcs: int = 1,
        feat_transform_cfg: Config | None = None,
        loss_seg: Config = LOSS_SEG,
        loss_mask: Config = LOSS_MASK,
        loss_dice: Config = LOSS_DICE,
        loss_rank: Config | None = None,
        init_cfg: Config | list[Config] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if num_thing_classes is None:
            num_thing_classes = num_classes - num_stuff_classes
        self.num_proposals = num_proposals
        self.conv_kernel_size = conv_kernel_size
        self.num_classes = num_classes
        self.num_thing_classes = num_thing_classes
        self.num_stuff_classes = num_stuff_classes
        self.cat_stuff_mask = cat_stuff_mask
        self.semantic_fpn = semantic_fpn
        self.proposal_feats_with_obj = proposal_feats_with_obj
        self.grouping = 'threshold' if use_binary else 'soft_threshold'
        self.hard_target = hard_target
        self.feat_downsample_stride = feat_downsample_stride
        self.xavier_init_kernel = xavier_init_kernel
        self.kernel_init_std = kernel_init_std
        self.conv_normal_init = conv_normal_init
        self.refined = feat_refine and feat_downsample_stride > 1
        self._check(in_channels, out_channels)

        self.losses = build_losses(
            loss_mask=loss_mask, loss_dice=loss_dice, loss_rank=loss_rank
        )
        self.loss_seg = MODELS.build(loss_seg) if semantic_fpn else None
        self.localization_fpn = MODELS.build(localization_fpn)

        self.loc_convs = _convs(num_loc_convs, in_channels, norm_cfg)
        self.init_kernels = nn.Conv2d(
            out_channels,
            num_proposals,
            conv_kernel_size,
            padding=conv_kernel_size // 2,
            bias=False,
        )
        if semantic_fpn:
            self.seg_convs = _convs(num_seg_convs, in_channels, norm_cfg)
            self.conv_seg = nn.Conv2d(out_channels, num_classes, 1)
        if self.refined:
            refine = {'stride': feat_refine_stride, 'padding': 1, 'norm_cfg': norm_cfg}
            self.ins_downsample = ConvModule(in_channels, out_channels, 3, **refine)
            self.seg_downsample = ConvModule(in_channels, out_channels, 3, **refine)

    def init_weights(self) -> None:
        """Initialise as the authors: kernels of unit variance, classes with a prior."""
        super().init_weights()
        if self.init_cfg:
            return
        if self.xavier_init_kernel:
            nn.init.xavier_uniform_(self.init_kernels.weight)
        else:
            normal_init(self.init_kernels, std=self.kernel_init_std)
        if self.semantic_fpn:
            normal_init(self.conv_seg, std=0.01, bias=bias_init_with_prob(0.01))
        if self.conv_normal_init:
            branches = [
                self.loc_convs,
                *([self.seg_convs] if self.semantic_fpn else []),
            ]
            for layer in [layer for branch in branches for layer in branch]:
                normal_init(layer.conv, std=0.01)

    def forward(self, x: Sequence[Tensor]) -> InitialKernels:
        """Return the kernels to start from, their masks and their features.

        Args:
            x: The levels of the feature pyramid.
        """
        fused = self.localization_fpn(x)
        loc, sem = (fused[0], fused[1]) if isinstance(fused, list) else (fused, fused)
        for conv in self.loc_convs:
            loc = conv(loc)
        if self.refined:
            loc = self.ins_downsample(loc)
        mask_preds = self.init_kernels(loc)
        features, seg_preds = loc, None
        if self.semantic_fpn:
            for conv in self.seg_convs:
                sem = conv(sem)
            if self.refined:
                sem = self.seg_downsample(sem)
            seg_preds, features = self.conv_seg(sem), sem + loc

        kernels = self.init_kernels.weight.expand(features.size(0), -1, -1, -1, -1)
        if self.proposal_feats_with_obj:
            groups = group_pixels(mask_preds, self.grouping)
            kernels = (
                kernels + assemble_group_features(features, groups)[..., None, None]
            )
        if self.cat_stuff_mask and seg_preds is not None:
            stuff = self.conv_seg.weight[self.num_thing_classes :]
            stuff = stuff.expand(features.size(0), -1, -1, -1, -1)
            kernels = torch.cat([kernels, stuff], dim=1)
            stuff_masks = seg_preds[:, self.num_thing_classes :]
            mask_preds = torch.cat([mask_preds, stuff_masks], dim=1)
        return InitialKernels(kernels, features, mask_preds, seg_preds)

    def loss_by_feat(
        self,
        mask_preds: Float[Tensor, 'images proposals _ _'],
        seg_preds: Float[Tensor, 'images classes _ _'] | None,
        targets: KernelTargets,
    ) -> dict[str, Tensor]:
        """Return the losses of the thing kernels and of the classes of pixels.

        Args:
            mask_preds: Upsampled logits of the thing kernels' masks.
            seg_preds: Upsampled class logits; None without a semantic branch.
            targets: What the kernels learn, with `pixel_classes`.

        Raises:
            UserError: If `mask_preds` and the masks of `targets` differ in size.
        """
        found = kernel_losses(self.losses, mask_preds, targets)
        if self.loss_seg is not None and seg_preds is not None:
            assert targets.pixel_classes is not None
            classes = targets.pixel_classes.flatten()
            positives = (classes < self.num_classes).sum().clamp(min=1)
            found['loss_seg'] = self.loss_seg(
                seg_preds.movedim(1, -1).flatten(0, -2),
                classes,
                avg_factor=positives.float(),
            )
        losses = {}
        for key, value in found.items():
            losses[key.replace('loss_', 'loss_rpn_')] = value
        return losses

    def _check(self, in_channels: int, out_channels: int) -> None:
        conv_kernel_size = self.conv_kernel_size
        if self.num_thing_classes + self.num_stuff_classes != self.num_classes:
            raise UserError(
                f'KNetKernelInitHead: num_thing_classes={self.num_thing_classes} and '
                f'num_stuff_classes={self.num_stuff_classes} do not add up to '
                f'num_classes={self.num_classes}: mend them in rpn_head'
            )
        if conv_kernel_size % 2 == 0 or (conv_kernel_size > 1 and self.cat_stuff_mask):
            raise UserError(
                f'KNetKernelInitHead(conv_kernel_size={conv_kernel_size}): use an odd '
                'size, and 1 with cat_stuff_mask=True, as stuff kernels have size 1'
            )
        if self.cat_stuff_mask and not self.semantic_fpn:
            raise UserError(
                'KNetKernelInitHead(cat_stuff_mask=True, semantic_fpn=False): the '
                'stuff kernels are those of the semantic branch; set semantic_fpn=True'
            )
        if in_channels != out_channels and not self.refined:
            raise UserError(
                f'KNetKernelInitHead(in_channels={in_channels}, out_channels='
                f'{out_channels}): only feat_refine=True changes the number of '
                'channels; set both to the same number'
            )


def _convs(number: int, channels: int, norm_cfg: Config) -> nn.ModuleList:
    return nn.ModuleList(
        ConvModule(channels, channels, 1, norm_cfg=norm_cfg) for _ in range(number)
    )

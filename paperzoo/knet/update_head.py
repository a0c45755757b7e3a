"""One stage that updates kernels, and with them the masks they predict."""

from itertools import pairwise
from typing import Any, NamedTuple

from jaxtyping import Float
from mmcv.cnn import ConvModule, build_activation_layer, build_norm_layer
from mmengine.model import BaseModule, bias_init_with_prob
from torch import Tensor, nn
from torch.nn import functional as F

from paperzoo.common import FocalLoss, rename_on_load
from paperzoo.errors import UserError, check_choice
from paperzoo.knet.kernels import (
    ACT_CFG,
    GROUPINGS,
    NORM_CFG,
    KernelUpdater,
    assemble_group_features,
    group_pixels,
    predict_masks,
    resize,
    upsample,
)
from paperzoo.knet.losses import LOSS_DICE, LOSS_MASK, build_losses, kernel_losses
from paperzoo.knet.targets import KernelTargets
from paperzoo.registry import MODELS

Config = dict[str, Any]

LOSS_CLS: Config = {'type': FocalLoss, 'gamma': 2.0, 'alpha': 0.25, 'loss_weight': 2.0}
FEAT_TRANSFORM_CFG: Config = {'conv_cfg': {'type': 'Conv2d'}, 'act_cfg': None}
# Of the authors' updater, mmseg's too.
_UPDATOR_DEFAULTS: Config = {'in_channels': 256, 'feat_channels': 64}


class StageOutput(NamedTuple):
    """What a stage predicts.

    Attributes:
        cls_score: Class logits, (images, kernels, classes); None without classes.
        mask_preds: Mask logits, (images, kernels, height, width).
        kernels: (images, kernels, channels, size, size).
    """

    cls_score: Tensor | None
    mask_preds: Tensor
    kernels: Tensor


@MODELS.register_module()
class KNetKernelUpdateHead(BaseModule):
    """Updates kernels with their groups' features and with each other.

    The groups are those of the masks of the stage before. The same class serves
    instances, panoptic and semantic segmentation; they differ in `grouping` and
    `with_cls`.

    Args:
        num_classes: Number of classes, background not counted.
        num_ffn_fcs: Layers of the feed-forward network.
        num_heads: Heads of the attention between kernels.
        num_cls_fcs: Layers before the class layer.
        num_mask_fcs: Layers before the layer that makes the kernels.
        feedforward_channels: Channels inside the feed-forward network.
        in_channels: Channels of features and kernels.
        out_channels: Channels of the kernels that predict masks.
        dropout: In attention and feed-forward network.
        mask_thr: Not used; the authors' configs name it.
        act_cfg: Activation before the class layer and the kernel layer.
        ffn_act_cfg: Activation inside the feed-forward network.
        conv_kernel_size: Size of the kernels, odd.
        feat_transform_cfg: Arguments of the convolution of the features, of a
            `ConvModule`; None for none.
        hard_mask_thr: Probability from which on a pixel belongs to a group.
        kernel_init: Initialise the kernel layer with small numbers.
        with_ffn: Have a feed-forward network.
        feat_gather_stride: Stride of the convolution of the features.
        mask_transform_stride: 2 predicts masks at half the size, then upsamples; or 1.
        mask_upsample_stride: Factor by which masks are enlarged for losses and
            results; the next stage gets them as they are.
        num_thing_classes: Number of thing classes, by default all.
        num_stuff_classes: Number of stuff classes.
        grouping: How pixels are grouped, of `paperzoo.knet.kernels.group_pixels`.
        with_cls: Predict classes.
        kernel_updator_cfg: Arguments of the `KernelUpdater`, by default as wide as
            this head; or of mmseg's `KernelUpdator`, with its defaults.
        loss_rank: Loss of the kernels that compete for a pixel (panoptic).
        loss_mask: Loss of the masks, per pixel.
        loss_dice: Loss of the masks, per mask.
        loss_cls: Loss of the classes.
        init_cfg: Initial weights, in place of the authors'.

    Raises:
        UserError: If the numbers of thing and stuff classes do not add up, `grouping`
            or `mask_transform_stride` is unknown, `conv_kernel_size` is even, or
            `out_channels` differs from `in_channels`.

    Example:
        >>> import torch
        >>> size = {'in_channels': 16, 'out_channels': 16, 'feedforward_channels': 32}
        >>> stage = KNetKernelUpdateHead(num_classes=3, **size)
        >>> kernels, masks = torch.ones(1, 5, 16, 1, 1), torch.ones(1, 5, 8, 8)
        >>> stage(torch.ones(1, 16, 8, 8), kernels, masks).cls_score.shape
        torch.Size([1, 5, 3])

    Paper: knet "Group-Aware Kernels"
    """

    _AUTHORS_NAMES: dict[str, str] = {
        'attention.attn': 'attention',
        'kernel_update_conv': 'kernel_updater',
    }

    def __init__(
        self,
        num_classes: int = 80,
        num_ffn_fcs: int = 2,
        num_heads: int = 8,
        num_cls_fcs: int = 1,
        num_mask_fcs: int = 1,
        feedforward_channels: int = 2048,
        in_channels: int = 256,
        out_channels: int = 256,
        dropout: float = 0.0,
        mask_thr: float = 0.5,
        act_cfg: Config = ACT_CFG,
        ffn_act_cfg: Config = ACT_CFG,
        conv_kernel_size: int = 1,
        feat_transform_cfg: Config | None = FEAT_TRANSFORM_CFG,
        hard_mask_thr: float = 0.5,
        kernel_init: bool = False,
        with_ffn: bool = True,
        feat_gather_stride: int = 1,
        mask_transform_stride: int = 1,
        mask_upsample_stride: int = 2,
        num_thing_classes: int | None = None,
        num_stuff_classes: int = 0,
        *,
        grouping: str = 'threshold',
        with_cls: bool = True,
        kernel_updator_cfg: Config | None = None,
        loss_rank: Config | None = None,
        loss_mask: Config | None = LOSS_MASK,
        loss_dice: Config | None = LOSS_DICE,
        loss_cls: Config | None = LOSS_CLS,
        init_cfg: Config | list[Config] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if num_thing_classes is None:
            num_thing_classes = num_classes - num_stuff_classes
        self.num_classes = num_classes
        self.num_thing_classes = num_thing_classes
        self.num_stuff_classes = num_stuff_classes
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.conv_kernel_size = conv_kernel_size
        self.grouping = grouping
        self.hard_mask_thr = hard_mask_thr
        self.kernel_init = kernel_init
        self.feat_gather_stride = feat_gather_stride
        self.mask_transform_stride = mask_transform_stride
        self.mask_upsample_stride = mask_upsample_stride
        _check(self)

        self.feat_transform = self._feature_layer(feat_transform_cfg)
        self.kernel_updater = _build_updater(kernel_updator_cfg or {}, in_channels)
        wide = in_channels * conv_kernel_size**2
        self.attention = nn.MultiheadAttention(
            wide, num_heads, dropout, batch_first=True
        )
        self.attention_norm = build_norm_layer(NORM_CFG, wide)[1]
        self.ffn: nn.Module | None = None
        if with_ffn:
            widths = [in_channels] + [feedforward_channels] * (num_ffn_fcs - 1)
            self.ffn = _feed_forward(widths, ffn_act_cfg, dropout)
            self.ffn_norm = build_norm_layer(NORM_CFG, in_channels)[1]

        self.losses = build_losses(
            loss_cls=loss_cls if with_cls else None,
            loss_mask=loss_mask,
            loss_dice=loss_dice,
            loss_rank=loss_rank,
        )
        self.fc_cls: nn.Linear | None = None
        if with_cls:
            self.cls_fcs = _branch(in_channels, num_cls_fcs, act_cfg)
            self.fc_cls = nn.Linear(in_channels, num_classes)
        self.mask_fcs = _branch(in_channels, num_mask_fcs, act_cfg)
        self.fc_mask = nn.Linear(in_channels, out_channels)
        rename_on_load(self, self._AUTHORS_NAMES | _ffn_names(num_ffn_fcs))

    def init_weights(self) -> None:
        """Initialise all matrices by Xavier's rule and the class layer with a prior."""
        super().init_weights()
        if self.init_cfg:
            return
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        if self.fc_cls is not None:
            nn.init.constant_(self.fc_cls.bias, bias_init_with_prob(0.01))
        if self.kernel_init:
            nn.init.normal_(self.fc_mask.weight, mean=0, std=0.01)

    def forward(
        self,
        x: Float[Tensor, 'images channels height width'],
        proposal_feat: Float[Tensor, 'images kernels channels size size'],
        mask_preds: Float[Tensor, 'images kernels _ _'],
        mask_shape: tuple[int, int] | None = None,
    ) -> StageOutput:
        """Return classes, masks and kernels of this stage.

        Args:
            x: Feature map.
            proposal_feat: Kernels.
            mask_preds: Mask logits of the stage before, of any height and width.
            mask_shape: Height and width of the predicted masks, by default those of
                the features.
        """
        if self.feat_transform is not None:
            x = self.feat_transform(x)
        kernels = self._update(x, proposal_feat, mask_preds)
        cls_score = None
        if self.fc_cls is not None:
            cls_score = self.fc_cls(self.cls_fcs(kernels.sum(dim=2)))
        # Taps become sides of convolution kernels again.
        sides = 2 * (self.conv_kernel_size,)
        mask_kernels = self.fc_mask(self.mask_fcs(kernels)).transpose(2, 3)
        halved = self.mask_transform_stride == 2
        if halved and self.feat_gather_stride == 1:
            x = F.interpolate(x, scale_factor=0.5, mode='bilinear')
        masks = predict_masks(x, mask_kernels.unflatten(3, sides))
        masks = upsample(masks, 2 if halved else 1)
        if mask_shape is not None:
            masks = resize(masks, mask_shape)
        kernels = kernels.transpose(2, 3).unflatten(3, sides)
        return StageOutput(cls_score, masks, kernels)

    def _update(self, x: Tensor, proposal_feat: Tensor, mask_preds: Tensor) -> Tensor:
        """Return the kernels, updated with their groups' features and each other.

        Returns:
            (images, kernels, taps, channels), a tap being one position of a kernel.

        Paper: knet "Kernel Interaction"
        """
        masks = resize(mask_preds, (x.size(-2), x.size(-1)))
        groups = group_pixels(masks, self.grouping, self.hard_mask_thr)
        group_features = assemble_group_features(x, groups)
        kernels = proposal_feat.flatten(3).transpose(2, 3)
        shape = kernels.shape
        wide = self.kernel_updater(group_features, kernels).reshape(*shape[:2], -1)
        attended, _ = self.attention(wide, wide, wide, need_weights=False)
        kernels = self.attention_norm(wide + attended).reshape(shape)
        if self.ffn is not None:
            kernels = self.ffn_norm(kernels + self.ffn(kernels))
        return kernels

    def loss_by_feat(
        self,
        cls_score: Float[Tensor, 'images kernels classes'],
        mask_preds: Float[Tensor, 'images kernels _ _'],
        targets: KernelTargets,
    ) -> dict[str, Tensor]:
        """Return the losses of this stage, and the accuracy of its classes in percent.

        Args:
            cls_score: Class logits.
            mask_preds: Upsampled mask logits.
            targets: What the kernels learn.

        Raises:
            UserError: If the stage has no `loss_cls`, `loss_mask` or `loss_dice`, or
                `mask_preds` and the masks of `targets` differ in size.
        """
        missing = {'loss_cls', 'loss_mask', 'loss_dice'} - set(self.losses)
        if missing:
            raise UserError(f'mask_head is trained, but has no {sorted(missing)}')
        return kernel_losses(self.losses, mask_preds, targets, cls_score)

    def _feature_layer(self, config: Config | None) -> nn.Module | None:
        if config is None:
            return None
        options = {'kernel_size': 1, **config}
        size, stride = options['kernel_size'], self.feat_gather_stride
        # Half the stride is the authors' padding, half the kernel the one that keeps
        # the size; where both work they agree.
        options['padding'] = max(stride // 2, size // 2)
        return ConvModule(self.in_channels, self.in_channels, stride=stride, **options)


def _check(head: 'KNetKernelUpdateHead') -> None:
    """Refuse a stage whose arguments contradict each other."""
    owner = 'KNetKernelUpdateHead'
    if head.num_thing_classes + head.num_stuff_classes != head.num_classes:
        raise UserError(
            f'{owner}: num_thing_classes={head.num_thing_classes} and '
            f'num_stuff_classes={head.num_stuff_classes} do not add up to '
            f'num_classes={head.num_classes}: mend them in mask_head'
        )
    check_choice(owner, 'grouping', head.grouping, GROUPINGS)
    check_choice(owner, 'mask_transform_stride', head.mask_transform_stride, (1, 2))
    if head.conv_kernel_size % 2 == 0:
        raise UserError(
            f'conv_kernel_size={head.conv_kernel_size}: an even kernel has no '
            'centre and would change the size of the masks; use an odd one'
        )
    if head.out_channels != head.in_channels:
        raise UserError(
            f'{owner}(in_channels={head.in_channels}, out_channels='
            f'{head.out_channels}): its kernels are convolved with its features, so '
            'set both to the same number'
        )


def is_mmsegs(kind: str | type, name: str) -> bool:
    """Return whether a config's type means mmseg's class of this name.

    Args:
        kind: The class, its name with or without the scope, or its dotted path.
        name: Of mmseg's class.

    Example:
        >>> is_mmsegs('KernelUpdator', 'KernelUpdator')
        True
    """
    path = kind if isinstance(kind, str) else f'{kind.__module__}.{kind.__name__}'
    first, last = path.split('.')[0], path.split('.')[-1]
    return last == name and first in ('mmseg', name)


def _build_updater(config: dict[str, Any], channels: int) -> nn.Module:
    """Return the updater of a stage."""
    config = {'type': KernelUpdater, **config}
    defaults = {'in_channels': channels, 'feat_channels': channels}
    if is_mmsegs(config['type'], 'KernelUpdator'):
        defaults, config = _UPDATOR_DEFAULTS, config | {'type': KernelUpdater}
    return MODELS.build(defaults | config)


def _branch(channels: int, layers: int, act_cfg: dict[str, Any]) -> nn.Sequential:
    """Return layers of a linear map without bias, a normalisation, an activation."""
    modules: list[nn.Module] = []
    for _ in range(layers):
        modules += [
            nn.Linear(channels, channels, bias=False),
            build_norm_layer(NORM_CFG, channels)[1],
            build_activation_layer(act_cfg),
        ]
    return nn.Sequential(*modules)


def _feed_forward(
    widths: list[int], act_cfg: dict[str, Any], dropout: float
) -> nn.Sequential:
    """Return a feed-forward network through these widths and back to the first."""
    modules: list[nn.Module] = []
    for before, after in pairwise(widths):
        activation = build_activation_layer(act_cfg)
        modules += [nn.Linear(before, after), activation, nn.Dropout(dropout)]
    modules += [nn.Linear(widths[-1], widths[0]), nn.Dropout(dropout)]
    return nn.Sequential(*modules)


def _ffn_names(layers: int) -> dict[str, str]:
    """Return mmcv's names of the feed-forward layers, each with ours."""
    hidden = {f'ffn.layers.{i}.0': f'ffn.{3 * i}' for i in range(layers - 1)}
    return hidden | {f'ffn.layers.{layers - 1}': f'ffn.{3 * (layers - 1)}'}

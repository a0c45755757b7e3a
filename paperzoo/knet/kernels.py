"""The mathematics of one kernel update, the same for all three tasks."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from mmcv.cnn import build_activation_layer, build_norm_layer
from torch import Tensor, nn
from torch.nn import functional as F

from paperzoo.common import rename_on_load
from paperzoo.errors import UserError
from paperzoo.registry import MODELS
from paperzoo.utils.precision import at_least_float32

NORM_CFG: dict[str, Any] = {'type': 'LN'}
ACT_CFG: dict[str, Any] = {'type': 'ReLU', 'inplace': True}
GROUPINGS = ('threshold', 'soft_threshold', 'softmax', 'sigmoid')


def group_pixels(
    mask_logits: Float[Tensor, 'images kernels height width'],
    grouping: str = 'threshold',
    thr: float = 0.5,
) -> Float[Tensor, 'images kernels height width']:
    """Return how far each pixel belongs to the group of each kernel, from 0 to 1.

    Args:
        mask_logits: The masks that the kernels predicted.
        grouping: `'threshold'`: 1 where the probability exceeds `thr`, no gradient
            (instances and panoptic); `'soft_threshold'`: the probability there, 0
            elsewhere; `'softmax'`: kernels share each pixel (semantic); `'sigmoid'`:
            the probability.
        thr: Probability that a pixel of a group exceeds.

    Example:
        >>> logits = torch.tensor([[[[2.0, -1.0]], [[-2.0, 3.0]]]])  # two kernels
        >>> group_pixels(logits)
        tensor([[[[1., 0.]],
        <BLANKLINE>
                 [[0., 1.]]]])

    Paper: knet "Group Feature Assembling"
    """
    if grouping == 'softmax':
        return mask_logits.softmax(dim=1)
    prob = mask_logits.sigmoid()
    if grouping == 'sigmoid':
        return prob
    inside = (prob > thr).to(prob.dtype)
    return inside if grouping == 'threshold' else inside * prob


def assemble_group_features(
    features: Float[Tensor, 'images channels height width'],
    groups: Float[Tensor, 'images kernels height width'],
) -> Float[Tensor, 'images kernels channels']:
    """Return the sum of the features over each kernel's group of pixels.

    Args:
        features: The feature map.
        groups: How far each pixel belongs to each group.

    Example:
        >>> features = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])  # two channels
        >>> assemble_group_features(features, torch.tensor([[[[0.0, 1.0]]]]))
        tensor([[[2., 4.]]])

    Paper: knet "Group Feature Assembling"
    """
    # A sum over thousands of pixels overflows half precision.
    with torch.autocast(features.device.type, enabled=False):
        return torch.einsum(
            'bnhw,bchw->bnc', at_least_float32(groups), at_least_float32(features)
        )


def update_kernels(
    feature_gate: Float[Tensor, '*rows channels'],
    feature_value: Float[Tensor, '*#rows channels'],
    kernel_gate: Float[Tensor, '*rows channels'],
    kernel_value: Float[Tensor, '*rows channels'],
) -> Float[Tensor, '*rows channels']:
    """Return the kernels as two gates mix them from group features and old kernels.

    Args:
        feature_gate: How much of the group feature each channel takes.
        feature_value: The group features.
        kernel_gate: How much of the old kernel each channel keeps.
        kernel_value: The old kernels.

    Example:
        >>> one, ten = torch.ones(1), 10 * torch.ones(1)
        >>> update_kernels(0.5 * one, one, 0.25 * one, ten)
        tensor([3.])

    Paper: knet "Adaptive Kernel Update"
    """
    return feature_gate * feature_value + kernel_gate * kernel_value


def predict_masks(
    features: Float[Tensor, 'images channels height width'],
    kernels: Float[Tensor, 'images kernels channels size size'],
) -> Float[Tensor, 'images kernels height width']:
    """Return each image's features convolved with the image's own kernels.

    Args:
        features: The feature map.
        kernels: One convolution kernel per mask; `size` is odd.

    Example:
        >>> features = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])
        >>> predict_masks(features, torch.tensor([[[[[1.0]], [[10.0]]]]]))
        tensor([[[[31., 42.]]]])

    Paper: knet "K-Net"
    """
    images, number, channels, size, _ = kernels.shape
    if size == 1:
        return torch.einsum('bnc,bchw->bnhw', kernels[..., 0, 0], features)
    height, width = features.shape[-2:]
    # Images become groups of channels, so one convolution serves the whole batch.
    masks = F.conv2d(
        features.reshape(1, images * channels, height, width),
        kernels.reshape(images * number, channels, size, size),
        padding=size // 2,
        groups=images,
    )
    return masks.view(images, number, height, width)


def resize(
    masks: Float[Tensor, 'images masks _ _'], size: tuple[int, int]
) -> Float[Tensor, 'images masks _ _']:
    """Return masks at another height and width, bilinearly.

    Args:
        masks: Masks, or other maps.
        size: Height and width, in pixels.

    Example:
        >>> resize(torch.ones(1, 5, 4, 4), (6, 8)).shape
        torch.Size([1, 5, 6, 8])
    """
    if masks.shape[-2:] == size:
        return masks
    return F.interpolate(masks, size, mode='bilinear')


def upsample(
    maps: Float[Tensor, 'images maps _ _'], factor: int
) -> Float[Tensor, 'images maps _ _']:
    """Return maps enlarged bilinearly.

    Args:
        maps: Masks, or classes of pixels.
        factor: By which height and width grow.

    Example:
        >>> upsample(torch.ones(1, 5, 4, 6), 2).shape
        torch.Size([1, 5, 8, 12])
    """
    if factor == 1:
        return maps
    return F.interpolate(maps, scale_factor=factor, mode='bilinear')


@MODELS.register_module()
class KernelUpdater(nn.Module):
    """Updates kernels with the features of their groups, through two gates.

    Both gates come from the product of group feature and kernel: one scales the
    feature, the other the kernel. Kernels wider than `in_channels` are split into
    parts of that width, which are updated independently (the released semantic
    checkpoints rely on it).

    Args:
        in_channels: Channels of features and kernels.
        feat_channels: Channels inside.
        out_channels: Channels of the result; by default `in_channels`.
        input_feat_shape: Not used; the authors' configs name it.
        gate_sigmoid: Gates pass a sigmoid; without it they are unbounded.
        gate_norm_act: The product passes a normalisation and the activation first.
        activate_out: The gated values pass the activation first.
        norm_cfg: Normalisation of gates, values and result.
        act_cfg: Activation.

    Example:
        >>> updater = KernelUpdater(in_channels=4, feat_channels=8)
        >>> updater(torch.ones(3, 4), torch.ones(3, 1, 4)).shape  # three kernels
        torch.Size([3, 1, 4])

    Paper: knet "Adaptive Kernel Update"
    """

    _AUTHORS_NAMES: Mapping[str, str] = {
        'dynamic_layer': 'feature_layer',
        'input_layer': 'kernel_layer',
        'update_gate': 'feature_gate',
        'norm_in': 'feature_gate_norm',
        'input_gate': 'kernel_gate',
        'input_norm_in': 'kernel_gate_norm',
        'norm_out': 'feature_norm',
        'input_norm_out': 'kernel_norm',
        'fc_layer': 'out_layer',
        'fc_norm': 'out_norm',
    }

    def __init__(
        self,
        in_channels: int = 256,
        feat_channels: int = 256,
        out_channels: int | None = None,
        *,
        input_feat_shape: int = 3,
        gate_sigmoid: bool = True,
        gate_norm_act: bool = False,
        activate_out: bool = False,
        norm_cfg: dict[str, Any] = NORM_CFG,
        act_cfg: dict[str, Any] = ACT_CFG,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.feat_channels = feat_channels
        self.out_channels = out_channels or in_channels
        self.gate_sigmoid = gate_sigmoid
        self.activate_out = activate_out

        def norm(channels: int = feat_channels) -> nn.Module:
            return build_norm_layer(norm_cfg, channels)[1]

        self.feature_layer = nn.Linear(in_channels, 2 * feat_channels)
        self.kernel_layer = nn.Linear(in_channels, 2 * feat_channels)
        self.feature_gate = nn.Linear(feat_channels, feat_channels)
        self.kernel_gate = nn.Linear(feat_channels, feat_channels)
        self.gate_norm = norm() if gate_norm_act else None
        self.feature_gate_norm = norm()
        self.kernel_gate_norm = norm()
        self.feature_norm = norm()
        self.kernel_norm = norm()
        self.activation = build_activation_layer(act_cfg)
        self.out_layer = nn.Linear(feat_channels, self.out_channels)
        self.out_norm = norm(self.out_channels)
        rename_on_load(self, self._AUTHORS_NAMES)

    def forward(self, update_feature: Tensor, input_feature: Tensor) -> Tensor:
        """Return the updated kernels.

        Args:
            update_feature: Group features, (..., channels).
            input_feature: Kernels, (..., taps, channels), a tap being one position of
                a kernel.

        Returns:
            (rows, taps, out_channels), with one row per kernel, or per part of it if
            kernels are wider than `in_channels`; in the precision of the weights.

        Raises:
            UserError: If the channels are no multiple of `in_channels`.
        """
        if update_feature.size(-1) % self.in_channels:
            raise UserError(
                f'KernelUpdater(in_channels={self.in_channels}) got features of '
                f'{update_feature.size(-1)} channels: set in_channels in '
                'kernel_updator_cfg to in_channels of the head, or to a divisor of it'
            )
        # Group features are sums over pixels, and gates their products with kernels:
        # both leave the range of half precision.
        with torch.autocast(update_feature.device.type, enabled=False):
            dtype = self.out_layer.weight.dtype
            features = update_feature.reshape(-1, 1, self.in_channels).to(dtype)
            kernels = input_feature.reshape(features.size(0), -1, self.in_channels)
            return self._updated(features, kernels.to(dtype))

    def _updated(self, features: Tensor, kernels: Tensor) -> Tensor:
        """Return the updated kernels.

        Args:
            features: (rows, 1, in_channels).
            kernels: (rows, taps, in_channels).
        """
        feature_key, feature_value = self.feature_layer(features).chunk(2, dim=-1)
        kernel_key, kernel_value = self.kernel_layer(kernels).chunk(2, dim=-1)

        gates = kernel_key * feature_key
        if self.gate_norm is not None:
            gates = self.activation(self.gate_norm(gates))
        feature_gate = self.feature_gate_norm(self.feature_gate(gates))
        kernel_gate = self.kernel_gate_norm(self.kernel_gate(gates))
        if self.gate_sigmoid:
            feature_gate, kernel_gate = feature_gate.sigmoid(), kernel_gate.sigmoid()
        feature_value = self.feature_norm(feature_value)
        kernel_value = self.kernel_norm(kernel_value)
        if self.activate_out:
            feature_value = self.activation(feature_value)
            kernel_value = self.activation(kernel_value)
        updated = update_kernels(feature_gate, feature_value, kernel_gate, kernel_value)
        return self.activation(self.out_norm(self.out_layer(updated)))

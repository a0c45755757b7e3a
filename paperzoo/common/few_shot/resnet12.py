"""ResNet-12: four residual blocks of three convolutions, regularised by DropBlock."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from paperzoo.errors import UserError
from paperzoo.registry import MODELS

NEGATIVE_SLOPE = 0.1
# The shortcut's convolution is initialised like the others: all precede a leaky ReLU.
INIT_CFG: list[dict[str, Any]] = [
    {
        'type': 'Kaiming',
        'layer': 'Conv2d',
        'a': NEGATIVE_SLOPE,
        'mode': 'fan_out',
        'nonlinearity': 'leaky_relu',
    },
    {'type': 'Constant', 'layer': 'BatchNorm2d', 'val': 1},
]


def dropblock_gamma(
    drop_rate: float | Float[Tensor, ''], block_size: int, size: tuple[int, int]
) -> float | Float[Tensor, '']:
    """Return how likely a place must begin a block, for a share of pixels to drop.

    Args:
        drop_rate: The share of the pixels that should drop.
        block_size: Side of a block.
        size: Height and width of the map.

    Example:
        >>> from paperzoo.common.few_shot.resnet12 import dropblock_gamma
        >>> dropblock_gamma(0.1, block_size=1, size=(6, 6))
        0.1
        >>> dropblock_gamma(0.5, block_size=2, size=(3, 3))  # 4 places, 4 pixels each
        0.28125

    Paper: dmf "Implementation Details"
    """
    height, width = size
    # A block begins where it fits into the map and drops block_size^2 of its pixels.
    places = (height - block_size + 1) * (width - block_size + 1)
    return drop_rate * (height * width / (block_size**2 * places))


def keep_mask(
    starts: Float[Tensor, 'batch channels out_height out_width'], block_size: int
) -> Float[Tensor, 'batch channels height width']:
    """Return 0 in the blocks whose upper left pixel is marked, and 1 elsewhere.

    Args:
        starts: 1 where a block begins; blocks lie inside the map, which is larger by
            `block_size - 1` both ways.
        block_size: Side of a block.

    Example:
        >>> import torch
        >>> from paperzoo.common.few_shot.resnet12 import keep_mask
        >>> keep_mask(torch.tensor([[[[0.0, 1.0]]]]), block_size=2)[0, 0]
        tensor([[1., 0., 0.],
                [1., 0., 0.]])
    """
    margin = block_size - 1
    padded = F.pad(starts, (margin, margin, margin, margin))
    return 1 - F.max_pool2d(padded, block_size, stride=1)


def official_keep_mask(
    starts: Float[Tensor, 'batch channels out_height out_width'], block_size: int
) -> Float[Tensor, 'batch channels height width']:
    """Return the mask of the authors' code, in which blocks may have holes.

    Marked places and pixels of a block are each listed over and over and paired line by
    line. So place i meets pixel j only where i = j modulo the greatest common divisor d
    of the number of places and of `block_size^2`: with d > 1 only one pixel in d drops.

    Args:
        starts: As for `keep_mask`.
        block_size: Side of a block.

    Example:
        >>> import torch
        >>> from paperzoo.common.few_shot.resnet12 import official_keep_mask
        >>> starts = torch.tensor([[[[1.0, 0.0, 1.0]]]])  # two places, four pixels
        >>> official_keep_mask(starts, block_size=2)[0, 0]
        tensor([[0., 1., 1., 0.],
                [0., 1., 1., 0.]])
    """
    margin = block_size - 1
    keep = F.pad(torch.ones_like(starts), (0, margin, 0, margin), value=1.0)
    places = starts.nonzero()
    pairs = torch.arange(len(places) * block_size**2, device=starts.device)
    image, channel, row, column = places.repeat(block_size**2, 1).unbind(1)
    pixel = pairs % block_size**2
    keep[image, channel, row + pixel // block_size, column + pixel % block_size] = 0
    return keep


def apply_keep_mask(
    x: Float[Tensor, 'batch channels height width'],
    keep: Float[Tensor, 'batch channels height width'],
) -> Float[Tensor, 'batch channels height width']:
    """Return the kept pixels, scaled so that the batch's sum stays what it was.

    Args:
        x: The maps.
        keep: 1 where they are kept.

    Example:
        >>> import torch
        >>> from paperzoo.common.few_shot.resnet12 import apply_keep_mask
        >>> keep = torch.tensor([1.0, 1, 0, 0]).view(1, 1, 2, 2)
        >>> apply_keep_mask(torch.ones(1, 1, 2, 2), keep).flatten()
        tensor([2., 2., 0., 0.])
    """
    # The scale is counted in single precision; nothing kept is no division by zero.
    scale = keep.numel() / keep.sum(dtype=torch.float32).clamp(min=1)
    return x * keep.to(x.dtype) * scale.to(x.dtype)


class DropBlock(nn.Module):
    """Drops square blocks of each channel, more of them as training goes on.

    Args:
        drop_rate: Share of the pixels that drop at last.
        block_size: Side of a block; that of the map if the map is smaller.
        ramp: Training steps over which the share grows from 0.
        official: Drop what the authors' code drops (see `official_keep_mask`).
    """

    def __init__(
        self, drop_rate: float, block_size: int, ramp: int, *, official: bool = False
    ) -> None:
        super().__init__()
        self.keep_mask = official_keep_mask if official else keep_mask
        self.drop_rate = drop_rate
        self.block_size = block_size
        self.ramp = ramp

    def rate(self, step: Tensor) -> Tensor:
        """Return the share of the pixels that drop at a training step."""
        return (step / max(self.ramp, 1)).clamp(max=1) * self.drop_rate

    def forward(self, x: Tensor, step: Tensor) -> Tensor:
        """Return the maps with blocks dropped; in evaluation, the maps."""
        if not self.training or self.drop_rate == 0:
            return x
        height, width = x.shape[-2:]
        side = min(self.block_size, height, width)
        gamma = dropblock_gamma(self.rate(step), side, (height, width))
        places = (*x.shape[:2], height - side + 1, width - side + 1)
        starts = torch.rand(places, device=x.device) < gamma
        return apply_keep_mask(x, self.keep_mask(starts.float(), side))


class ResidualBlock(nn.Module):
    """Three convolutions beside a 1x1 shortcut, then pooling and dropping.

    Args:
        in_channels: Channels of the input.
        channels: Channels of the output.
        pool: Halve height and width.
        drop: What drops after that.
    """

    num_batches_tracked: Tensor

    def __init__(
        self, in_channels: int, channels: int, *, pool: bool, drop: nn.Module
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self.downsample = nn.Sequential(
            nn.Conv2d(in_channels, channels, 1, bias=False), nn.BatchNorm2d(channels)
        )
        self.pool = nn.MaxPool2d(2, ceil_mode=True) if pool else nn.Identity()
        self.drop = drop
        # On its device, not a Python number: resuming goes on with the schedule.
        self.register_buffer('num_batches_tracked', torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's maps."""
        if self.training:
            self.num_batches_tracked += 1
        out = F.leaky_relu(self.bn1(self.conv1(x)), NEGATIVE_SLOPE)
        out = F.leaky_relu(self.bn2(self.conv2(out)), NEGATIVE_SLOPE)
        out = self.bn3(self.conv3(out)) + self.downsample(x)
        out = self.pool(F.leaky_relu(out, NEGATIVE_SLOPE))
        if isinstance(self.drop, DropBlock):
            return self.drop(out, self.num_batches_tracked)
        return self.drop(out)


@MODELS.register_module()
class ResNet12(BaseModule):
    """The backbone of few-shot classification: 84x84 pixels become 640x11x11.

    Differs: the counter that DropBlock's schedule follows counts training steps only;
    the authors' counts evaluations, too. Whole blocks drop; in the authors' code some
    have holes (`official_dropblock=True`).

    Args:
        widths: Channels of the stages.
        in_channels: Channels of the images.
        pools: Which stages halve height and width, rounding up.
        drop_rate: Share that drops after each stage.
        drop_blocks: Which stages drop blocks (the others drop single values).
        block_size: Side of a dropped block.
        ramp: Training steps over which the share of dropped blocks grows to
            `drop_rate`.
        official_dropblock: Drop what the authors' code drops. It waits for the device
            in every step.
        out_indices: Stages whose maps are returned; by default the last.
        init_cfg: As in every MMEngine module.

    Raises:
        UserError: If `pools` or `drop_blocks` has not one entry per stage, or
            `out_indices` names no stage.

    Example:
        >>> import torch
        >>> from paperzoo.common.few_shot import ResNet12
        >>> (maps,) = ResNet12(widths=(2, 4, 8, 16)).eval()(torch.rand(1, 3, 84, 84))
        >>> maps.shape
        torch.Size([1, 16, 11, 11])

    Paper: dmf "Implementation Details"
    """

    def __init__(
        self,
        widths: Sequence[int] = (64, 160, 320, 640),
        *,
        in_channels: int = 3,
        pools: Sequence[bool] = (True, True, True, False),
        drop_rate: float = 0.1,
        drop_blocks: Sequence[bool] = (False, False, True, True),
        block_size: int = 5,
        ramp: int = 40000,
        official_dropblock: bool = False,
        out_indices: Sequence[int] | None = None,
        init_cfg: Any = INIT_CFG,
    ) -> None:
        super().__init__(init_cfg)
        for name, given in (('pools', pools), ('drop_blocks', drop_blocks)):
            if len(given) != len(widths):
                raise UserError(
                    f'ResNet12: {name}={tuple(given)} has {len(given)} entries, '
                    f'widths={tuple(widths)} has {len(widths)}: give one per stage'
                )
        if out_indices is None:
            out_indices = (len(widths) - 1,)
        if not out_indices or not all(0 <= i < len(widths) for i in out_indices):
            raise UserError(
                f'ResNet12: out_indices={tuple(out_indices)}: use some of the stages '
                f'0 to {len(widths) - 1}'
            )
        self.out_indices = tuple(out_indices)
        self.stages: list[str] = []
        before = in_channels
        for i, width in enumerate(widths):
            drop: nn.Module = nn.Dropout(drop_rate)
            if drop_blocks[i]:
                drop = DropBlock(
                    drop_rate, block_size, ramp, official=official_dropblock
                )
            block = ResidualBlock(before, width, pool=pools[i], drop=drop)
            self.stages.append(f'layer{i + 1}')
            self.add_module(self.stages[-1], nn.Sequential(block))
            before = width

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the maps of the stages `out_indices`, of images (N, C, H, W)."""
        outs = []
        for i, name in enumerate(self.stages):
            x = getattr(self, name)(x)
            if i in self.out_indices:
                outs.append(x)
        return tuple(outs)

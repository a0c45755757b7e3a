"""What all exported image models begin with: pixels normalised, padding made zero."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paperzoo.errors import UserError


class Normalize(nn.Module):
    """Pixels (B, 3, H, W) of uint8, BGR, as the network takes them.

    Other than the preprocessors of mmdet and mmseg it gets images that are padded
    already; what lies beyond `image_size` becomes what they pad with.

    Args:
        preprocessor: The model's.

    Raises:
        UserError: If the preprocessor pads in a way that is not understood.

    Example:
        >>> import torch
        >>> from mmdet.models import DetDataPreprocessor
        >>> from paperzoo.deploy.inputs import Normalize
        >>> pre = DetDataPreprocessor(mean=[10.0] * 3, std=[2.0] * 3)
        >>> pixels = torch.full((1, 3, 2, 2), 20, dtype=torch.uint8)
        >>> Normalize(pre)(pixels, torch.tensor([2, 1]))[0, 0]
        tensor([[5., 0.],
                [5., 0.]])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, preprocessor: Any) -> None:
        super().__init__()
        self.swap = bool(
            getattr(preprocessor, '_channel_conversion', False)
            or getattr(preprocessor, 'channel_conversion', False)
        )
        enabled = getattr(preprocessor, '_enable_normalize', False)
        like = torch.zeros(3, 1, 1)
        mean = preprocessor.mean if enabled else like
        std = preprocessor.std if enabled else like + 1
        self.register_buffer('mean', mean.detach().clone().float())
        self.register_buffer('std', std.detach().clone().float())
        pad = getattr(preprocessor, 'pad_value', getattr(preprocessor, 'pad_val', 0))
        if not isinstance(pad, int | float):
            raise UserError(
                f'{type(preprocessor).__name__}: pad_val={pad}: only one number can be '
                'exported'
            )
        self.pad = float(pad)

    def forward(self, images: Tensor, image_size: Tensor) -> Tensor:
        """Return the network's input.

        Args:
            images: (B, 3, H, W).
            image_size: Height and width of what is no padding.
        """
        pixels = images.float()
        if self.swap:
            pixels = pixels.flip(1)
        pixels = (pixels - self.mean) / self.std
        rows = torch.arange(images.size(2), device=images.device)
        columns = torch.arange(images.size(3), device=images.device)
        inside = (rows[:, None] < image_size[0]) & (columns < image_size[1])
        return torch.where(inside, pixels, self.pad)


def sides(size: Tensor, within: tuple[Any, Any] | None = None) -> tuple[Any, Any]:
    """Return height and width as numbers that a graph may have as sides.

    Args:
        size: Of two whole numbers.
        within: What they are not larger than.

    Example:
        >>> import torch
        >>> from paperzoo.deploy.inputs import sides
        >>> sides(torch.tensor([3, 4]))
        (3, 4)
    """
    height, width = size.tolist()
    for number in (height, width):
        torch._check(number >= 1)
    if within is not None:
        torch._check(height <= within[0])
        torch._check(width <= within[1])
    return height, width


def rows_at(values: Tensor, index: Tensor) -> Tensor:
    """Return rows of each image, (B, K, ...), of (B, N, ...).

    Args:
        values: (B, N, ...).
        index: Which, (B, K).

    Example:
        >>> import torch
        >>> from paperzoo.deploy.inputs import rows_at
        >>> rows_at(torch.tensor([[[1, 2], [3, 4]]]), torch.tensor([[1, 1, 0]]))
        tensor([[[3, 4],
                 [3, 4],
                 [1, 2]]])
    """
    index = index.view(*index.shape, *[1] * (values.dim() - 2))
    return values.gather(1, index.expand(-1, -1, *values.shape[2:]))


def enlarged(
    maps: Tensor,
    padded: Any,
    image_size: Tensor,
    result_size: Tensor,
    align_corners: bool = False,
) -> Tensor:
    """Return maps at the size of the results, without what lies on padding.

    Args:
        maps: (B, C, h, w), of the padded images.
        padded: Height and width of those.
        image_size: Height and width of what is no padding.
        result_size: Height and width of the result.
        align_corners: As of `torch.nn.functional.interpolate`.

    Example:
        >>> import torch
        >>> from paperzoo.deploy.inputs import enlarged
        >>> image, result = torch.tensor([8, 6]), torch.tensor([16, 12])
        >>> enlarged(torch.ones(1, 1, 2, 2), (8, 8), image, result).shape
        torch.Size([1, 1, 16, 12])
    """
    how: Any = {'mode': 'bilinear', 'align_corners': align_corners}
    maps = F.interpolate(maps, padded, **how)
    height, width = sides(image_size, padded)
    maps = maps[..., :height, :width]
    return F.interpolate(maps, sides(result_size), **how)


class MeanPool(nn.Module):
    """`nn.AdaptiveAvgPool2d` as two products, for maps whose size only a run knows.

    Args:
        size: Height and width of the result.

    Example:
        >>> import torch
        >>> from paperzoo.deploy.inputs import MeanPool
        >>> maps = torch.rand(1, 2, 5, 7)
        >>> same = torch.nn.AdaptiveAvgPool2d((3, 6))(maps)
        >>> torch.testing.assert_close(MeanPool((3, 6))(maps), same)
    """

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, maps: Tensor) -> Tensor:
        """Return the means (B, C, h, w) of maps (B, C, H, W)."""
        rows = _shares(maps.size(2), self.size[0], maps)
        columns = _shares(maps.size(3), self.size[1], maps)
        return rows @ maps @ columns.mT


def _shares(length: Any, parts: int, like: Tensor) -> Tensor:
    """Return how much each place counts in each part, (parts, length)."""
    part = torch.arange(parts, device=like.device)[:, None]
    first = part * length // parts
    end = -(-(part + 1) * length // parts)
    place = torch.arange(length, device=like.device)
    inside = (place >= first) & (place < end)
    return inside.to(like.dtype) / (end - first)


def with_mean_pools(model: nn.Module) -> nn.Module:
    """Replace the adaptive pools of a model, in place, and return it.

    ONNX has none, and what they are written as knows the sizes of the example only.

    Args:
        model: Its pools are replaced.

    Example:
        >>> from torch import nn
        >>> from paperzoo.deploy.inputs import with_mean_pools
        >>> with_mean_pools(nn.Sequential(nn.AdaptiveAvgPool2d(1)))
        Sequential(
          (0): MeanPool()
        )
    """
    for name, child in model.named_children():
        if not isinstance(child, nn.AdaptiveAvgPool2d):
            with_mean_pools(child)
            continue
        size: Any = child.output_size
        high, wide = (size, size) if isinstance(size, int) else size
        if high is not None and wide is not None:
            setattr(model, name, MeanPool((high, wide)))
    return model

"""What happens to an episode between the data loader and the model."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Integer, Shaped
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from paperzoo.errors import UserError
from paperzoo.registry import MODELS

_IMAGES = ('support', 'query')
_LABELS = ('support_label', 'query_label', 'support_class', 'query_class')


@MODELS.register_module()
class EpisodeDataPreprocessor(BaseDataPreprocessor):
    """Moves a batch of episodes to the device and normalises its images.

    Args:
        mean: Of each channel, on the scale of the images (0 to 255); by default 0.
        std: Of each channel; by default 1.
        non_blocking: Do not wait for the copy to the device.

    Raises:
        UserError: If a number of `std` is not positive.

    Example:
        >>> import torch
        >>> from paperzoo.common.few_shot import EpisodeDataPreprocessor
        >>> preprocessor = EpisodeDataPreprocessor(mean=[100.0], std=[50.0])
        >>> preprocessor.normalize(torch.full((1, 1, 1), 200, dtype=torch.uint8))
        tensor([[[2.]]])
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        *,
        non_blocking: bool = False,
    ) -> None:
        super().__init__(non_blocking)
        if std is not None and not all(value > 0 for value in std):
            raise UserError(
                f'EpisodeDataPreprocessor: std={list(std)}: use positive numbers'
            )
        for name, values in (('mean', mean or [0.0]), ('std', std or [1.0])):
            column = torch.tensor(values, dtype=torch.float32).view(-1, 1, 1)
            self.register_buffer(name, column, persistent=False)

    def normalize(
        self, images: Shaped[Tensor, '*batch channels height width']
    ) -> Float[Tensor, '*batch channels height width']:
        """Return images of any type as the model wants them.

        Args:
            images: On the scale of `mean`.

        Raises:
            UserError: If `mean` is of another number of channels.
        """
        images = images.to(self.mean.device, non_blocking=self._non_blocking)
        if self.mean.numel() not in (1, images.size(-3)):
            raise UserError(
                f'EpisodeDataPreprocessor: mean has {self.mean.numel()} entries, the '
                f'images have {images.size(-3)} channels: give one per channel'
            )
        return (images.float() - self.mean) / self.std

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Return the arguments of the model.

        Args:
            data: `support` (E, K * S, C, H, W), `query` (E, Q, C, H, W) and their
                labels; what the model does not take is left out.
            training: Not used.

        Returns:
            Images and labels on the device, and `ways`, the number of classes.

        Raises:
            UserError: If `support`, `support_label` or `query` is missing.
        """
        missing = {'support', 'support_label', 'query'} - data.keys()
        if missing:
            raise UserError(
                f'the batch has no {", ".join(sorted(missing))}, only '
                f'{", ".join(sorted(data))}: an episode comes from EpisodeDataset, '
                "collated with collate_fn=dict(type='default_collate')"
            )
        # Before the labels are on a GPU, where reading a number would wait for it.
        ways = data.get('ways') or count_ways(data['support_label'])
        labels = {key: data[key] for key in _LABELS if key in data}
        images = {key: self.normalize(data[key]) for key in _IMAGES}
        return {**images, **self.cast_data(labels), 'ways': int(ways)}


def count_ways(support_label: Integer[Tensor, 'episodes supports']) -> int:
    """Return the number of classes of episodes whose supports have these labels.

    Args:
        support_label: From 0 to the number of classes - 1.

    Raises:
        UserError: If an episode has no support for a class.

    Example:
        >>> import torch
        >>> from paperzoo.common.few_shot.preprocessor import count_ways
        >>> count_ways(torch.tensor([[0, 1, 2], [2, 0, 1]]))
        3
    """
    ways = int(support_label.max()) + 1
    there = torch.zeros(len(support_label), ways, dtype=torch.bool)
    there.scatter_(1, support_label.cpu().long(), True)
    if not there.all():
        episode, label = (~there).nonzero()[0].tolist()
        raise UserError(
            f'support_label: episode {episode} of the batch has no support of class '
            f'{label}, another has {ways} classes: all episodes of a batch need the '
            'same classes, 0 to K - 1'
        )
    return ways

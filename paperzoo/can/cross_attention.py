"""Cross attention: what query and class have in common, as one number per position."""

from typing import Any

import torch
from jaxtyping import Float
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from paperzoo.errors import UserError


def correlation(
    classes: Float[Tensor, 'classes channels *places'],
    query: Float[Tensor, 'queries channels *places'],
) -> Float[Tensor, 'queries classes positions positions']:
    """Return the cosine of each position of a class with each position of a query.

    Args:
        classes: The classes' feature maps.
        query: The queries' feature maps.

    Returns:
        Rows are positions of the class, columns positions of the query.

    Example:
        >>> import torch
        >>> from paperzoo.can import correlation
        >>> maps = torch.tensor([[3.0, 0.0], [4.0, 1.0]]).view(1, 2, 1, 2)
        >>> correlation(maps, maps)[0, 0]
        tensor([[1.0000, 0.8000],
                [0.8000, 1.0000]])

    Paper: can "Cross Attention Module"
    """
    one, other = (F.normalize(maps.flatten(2), dim=1) for maps in (classes, query))
    return torch.einsum('kci,qcj->qkij', one, other)


def attention_map(
    correlations: Float[Tensor, '*pairs positions others'],
    kernel: Float[Tensor, '*pairs others'],
    temperature: float,
) -> Float[Tensor, '*pairs positions']:
    """Return how much each position counts; the sum is one.

    Args:
        correlations: Of each position with all positions of the other map.
        kernel: What fuses a position's correlations to one number.
        temperature: The smaller, the fewer positions count.

    Example:
        >>> import torch
        >>> from paperzoo.can import attention_map
        >>> alike = torch.tensor([[0.0], [1.0]])  # two positions with one other
        >>> attention_map(alike, torch.ones(1), temperature=1.0)
        tensor([0.2689, 0.7311])

    Paper: can "Cross Attention Module"
    """
    fused = torch.einsum('...ij,...j->...i', correlations, kernel)
    return (fused / temperature).softmax(-1)


def attended_mean(
    maps: Float[Tensor, 'maps channels *places'],
    attention: Float[Tensor, 'queries classes positions'],
    of: str,
) -> Float[Tensor, 'queries classes channels']:
    """Return the mean over the positions of maps that are multiplied by 1 + attention.

    Args:
        maps: Feature maps of the queries or of the classes.
        attention: Of each pair.
        of: `'query'` or `'class'`: which of them the maps belong to.

    Example:
        >>> import torch
        >>> from paperzoo.can import attended_mean
        >>> maps = torch.tensor([2.0, 4.0]).view(1, 1, 1, 2)
        >>> attended_mean(maps, torch.tensor([[[0.0, 1.0]]]), of='query').item()
        5.0

    Paper: can "Cross Attention Module"
    """
    flat = maps.flatten(2)
    weights = (1 + attention) / attention.size(-1)
    return torch.einsum(f'qki,{"q" if of == "query" else "k"}ci->qkc', weights, flat)


def position_scores(
    query: Float[Tensor, 'queries channels *places'],
    means: Float[Tensor, 'queries classes channels'],
) -> Float[Tensor, 'queries classes *places']:
    """Return the cosine of each position of a query with each class.

    Attention would multiply the position by a positive number: no cosine sees that.

    Args:
        query: The queries' feature maps.
        means: Of the classes, attended for each query.

    Example:
        >>> import torch
        >>> from paperzoo.can import position_scores
        >>> query = torch.tensor([3.0, 4.0]).view(1, 2, 1, 1)
        >>> position_scores(query, torch.tensor([[[2.0, 0.0]]])).flatten()
        tensor([0.6000])

    Paper: can "Cross Attention Module"
    """
    flat = F.normalize(query.flatten(2), dim=1)
    scores = torch.einsum('qci,qkc->qki', flat, F.normalize(means, dim=-1))
    return scores.unflatten(-1, query.shape[2:])


class MetaFusion(BaseModule):
    """Predicts the kernel that fuses the correlations of a position to one number.

    Args:
        positions: Of a feature map, height times width.
        reduction: By what the layer between is smaller.
        init_cfg: As in every MMEngine module.

    Raises:
        UserError: If the layer between would be empty.

    Example:
        >>> import torch
        >>> from paperzoo.can import MetaFusion
        >>> MetaFusion(9, reduction=3)(torch.rand(4, 5, 9, 9)).shape
        torch.Size([4, 5, 9])

    Paper: can "Cross Attention Module"
    """

    def __init__(
        self, positions: int, *, reduction: int = 6, init_cfg: Any = None
    ) -> None:
        super().__init__(init_cfg)
        if not 1 <= reduction <= positions:
            raise UserError(
                f'MetaFusion: reduction={reduction} leaves nothing of positions='
                f'{positions}: use a number from 1 to {positions}'
            )
        self.reduce = nn.Linear(positions, positions // reduction)
        self.expand = nn.Linear(positions // reduction, positions)

    def forward(
        self, correlations: Float[Tensor, '*pairs positions others']
    ) -> Float[Tensor, '*pairs others']:
        """Return the kernels of pairs of maps.

        Args:
            correlations: Their rows are averaged.
        """
        return self.expand(F.relu(self.reduce(correlations.mean(-2))))

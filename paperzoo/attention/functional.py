"""Attention as functions of tensors: the equation, and who may look at whom."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F


def attention(
    query: Float[Tensor, '*#batch queries channels'],
    key: Float[Tensor, '*#batch keys channels'],
    value: Float[Tensor, '*#batch keys values'],
    may_see: Bool[Tensor, '*#batch #queries keys'] | None = None,
    dropout: float = 0.0,
) -> Float[Tensor, '*batch queries values']:
    """Return the values' means, weighted by softmax(Q K^T / sqrt(d_k)).

    Where torch has a fused kernel the weights are never stored; with dropout on a CPU
    it has none. A query that may see nothing gets zeros, and passes no gradient.

    Args:
        query: What asks.
        key: What the queries are compared with.
        value: What the answer is made of.
        may_see: True where a query may look at a key; without it, everywhere.
        dropout: Share of the weights that are zeroed, in training.

    Example:
        >>> import torch
        >>> from paperzoo.attention import attention
        >>> query, key = torch.zeros(1, 2), torch.rand(3, 2)
        >>> attention(query, key, torch.tensor([[1.0], [2.0], [6.0]]))  # all alike
        tensor([[3.]])

    Paper: attention Eq. 1
    """
    if may_see is None:
        return F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
    # A blind query is let see all and then zeroed: kernels differ in what they make of
    # an empty softmax, and NaN of either would get into all gradients.
    seeing = may_see.any(-1, keepdim=True)
    out = F.scaled_dot_product_attention(
        query, key, value, may_see | ~seeing, dropout_p=dropout
    )
    return out.masked_fill(~seeing, 0.0)


def attention_weights(
    query: Float[Tensor, '*#batch queries channels'],
    key: Float[Tensor, '*#batch keys channels'],
    may_see: Bool[Tensor, '*#batch #queries keys'] | None = None,
) -> Float[Tensor, '*batch queries keys']:
    """Return softmax(Q K^T / sqrt(d_k)): how much of each value a query takes.

    The slow form, to be looked at: `attention` is these weights times the values.

    Args:
        query: What asks.
        key: What the queries are compared with.
        may_see: True where a query may look at a key; without it, everywhere. The
            weights of a query that may see nothing are zeros.

    Example:
        >>> import torch
        >>> from paperzoo.attention import attention_weights
        >>> query, key = torch.tensor([[1.0]]), torch.tensor([[0.0], [3.0]]).log1p()
        >>> attention_weights(query, key)  # exp(log 4) is four times exp(0)
        tensor([[0.2000, 0.8000]])

    Paper: attention Eq. 1
    """
    # Scores of half precision overflow; scaled first, they do so last.
    dtype = torch.promote_types(query.dtype, torch.float32)
    scaled = query.to(dtype) * query.size(-1) ** -0.5
    scores = (scaled @ key.to(dtype).mT).to(dtype)
    if may_see is None:
        return scores.softmax(-1).to(query.dtype)
    # Of a finite score everywhere a blind query's softmax is no NaN.
    weights = scores.masked_fill(~may_see, torch.finfo(dtype).min).softmax(-1)
    return weights.masked_fill(~may_see, 0.0).to(query.dtype)


def padding_mask(
    lengths: Int[Tensor, ' batch'], size: int
) -> Bool[Tensor, 'batch {size}']:
    """Return where there is only padding behind sequences of these lengths.

    Args:
        lengths: Numbers of tokens.
        size: Number of places.

    Example:
        >>> import torch
        >>> from paperzoo.attention import padding_mask
        >>> padding_mask(torch.tensor([1, 3]), 3)
        tensor([[False,  True,  True],
                [False, False, False]])
    """
    return torch.arange(size, device=lengths.device) >= lengths[:, None]


def causal_mask(
    size: int, device: torch.device | str = 'cpu'
) -> Bool[Tensor, '{size} {size}']:
    """Return which keys (columns) come after a query (row) and stay hidden from it.

    Args:
        size: Number of tokens.
        device: Of the result.

    Example:
        >>> from paperzoo.attention import causal_mask
        >>> causal_mask(2)
        tensor([[False,  True],
                [False, False]])
    """
    return torch.ones(size, size, dtype=torch.bool, device=device).triu(1)

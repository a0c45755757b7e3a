"""Attention in plain loops, written from the papers."""

from math import cos, exp, sin, sqrt

import torch
from torch import Tensor


def attention(
    query: Tensor, key: Tensor, value: Tensor, may_see: Tensor | None = None
) -> Tensor:
    """One head: queries (Q, C), keys (K, C), values (K, V), may_see (Q, K)."""
    out = torch.zeros(len(query), value.size(1), dtype=value.dtype)
    for i, asking in enumerate(query):
        shares = {}
        for j, asked in enumerate(key):
            if may_see is None or may_see[i, j]:
                shares[j] = exp(float(asking @ asked) / sqrt(query.size(1)))
        for j, share in shares.items():
            out[i] += share / sum(shares.values()) * value[j]
    return out


def sine_position(place: float, channels: int, temperature: float) -> list[float]:
    """The encoding of one place, as printed: sines at even channels, cosines at odd."""
    found = []
    for pair in range(channels // 2):
        angle = place / temperature ** (2 * pair / channels)
        found += [sin(angle), cos(angle)]
    return found


def local_attention(
    image: Tensor,
    maps: dict[str, Tensor],
    rows: Tensor,
    columns: Tensor,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
) -> Tensor:
    """One image (C, H, W); `maps` are matrices (out, C) to query, key and value.

    `rows` and `columns` are (heads, half of a head's channels, k). The softmax is over
    the pixels of the window that are in the image.
    """
    heads, half, k = rows.shape
    size = 2 * half
    height, width = image.shape[1:]
    reach = dilation * (k - 1)
    down = (height + 2 * padding - reach - 1) // stride + 1
    along = (width + 2 * padding - reach - 1) // stride + 1
    out = torch.zeros(heads * size, down, along, dtype=image.dtype)
    for i in range(down):
        for j in range(along):
            top, left = i * stride - padding, j * stride - padding
            query = maps['query'] @ pixel(image, top + reach // 2, left + reach // 2)
            for head in range(heads):
                own = slice(head * size, (head + 1) * size)
                scores, values = [], []
                for a in range(k):
                    for b in range(k):
                        y, x = top + a * dilation, left + b * dilation
                        if not (0 <= y < height and 0 <= x < width):
                            continue
                        key = (maps['key'] @ pixel(image, y, x))[own]
                        offset = torch.cat((rows[head, :, a], columns[head, :, b]))
                        scores.append(query[own] @ key + query[own] @ offset)
                        values.append((maps['value'] @ pixel(image, y, x))[own])
                if scores:
                    shares = torch.stack(scores).softmax(0)
                    out[own, i, j] = shares @ torch.stack(values)
    return out


def pixel(image: Tensor, y: int, x: int) -> Tensor:
    """The pixel (C) at a place; zeros outside of the image."""
    if 0 <= y < image.size(1) and 0 <= x < image.size(2):
        return image[:, y, x]
    return torch.zeros_like(image[:, 0, 0])


def grouped_matrix(weight: Tensor, groups: int) -> Tensor:
    """The matrix (out, C) of a grouped 1x1 convolution's weight (out, C / groups)."""
    rows = weight.flatten(1).chunk(groups)
    return torch.block_diag(*rows)


def product_attention(
    query: Tensor, keys: Tensor, values: Tensor, embeddings: Tensor
) -> Tensor:
    """What a widely copied implementation computes, which is not the paper's.

    Query (C), the window's keys, values and embeddings (C, k * k): each channel has a
    softmax of its own, for products were never summed over channels.
    """
    shares = (query[:, None] * (keys + embeddings)).softmax(-1)
    return (shares * values).sum(-1)

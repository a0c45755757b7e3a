"""Cross attention in plain loops, from the paper; every map of a pair is made."""

import torch
from torch import Tensor


def cosine(one: Tensor, other: Tensor) -> Tensor:
    return one @ other / (one.norm() * other.norm())


def attention(rows: Tensor, columns: Tensor, model: torch.nn.Module) -> Tensor:
    """How much each row (C, m) counts, given the other map's columns (C, m)."""
    size = rows.size(1)
    matrix = torch.zeros(size, size, dtype=rows.dtype)
    for i in range(size):
        for j in range(size):
            matrix[i, j] = cosine(rows[:, i], columns[:, j])
    mean = sum(matrix[i] for i in range(size)) / size
    between = (model.fusion.reduce.weight @ mean + model.fusion.reduce.bias).relu()
    kernel = model.fusion.expand.weight @ between + model.fusion.expand.bias
    logits = [kernel @ matrix[i] / model.temperature for i in range(size)]
    powers = [(logit - max(logits)).exp() for logit in logits]
    return torch.stack([power / sum(powers) for power in powers])


def pair(model: torch.nn.Module, one: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
    """The attended maps (C, m) of a class and of a query."""
    one, query = one.flatten(1), query.flatten(1)
    of_class, of_query = attention(one, query, model), attention(query, one, model)
    return one * (1 + of_class), query * (1 + of_query)


def scores(
    model: torch.nn.Module, support: Tensor, label: Tensor, query: Tensor, ways: int
) -> tuple[Tensor, Tensor]:
    """Scores in training (Q, K, m) and in evaluation (Q, K)."""
    size = query.shape[-2:].numel()
    dense = torch.zeros(len(query), ways, size, dtype=query.dtype)
    pooled = torch.zeros(len(query), ways, dtype=query.dtype)
    for k in range(ways):
        own = support[label == k]
        class_map = own.sum(0) / len(own)
        for q in range(len(query)):
            one, other = pair(model, class_map, query[q])
            target = one.mean(1)
            pooled[q, k] = model.scale * cosine(other.mean(1), target)
            for i in range(size):
                dense[q, k, i] = model.scale * cosine(other[:, i], target)
    return dense, pooled

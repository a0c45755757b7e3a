"""benchmark: the figures of a model whose figures are known."""

import pytest
import torch
from mmengine.config import Config
from torch import nn

from paperzoo.apis import benchmark
from paperzoo.errors import UserError


def test_flops_are_two_per_multiply_add() -> None:
    layer = nn.Conv2d(3, 5, 3, padding=1, bias=False)
    counted = benchmark.flops(lambda: layer(torch.zeros(1, 3, 8, 6)))
    assert counted == 2 * (8 * 6) * 5 * 3 * 3 * 3


def test_summary_by_hand() -> None:
    times = [float(k) for k in range(1, 12)]
    assert benchmark.summary(times, images=3) == {
        'latency_ms_median': 6.0,
        'latency_ms_p90': 10.0,
        'latency_ms_min': 1.0,
        'images_per_second': 500.0,
    }


def test_warm_up_is_not_counted() -> None:
    calls = []
    times = benchmark.milliseconds(
        lambda: calls.append(1), warm_up=2, repeats=3, device='cpu'
    )
    assert (len(calls), len(times)) == (5, 3)
    assert min(times) >= 0


def test_size_is_given_or_that_of_the_pipeline() -> None:
    resize = dict(type='Resize', scale=(100, 80))
    cfg = Config(dict(test_dataloader=dict(dataset=dict(pipeline=[resize]))))
    assert benchmark.image_size(cfg, None) == (100, 80)
    assert benchmark.image_size(cfg, (30, 20)) == (30, 20)
    with pytest.raises(UserError, match='--size WIDTH HEIGHT'):
        benchmark.image_size(Config(), None)
    with pytest.raises(UserError, match='--size 0 20'):
        benchmark.image_size(cfg, (0, 20))

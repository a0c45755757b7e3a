"""Whom a token attends to: what is shown is what was computed with."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from paperzoo.attention import (
    LocalSelfAttention2d,
    MultiHeadSelfAttention,
    TransformerEncoder,
    padding_mask,
)
from paperzoo.errors import UserError
from paperzoo.explain.attention.trace import GlobalView, LocalView, attention_views


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def local(**arguments: int) -> LocalSelfAttention2d:
    made = LocalSelfAttention2d(4, 8, 3, num_heads=2, bias=False, **arguments)
    return made.double()


@pytest.mark.parametrize('stride', [1, 2])
def test_a_window_over_the_whole_map_sees_everywhere(stride: int) -> None:
    made = LocalSelfAttention2d(4, 8, 9, stride, 4, num_heads=2).double()
    # Without offsets, only the window tells local from global.
    nn.init.zeros_(made.rows)
    nn.init.zeros_(made.columns)
    x = torch.randn(2, 4, 5, 5, dtype=torch.float64)
    (view,) = attention_views(nn.Sequential(made), lambda: made(x))
    for place in ((0, 0), (2, 1)):
        assert_close(view.everywhere(1, place), view.attended(1, place))


def test_everywhere_is_more_than_the_window() -> None:
    made = local(padding=1)
    x = torch.randn(1, 4, 6, 7, dtype=torch.float64)
    (view,) = attention_views(nn.Sequential(made), lambda: made(x))
    shares = view.everywhere(0, (3, 3))
    assert (shares > 0).all()
    assert_close(shares.sum((1, 2)), torch.ones(2, dtype=torch.float64))


@pytest.mark.parametrize(
    'arguments',
    [
        {'padding': 1},
        {'padding': 0, 'stride': 2},
        {'padding': 3, 'stride': 2, 'dilation': 2},
    ],
)
def test_shown_weights_of_a_neighbourhood_give_its_result(arguments: dict) -> None:
    made = local(**arguments)
    x = torch.randn(2, 4, 6, 7, dtype=torch.float64)
    (view,) = attention_views(nn.Sequential(made), lambda: made(x))
    assert isinstance(view, LocalView)
    values = nn.functional.conv2d(x, made.value).unflatten(1, (2, 4))
    out = made(x).unflatten(1, (2, 4))
    for row in range(out.size(-2)):
        for column in range(out.size(-1)):
            shares = view.attended(1, (row, column))
            found = torch.einsum('hyx,hcyx->hc', shares, values[1])
            assert_close(found, out[1, :, :, row, column])


def test_layers_and_calls_are_told_apart() -> None:
    tower = nn.Sequential(local(padding=1), nn.ReLU())
    levels = torch.randn(1, 4, 8, 8).double(), torch.randn(1, 4, 4, 4).double()
    views = attention_views(tower, lambda: [tower(level) for level in levels])
    assert [(view.layer, view.call) for view in views] == [('0', 0), ('0', 1)]
    assert [tuple(view.x.shape[-2:]) for view in views] == [(8, 8), (4, 4)]


def test_tokens_of_an_encoder() -> None:
    made = TransformerEncoder(2, 8, 2, 16).eval()
    padding = padding_mask(torch.tensor([3, 5]), 5)
    x = torch.randn(2, 5, 8)
    views = attention_views(made, lambda: made(x, key_padding_mask=padding))
    assert [view.layer for view in views] == [f'layers.{i}.self_attn' for i in (0, 1)]
    first = views[0]
    assert isinstance(first, GlobalView)
    layer = made.layers[0].self_attn
    expected = layer.attention_weights(x, key_padding_mask=padding)
    assert_close(first.attended(0, 1), expected[0, :, 1])
    assert not first.attended(0, 1)[:, 3:].any()
    assert_close(first.weights.sum(-1), torch.ones(2, 2, 5))


def test_looking_leaves_nothing_behind() -> None:
    made = TransformerEncoder(1, 8, 2, 16, dropout=0.0)
    x = torch.randn(2, 3, 8)
    before = made(x)
    with pytest.raises(ZeroDivisionError):
        attention_views(made, lambda: (made(x), 1 / 0))
    attention_views(made, lambda: made(x))
    assert not any(
        {'attend', 'window_weights'} & vars(module).keys() for module in made.modules()
    )
    assert_close(made(x), before, rtol=0, atol=0)
    assert made(x).requires_grad


def test_a_model_without_attention_is_refused() -> None:
    model = nn.Conv2d(1, 1, 1)
    with pytest.raises(UserError, match='Conv2d ran without'):
        attention_views(model, lambda: model(torch.zeros(1, 1, 1, 1)))


class Biased(MultiHeadSelfAttention):
    """Queries that are turned around before they are compared."""

    def _project(self, *args: Any) -> list[Tensor]:
        query, key, value = super()._project(*args)
        return [-query, key, value]


class Flat(LocalSelfAttention2d):
    """A softmax at a higher temperature."""

    def window_weights(self, x: Tensor) -> Tensor:
        return super().window_weights(x).sqrt().softmax(2)


def test_a_subclass_of_tokens_is_shown_and_named() -> None:
    made = Biased(8, 2)
    x = torch.randn(1, 4, 8)
    (view,) = attention_views(nn.Sequential(made), lambda: made(x))
    assert view.note == 'Biased redefines _project of MultiHeadSelfAttention.'
    _, _, values = made._project(x, None, None, None, None)
    out = made.out_proj((view.weights @ values).transpose(1, 2).flatten(2))
    assert_close(out, made(x))


def test_a_subclass_of_neighbourhoods_is_shown_and_named() -> None:
    made = Flat(4, 8, 3, num_heads=2, bias=False, padding=1).double()
    x = torch.randn(1, 4, 5, 6, dtype=torch.float64)
    (view,) = attention_views(nn.Sequential(made), lambda: made(x))
    assert view.note == 'Flat redefines window_weights of LocalSelfAttention2d.'
    values = nn.functional.conv2d(x, made.value).unflatten(1, (2, 4))
    found = torch.einsum('hyx,hcyx->hc', view.attended(0, (2, 3)), values[0])
    assert_close(found, made(x).unflatten(1, (2, 4))[0, :, :, 2, 3])

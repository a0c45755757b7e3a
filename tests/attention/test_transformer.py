"""Encoder and decoder layers beside torch's and mmdet's, with the same weights."""

from typing import Any

import pytest
import torch
from mmdet.models.layers.transformer import DetrTransformerEncoderLayer
from torch import Tensor, nn
from torch.testing import assert_close

from paperzoo.attention import (
    TransformerEncoder,
    TransformerEncoderLayer,
    causal_mask,
    padding_mask,
)
from paperzoo.registry import MODELS

SIZES = {'embed_dims': 8, 'num_heads': 2, 'feedforward_channels': 16}
DECODER = {
    'multihead_attn.': 'cross_attn.',
    'norm2.': 'norm_cross.',
    'norm3.': 'norm2.',
}
MMDET = {
    'self_attn.attn.': 'self_attn.',
    'norms.0.': 'norm1.',
    'norms.1.': 'norm2.',
    'ffn.layers.0.0.': 'linear1.',
    'ffn.layers.1.': 'linear2.',
}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def tokens(count: int) -> Tensor:
    return torch.randn(3, count, 8, dtype=torch.float64, requires_grad=True)


def renamed(key: str, names: dict[str, str]) -> str:
    for theirs, ours in names.items():
        if theirs in key:
            return key.replace(theirs, ours)
    return key


def take_weights(ours: nn.Module, theirs: nn.Module, names: dict[str, str]) -> None:
    """Draw weights for theirs, copy them to ours."""
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.5)
    state = {renamed(key, names): x for key, x in theirs.state_dict().items()}
    ours.load_state_dict(state, strict=True)


def assert_same(
    found: Tensor,
    expected: Tensor,
    ours: nn.Module,
    theirs: nn.Module,
    names: dict[str, str],
    *inputs: Tensor,
) -> None:
    """Compare results, and the gradients of all weights and inputs."""
    assert_close(found, expected)
    outer = torch.randn_like(found)
    own = dict(ours.named_parameters())
    weights = [own[renamed(key, names)] for key, _ in theirs.named_parameters()]
    assert len(weights) == len(own)
    left = torch.autograd.grad(found, [*weights, *inputs], outer)
    right = torch.autograd.grad(expected, [*theirs.parameters(), *inputs], outer)
    for a, b in zip(left, right, strict=True):
        assert_close(a, b)


@pytest.mark.paper('attention Eq. 2')
@pytest.mark.parametrize('pre_norm', [False, True])
def test_encoder_equals_that_of_torch(pre_norm: bool) -> None:
    config = {'type': 'paperzoo.TransformerEncoder', 'num_layers': 2, **SIZES}
    ours = MODELS.build({**config, 'pre_norm': pre_norm, 'dropout': 0.0}).double()
    layer = nn.TransformerEncoderLayer(
        8, 2, 16, dropout=0.0, batch_first=True, norm_first=pre_norm
    )
    norm = nn.LayerNorm(8) if pre_norm else None
    theirs = nn.TransformerEncoder(layer, 2, norm, enable_nested_tensor=False).double()
    take_weights(ours, theirs, {})
    x, padding = tokens(5), padding_mask(torch.tensor([5, 1, 3]), 5)
    found = ours(x, key_padding_mask=padding, attn_mask=causal_mask(5))
    expected = theirs(x, causal_mask(5), padding, is_causal=True)
    assert_same(found, expected, ours, theirs, {}, x)


@pytest.mark.paper('attention "Encoder and Decoder Stacks"')
@pytest.mark.parametrize('pre_norm', [False, True])
def test_with_cross_attention_it_equals_the_decoder_of_torch(pre_norm: bool) -> None:
    given: dict[str, Any] = {'pre_norm': pre_norm, 'dropout': 0.0}
    ours = TransformerEncoder(2, **SIZES, **given, cross_attention=True).double()
    layer = nn.TransformerDecoderLayer(
        8, 2, 16, dropout=0.0, batch_first=True, norm_first=pre_norm
    )
    norm = nn.LayerNorm(8) if pre_norm else None
    theirs = nn.TransformerDecoder(layer, 2, norm).double()
    take_weights(ours, theirs, DECODER)
    x, memory = tokens(4), tokens(6)
    padding = padding_mask(torch.tensor([4, 2, 3]), 4)
    memory_padding = padding_mask(torch.tensor([1, 6, 3]), 6)
    found = ours(
        x,
        key_padding_mask=padding,
        attn_mask=causal_mask(4),
        memory=memory,
        memory_padding_mask=memory_padding,
    )
    expected = theirs(x, memory, causal_mask(4), None, padding, memory_padding)
    assert_same(found, expected, ours, theirs, DECODER, x, memory)


def test_layer_equals_that_of_detr_in_mmdet() -> None:
    ours = TransformerEncoderLayer(**SIZES, dropout=0.0).double()
    theirs = DetrTransformerEncoderLayer(
        self_attn_cfg={'embed_dims': 8, 'num_heads': 2},
        ffn_cfg={'embed_dims': 8, 'feedforward_channels': 16},
    ).double()
    take_weights(ours, theirs, MMDET)
    x, places = tokens(5), tokens(5)
    padding = padding_mask(torch.tensor([5, 1, 3]), 5)
    # mmdet's ReLU works in place, on what nobody needs again.
    expected = theirs(x, places, padding)
    assert_same(ours(x, places, padding), expected, ours, theirs, MMDET, x, places)


def test_a_causal_mask_hides_what_comes_after() -> None:
    made = TransformerEncoder(2, **SIZES, dropout=0.0).double()
    x = tokens(5)
    whole = made(x, attn_mask=causal_mask(5))
    for count in range(1, 5):
        part = made(x[:, :count], attn_mask=causal_mask(count))
        assert_close(part, whole[:, :count])


def test_positions_of_a_memory_count_where_it_is_compared() -> None:
    made = TransformerEncoderLayer(**SIZES, dropout=0.0, cross_attention=True).double()
    x, memory, places = tokens(4), tokens(6), tokens(6)
    found = made(x, memory=memory, memory_pos=places)
    x = made.norm1(x + made.self_attn(x))
    x = made.norm_cross(x + made.cross_attn(x, memory + places, memory))
    assert_close(found, made.norm2(x + made._feed_forward(x)))


def test_a_memory_of_as_many_tokens_gets_no_positions_of_the_queries() -> None:
    made = TransformerEncoderLayer(**SIZES, dropout=0.0, cross_attention=True).double()
    x, memory, places = tokens(4), tokens(4), tokens(4)
    found = made(x, places, memory=memory)
    assert_close(found, made(x, places, memory=memory, memory_pos=memory.new_zeros(())))
    longer = torch.cat((memory, tokens(1)), dim=1)
    padding = padding_mask(torch.tensor([4, 4, 4]), 5)
    same = made(x, places, memory=longer, memory_padding_mask=padding)
    assert_close(found, same)


def test_it_works_in_half_precision_with_a_row_of_padding() -> None:
    made = TransformerEncoder(2, **SIZES).bfloat16()
    padding = padding_mask(torch.tensor([4, 0, 2]), 4)
    x = torch.randn(3, 4, 8, dtype=torch.bfloat16, requires_grad=True)
    made(x, key_padding_mask=padding).sum().backward()
    assert x.grad.isfinite().all()
    for parameter in made.parameters():
        assert parameter.grad.isfinite().all()

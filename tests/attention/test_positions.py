"""Positions: the printed formula, mmdet's maps, and what they do to an order."""

import pytest
import torch
from beartype import beartype
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import jaxtyped
from mmdet.models.layers import SinePositionalEncoding as TheirEncoding
from references import attention as reference
from torch.testing import assert_close

from paperzoo.attention import SinePositionalEncoding, attention
from paperzoo.attention import positions as room
from paperzoo.errors import UserError
from paperzoo.registry import MODELS

typecheck = jaxtyped(typechecker=beartype)
sine_positions = typecheck(room.sine_positions)
relative_scores = typecheck(room.relative_scores)


@pytest.mark.paper('attention "Positional Encoding"')
@settings(max_examples=30)
@given(
    st.lists(st.floats(0, 100), min_size=1, max_size=4),
    st.integers(1, 6),
    st.floats(1, 1e4),
)
def test_sines_are_those_of_the_formula(
    places: list[float], pairs: int, temperature: float
) -> None:
    found = sine_positions(torch.tensor(places).double(), 2 * pairs, temperature)
    expected = [reference.sine_position(p, 2 * pairs, temperature) for p in places]
    # Wavelengths are in single precision.
    assert_close(found, torch.tensor(expected).double(), rtol=0, atol=1e-4)


@settings(max_examples=30)
@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 20))
def test_a_product_of_two_places_depends_on_their_distance(
    one: int, other: int, step: int
) -> None:
    places = torch.tensor([one, other, one + step, other + step])
    a, b, c, d = sine_positions(places, 8)
    assert_close(a @ b, c @ d, rtol=0, atol=1e-4)


@pytest.mark.parametrize('normalize', [False, True])
@pytest.mark.parametrize('offset', [0.0, -0.5])
def test_maps_equal_those_of_mmdet(normalize: bool, offset: float) -> None:
    arguments = {'num_feats': 6, 'normalize': normalize, 'offset': offset}
    ours = MODELS.build({'type': 'paperzoo.SinePositionalEncoding', **arguments})
    theirs = TheirEncoding(**arguments)
    mask = torch.zeros(2, 5, 4, dtype=torch.bool)
    mask[0, 3:] = True
    mask[0, :, 2:] = True
    assert_close(ours(mask), theirs(mask))
    assert_close(ours(mask.byte()), theirs(mask))
    maps = torch.randn(2, 3, 5, 4)
    assert_close(ours(None, maps), theirs(None, maps))


def test_a_map_of_padding_only_has_finite_positions() -> None:
    encoding = SinePositionalEncoding(4, normalize=True)
    assert encoding(torch.ones(1, 2, 3, dtype=torch.bool)).isfinite().all()


def test_sequences_count_their_tokens() -> None:
    encoding = SinePositionalEncoding(4)
    mask = torch.tensor([[False, False, True]])
    expected = [reference.sine_position(place, 4, 10000) for place in (1, 2, 2)]
    assert_close(encoding(mask), torch.tensor([expected]))
    tokens = torch.randn(1, 3, 7)
    expected[2] = reference.sine_position(3, 4, 10000)
    assert_close(encoding(None, tokens), torch.tensor([expected]))


def test_positions_tell_an_order() -> None:
    """Without them reordered tokens give reordered results; with them they do not."""
    torch.manual_seed(0)
    x = torch.randn(1, 5, 8)
    places = SinePositionalEncoding(8)(None, x)
    order = [3, 0, 4, 1, 2]

    def attend(tokens: torch.Tensor) -> torch.Tensor:
        return attention(tokens, tokens, tokens)

    assert_close(attend(x[:, order]), attend(x)[:, order])
    moved = attend(x[:, order] + places) - attend(x + places)[:, order]
    assert moved.abs().amax(-1).min() > 0.01


@pytest.mark.paper('local-attention "Self-Attention"')
def test_relative_scores_equal_the_loop() -> None:
    torch.manual_seed(0)
    query, rows = torch.randn(2, 3, 4, 2, 5), torch.randn(3, 2, 3)
    columns = torch.randn(3, 2, 5)
    found = relative_scores(query, rows, columns)
    for head in range(3):
        for i in range(3):
            for j in range(5):
                both = torch.cat((rows[head, :, i], columns[head, :, j]))
                expected = (query[:, head] * both[:, None, None]).sum(1)
                assert_close(found[:, head, i, j], expected)


def test_an_odd_number_of_channels_is_refused() -> None:
    with pytest.raises(UserError, match='num_feats=5'):
        SinePositionalEncoding(5)

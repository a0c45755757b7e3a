"""The backbone: its shapes, its DropBlock and the schedule of that."""

import math

import pytest
import torch
from beartype import beartype
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import jaxtyped
from torch.testing import assert_close

from paperzoo.common.few_shot import ResNet12
from paperzoo.common.few_shot import resnet12 as room
from paperzoo.errors import UserError
from paperzoo.registry import MODELS

typecheck = jaxtyped(typechecker=beartype)
keep_mask = typecheck(room.keep_mask)
official_keep_mask = typecheck(room.official_keep_mask)
apply_keep_mask = typecheck(room.apply_keep_mask)
gamma = typecheck(room.dropblock_gamma)
NARROW = (4, 6, 8, 10)


def test_maps_are_an_eighth_rounded_up() -> None:
    with torch.device('meta'):
        model = ResNet12()
        assert model(torch.rand(1, 3, 84, 84))[0].shape == (1, 640, 11, 11)
        assert model(torch.rand(1, 3, 28, 28))[0].shape == (1, 640, 4, 4)
    # The size that the authors' network has.
    parameters = sum(p.numel() for p in model.parameters())
    assert round(parameters / 1e6, 2) == 12.42


def test_any_width_depth_and_number_of_outputs() -> None:
    model = MODELS.build(
        dict(
            type='paperzoo.ResNet12',
            widths=(4, 8),
            in_channels=1,
            pools=(False, True),
            drop_blocks=(True, False),
            out_indices=(0, 1),
        )
    )
    model.init_weights()
    first, second = model(torch.rand(2, 1, 9, 9))
    assert first.shape == (2, 4, 9, 9)
    assert second.shape == (2, 8, 5, 5)


def test_a_marked_place_drops_the_block_below_it() -> None:
    starts = torch.zeros(1, 1, 2, 3)
    starts[0, 0, 1, 2] = 1
    expected = torch.ones(1, 1, 4, 5)
    expected[0, 0, 1:4, 2:5] = 0
    assert_close(keep_mask(starts, 3), expected)
    assert_close(keep_mask(torch.zeros(1, 1, 2, 3), 3), torch.ones(1, 1, 4, 5))


@given(st.integers(1, 4), st.integers(0, 40))
def test_official_blocks_pair_places_and_pixels_line_by_line(
    side: int, count: int
) -> None:
    starts = torch.zeros(2, 3, 4, 5)
    chosen = torch.randperm(starts.numel())[:count]
    starts.view(-1)[chosen] = 1
    places = starts.nonzero().tolist()
    expected = torch.ones(2, 3, 4 + side - 1, 5 + side - 1)
    for line in range(count * side**2):
        image, channel, row, column = places[line % count]
        down, right = divmod(line % side**2, side)
        expected[image, channel, row + down, column + right] = 0
    found = official_keep_mask(starts, side)
    assert_close(found, expected, rtol=0, atol=0)
    whole = keep_mask(starts, side)
    assert bool((found >= whole).all())
    if math.gcd(count, side**2) == 1:
        assert_close(found, whole, rtol=0, atol=0)


def test_official_blocks_have_holes_when_the_counts_share_a_factor() -> None:
    # Five places too far apart to overlap, blocks of 5 x 5: a pixel in five drops.
    starts = torch.zeros(1, 5, 7, 7)
    starts[0, :, 3, 3] = 1
    assert int((official_keep_mask(starts, 5) == 0).sum()) == 5 * 5
    assert int((keep_mask(starts, 5) == 0).sum()) == 5 * 25


def test_the_network_drops_as_the_authors_on_request() -> None:
    kinds = [
        module.keep_mask
        for official in (False, True)
        for module in ResNet12(NARROW, official_dropblock=official).modules()
        if isinstance(module, room.DropBlock)
    ]
    assert kinds == [room.keep_mask] * 2 + [room.official_keep_mask] * 2


@given(st.integers(1, 7), st.integers(0, 6), st.integers(0, 6), st.floats(0, 1))
def test_blocks_cover_the_share_that_should_drop(
    side: int, more: int, other: int, rate: float
) -> None:
    height, width = side + more, side + other
    share = float(gamma(rate, side, (height, width)))
    begins = (more + 1) * (other + 1)
    covered = torch.tensor(share * begins * side**2)
    assert_close(covered, torch.tensor(rate * height * width))


@given(st.lists(st.booleans(), min_size=12, max_size=12))
def test_what_is_kept_is_scaled_to_the_old_sum(places: list[bool]) -> None:
    keep = torch.tensor(places).view(1, 2, 2, 3).double()
    total = apply_keep_mask(torch.ones_like(keep), keep).sum()
    expected = 12.0 if any(places) else 0.0
    assert_close(total, torch.tensor(expected).double(), rtol=1e-6, atol=0)


def test_more_drops_as_training_goes_on() -> None:
    torch.manual_seed(0)
    drop = room.DropBlock(0.5, 2, ramp=10)
    x = torch.ones(4, 16, 12, 12)
    assert_close(drop(x, torch.tensor(0)), x)

    def dropped(step: int) -> float:
        return float((drop(x, torch.tensor(step)) == 0).float().mean())

    # Blocks overlap, so somewhat less drops than the rate says.
    some, most, after = dropped(2), dropped(10), dropped(100)
    assert 0.07 < some < 0.11
    assert 0.35 < most < 0.5
    assert abs(most - after) < 0.05
    assert_close(drop.eval()(x, torch.tensor(10)), x)


def test_the_schedule_counts_training_steps_and_is_saved() -> None:
    model = ResNet12(NARROW, ramp=2)
    x = torch.rand(2, 3, 32, 32)
    model.train()(x)
    model.eval()(x)
    model.train()(x)
    counts = {
        key: int(value)
        for key, value in model.state_dict().items()
        if key.count('.') == 2 and key.endswith('num_batches_tracked')
    }
    assert counts == {f'layer{i}.0.num_batches_tracked': 2 for i in range(1, 5)}


def test_a_block_larger_than_the_map_is_as_large_as_the_map() -> None:
    torch.manual_seed(0)
    drop = room.DropBlock(0.5, 5, ramp=0)
    out = drop(torch.ones(64, 8, 3, 4), torch.tensor(1))
    # A 3x3 block in a 3x4 map: whole columns, and the two in the middle together.
    zero = out == 0
    assert bool((zero.all(2) == zero.any(2)).all())
    assert bool(zero.any())
    assert not bool(zero.all())


def test_evaluation_is_repeatable_and_training_is_not() -> None:
    model = ResNet12(NARROW, drop_rate=0.5)
    x = torch.rand(2, 3, 16, 16)
    assert_close(*(model.eval()(x)[0] for _ in range(2)), rtol=0, atol=0)
    model.train()
    one, other = model(x)[0], model(x)[0]
    assert not bool((one == other).all())


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        (dict(pools=(True,)), r'pools=\(True,\) has 1 entries.*one per stage'),
        (dict(drop_blocks=()), r'drop_blocks=\(\) has 0 entries'),
        (dict(out_indices=(4,)), r'out_indices=\(4,\).*0 to 3'),
    ],
)
def test_wrong_arguments_are_named(wrong: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        ResNet12(NARROW, **wrong)

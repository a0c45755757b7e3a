"""The mathematics of an update, against loops and laws."""

import pytest
import torch
from beartype import beartype
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jaxtyping import jaxtyped
from references import knet as reference
from torch import Tensor
from torch.autograd import gradcheck
from torch.testing import assert_close

from paperzoo.errors import UserError
from paperzoo.knet import KernelUpdater
from paperzoo.knet import kernels as room

typecheck = jaxtyped(typechecker=beartype)
group_pixels = typecheck(room.group_pixels)
assemble = typecheck(room.assemble_group_features)
update_kernels = typecheck(room.update_kernels)
predict_masks = typecheck(room.predict_masks)


def rand(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


@pytest.mark.paper('knet "Group Feature Assembling"')
@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.lists(st.floats(-5, 5), min_size=4, max_size=4), min_size=1, max_size=3
    ),
    st.floats(0.1, 0.9),
)
def test_group_features_equal_the_loop(logits: list[list[float]], thr: float) -> None:
    torch.manual_seed(0)
    features = rand(1, 3, 2, 2)
    masks = torch.tensor(logits, dtype=torch.float64).view(1, -1, 2, 2)
    inside = masks.sigmoid()
    # Where the library's sigmoid rounds to the other side, the loop cannot say.
    assume(bool(((inside - thr).abs() > 1e-9).all()))
    found = assemble(features, group_pixels(masks, 'threshold', thr))
    plain = features.flatten(2)[0].tolist()
    expected = torch.tensor(reference.group_features(plain, logits, thr)).double()
    assert_close(found[0], expected, rtol=1e-6, atol=1e-6)


def test_groupings_by_hand() -> None:
    logits = torch.tensor([-2.0, 0.0, 1.0]).view(1, 3, 1, 1)
    prob = logits.sigmoid()
    # A logit of 0 is not inside: the threshold must be exceeded.
    hard = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1)
    assert_close(group_pixels(logits), hard)
    assert_close(group_pixels(logits, 'soft_threshold'), hard * prob)
    assert_close(group_pixels(logits, 'sigmoid'), prob)
    assert_close(group_pixels(logits, 'softmax'), logits.softmax(1))
    assert_close(group_pixels(logits, 'threshold', 0.1), torch.ones_like(hard))


def test_no_gradient_passes_a_hard_group() -> None:
    masks = rand(1, 2, 3, 3).requires_grad_()
    assert not group_pixels(masks).requires_grad
    for grouping in ('soft_threshold', 'sigmoid', 'softmax'):
        assert group_pixels(masks, grouping).requires_grad


def test_group_features_do_not_overflow_in_half_precision() -> None:
    features = torch.full((1, 1, 300, 300), 2.0)
    groups = torch.ones(1, 1, 300, 300)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        found = assemble(features, groups)
    assert_close(found, torch.full((1, 1, 1), 180000.0))
    found = assemble(features.half(), groups.half())
    assert_close(found, torch.full((1, 1, 1), 180000.0))


@pytest.mark.paper('knet "K-Net"')
@pytest.mark.parametrize('size', [1, 3, 5])
def test_dynamic_convolution_equals_the_loop(size: int) -> None:
    torch.manual_seed(0)
    features, kernels = rand(2, 3, 4, 5), rand(2, 2, 3, size, size)
    found = predict_masks(features, kernels)
    for image in range(2):
        expected = reference.dynamic_convolution(
            features[image].tolist(), kernels[image].tolist()
        )
        assert_close(found[image], torch.tensor(expected, dtype=torch.float64))


@pytest.mark.paper('knet "Adaptive Kernel Update"')
def test_closed_gates_keep_the_kernel_and_open_ones_take_the_feature() -> None:
    torch.manual_seed(0)
    kernels, features = rand(4, 1, 6), rand(4, 1, 6)
    nothing, all_of_it = torch.zeros_like(kernels), torch.ones_like(kernels)
    kept = update_kernels(nothing, features, all_of_it, kernels)
    assert_close(kept, kernels)
    taken = update_kernels(all_of_it, features, nothing, kernels)
    assert_close(taken, features)


def test_gradients() -> None:
    torch.manual_seed(0)
    features = rand(2, 2, 2, 3).requires_grad_()
    masks = rand(2, 2, 2, 3).requires_grad_()
    for size in (1, 3):
        kernels = rand(2, 1, 2, size, size).requires_grad_()
        assert gradcheck(predict_masks, (features, kernels))
    assert gradcheck(
        lambda x, m: assemble(x, group_pixels(m, 'softmax')), (features, masks)
    )
    gates = [rand(3, 2, 4).requires_grad_() for _ in range(4)]
    assert gradcheck(update_kernels, gates)


def test_parts_of_a_wide_kernel_do_not_mix() -> None:
    torch.manual_seed(0)
    updater = KernelUpdater(4, 4).double()
    features, kernels = rand(1, 3, 8), rand(1, 3, 1, 8)
    whole = updater(features, kernels).view(1, 3, 8)
    for part in (slice(0, 4), slice(4, 8)):
        alone = updater(features[..., part], kernels[..., part])
        assert_close(whole[..., part], alone.view(1, 3, 4))


def test_inner_channels_may_differ() -> None:
    updater = KernelUpdater(6, 4, 5).double()
    assert updater(rand(2, 3, 6), rand(2, 3, 9, 6)).shape == (6, 9, 5)


def test_a_wrong_width_is_named() -> None:
    with pytest.raises(UserError, match=r'in_channels=4.*6 channels'):
        KernelUpdater(4, 4)(torch.rand(1, 3, 6), torch.rand(1, 3, 1, 6))

"""Local attention: the paper's loop, convolutions' shapes, and what it costs."""

import copy
import pickle
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmcv.cnn import ConvModule, build_conv_layer
from references import attention as reference
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close

from paperzoo.attention import LocalSelfAttention2d
from paperzoo.errors import UserError

LOCAL = {'type': 'paperzoo.LocalSelfAttention2d', 'num_heads': 2}


def layer(*args: Any, **kwargs: Any) -> LocalSelfAttention2d:
    """Return a layer of weights that make its softmax uneven."""
    torch.manual_seed(0)
    made = LocalSelfAttention2d(*args, **{'num_heads': 2, **kwargs}).double()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.5)
    return made


def image(*shape: int) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def loop(made: LocalSelfAttention2d, images: Tensor) -> Tensor:
    maps = {
        name: reference.grouped_matrix(getattr(made, name), made.groups)
        for name in ('query', 'key', 'value')
    }
    geometry = [x[0] for x in (made.stride, made.padding, made.dilation)]
    out = [
        reference.local_attention(one, maps, made.rows, made.columns, *geometry)
        for one in images
    ]
    result = torch.stack(out)
    return result if made.bias is None else result + made.bias[:, None, None]


@pytest.mark.paper('local-attention "Self-Attention"')
@pytest.mark.parametrize(
    ('size', 'arguments'),
    [
        ((4, 5), {'kernel_size': 3, 'padding': 1}),
        ((5, 4), {'kernel_size': 3, 'padding': 0, 'bias': False}),
        ((5, 7), {'kernel_size': 3, 'padding': 1, 'stride': 2, 'groups': 2}),
        ((4, 4), {'kernel_size': 3, 'padding': 2, 'dilation': 2, 'num_heads': 1}),
        ((3, 4), {'kernel_size': 5, 'padding': 2, 'stride': 3, 'num_heads': 4}),
        # More padding than a window reaches: some see nothing of the image.
        ((2, 3), {'kernel_size': 3, 'padding': 3}),
    ],
)
def test_layer_equals_the_loop(size: tuple[int, int], arguments: dict) -> None:
    made = layer(4, 8, **arguments)
    x = image(2, 4, *size)
    found, expected = made(x), loop(made, x)
    assert_close(found, expected)
    outer = torch.randn_like(found)
    leaves = [x, *made.parameters()]
    left = torch.autograd.grad(found, leaves, outer)
    right = torch.autograd.grad(expected, leaves, outer)
    for a, b in zip(left, right, strict=True):
        assert_close(a, b)


@pytest.mark.paper('local-attention "Self-Attention"')
def test_products_are_summed_over_channels() -> None:
    """A copied implementation has a softmax for each channel; ours has one a head."""
    made = layer(4, 4, 3, num_heads=1, bias=False)
    x = image(1, 4, 3, 3)
    found = made(x)[0, :, 0, 0]
    pixels = x[0].flatten(1)
    query = made.query.flatten(1) @ pixels[:, 4]
    keys, values = made.key.flatten(1) @ pixels, made.value.flatten(1) @ pixels
    rows = made.rows[0].repeat_interleave(3, dim=1)
    columns = made.columns[0].repeat(1, 3)
    embeddings = torch.cat((rows, columns))
    shares = (query @ (keys + embeddings)).softmax(-1)
    assert_close(found, values @ shares)
    wrong = reference.product_attention(query, keys, values, embeddings)
    assert (found - wrong).abs().max() > 0.1


@settings(max_examples=40)
@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.sampled_from([1, 3, 5]),
    st.sampled_from([3, 5]),
    st.integers(1, 3),
    st.integers(0, 4),
    st.integers(1, 2),
)
def test_shapes_are_those_of_a_convolution(
    height: int,
    width: int,
    down: int,
    along: int,
    stride: int,
    padding: int,
    dilation: int,
) -> None:
    arguments = {'stride': stride, 'padding': padding, 'dilation': dilation}
    convolution = nn.Conv2d(2, 4, (down, along), **arguments)
    made = LocalSelfAttention2d(2, 4, (down, along), num_heads=2, **arguments)
    reach = max(down, along) - 1
    if min(height, width) + 2 * padding <= dilation * reach:
        return
    x = torch.zeros(1, 2, height, width)
    assert made(x).shape == convolution(x).shape
    for name in ('stride', 'padding', 'dilation', 'kernel_size', 'groups'):
        assert getattr(made, name) == getattr(convolution, name)


def test_weights_are_shares_of_the_pixels_in_the_image() -> None:
    made = layer(4, 8, 3, padding=1)
    weights = made.attention_weights(image(1, 4, 3, 4))
    assert_close(weights.sum(2), torch.ones(1, 2, 3, 4).double())
    # In the corner the first row and the first column of the window are outside.
    assert not weights[0, :, [0, 1, 2, 3, 6], 0, 0].any()
    assert (weights[0, :, [4, 5, 7, 8], 0, 0] > 0).all()


def test_weights_of_a_window_without_pixels_are_zeros() -> None:
    made = layer(4, 8, 3, padding=3)
    weights = made.attention_weights(image(1, 4, 2, 3))
    # The outermost windows miss the image, the others do not.
    expected = torch.zeros(1, 2, 6, 7).double()
    expected[..., 1:-1, 1:-1] = 1
    assert_close(weights.sum(2), expected)


def test_gradients() -> None:
    made = layer(4, 4, 3, stride=2, padding=1)
    x = image(1, 4, 3, 4)
    assert gradcheck(made, x)
    assert gradgradcheck(made, x)
    for name, parameter in made.named_parameters():

        def changed(value: Tensor, name: str = name) -> Tensor:
            return torch.func.functional_call(made, {name: value}, (x,))

        assert gradcheck(changed, parameter.detach().clone().requires_grad_())


def test_channels_last_gives_the_same() -> None:
    made = layer(4, 8, 3, padding=1)
    x = image(2, 4, 5, 6)
    (expected,) = torch.autograd.grad(made(x).square().sum(), x)
    made = made.to(memory_format=torch.channels_last)
    y = x.detach().to(memory_format=torch.channels_last).requires_grad_()
    assert_close(made(y), made(x))
    (found,) = torch.autograd.grad(made(y).square().sum(), y)
    assert_close(found, expected)


@pytest.mark.parametrize('autocast', [False, True])
def test_half_precision_is_as_good_as_its_inputs(autocast: bool) -> None:
    made = layer(16, 16, 7, padding=3).float()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.25)
    x = image(1, 16, 8, 8).detach().float().requires_grad_()
    outer = torch.randn(1, 16, 8, 8)
    expected = made(x)
    exact = torch.autograd.grad(expected, [x, *made.parameters()], outer)
    if autocast:
        with torch.autocast('cpu', torch.bfloat16):
            found = made(x)
        assert found.dtype == torch.bfloat16
    else:
        made, x = made.bfloat16(), x.detach().bfloat16().requires_grad_()
        found = made(x)
    rough = torch.autograd.grad(found, [x, *made.parameters()], outer.to(found))
    for a, b in zip([found, *rough], [expected, *exact], strict=True):
        assert (a.float() - b).norm() < 0.03 * b.norm()


def test_an_empty_batch_passes() -> None:
    made = layer(4, 8, 3, padding=1, stride=2)
    x = torch.zeros(0, 4, 5, 6, dtype=torch.float64, requires_grad=True)
    out = made(x)
    assert out.shape == (0, 8, 3, 3)
    out.sum().backward()
    for parameter in made.parameters():
        assert_close(parameter.grad, torch.zeros_like(parameter))


@pytest.mark.parametrize('images', [1, 2])
def test_a_training_step_keeps_no_copies_of_the_neighbourhoods(images: int) -> None:
    """What is kept for the backward pass grows by the weights of the taps alone."""

    def kept(k: int) -> int:
        made = LocalSelfAttention2d(32, 32, k, padding=k // 2, num_heads=2)
        storages: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
            return tensor

        # Every tensor is held by the graph, so that no address is used twice.
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            out = made(torch.randn(images, 32, 32, 32))
        assert out.requires_grad
        return sum(storages.values())

    one_map = images * 32 * 32 * 32 * 4
    # The weights are 2 heads times taps: 49 taps are as much as 3 maps. One byte a
    # tap is for who is inside; borders make maps larger.
    assert kept(7) - kept(3) < 6 * one_map
    assert kept(7) < 14 * one_map


def test_it_compiles_whole() -> None:
    made = layer(4, 8, 3, padding=1, stride=2)
    compiled = torch.compile(made, fullgraph=True, backend='aot_eager')
    x = image(1, 4, 5, 6)
    found, expected = compiled(x), made(x)
    assert_close(found, expected)
    left = torch.autograd.grad(found.square().sum(), [x, *made.parameters()])
    right = torch.autograd.grad(expected.square().sum(), [x, *made.parameters()])
    for a, b in zip(left, right, strict=True):
        assert_close(a, b)


def test_without_neighbours_it_is_a_convolution() -> None:
    made = build_conv_layer(LOCAL, 3, 6, 1, stride=2, bias=False)
    assert type(made) is nn.Conv2d
    assert made.stride == (2, 2)
    assert made.bias is None
    assert type(LocalSelfAttention2d(3, 6, kernel_size=(1, 1))) is nn.Conv2d
    stem = build_conv_layer({**LOCAL, 'min_in_channels': 4}, 3, 8, 7, padding=3)
    assert type(stem) is nn.Conv2d
    body = build_conv_layer({**LOCAL, 'min_in_channels': 4}, 4, 8, 7, padding=3)
    assert type(body) is LocalSelfAttention2d


def test_conv_module_builds_it_by_name_and_by_class() -> None:
    for kind in ('paperzoo.LocalSelfAttention2d', LocalSelfAttention2d):
        block = ConvModule(
            8,
            16,
            3,
            padding=1,
            conv_cfg={**LOCAL, 'type': kind},
            norm_cfg={'type': 'GN', 'num_groups': 4},
        )
        assert type(block.conv) is LocalSelfAttention2d
        assert block.conv.bias is None
        x = torch.randn(2, 8, 5, 6)
        expected = block.gn(block.conv(x)).relu()
        assert_close(block(x), expected)


def test_first_scores_neither_vanish_nor_saturate() -> None:
    torch.manual_seed(0)
    made = LocalSelfAttention2d(64, 128, 3, padding=1)
    weights = made.attention_weights(torch.randn(2, 64, 16, 16))[..., 1:-1, 1:-1]
    entropy = -(weights * weights.log()).sum(2).mean()
    # Uniform weights of nine taps have ln 9 = 2.2.
    assert 1.0 < entropy < 2.0


def test_it_can_be_copied_and_pickled() -> None:
    made = layer(4, 8, 3, padding=1)
    x = image(1, 4, 5, 6)
    assert_close(copy.deepcopy(made)(x), made(x))
    assert_close(pickle.loads(pickle.dumps(made))(x), made(x))


@pytest.mark.parametrize(
    ('args', 'arguments', 'said'),
    [
        ((4, 8, 4), {}, r'kernel_size=\(4, 4\)'),
        ((4, 6, 3), {'num_heads': 2}, 'num_heads=2 and out_channels=6'),
        ((4, 8, 3), {'num_heads': 0}, 'num_heads=0'),
        ((4, 8, 3), {'groups': 3, 'num_heads': 2}, 'groups=3'),
        ((4, 8, 3), {'padding': 'same'}, r"padding='same': use numbers; dilation \*"),
        # The convolution of a 1 x 1 kernel gets none of what it might not know.
        ((4, 8, 1), {'num_head': 2}, "unexpected keyword argument 'num_head': use in_"),
        ((4, 8, 3), {'padding_mode': 'zeros'}, "argument 'padding_mode'"),
        ((4, 8, 1, 1, 0, 1, 1, True, 'zeros'), {}, 'too many positional arguments'),
    ],
)
def test_what_is_wrong_is_said(args: tuple, arguments: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        LocalSelfAttention2d(*args, **arguments)


@pytest.mark.parametrize(
    ('shape', 'arguments', 'said'),
    [
        ((4, 5, 6), {}, r'shape \(4, 5, 6\).*x\.unsqueeze\(0\)'),
        ((1, 4, 2, 9), {}, r'map of \(2, 9\).*smaller than a window, 3 wide'),
        ((1, 4, 9, 2), {'padding': (0, 1), 'dilation': 2}, 'a window, 5 wide'),
    ],
)
def test_maps_that_do_not_fit_are_refused(
    shape: tuple, arguments: dict, said: str
) -> None:
    made = layer(4, 8, 3, **arguments)
    for run in (made, made.attention_weights):
        with pytest.raises(UserError, match=said):
            run(image(*shape))

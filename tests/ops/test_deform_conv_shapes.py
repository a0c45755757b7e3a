"""What deformable convolution says about tensors that do not fit each other."""

from importlib import import_module

import pytest
import torch

from paperzoo.compat import mmcv_ext
from paperzoo.errors import UserError

mmcv_ext.apply()
mmcv_ops = import_module('mmcv.ops')

WEIGHT = 2, 4, 3, 3
OFFSET = 2, 18, 5, 6


@pytest.mark.parametrize(
    ('weight', 'offset', 'groups', 'deform_groups', 'said'),
    [
        (WEIGHT, (2, 18, 5, 5), 1, 1, r'offset .*\(2, 18, 5, 5\).*need \(2, 18, 5, 6'),
        (WEIGHT, (2, 16, 5, 6), 1, 1, r'offset .*\(2, 16, 5, 6\)'),
        (WEIGHT, (2, 54, 5, 6), 1, 3, '4 channels .*deform_groups=3'),
        ((6, 3, 3, 3), OFFSET, 1, 1, r'weight .*\(6, 3, 3, 3\).* need 4 in place of 3'),
        ((6, 4, 3, 3), OFFSET, 2, 1, r'weight .*groups=2 need 2 in place of 4'),
        ((5, 2, 3, 3), OFFSET, 2, 1, r'the 5 outputs of weight.*groups=2'),
    ],
)
def test_shapes_that_do_not_fit_are_named(weight, offset, groups, deform_groups, said):
    image = torch.zeros(2, 4, 5, 6)
    weight, offset = torch.zeros(weight), torch.zeros(offset)
    mask = torch.zeros(2, 9 * deform_groups, 5, 6)
    options = 1, 1, 1, groups, deform_groups
    with pytest.raises(UserError, match=said):
        mmcv_ops.deform_conv2d(image, offset, weight, *options)
    with pytest.raises(UserError, match=said):
        mmcv_ops.modulated_deform_conv2d(image, offset, mask, weight, None, *options)


@pytest.mark.parametrize(
    'larger',
    [(18, 10, 12), (18, 5, 7), (36, 5, 6), (18, 30, 1)],
    ids=['next level', 'wider', 'more channels', 'another shape'],
)
@pytest.mark.parametrize('of_mask', [False, True])
def test_v2_takes_the_first_numbers_of_larger_tensors(larger, of_mask):
    generator = torch.Generator().manual_seed(len(larger))

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.double)

    image, weight = normal(2, 4, 5, 6), normal(*WEIGHT)
    given = [normal(2, *larger), normal(2, 9, 5, 6)]
    need = [(18, 5, 6), (9, 5, 6)]
    if of_mask:
        given[1] = normal(2, 9 * larger[0] // 18, *larger[1:])
    cut = [
        one.flatten(1)[:, : torch.Size(shape).numel()].reshape(2, *shape)
        for one, shape in zip(given, need, strict=True)
    ]
    results = []
    for offset, mask in (given, cut):
        leaves = [x.clone().requires_grad_() for x in (image, offset, mask, weight)]
        out = mmcv_ops.modulated_deform_conv2d(*leaves, None, 1, 1)
        results.append((out, torch.autograd.grad(out.square().sum(), leaves)))
    (found, gradients), (wanted, expected) = results
    torch.testing.assert_close(found, wanted)
    for one, other in zip(gradients, expected, strict=True):
        padded = torch.zeros_like(one).flatten(1)
        padded[:, : other[0].numel()] = other.flatten(1)
        torch.testing.assert_close(one, padded.view_as(one))


def test_v1_refuses_larger_offsets_as_mmcv_does():
    image, weight = torch.zeros(2, 4, 5, 6), torch.zeros(WEIGHT)
    with pytest.raises(UserError, match=r'offset .*\(2, 18, 10, 12\)'):
        mmcv_ops.deform_conv2d(image, torch.zeros(2, 18, 10, 12), weight, 1, 1)


@pytest.mark.parametrize('shape', [(1, 18, 10, 12), (2, 18, 5, 5)])
def test_smaller_tensors_are_refused(shape):
    image, weight, mask = (
        torch.zeros(2, 4, 5, 6),
        torch.zeros(WEIGHT),
        torch.ones(2, 9, 5, 6),
    )
    with pytest.raises(UserError, match='offset has the shape'):
        mmcv_ops.modulated_deform_conv2d(
            image, torch.zeros(shape), mask, weight, None, 1, 1
        )

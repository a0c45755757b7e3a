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

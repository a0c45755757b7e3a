"""A layer whose op is missing is found before the training."""

from importlib import import_module

import pytest
from torch import nn

from paperzoo.apis.model_ops import check_ops
from paperzoo.compat.mmcv_ext import NAME, StandIn
from paperzoo.errors import MissingOpError

mmcv_ops = import_module('mmcv.ops')

pytestmark = pytest.mark.skipif(
    not isinstance(import_module(NAME), StandIn), reason='compiled mmcv is installed'
)


def test_a_missing_op_is_named_with_its_layer():
    model = nn.Sequential(nn.Conv2d(1, 1, 1), mmcv_ops.BorderAlign(3))
    with pytest.raises(
        MissingOpError, match=r'model\.1 \(BorderAlign\): .*border_align'
    ):
        check_ops(model)


def test_layers_that_are_stood_in_for_or_need_no_op_pass():
    layers = (
        mmcv_ops.DeformConv2dPack(2, 2, 3, deform_groups=1),
        mmcv_ops.MaskedConv2d(2, 2, 3),
        mmcv_ops.PSAMask('collect', (3, 3)),
        mmcv_ops.CARAFEPack(2, 2),
        mmcv_ops.FusedBiasLeakyReLU(2),
        mmcv_ops.SyncBatchNorm(2),
    )
    check_ops(nn.Sequential(*layers))

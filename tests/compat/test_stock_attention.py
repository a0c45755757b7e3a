"""Stock models whose deformable attention is our op, not mmcv's Python version.

mmcv calls the op on a GPU only; on a CPU it takes its Python version. Here both are
computed in float64: the models amplify the last bits of float32.
"""

from collections.abc import Callable
from importlib import import_module

import numpy as np
import pytest
import torch
from references import stock_models
from torch import Tensor

from paperzoo.compat import mmcv_ext

mmcv_ext.apply()
attention = import_module('mmcv.ops.multi_scale_deform_attn')
python_version = attention.multi_scale_deformable_attn_pytorch


def op(value: Tensor, shapes: Tensor, *places: Tensor) -> Tensor:
    keys = shapes.prod(1)
    starts = keys.cumsum(0) - keys
    apply = attention.MultiScaleDeformableAttnFunction.apply
    return apply(value, shapes, starts, *places, 64)


def run(
    name: str, attend: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> tuple[stock_models.Arrays, int]:
    """Return what a model gives with this attention, and how often it called it."""
    calls = []

    def in_float64(value: Tensor, shapes: Tensor, *places: Tensor) -> Tensor:
        calls.append(value.shape)
        output = attend(value.double(), shapes, *(x.double() for x in places))
        return output.to(value.dtype)

    monkeypatch.setattr(attention, 'multi_scale_deformable_attn_pytorch', in_float64)
    return stock_models.run(name), len(calls)


@pytest.mark.parametrize('name', ['deformable_detr', 'mask2former'])
def test_equals_the_python_version(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, python_calls = run(name, python_version, monkeypatch)
    found, calls = run(name, op, monkeypatch)
    assert calls == python_calls > 0
    assert set(found) == set(expected)
    for kind in ('loss.', 'grad_norm.', 'predict.'):
        assert any(key.startswith(kind) for key in found)
    for key, wanted in expected.items():
        if np.issubdtype(wanted.dtype, np.floating):
            atol = 1e-5 * max(1.0, np.abs(wanted).max())
            value = torch.from_numpy(np.asarray(wanted))
            torch.testing.assert_close(
                torch.from_numpy(np.asarray(found[key])), value, rtol=0, atol=atol
            )
        else:
            np.testing.assert_array_equal(found[key], wanted, err_msg=key)

"""Models of mmdet and mmseg on the stand-in give what they give on compiled mmcv."""

from pathlib import Path

import numpy as np
import pytest
import torch
from references import stock_models

GOLDEN = Path(__file__).parents[1] / 'data' / 'golden'


@pytest.mark.parametrize('name', stock_models.STOCK)
def test_equals_compiled_mmcv(name: str) -> None:
    expected = np.load(GOLDEN / f'stock_{name}.npz')
    found = stock_models.run(name)
    assert set(found) == set(expected.files)
    assert min(len(v) for k, v in found.items() if k.startswith('predict.')) > 0
    for key in expected.files:
        value = torch.from_numpy(expected[key])
        if value.is_floating_point():
            atol = 1e-5 * max(1.0, value.abs().max().item())
            torch.testing.assert_close(
                torch.from_numpy(found[key]), value, rtol=0, atol=atol, msg=key
            )
        else:
            np.testing.assert_array_equal(found[key], expected[key], err_msg=key)

"""`--amp` on a machine without a GPU."""

import warnings

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.device import is_cuda_available
from mmengine.optim import build_optim_wrapper
from torch import nn
from torch.testing import assert_close

from paperzoo.apis.training import use_amp

WRAPPER = {'optimizer': {'type': 'SGD', 'lr': 0.1}}


def test_bf16_wrapper_casts_accumulates_and_updates() -> None:
    torch.manual_seed(0)
    model = nn.Conv2d(3, 4, 3)
    before = model.weight.detach().clone()
    images = torch.randn(2, 2, 3, 8, 8)
    wrapper = build_optim_wrapper(
        model, WRAPPER | {'type': 'paperzoo.Bf16OptimWrapper', 'accumulative_counts': 2}
    )
    wrapper.initialize_count_status(model, 0, 2)
    expected = torch.zeros_like(before)
    for batch in images:
        with wrapper.optim_context(model):
            output = model(batch)
        assert output.dtype == torch.bfloat16
        loss = output.float().square().mean()
        with torch.autocast('cpu', torch.bfloat16):
            twin = model(batch).float().square().mean() / 2
        expected += torch.autograd.grad(twin, model.weight)[0]
        wrapper.update_params(loss)
    assert model.weight.dtype == torch.float32
    assert_close(model.weight, before - 0.1 * expected, rtol=1e-6, atol=1e-6)


@pytest.mark.skipif(is_cuda_available(), reason='the remedy is for machines without')
@pytest.mark.parametrize('supported', [True, False])
def test_amp_option_takes_bfloat16_on_a_cpu(
    supported: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('paperzoo.utils.precision.native_bfloat16', lambda _: supported)
    cfg = ConfigDict(
        optim_wrapper={**WRAPPER, 'type': 'AmpOptimWrapper', 'loss_scale': 'dynamic'}
    )
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # the next test looks at it
        use_amp(cfg)
    assert cfg.optim_wrapper == WRAPPER | {'type': 'paperzoo.Bf16OptimWrapper'}
    evaluation = {'type': 'paperzoo.PrecisionHook', 'evaluation': 'bfloat16'}
    expected = [{'type': 'paperzoo.ChannelsLastHook'}]
    # Where it is slower, nobody waits for an evaluation in it.
    assert cfg.custom_hooks == expected + [evaluation] * supported
    build_optim_wrapper(nn.Linear(2, 2), cfg.optim_wrapper)


@pytest.mark.skipif(is_cuda_available(), reason='a GPU is asked for nothing')
@pytest.mark.parametrize('supported', [True, False])
def test_a_cpu_without_bfloat16_is_warned_of(
    supported: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('paperzoo.utils.precision.native_bfloat16', lambda _: supported)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter('always')
        use_amp(ConfigDict(optim_wrapper={**WRAPPER}))
    assert any('no bfloat16 units' in str(one.message) for one in seen) != supported

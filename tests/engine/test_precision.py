"""Validation and test compute in the precision that was asked for; the log says so."""

from pathlib import Path
from typing import Any

import pytest
import torch
from fake_runner import FakeRunner
from mmengine.config import ConfigDict
from mmengine.device import is_cuda_available
from mmengine.runner.amp import autocast
from torch import nn

from paperzoo.apis.training import use_amp
from paperzoo.engine import PrecisionHook
from paperzoo.engine.memory_format import keep_channels_last
from paperzoo.engine.precision import memory_format
from paperzoo.errors import UserError
from paperzoo.registry import HOOKS

WITHOUT_GPU = pytest.mark.skipif(is_cuda_available(), reason='a CPU has no float16')


class Log(list):
    info = list.append
    warning = list.append


class Run(FakeRunner):
    """With loops of its own."""

    val_loop: Any = None
    test_loop: Any = None


class Loop:
    """As MMEngine's: it asks autocast whenever a batch comes."""

    fp16 = False

    def run(self, hook: Any, runner: Any, phase: str) -> torch.dtype:
        getattr(hook, f'before_{phase}')(runner)
        with autocast(enabled=self.fp16):
            found = runner.model(torch.ones(1, 2)).dtype
        getattr(hook, f'after_{phase}')(runner)
        return found


@pytest.fixture(autouse=True)
def native(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('paperzoo.utils.precision.native_bfloat16', lambda _: True)


@WITHOUT_GPU
@pytest.mark.parametrize('phase', ['val', 'test'])
@pytest.mark.parametrize(
    ('asked', 'expected'),
    [
        ('auto', torch.bfloat16),
        ('bfloat16', torch.bfloat16),
        ('float32', torch.float32),
        (None, torch.float32),
    ],
)
def test_a_loop_computes_in_it(
    phase: str, asked: str | None, expected: torch.dtype
) -> None:
    loop, log = Loop(), Log()
    runner = Run(model=nn.Linear(2, 2), val_loop=loop, test_loop=loop, logger=log)
    before = torch.get_autocast_dtype('cpu')
    assert loop.run(PrecisionHook(asked), runner, phase) == expected
    assert torch.get_autocast_dtype('cpu') == before
    if phase == 'test' and asked:
        assert str(expected).removeprefix('torch.') in log[0]


def test_a_loop_with_half_precision_of_its_own_keeps_it() -> None:
    loop = Loop()
    loop.fp16 = True
    PrecisionHook().before_val(Run(val_loop=loop))
    assert loop.fp16
    PrecisionHook('float32').before_val(Run(val_loop=loop))
    assert not loop.fp16


@WITHOUT_GPU
def test_amp_means_validation_too() -> None:
    wrapper = {'type': 'OptimWrapper', 'optimizer': {'type': 'SGD', 'lr': 0.1}}
    cfg = ConfigDict(optim_wrapper=wrapper)
    use_amp(cfg)
    assert HOOKS.build(cfg.custom_hooks[-1]).evaluation == 'bfloat16'


def test_the_memory_format_is_that_of_the_weights() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
    assert memory_format(model) == 'channels first'
    keep_channels_last(model)
    assert memory_format(model) == 'channels last'
    assert memory_format(nn.Conv2d(3, 4, 1)) == 'channels first'
    shared = nn.Conv2d(3, 4, 3)
    shared.weight = nn.Parameter(shared.weight.detach().flatten()[:20])  # as of FSDP
    assert memory_format(shared) == 'channels first'


def test_the_log_says_what_a_training_computes_in() -> None:
    from mmengine.optim import AmpOptimWrapper, OptimWrapper

    from paperzoo.engine import Bf16OptimWrapper
    from paperzoo.engine.precision import trained_in

    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    assert trained_in(OptimWrapper(optimizer)) == 'float32'
    assert trained_in(Bf16OptimWrapper(optimizer)) == 'bfloat16'
    amp: Any = AmpOptimWrapper.__new__(AmpOptimWrapper)  # its __init__ wants a GPU
    assert trained_in(amp) == 'float16'
    amp.cast_dtype = torch.bfloat16
    assert trained_in(amp) == 'bfloat16'
    log = Log()
    PrecisionHook('bfloat16').before_train(
        FakeRunner(model=model, logger=log, optim_wrapper=Bf16OptimWrapper(optimizer))
    )
    assert log == [
        'Precision: bfloat16 in training, bfloat16 in validation. '
        'Memory format: channels first.'
    ]


@WITHOUT_GPU
def test_what_the_device_lacks_is_refused() -> None:
    with pytest.raises(UserError, match='needs a GPU'):
        PrecisionHook('float16')


@WITHOUT_GPU
def test_test_takes_the_precision(tmp_path: Path) -> None:
    from paperzoo.apis.testing import set_test_options

    cfg = ConfigDict(test_evaluator=[], custom_hooks=None)
    set_test_options(cfg, 'a.pth', precision='auto')
    assert [one.type for one in cfg.custom_hooks] == [
        'paperzoo.ChannelsLastHook',
        'paperzoo.PrecisionHook',
    ]
    assert cfg.custom_hooks[-1].evaluation == 'bfloat16'
    set_test_options(cfg, 'a.pth', precision='float32')
    assert cfg.custom_hooks[-1].evaluation == 'float32'
    # A name that torch knows, too, and none of ours.
    with pytest.raises(UserError, match="a test: precision='half': use 'float32' or"):
        set_test_options(cfg, 'a.pth', precision='half')

"""Losses on a device are copied together when somebody looks, and are the same."""

import pytest
import torch
from mmengine.logging import MessageHub
from pretended_gpu import PretendedGpu, tag

import paperzoo.compat  # noqa: F401
from paperzoo.compat import loss_log

STEPS = 5


@pytest.mark.parametrize('read', ['get_scalar', 'log_scalars', 'state_dict'])
def test_one_wait_for_all_steps(read: str) -> None:
    losses = torch.rand(STEPS, 2, generator=torch.Generator().manual_seed(0))
    plain, hub = (MessageHub.get_instance(f'{read} {k}') for k in range(2))
    for one, other in losses.tolist():
        plain.update_scalar('train/loss', one)
        plain.update_scalar('train/other', other)
    with PretendedGpu() as gpu:
        tag(losses)
        for one, other in losses:
            hub.update_scalar('train/loss', one)
            hub.update_scalar('train/other', other)
            hub.update_scalar('train/lr', 0.1)
            hub.get_scalar('train/lr')  # of no loss: as `IterTimerHook` does
        assert not gpu.waits
        if read == 'get_scalar':
            hub.get_scalar('train/loss')
        elif read == 'log_scalars':
            _ = hub.log_scalars
        else:
            hub.state_dict()
        assert gpu.waits.total() == 1
    for key in ('train/loss', 'train/other'):
        expected, found = (one.get_scalar(key).data for one in (plain, hub))
        for own, other in zip(found, expected, strict=True):
            assert own.tolist() == other.tolist()


def test_the_order_of_one_name_stays() -> None:
    hub = MessageHub.get_instance('order')
    with PretendedGpu():
        hub.update_scalar('a', tag(torch.tensor(1.0)))
        hub.update_scalar('a', 2.0)
        hub.update_scalar('a', tag(torch.tensor(3.0)))
    assert hub.get_scalar('a').data[0].tolist() == [1.0, 2.0, 3.0]


def test_not_more_is_kept_than_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_log, '_MOST', 3)
    hub = MessageHub.get_instance('limit')
    with PretendedGpu() as gpu:
        for number in range(7):
            hub.update_scalar('a', tag(torch.tensor(float(number))))
    assert gpu.waits.total() == 2
    assert hub.get_scalar('a').data[0].tolist() == list(range(7))

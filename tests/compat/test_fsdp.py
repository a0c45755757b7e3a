"""MMEngine's FSDP strategy in two processes on the CPU, against one process."""

import sys
from pathlib import Path

import pytest
import torch
from mmengine._strategy import FSDPStrategy
from mmengine.device import get_device
from torch.testing import assert_close
from two_processes import two_processes

from paperzoo.compat import fsdp

_SHARDED = """
import sys

import paperzoo.compat
import torch
from mmengine.model import BaseModel
from mmengine.runner import FlexibleRunner, Runner
from torch import nn

from paperzoo.engine.random_state import make_resumable


class Toy(BaseModel):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
        self.scale = nn.Parameter(torch.tensor(1.0))  # as in mmcv's `Scale`

    def forward(self, x, y, mode='tensor'):
        return {'loss': (self.scale * self.layers(x) - y).square().mean()}


def points():
    torch.manual_seed(0)
    return [dict(x=torch.randn(4), y=torch.randn(1)) for _ in range(16)]


def train(work_dir, batch_size, **options):
    runner = (FlexibleRunner if 'strategy' in options else Runner)(
        model=dict(type=Toy),
        work_dir=work_dir,
        train_dataloader=dict(
            batch_size=batch_size,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=True),
            dataset=points(),
            collate_fn=dict(type='default_collate'),
        ),
        optim_wrapper=dict(
            optimizer=dict(type='SGD', lr=0.1, momentum=0.9),
            clip_grad=dict(max_norm=0.1),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=2),
        env_cfg=dict(dist_cfg=dict(backend='nccl')),
        randomness=dict(seed=3),
        log_level='ERROR',
        **options,
    )
    make_resumable(runner)
    runner.train()


if __name__ == '__main__':
    strategy = dict(type='FSDPStrategy', state_dict_cfg='full')
    train('sharded', 2, strategy=strategy, launcher='pytorch')
    options = dict(strategy=strategy, launcher='pytorch', resume=True)
    train('sharded', 2, **options, load_from='sharded/epoch_1.pth')
"""


_FSDP_OPTIONS = (
    'runner_type=FlexibleRunner',
    'strategy.type=FSDPStrategy',
    'strategy.state_dict_cfg=full',
    'train_dataloader.dataset.indices=8',
    'train_dataloader.dataset.ann_file=annotations/instances_val.json',
    'train_dataloader.dataset.data_prefix.img=val/',
    'train_dataloader.batch_size=2',
    'val_dataloader=None',
    'val_evaluator=None',
    'val_cfg=None',
)


@pytest.mark.slow
@pytest.mark.skipif(get_device() != 'cpu', reason='two processes need two GPUs')
def test_builds_steps_saves_and_resumes_as_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'sharded_toy.py').write_text(_SHARDED)
    two_processes('sharded_toy.py', cwd=tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    import sharded_toy

    sharded_toy.train('one', 4)
    sys.modules.pop('sharded_toy')
    for epoch in (1, 2):
        one, sharded = (
            torch.load(tmp_path / name / f'epoch_{epoch}.pth', weights_only=True)
            for name in ('one', 'sharded')
        )
        weights = one['state_dict'], sharded['state_dict']
        assert weights[0]['scale'].item() != 1
        assert_close(*weights, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.skipif(get_device() != 'cpu', reason='two processes need two GPUs')
def test_the_command_trains_and_resumes_a_detector(tmp_path: Path) -> None:
    command = (
        *('-m', 'paperzoo', 'train', 'fcos_tiny_shapes', '--launcher', 'pytorch'),
        *('--work-dir', 'work', '--resume', '--cfg-options', *_FSDP_OPTIONS),
    )
    saved = []
    for epochs in (1, 2):
        two_processes(*command, f'train_cfg.max_epochs={epochs}', cwd=tmp_path)
        file = tmp_path / 'work' / f'epoch_{epochs}.pth'
        saved.append(torch.load(file, weights_only=True))
    assert [checkpoint['meta']['iter'] for checkpoint in saved] == [2, 4]
    before, after = (checkpoint['state_dict'] for checkpoint in saved)
    assert before.keys() == after.keys()
    assert 'bbox_head.conv_cls.weight' in after
    for name in ('backbone.conv1.weight', 'bbox_head.conv_cls.weight'):
        assert not torch.equal(before[name], after[name])


def test_applied_once() -> None:
    before = FSDPStrategy._init_state_dict_cfg
    fsdp.apply()
    assert FSDPStrategy._init_state_dict_cfg is before

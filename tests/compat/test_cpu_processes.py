"""Two processes on the CPU train as one process with twice the batch does."""

import json
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import init_dist
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch.testing import assert_close
from two_processes import run, two_processes

import paperzoo.compat
from paperzoo.compat import cpu_processes
from paperzoo.errors import UserError

pytestmark = pytest.mark.skipif(get_device() != 'cpu', reason='the remedy is for CPUs')

# Writes the losses of all ranks, averaged as DistributedDataParallel averages
# gradients.
_RECORD = """
import json
from pathlib import Path

from mmengine.dist import all_reduce_dict, get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module(force=True)
class LossRecord(Hook):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        losses = {key: value.detach().clone() for key, value in outputs.items()}
        all_reduce_dict(losses, op='mean')
        if get_rank() == 0:
            with Path(runner.work_dir, 'losses.jsonl').open('a') as file:
                row = {key: value.item() for key, value in losses.items()}
                file.write(json.dumps(row) + '\\n')
"""


def small_config(folder: Path) -> Config:
    """A small FCOS on Shapes whose losses no rank and no batch size may change."""
    root = Path(paperzoo.__file__).parents[1] / 'configs'
    if not root.is_dir():
        root = Path(paperzoo.__file__).parent / 'configs'
    cfg = Config.fromfile(str(root / 'fcos' / 'fcos_tiny_shapes.py'))
    # A batch norm would see other images in two processes.
    norm = dict(type='GN', num_groups=4)
    cfg.model.backbone.update(base_channels=8, norm_cfg=norm)
    cfg.model.neck.update(in_channels=[8, 16, 32, 64], out_channels=16, norm_cfg=None)
    cfg.model.bbox_head.update(in_channels=16, feat_channels=16, stacked_convs=1)
    loader = cfg.train_dataloader
    loader.update(batch_size=2, batch_sampler=None)
    loader.dataset.update(
        ann_file='annotations/instances_val.json',
        data_prefix=dict(img='val/'),
        indices=12,
    )
    # Augmentation differs between ranks.
    pipeline = [step for step in loader.dataset.pipeline if 'Flip' not in str(step)]
    loader.dataset.pipeline = pipeline
    for key in ('val_dataloader', 'val_cfg', 'val_evaluator', 'custom_hooks'):
        cfg[key] = None
    for key in ('test_dataloader', 'test_cfg', 'test_evaluator', 'param_scheduler'):
        cfg[key] = None
    cfg.train_cfg = dict(by_epoch=True, max_epochs=1)
    cfg.optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9))
    cfg.custom_imports = dict(imports=['loss_record'])
    cfg.custom_hooks = [dict(type='mmengine.LossRecord')]
    cfg.work_dir = str(folder / 'two')
    (folder / 'loss_record.py').write_text(_RECORD)
    cfg.dump(folder / 'small_fcos.py')
    return cfg


def losses(work_dir: Path) -> torch.Tensor:
    rows = (work_dir / 'losses.jsonl').read_text().splitlines()
    return torch.tensor([list(json.loads(row).values()) for row in rows])


def train_in_one(cfg: Config, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train here, with twice the batch."""
    monkeypatch.syspath_prepend(str(folder))
    import_module('loss_record')
    cfg.train_dataloader.batch_size *= 2
    cfg.work_dir = str(folder / 'one')
    Runner.from_cfg(cfg).train()
    HOOKS._module_dict.pop('LossRecord')
    sys.modules.pop('loss_record')


def assert_equal_training(folder: Path) -> None:
    assert losses(folder / 'one').shape == (3, 4)
    assert_close(losses(folder / 'two'), losses(folder / 'one'), rtol=1e-5, atol=1e-6)
    one, two = (
        torch.load(folder / name / 'epoch_1.pth', weights_only=True)['state_dict']
        for name in ('one', 'two')
    )
    assert_close(two, one, rtol=1e-5, atol=1e-6)


def test_losses_equal_one_process_with_twice_the_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = small_config(tmp_path)
    assert cfg.env_cfg.dist_cfg.backend == 'nccl'
    command = ('-m', 'paperzoo', 'train', 'small_fcos.py', '--launcher', 'pytorch')
    two_processes(*command, cwd=tmp_path)
    train_in_one(cfg, tmp_path, monkeypatch)
    assert_equal_training(tmp_path)


@pytest.mark.wheel
@pytest.mark.slow
def test_mim_starts_two_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = small_config(tmp_path)
    mim = str(Path(sys.executable).with_name('mim'))
    command = (mim, 'train', 'paperzoo', 'small_fcos.py', '-l', 'pytorch', '-G', '2')
    run(*command, cwd=tmp_path)
    train_in_one(cfg, tmp_path, monkeypatch)
    assert_equal_training(tmp_path)


def test_applied_once() -> None:
    import mmengine.dist.utils as home

    before = home._init_dist_pytorch
    cpu_processes.apply()
    assert home._init_dist_pytorch is before


@pytest.mark.parametrize(
    ('asked', 'used'),
    [('nccl', 'gloo'), ('cpu:gloo,cuda:nccl', 'gloo'), ('mpi', 'mpi')],
)
def test_backend_on_a_cpu(asked: str, used: str) -> None:
    calls = []
    set_device = torch.cuda.set_device

    def theirs(backend: str, **kwargs: object) -> None:
        torch.cuda.set_device(1)
        calls.append((backend, kwargs))

    cpu_processes._gloo_on_cpu(theirs)(asked, timeout=3)
    assert calls == [(used, {'timeout': 3})]
    assert torch.cuda.set_device is set_device


def test_with_a_gpu_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_processes, '_on_cpu', lambda: False)
    calls = []
    cpu_processes._gloo_on_cpu(lambda *args, **kwargs: calls.append((args, kwargs)))(
        'nccl', init_backend='torch'
    )
    cpu_processes._on_device('device_ids', None)(
        lambda self, **kwargs: calls.append(kwargs)
    )(None, device_ids=[1])
    assert calls == [
        (('nccl',), {'init_backend': 'torch'}),
        {'device_ids': [1]},
    ]


@pytest.mark.parametrize(
    ('name', 'command'),
    [('pytorch', 'torchrun'), ('slurm', 'srun'), ('mpi', 'mpirun')],
)
def test_a_launcher_that_started_nothing(
    name: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK'):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(UserError, match=f'{name}: .*RANK|PROCID') as caught:
        init_dist(name)
    assert f'with {command}' in str(caught.value)

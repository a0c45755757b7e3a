"""A training of a second that draws random numbers wherever a real one does."""

import random
import sys
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import Dataset

import paperzoo.compat  # noqa: F401
from paperzoo.engine.random_state import adopt_seed, make_resumable
from paperzoo.engine.resume import resume_completely
from paperzoo.engine.workers import workers_ended

_RUNS = count()


class Noisy(BaseModel):
    """Dropout, a running mean, and noise from Python and NumPy."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1)
        )

    def forward(self, x: Tensor, y: Tensor, mode: str = 'tensor') -> Any:
        out = self.layers(x)
        if mode != 'loss':
            return [out + torch.rand(1)]
        noise = random.random() * np.random.rand()
        return {'loss': (out - y + noise).square().mean()}


class NoisyData(Dataset):
    """Sixteen points; each draw adds noise of all three kinds."""

    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        fixed = torch.Generator().manual_seed(index)
        x = torch.randn(4, generator=fixed) + torch.randn(4)
        x[0] += random.gauss(0, 1) + np.random.randn()
        return dict(x=x, y=torch.randn(1, generator=fixed))


class Score(BaseMetric):
    """The number of the epoch that is evaluated: each one is better."""

    default_prefix = None

    def process(self, data_batch: Any, data_samples: Any) -> None:
        self.results.append(len(data_samples))

    def compute_metrics(self, results: list) -> dict[str, float]:
        self.calls = getattr(self, 'calls', 0) + 1
        return {'score': float(self.calls)}


class StopHook(Hook):
    """Interrupts before a step, as a kill would."""

    priority = 'HIGHEST'

    def __init__(self, step: int) -> None:
        self.step = step

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        if runner.iter == self.step:
            raise InterruptedError


def settings(
    work_dir: Path,
    *,
    by_epoch: bool = True,
    workers: int = 0,
    persistent: bool = False,
    seed: int | None = 0,
    launcher: str = 'none',
    **checkpoint: Any,
) -> dict[str, Any]:
    """Return the arguments of a Runner; four epochs of four steps on one process."""
    loader = dict(
        batch_size=4,
        num_workers=workers,
        persistent_workers=persistent,
        dataset=NoisyData(),
        collate_fn=dict(type='default_collate'),
    )
    kind = 'DefaultSampler' if by_epoch else 'InfiniteSampler'
    length = dict(max_epochs=4) if by_epoch else dict(max_iters=16, val_interval=4)
    return dict(
        model=dict(type=Noisy),
        work_dir=str(work_dir),
        train_dataloader={**loader, 'sampler': dict(type=kind)},
        val_dataloader={**loader, 'sampler': dict(type='DefaultSampler')},
        val_evaluator=[Score()],
        val_cfg={},
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9)),
        train_cfg=dict(by_epoch=by_epoch, **length),
        default_hooks=dict(
            checkpoint=dict(
                type='CheckpointHook',
                by_epoch=by_epoch,
                interval=1 if by_epoch else 3,
                **checkpoint,
            )
        ),
        randomness=dict(seed=seed),
        launcher=launcher,
        experiment_name=f'toy{next(_RUNS)}',
        log_level='ERROR',
    )


def train(
    arguments: dict[str, Any],
    *,
    resumable: bool = True,
    stop: int | None = None,
    hooks: Sequence[Hook] = (),
    begin: Callable[[Runner], object] = lambda _: None,
) -> Runner:
    """Run a training; `stop` interrupts it before that step, and so may a hook."""
    from mmengine.config import Config

    if resumable:
        seed = Config({k: arguments.get(k) for k in ('resume', 'load_from')})
        seed.work_dir, seed.randomness = arguments['work_dir'], arguments['randomness']
        adopt_seed(seed)
        arguments['randomness'] = dict(seed.randomness)
    runner = Runner(**arguments)
    if resumable:
        make_resumable(runner)
        resume_completely(runner)
    for hook in hooks:
        runner.register_hook(hook)
    if stop is not None:
        runner.register_hook(StopHook(stop))
    begin(runner)
    try:
        with workers_ended(runner):
            runner.train()
    except InterruptedError:
        assert hooks or stop is not None
    return runner


if __name__ == '__main__':
    train(settings(Path(sys.argv[1]), max_keep_ckpts=2))

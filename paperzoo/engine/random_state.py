"""Random numbers that depend on where a training is, not on how it got there.

Every training step and every batch of data starts from a state made of the seed and its
own number. So a resumed training draws what an uninterrupted one would have drawn, on
every rank and in every worker, with nothing in the checkpoint but the seed; and neither
a validation in between nor the number of workers changes the training.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import CheckpointLoader, Runner
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from paperzoo.registry import HOOKS
from paperzoo.utils.work_dirs import last_checkpoint

# What a state is for; one of them begins each place.
_EPOCH, _STEP, _BATCH, _VALIDATION = range(4)


class BatchSeeding:
    """Fetches the samples of a batch from a state made of the batch's number.

    As `dataset.__getitems__` a DataLoader calls it in place of `dataset[index]`, in its
    workers as in the main process.

    Args:
        dataset: The samples, by index.
        seed: Of the training.
        rank: Of this process: ranks see other images, and augment them otherwise.
    """

    def __init__(self, dataset: Any, *, seed: int, rank: int) -> None:
        self.dataset = dataset
        self.fetch = getattr(dataset, '__getitems__', None)
        self.seed = seed
        self.rank = rank
        # Shared, so that workers that outlive an epoch learn of the next one.
        self.epoch = torch.zeros(1, dtype=torch.int64).share_memory_()
        self.last_epoch = -1
        self.fetched = 0

    def __call__(self, indices: Sequence[int]) -> list:
        """Return the samples at `indices`."""
        epoch = int(self.epoch)
        if epoch != self.last_epoch:
            self.last_epoch, self.fetched = epoch, 0
        number, worker = self.fetched, get_worker_info()
        if worker is not None:  # The batches are dealt to the workers in turn.
            number = number * worker.num_workers + worker.id
        self.fetched += 1
        numbers = _seed_host(_BATCH, self.seed, self.rank, epoch, number)
        # Only the CPU's: no worker may touch a GPU.
        torch.random.default_generator.manual_seed(numbers)
        if self.fetch is not None:
            return self.fetch(indices)
        return [self.dataset[index] for index in indices]


@HOOKS.register_module()
class ResumableRandomnessHook(Hook):
    """Start every epoch and every step from a random state made of its number.

    Ranks draw alike unless `randomness.diff_rank_seed` is set, as MMEngine has it.

    Example:
        >>> hook = HOOKS.build(dict(type='paperzoo.ResumableRandomnessHook'))
        >>> hook.priority
        'VERY_HIGH'
    """

    priority = 'VERY_HIGH'

    def before_train_epoch(self, runner: Runner) -> None:
        """Tell the data where the training is; seed for what other hooks draw."""
        seeding = getattr(runner.train_dataloader.dataset, '__getitems__', None)
        if isinstance(seeding, BatchSeeding):
            seeding.epoch.fill_(runner.epoch)
        torch.manual_seed(_seed_host(_EPOCH, runner.seed, runner.epoch))

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Seed for what the model draws."""
        torch.manual_seed(_seed_host(_STEP, runner.seed, runner.iter))

    def before_val_epoch(self, runner: Runner) -> None:
        """Seed for what a validation draws; tell its data which one it is."""
        seeding = getattr(runner.val_dataloader.dataset, '__getitems__', None)
        if isinstance(seeding, BatchSeeding):
            seeding.epoch.fill_(runner.iter)
        torch.manual_seed(_seed_host(_VALIDATION, runner.seed, runner.iter))


def make_resumable(runner: Runner) -> None:
    """Let the trainings of a runner resume as if they had not been interrupted.

    Args:
        runner: Before it has built its loops.

    Example:
        >>> from unittest.mock import Mock
        >>> runner = Mock(Runner)  # in place of a real one
        >>> make_resumable(runner)
        >>> type(runner.register_hook.call_args.args[0]).__name__
        'ResumableRandomnessHook'
    """
    runner.register_hook(ResumableRandomnessHook())
    build = runner.build_dataloader

    def build_seeded(*args: Any, **kwargs: Any) -> DataLoader:
        loader = build(*args, **kwargs)
        seed_batches(loader, runner.seed)
        return loader

    # In the instance: an iteration-based loop fetches its first batch when it is built.
    runner.build_dataloader = build_seeded


def seed_batches(loader: DataLoader, seed: int) -> None:
    """Let a loader fetch every batch from a random state made of its number.

    Args:
        loader: Its data set is given a `__getitems__`; streams and lists stay as
            they are.
        seed: Of the training.

    Example:
        >>> from torch.utils.data import TensorDataset
        >>> loader = DataLoader(TensorDataset(torch.arange(4)), batch_size=2)
        >>> seed_batches(loader, seed=0)
        >>> [batch[0].tolist() for batch in loader]
        [[0, 1], [2, 3]]
    """
    dataset: Any = loader.dataset
    earlier = getattr(dataset, '__getitems__', None)
    if isinstance(dataset, IterableDataset) or isinstance(earlier, BatchSeeding):
        return
    if not hasattr(dataset, '__dict__'):  # A list: it draws nothing.
        return
    dataset.__getitems__ = seeding = BatchSeeding(dataset, seed=seed, rank=get_rank())
    for sampler in (loader.sampler, getattr(loader.batch_sampler, 'sampler', None)):
        if hasattr(sampler, 'set_epoch'):
            _follow_passes(sampler, seeding)
            break


def _follow_passes(sampler: Any, seeding: BatchSeeding) -> None:
    """Let a sampler tell which pass over the data begins.

    In an iteration-based training with a finite sampler nobody else knows: its workers
    start anew in each pass, and would augment as in the one before.
    """
    set_epoch = sampler.set_epoch

    def set_both(epoch: int) -> None:
        seeding.epoch.fill_(epoch)
        set_epoch(epoch)

    sampler.set_epoch = set_both


def adopt_seed(cfg: Config) -> None:
    """Give a config that resumes, and names no seed, the seed of its checkpoint.

    MMEngine reads it too, but only when the data has been shuffled by another.

    Args:
        cfg: Of the training.

    Example:
        >>> cfg = Config(dict(resume=False))
        >>> adopt_seed(cfg)  # nothing is resumed
        >>> cfg.get('randomness') is None
        True
    """
    randomness = cfg.get('randomness') or {}
    if not cfg.get('resume') or randomness.get('seed') is not None:
        return
    file = cfg.get('load_from') or last_checkpoint(cfg.work_dir)
    if file is None:
        return
    if Path(file).is_dir():  # A sharded one; every rank has the seed.
        file = str(Path(file, 'rank0.pth'))
    loaded = CheckpointLoader.load_checkpoint(file, map_location='cpu')
    meta = loaded.get('meta') if isinstance(loaded, dict) else None
    # What else is wrong with it is said when it is resumed.
    if isinstance(meta, dict) and type(meta.get('seed')) is int:
        cfg.randomness = {**randomness, 'seed': meta['seed']}


def _seed_host(*place: int) -> int:
    """Seed Python and NumPy by a place in the training; return a seed for torch."""
    numbers = np.random.SeedSequence(place).generate_state(3)
    random.seed(int(numbers[0]))
    np.random.seed(numbers[1])
    return int(numbers[2])

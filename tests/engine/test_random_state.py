"""A resumed training ends bit for bit where an uninterrupted one ends."""

import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import DefaultSampler
from mmengine.runner.loops import _InfiniteDataloaderIterator
from torch.testing import assert_close
from torch.utils.data import DataLoader, IterableDataset
from toy_training import NoisyData, settings, train

from paperzoo.engine.random_state import adopt_seed, seed_batches

LOOPS = {
    'epochs': {},
    'epochs, workers that stay': {'workers': 2, 'persistent': True},
    'iterations': {'by_epoch': False},
    'iterations, workers': {'by_epoch': False, 'workers': 2},
    'no seed in the config': {'seed': None},
    'no seed, iterations, workers': {'seed': None, 'by_epoch': False, 'workers': 2},
}


def result(work_dir: Path, name: str) -> dict[str, Any]:
    saved = torch.load(work_dir / name, weights_only=True)
    return {key: saved[key] for key in ('state_dict', 'optimizer')}


def assert_identical(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.parametrize('loop', LOOPS.values(), ids=LOOPS)
def test_interrupted_and_resumed_is_bit_identical(loop: dict, tmp_path: Path) -> None:
    whole, cut = tmp_path / 'whole', tmp_path / 'cut'
    last, middle = (
        ('epoch_4.pth', 'epoch_2.pth')
        if loop.get('by_epoch', True)
        else ('iter_16.pth', 'iter_9.pth')
    )
    train(settings(whole, **loop))
    if loop.get('seed', 0) is None:  # Two such trainings have nothing in common.
        cut.mkdir()
        shutil.copy(whole / middle, cut / middle)
        (cut / 'last_checkpoint').write_text(str(cut / middle))
    else:
        train(settings(cut, **loop), stop=11)
        assert (cut / 'last_checkpoint').read_text() == str(cut / middle)
    assert not (cut / last).exists()
    train({**settings(cut, **loop), 'resume': True})
    assert_identical(result(cut, last), result(whole, last))


def test_without_the_remedy_the_weights_differ(tmp_path: Path) -> None:
    whole, cut = tmp_path / 'whole', tmp_path / 'cut'
    train(settings(whole), resumable=False)
    train(settings(cut), resumable=False, stop=11)
    train({**settings(cut), 'resume': True}, resumable=False)
    ours, theirs = result(cut, 'epoch_4.pth'), result(whole, 'epoch_4.pth')
    with pytest.raises(AssertionError):
        assert_identical(ours, theirs)


def test_neither_workers_nor_validation_change_the_training(tmp_path: Path) -> None:
    train(settings(tmp_path / 'plain'))
    plain = result(tmp_path / 'plain', 'epoch_4.pth')
    train(settings(tmp_path / 'workers', workers=2))
    assert_identical(result(tmp_path / 'workers', 'epoch_4.pth'), plain)
    blind = settings(tmp_path / 'blind')
    blind.update(val_dataloader=None, val_evaluator=None, val_cfg=None)
    train(blind)
    assert_identical(result(tmp_path / 'blind', 'epoch_4.pth'), plain)


def first_batch(seed: int, epoch: int) -> torch.Tensor:
    loader = DataLoader(NoisyData(), batch_size=16)
    seed_batches(loader, seed)
    dataset: Any = loader.dataset
    dataset.__getitems__.epoch.fill_(epoch)
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    return next(iter(loader))['x']


def test_seeds_and_epochs_draw_differently() -> None:
    batches = [first_batch(*place) for place in ((0, 0), (0, 1), (1, 0))]
    assert_close(batches[0], first_batch(0, 0), rtol=0, atol=0)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not torch.isclose(batches[one], batches[other]).any()


def test_batches_of_an_epoch_draw_differently() -> None:
    class One(NoisyData):
        def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
            return super().__getitem__(0)

    loader: DataLoader[dict[str, torch.Tensor]] = DataLoader(One(), batch_size=1)
    seed_batches(loader, 0)
    rows = torch.cat([batch['x'] for batch in loader])
    assert len(rows.unique(dim=0)) == len(rows) == 16


def test_passes_of_an_iteration_based_training_draw_differently(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr('time.sleep', lambda seconds: None)
    drawn = []
    for workers in (0, 2):
        data = NoisyData()
        sampler = DefaultSampler(data, shuffle=False)
        loader = DataLoader(data, 8, sampler=sampler, num_workers=workers)
        seed_batches(loader, 0)
        batches = _InfiniteDataloaderIterator(loader)
        drawn.append(torch.cat([next(batches)['x'] for _ in range(6)]))
    assert_close(drawn[1], drawn[0], rtol=0, atol=0)
    passes = drawn[0].reshape(3, 16, 4)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not torch.isclose(passes[one], passes[other]).any()


def test_streams_lists_and_own_fetchers_are_left_alone() -> None:
    class Stream(IterableDataset):
        def __iter__(self):
            return iter(range(3))

    loader = DataLoader(Stream(), batch_size=3)
    seed_batches(loader, 0)
    assert next(iter(loader)).tolist() == [0, 1, 2]

    seed_batches(DataLoader([1, 2]), 0)

    class Whole(NoisyData):
        def __getitems__(self, indices: list[int]) -> list[int]:
            return [10 * index for index in indices]

    loader = DataLoader(Whole(), batch_size=16)
    seed_batches(loader, 0)
    seed_batches(loader, 0)
    assert next(iter(loader)).tolist() == list(range(0, 160, 10))


def test_the_seed_of_the_config_stays(tmp_path: Path) -> None:
    torch.save({'meta': {'seed': 7}}, tmp_path / 'x.pth')
    base = dict(work_dir=str(tmp_path), load_from=str(tmp_path / 'x.pth'))
    cases = (
        (dict(resume=True, randomness=dict(seed=3)), {'seed': 3}),
        (dict(resume=True, randomness=dict(deterministic=True)), None),
        (dict(resume=False, randomness=dict(seed=None)), {'seed': None}),
    )
    for options, expected in cases:
        cfg = Config({**base, **options})
        adopt_seed(cfg)
        assert cfg.randomness == (expected or {'deterministic': True, 'seed': 7})
    empty = Config(dict(resume=True, work_dir=str(tmp_path / 'none')))
    adopt_seed(empty)
    assert 'randomness' not in empty

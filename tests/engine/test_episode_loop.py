"""Episodes on cached maps: the same numbers, each image embedded once."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from few_shot_toys import COUNTS, PER_CLASS, ToyModel, write_set
from mmengine.dataset import DefaultSampler, default_collate
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner, TestLoop
from torch.optim import SGD

from paperzoo.data.episodes import Episode, EpisodeDataset, EpisodeSampler
from paperzoo.engine.episode_loop import EpisodeTestLoop, EpisodeValLoop, grouped
from paperzoo.errors import UserError
from paperzoo.evaluation.few_shot import FewShotAccuracy


@pytest.fixture(scope='module')
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp('toy'))


def loader(root: Path, split: str, batch_size: int = 4, **kwargs: Any) -> dict:
    is_train = split == 'train'
    sampler = (
        dict(type=EpisodeSampler)
        if is_train
        else dict(type=DefaultSampler, shuffle=False)
    )
    dataset = dict(
        type=EpisodeDataset,
        data_root=str(root),
        split=split,
        layout='pickle',
        ways=3,
        queries=5,
        episodes=22,
        test_mode=not is_train,
    )
    return dict(
        batch_size=batch_size,
        num_workers=0,
        collate_fn=dict(type=default_collate),
        sampler=sampler,
        dataset={**dataset, **kwargs},
    )


def runner(root: Path, work_dir: Path, loop: dict, **kwargs: Any) -> Runner:
    return Runner(
        model=kwargs.pop('model', None) or ToyModel(),
        work_dir=str(work_dir),
        test_dataloader=kwargs.pop('test_dataloader', None) or loader(root, 'test'),
        test_cfg=loop,
        test_evaluator=dict(type=FewShotAccuracy, split='test', classwise=True),
        default_scope='mmengine',
        log_level='ERROR',
        **kwargs,
    )


class Seen(Hook):
    def __init__(self) -> None:
        self.calls: list[Any] = []

    def before_test_epoch(self, runner: Runner) -> None:
        self.calls.append('begin')

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any, outputs: Any
    ) -> None:
        assert len(data_batch) == len(outputs)
        self.calls.append((batch_idx, len(outputs)))

    def after_test_epoch(self, runner: Runner, metrics: Any = None) -> None:
        self.calls.append(sorted(metrics)[0])


def test_numbers_of_the_ordinary_loop_each_image_embedded_once(
    root: Path, tmp_path: Path
) -> None:
    model, seen = ToyModel(), Seen()
    loop = dict(type=EpisodeTestLoop, images_per_batch=5)
    found = runner(root, tmp_path / 'a', loop, model=model, custom_hooks=[seen]).test()
    # All, and one more to learn the size of a map.
    assert model.embedded == COUNTS['test'] * PER_CLASS + 1
    assert seen.calls == [
        'begin',
        *[(i, 4) for i in range(5)],
        (5, 2),
        'few_shot/test_accuracy',
    ]
    ordinary = runner(root, tmp_path / 'b', dict(type=TestLoop)).test()
    for key in ('accuracy', 'ci95', 'ci95_t', 'episodes', 'classes'):
        assert found[f'few_shot/test_{key}'] == ordinary[f'few_shot/test_{key}']
    assert found['few_shot/test_episodes'] == 22
    assert 34 < found['few_shot/test_accuracy'] < 100
    # The ordinary loop does not know which class of the split a query is of.
    assert not np.isnan(found['few_shot/test_class/class 13'])


def test_little_memory_changes_no_number(root: Path, tmp_path: Path) -> None:
    plenty = runner(root, tmp_path / 'a', dict(type=EpisodeTestLoop)).test()
    model = ToyModel()
    few = dict(type=EpisodeTestLoop, cache_gib=25 * 12 / 2**30)
    assert runner(root, tmp_path / 'b', few, model=model).test() == plenty
    assert model.embedded > COUNTS['test'] * PER_CLASS + 1


def test_a_group_needs_no_more_images_than_there_is_room() -> None:
    def episode(*images: int) -> Episode:
        none = np.empty(0, int)
        return Episode(none, np.array(images[:1]), none, np.array(images[1:]), none)

    batches = [
        [episode(1, 2), episode(2, 3)],
        [episode(3, 1)],
        [episode(4, 5)],
        [episode(5, 6), episode(7, 8)],
        [episode(8, 5)],
    ]
    found = list(grouped(iter(batches), most=3))
    assert [batch for group, _ in found for batch in group] == batches
    assert [images.tolist() for _, images in found] == [
        [1, 2, 3],
        [4, 5],
        [5, 6, 7, 8],  # a single batch that needs more
        [5, 8],
    ]
    assert len(list(grouped(iter(batches), most=8))) == 1


def test_other_data_sets_are_refused(root: Path, tmp_path: Path) -> None:
    wrong = loader(root, 'test')
    wrong['dataset'] = [1, 2, 3]
    made = runner(root, tmp_path, dict(type=EpisodeTestLoop), test_dataloader=wrong)
    with pytest.raises(UserError, match=r'test_dataloader\.dataset is a list'):
        made.test()


def training(root: Path, work_dir: Path, epochs: int, **kwargs: Any) -> Runner:
    made = runner(
        root,
        work_dir,
        dict(type=EpisodeTestLoop),
        train_dataloader=loader(root, 'train'),
        train_cfg=dict(type=EpochBasedTrainLoop, max_epochs=epochs, val_interval=1),
        optim_wrapper=dict(optimizer=dict(type=SGD, lr=0.5)),
        val_dataloader=loader(root, 'val'),
        val_cfg=dict(type=EpisodeValLoop),
        val_evaluator=dict(type=FewShotAccuracy, split='val'),
        default_hooks=dict(
            checkpoint=dict(
                type='CheckpointHook', interval=1, save_best='few_shot/val_accuracy'
            )
        ),
        randomness=dict(seed=3),
        **kwargs,
    )
    made.train()
    return made


def test_runner_trains_keeps_the_best_and_resumes(root: Path, tmp_path: Path) -> None:
    whole = training(root, tmp_path / 'whole', epochs=3)
    (best,) = (tmp_path / 'whole').glob('best_few_shot_val_accuracy_epoch_*.pth')
    assert best.is_file()
    before = training(root, tmp_path / 'parts', epochs=2).model.linear.weight
    resumed = training(root, tmp_path / 'parts', epochs=3, resume=True)
    # The third epoch has its own episodes, also after a resumption.
    weight = whole.model.linear.weight
    torch.testing.assert_close(resumed.model.linear.weight, weight)
    assert (weight - before).abs().max() > 1e-3

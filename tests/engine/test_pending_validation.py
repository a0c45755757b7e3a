"""A validation that a kill has cut off is done when the training is resumed."""

from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.runner import Runner
from toy_training import settings, train

SCORES = {1: 0.3, 2: 0.7, 3: 0.5, 4: 0.6}


class Table(BaseMetric):
    """A score by the number of the step, and what a random validation drew."""

    default_prefix = None

    def process(self, data_batch: Any, data_samples: Any) -> None:
        self.results.append(float(sum(data_samples).sum()))

    def compute_metrics(self, results: list) -> dict[str, float]:
        step = MessageHub.get_current_instance().get_info('iter') + 1
        return {'score': SCORES[step // 4], 'drawn': sum(results)}


class Validations(Hook):
    """Notes step and metrics of each validation."""

    def __init__(self) -> None:
        self.seen: dict[int, dict[str, float]] = {}

    def after_val_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        assert metrics is not None
        assert runner.iter not in self.seen
        self.seen[runner.iter] = dict(metrics)


class Stop(Hook):
    """Interrupts at a step, at one of the hook's calls."""

    def __init__(self, call: str, step: int, priority: str = 'HIGHEST') -> None:
        self.priority = priority

        def stop(runner: Runner, *args: Any, **kwargs: Any) -> None:
            if runner.iter == step:
                raise InterruptedError

        setattr(self, call, stop)


def arguments(work_dir: Path, *, by_epoch: bool = True, **options: Any) -> dict:
    made = settings(
        work_dir, by_epoch=by_epoch, save_best='score', rule='greater', max_keep_ckpts=2
    )
    if not by_epoch:
        made['default_hooks']['checkpoint']['interval'] = 4
    made['val_evaluator'] = [Table()]
    return {**made, **options}


def files(work_dir: Path) -> set[str]:
    """Return the names of all files but the config, which is named by the time."""
    some = (one for one in work_dir.iterdir() if one.is_file() and one.suffix != '.py')
    return {one.name for one in some}


@pytest.mark.parametrize('by_epoch', [True, False])
@pytest.mark.parametrize('step', [4, 8, 16])
@pytest.mark.parametrize('call', ['before_val_iter', 'after_val_epoch'])
def test_the_best_is_that_of_an_uninterrupted_training(
    tmp_path: Path, by_epoch: bool, step: int, call: str
) -> None:
    whole, cut = tmp_path / 'whole', tmp_path / 'cut'
    expected, first, then = Validations(), Validations(), Validations()
    train(arguments(whole, by_epoch=by_epoch), hooks=[expected])
    stop = Stop(call, step)
    train(arguments(cut, by_epoch=by_epoch), hooks=[stop, first])
    train(arguments(cut, by_epoch=by_epoch, resume=True), hooks=[then])
    assert next(iter(then.seen)) == step
    assert {**first.seen, **then.seen} == expected.seen
    assert not set(first.seen) & set(then.seen)
    assert files(cut) == files(whole)
    (best,) = cut.glob('best_*.pth')
    ours, theirs = (torch.load(file) for file in (best, whole / best.name))
    torch.testing.assert_close(ours['state_dict'], theirs['state_dict'], rtol=0, atol=0)
    last = 'epoch_4.pth' if by_epoch else 'iter_16.pth'
    for key in ('best_score', 'epoch', 'iter', 'keep_ckpt_ids'):
        ours, theirs = (torch.load(folder / last) for folder in (cut, whole))
        hubs = [one['message_hub']['runtime_info'][key] for one in (ours, theirs)]
        assert hubs[0] == hubs[1]


def test_what_a_validation_draws_is_its_own(tmp_path: Path) -> None:
    """A model's draws, too: with workers the data seed nothing in this process."""

    def with_workers(work_dir: Path, **options: Any) -> dict[str, Any]:
        made = arguments(work_dir, **options)
        made['val_dataloader'].update(num_workers=1)
        made['train_cfg'].update(max_epochs=1)
        return made

    expected, then = Validations(), Validations()
    train(with_workers(tmp_path / 'whole'), hooks=[expected])
    train(with_workers(tmp_path / 'cut'), hooks=[Stop('before_val_iter', 4)])
    train(with_workers(tmp_path / 'cut', resume=True), hooks=[then])
    assert then.seen == expected.seen


def test_a_validation_that_is_done_is_not_done_again(tmp_path: Path) -> None:
    train(arguments(tmp_path), stop=9)
    assert (tmp_path / 'last_validation').read_text() == '8'
    then = Validations()
    train(arguments(tmp_path, resume=True), hooks=[then])
    assert list(then.seen) == [12, 16]


def test_going_back_makes_later_validations_undone(tmp_path: Path) -> None:
    train(arguments(tmp_path))
    back = dict(resume=True, load_from=str(tmp_path / 'epoch_3.pth'))
    train(arguments(tmp_path, **back), hooks=[Stop('before_val_iter', 16)])
    then = Validations()
    train(arguments(tmp_path, resume=True), hooks=[then])
    assert list(then.seen) == [16]


def test_a_new_training_in_the_folder_forgets_the_old_ones(tmp_path: Path) -> None:
    train(arguments(tmp_path))
    train(arguments(tmp_path), hooks=[Stop('before_val_iter', 4)])
    then = Validations()
    train(arguments(tmp_path, resume=True), hooks=[then])
    assert list(then.seen) == [4, 8, 12, 16]


def test_no_validation_where_none_is_due(tmp_path: Path) -> None:
    def sparse(**options: Any) -> dict[str, Any]:
        made = arguments(tmp_path, **options)
        made['train_cfg'].update(val_interval=2)
        return made

    train(sparse(), stop=5)
    then = Validations()
    train(sparse(resume=True), hooks=[then])
    assert list(then.seen) == [8, 16]
    blind = arguments(tmp_path, resume=True)
    blind.update(val_dataloader=None, val_evaluator=None, val_cfg=None)
    blind['default_hooks']['checkpoint']['save_best'] = None
    (tmp_path / 'last_validation').unlink()
    train(blind)


def test_a_training_at_its_end_says_so(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    train(arguments(tmp_path))
    before = (tmp_path / 'epoch_4.pth').read_bytes()
    train(arguments(tmp_path, resume=True, log_level='WARNING'))
    assert 'Nothing is left to train: the training ends at epoch 4' in (
        capfd.readouterr().out
    )
    assert (tmp_path / 'epoch_4.pth').read_bytes() == before


def test_the_checkpoint_takes_note_of_a_best_that_was_pending(tmp_path: Path) -> None:
    train(arguments(tmp_path), hooks=[Stop('before_val_iter', 8)])
    train(arguments(tmp_path, resume=True), stop=9)
    info = torch.load(tmp_path / 'epoch_2.pth')['message_hub']['runtime_info']
    assert info['best_score'] == SCORES[2]
    assert (info['epoch'], info['iter']) == (
        1,
        7,
    )  # as without a kill: of the last step
    assert Path(info['best_ckpt']).name == 'best_score_epoch_2.pth'


def test_what_a_kill_before_the_removals_left_is_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import paperzoo.compat.checkpoint_writing as home

    whole, cut = tmp_path / 'whole', tmp_path / 'cut'
    train(arguments(whole))
    theirs = home._remove
    for number in range(4):  # outdated: epochs 1 and 2, the first best
        removed = 0

        def remove(*args: Any, number: int = number) -> None:
            nonlocal removed
            if removed == number:
                raise InterruptedError
            removed += 1
            theirs(*args)

        with monkeypatch.context() as patch:
            patch.setattr(home, '_remove', remove)
            train(arguments(cut), hooks=[Hook()])
        left = files(cut) - files(whole)
        train(arguments(cut, resume=True))
        assert left or number == 3
        assert files(cut) == files(whole)
        for file in cut.iterdir():
            if file.is_file():
                file.unlink()


def test_a_best_that_was_never_noted_is_swept(tmp_path: Path) -> None:
    train(arguments(tmp_path), stop=9)
    for name in ('best_score_epoch_3.pth', 'epoch_2.pth.tmp', 'last_checkpoint.tmp'):
        (tmp_path / name).write_bytes(b'later than epoch_2.pth')
    foreign = {
        'best_score_epoch_2.txt',
        'best_epoch_1.pth',
        'epoch_7.pth',
        'epoch_x.pth',
        'my.tmp',
        'best_score_epoch_9.pth',
    }
    for name in foreign - {'best_score_epoch_9.pth'}:
        (tmp_path / name).write_bytes(b'')
    (tmp_path / 'best_score_epoch_9.pth').symlink_to(tmp_path / 'epoch_7.pth')
    train(arguments(tmp_path, resume=True), stop=9)
    own = {'best_score_epoch_2.pth', 'epoch_1.pth', 'epoch_2.pth', 'last_checkpoint'}
    assert files(tmp_path) == own | foreign | {'last_validation'}


def test_the_last_checkpoint_by_its_name_passes_nothing_over(tmp_path: Path) -> None:
    train(arguments(tmp_path), stop=9)
    late = tmp_path / 'best_score_epoch_3.pth'
    late.write_bytes(b'later than epoch_2.pth')
    last = dict(resume=True, load_from=str(tmp_path / 'epoch_2.pth'))
    train(arguments(tmp_path, **last), stop=9)
    assert not late.exists()


def test_an_older_checkpoint_leaves_later_ones_alone(tmp_path: Path) -> None:
    train(arguments(tmp_path))
    (tmp_path / 'best_score_epoch_4.pth').write_bytes(b'mine')
    back = dict(resume=True, load_from=str(tmp_path / 'epoch_3.pth'))
    train(arguments(tmp_path, **back), stop=13)
    assert (tmp_path / 'best_score_epoch_4.pth').read_bytes() == b'mine'


def test_a_checkpoint_names_no_other_files(tmp_path: Path) -> None:
    train(arguments(tmp_path / 'work'), stop=9)
    work = tmp_path / 'work'
    file = work / 'epoch_2.pth'
    content = torch.load(file)
    inside, folder = work / 'notes.txt', work / 'epoch_0.pth'
    outside = tmp_path / 'epoch_0.pth'
    inside.touch()
    folder.mkdir()
    outside.touch()
    names = ['notes.txt', '../epoch_0.pth', str(outside), 'epoch_0.pth', 'epoch_2.pth']
    content['message_hub']['runtime_info']['displaced_ckpts'] = [*names, 3, None, {}]
    torch.save(content, file)
    train(arguments(work, resume=True), stop=9)
    assert inside.exists()
    assert folder.is_dir()
    assert outside.exists()
    assert file.exists()

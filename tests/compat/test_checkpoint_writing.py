"""Killed while saving, disk full: the earlier checkpoints are there, whole."""

import errno
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.runner import Runner
from toy_training import Score, settings, train

from paperzoo.compat import checkpoint_writing
from paperzoo.errors import UserError
from paperzoo.utils.files import write_safely

_HANGS_IN_THE_THIRD = """
import io, sys, time
from pathlib import Path
import toy_training, torch

whole, saves = torch.save, []
def half(checkpoint, file):
    saves.append(1)
    if len(saves) < 3:
        return whole(checkpoint, file)
    content = io.BytesIO()
    whole(checkpoint, content)
    file.write(content.getvalue()[: len(content.getvalue()) // 2])
    file.flush()
    time.sleep(600)
torch.save = half
work = Path(sys.argv[1])
toy_training.train(toy_training.settings(work, workers=2, max_keep_ckpts=1))
"""


def saved(work_dir: Path) -> set[str]:
    """Return the names of the files of checkpoints: not the config, nor validations."""
    names = {path.name for path in work_dir.iterdir() if path.is_file()}
    return {one for one in names if not one.endswith('.py')} - {'last_validation'}


def full_disk(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let the disk be full while the file of this number is written."""
    opened: list[Path] = []
    real = Path.open

    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            # Not at once: when torch has begun, it hides what the disk says.
            if self.tell() + len(data) > 1000:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().write(data)

    def watched(path: Path, mode: str = 'r', *args: Any, **kwargs: Any) -> Any:
        if path.suffix != '.tmp' or path.name.startswith('last_validation'):
            return real(path, mode, *args, **kwargs)
        opened.append(path)
        if len(opened) != number:
            return real(path, mode, *args, **kwargs)
        path.touch()
        return Full()

    monkeypatch.setattr(Path, 'open', watched)


def test_killed_while_saving_and_resumed(tmp_path: Path) -> None:
    work = tmp_path / 'work'
    process = subprocess.Popen(
        [sys.executable, '-c', _HANGS_IN_THE_THIRD, str(work)],
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)},
        start_new_session=True,
    )
    end = time.monotonic() + 900
    partial: list[Path] = []
    while not any(one.stat().st_size for one in partial):
        partial = list(work.glob('epoch_3.pth.*.tmp'))
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert saved(work) == {'epoch_2.pth', partial[0].name, 'last_checkpoint'}
    assert (work / 'last_checkpoint').read_text() == str(work / 'epoch_2.pth')
    train({**settings(work, workers=2, max_keep_ckpts=1), 'resume': True})
    assert saved(work) == {'epoch_4.pth', 'last_checkpoint'}
    train(settings(tmp_path / 'whole', workers=2))
    resumed, whole = (
        torch.load(folder / 'epoch_4.pth', weights_only=True)
        for folder in (work, tmp_path / 'whole')
    )
    for key in ('state_dict', 'optimizer'):
        torch.testing.assert_close(resumed[key], whole[key], rtol=0, atol=0)


def test_a_full_disk_leaves_the_earlier_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two files per epoch: the checkpoint and `last_checkpoint`.
    full_disk(monkeypatch, 5)
    with pytest.raises(UserError) as caught:
        train(settings(tmp_path, max_keep_ckpts=1))
    message = str(caught.value)
    assert 'epoch_3.pth' in message
    assert "'epoch_2.pth' is the newest" in message
    assert 'No space left' in message
    assert '--resume' in message
    assert saved(tmp_path) == {'epoch_2.pth', 'last_checkpoint'}
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / 'epoch_2.pth')
    meta = torch.load(tmp_path / 'epoch_2.pth', weights_only=True)['meta']
    assert meta['epoch'] == 2


def test_a_full_disk_for_last_checkpoint_leaves_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full_disk(monkeypatch, 4)
    with pytest.raises(UserError, match='last_checkpoint'):
        train(settings(tmp_path, max_keep_ckpts=1))
    assert saved(tmp_path) == {'epoch_1.pth', 'epoch_2.pth', 'last_checkpoint'}
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / 'epoch_1.pth')


def test_old_and_best_ones_are_deleted_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before: list[tuple[str, set[str]]] = []

    def watched(path: Path, write: Any) -> None:
        before.append((path.name, saved(tmp_path)))
        write_safely(path, write)

    monkeypatch.setattr(checkpoint_writing, 'write_safely', watched)
    train(settings(tmp_path, max_keep_ckpts=2, save_best='score', rule='greater'))
    for epoch in range(2, 5):
        written = [files for name, files in before if name == f'epoch_{epoch}.pth']
        assert f'epoch_{epoch - 1}.pth' in written[0]
        best = [
            files for name, files in before if name == f'best_score_epoch_{epoch}.pth'
        ]
        assert f'best_score_epoch_{epoch - 1}.pth' in best[0]
    assert saved(tmp_path) == {
        *('epoch_3.pth', 'epoch_4.pth', 'best_score_epoch_4.pth', 'last_checkpoint')
    }
    hub = torch.load(tmp_path / 'epoch_4.pth', weights_only=True)['message_hub']
    assert hub['runtime_info']['keep_ckpt_ids'] == [3, 4]
    assert hub['runtime_info']['best_ckpt'] == str(tmp_path / 'best_score_epoch_4.pth')


def test_a_best_one_of_the_same_name_is_not_deleted() -> None:
    removed: list[str] = []
    backend = SimpleNamespace(remove=removed.append, isfile=lambda path: True)

    def save_best(hook: Any, runner: Any, metrics: dict) -> None:
        for path in ('best_3.pth', 'best_2.pth'):
            hook.file_backend.remove(path)
        assert not removed
        hook.best_ckpt_path = 'best_3.pth'

    hook = SimpleNamespace(save_best='score', file_backend=backend)
    checkpoint_writing._delete_last(save_best)(hook, None, {})
    assert removed == ['best_2.pth']
    assert hook.file_backend is backend


def test_the_message_names_one_to_go_on_from(tmp_path: Path) -> None:
    for second, name in enumerate(('epoch_1.pth', 'epoch_2.pth', 'best_x.pth')):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (second, second))
    message = checkpoint_writing._how_to_go_on(tmp_path)
    assert "'epoch_2.pth' is the newest" in message
    (tmp_path / 'epoch_1.pth').unlink()
    (tmp_path / 'epoch_2.pth').unlink()
    message = checkpoint_writing._how_to_go_on(tmp_path)
    assert 'newest' not in message
    assert '--work-dir' in message


def test_what_the_disk_says_is_not_hidden_by_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full_disk(monkeypatch, 1)
    weights = {'weight': torch.zeros(100_000)}
    with pytest.raises(UserError, match='No space left'):
        write_safely(tmp_path / 'x.pth', lambda file: torch.save(weights, file))
    assert list(tmp_path.iterdir()) == []


def test_every_holder_in_mmengine_has_the_replacement() -> None:
    import mmengine.runner
    import mmengine.runner.checkpoint
    import mmengine.runner.runner

    ours = mmengine.runner.checkpoint.save_checkpoint
    checkpoint_writing.apply()
    for module in (mmengine.runner, mmengine.runner.checkpoint, mmengine.runner.runner):
        assert module.save_checkpoint is ours
    assert hasattr(ours, checkpoint_writing._MARK)


def test_other_stores_are_mmengine_s(tmp_path: Path) -> None:
    calls = []
    save = checkpoint_writing._safe_save(lambda *args: calls.append(args))
    save({}, 'pavi://model/x.pth')
    save({}, str(tmp_path / 'x.pth'), {'backend': 'disk'})
    assert [args[1] for args in calls] == [
        'pavi://model/x.pth',
        str(tmp_path / 'x.pth'),
    ]
    save({'a': 1}, str(tmp_path / 'y.pth'))
    assert torch.load(tmp_path / 'y.pth', weights_only=True) == {'a': 1}


BEST: dict = {'save_best': 'score', 'rule': 'greater'}


class Scores(Score):
    """Two of them."""

    def compute_metrics(self, results: list) -> dict[str, float]:
        one = super().compute_metrics(results)['score']
        return {'score': one, 'more': one}


def resumed_with(work_dir: Path, tmp_path: Path, **checkpoint: Any) -> Runner:
    """Resume from the second epoch, with what `info` says noted in the checkpoint."""
    info = checkpoint.pop('info')
    train(settings(tmp_path / 'first', **BEST), stop=8)
    loaded = torch.load(tmp_path / 'first' / 'epoch_2.pth', weights_only=True)
    loaded['message_hub']['runtime_info'].update(info)
    torch.save(loaded, tmp_path / 'noted.pth')
    arguments = settings(work_dir, **checkpoint)
    arguments['val_evaluator'] = [Scores()]
    runner = Runner(**arguments, resume=True, load_from=str(tmp_path / 'noted.pth'))
    runner.train()
    return runner


@pytest.mark.parametrize(
    'name',
    [
        'thesis',
        'thesis/best_score_epoch_2.pth',
        'thesis/epoch_2.pth',
        'work/../thesis/best_score_epoch_2.pth',
        'work/notes',
        'work/best_score_epoch_2.pth.bak',
        'work/best_notes.txt',
        'work',
    ],
)
@pytest.mark.parametrize('folder', [True, False])
def test_what_a_checkpoint_names_is_not_deleted(
    tmp_path: Path, name: str, folder: bool
) -> None:
    (tmp_path / 'work').mkdir()
    (tmp_path / 'thesis').mkdir()
    path = tmp_path / name
    if not path.is_dir():
        path.mkdir() if folder else path.write_text('mine')
    (tmp_path / 'thesis' / 'chapter').write_text('mine')
    info = {'best_ckpt': str(path), 'best_score': 0.0, 'keep_ckpt_ids': []}
    runner = resumed_with(tmp_path / 'work', tmp_path, info=info, **BEST)
    assert path.exists()
    assert (tmp_path / 'thesis' / 'chapter').read_text() == 'mine'
    # Its own best checkpoint is noted instead.
    best = str(tmp_path / 'work' / 'best_score_epoch_4.pth')
    assert runner.message_hub.get_info('best_ckpt') == best
    assert Path(best).is_file()


def test_neither_with_several_best_ones(tmp_path: Path) -> None:
    (tmp_path / 'thesis').mkdir()
    info = {'best_ckpt_score': str(tmp_path / 'thesis'), 'best_score_score': 0.0}
    several = {'save_best': ['score', 'more'], 'rule': 'greater'}
    resumed_with(tmp_path / 'work', tmp_path, info=info, **several)
    assert (tmp_path / 'thesis').is_dir()


@pytest.mark.parametrize('link', [True, False])
def test_a_link_is_not_followed(tmp_path: Path, link: bool) -> None:
    work, thesis = tmp_path / 'work', tmp_path / 'thesis'
    work.mkdir()
    thesis.mkdir()
    (thesis / 'chapter').write_text('mine')
    own = work / 'best_score_epoch_2.pth'
    own.symlink_to(thesis) if link else own.mkdir()
    info = {'best_ckpt': str(own), 'best_score': 0.0}
    resumed_with(work, tmp_path, info=info, **BEST)
    assert not os.path.lexists(own)  # the control: its own is deleted
    assert (thesis / 'chapter').is_file()


@pytest.mark.parametrize('ids', [['../../x', 'x', None, 1.5, True], 'abc', {1: 2}])
def test_steps_are_numbers(tmp_path: Path, ids: Any) -> None:
    (tmp_path / 'work' / 'epoch_..').mkdir(parents=True)
    (tmp_path / 'x.pth').write_text('mine')
    (tmp_path / 'work' / 'epoch_True.pth').write_text('mine')
    info = {'keep_ckpt_ids': ids}
    resumed_with(tmp_path / 'work', tmp_path, info=info, max_keep_ckpts=1)
    assert (tmp_path / 'x.pth').is_file()
    assert (tmp_path / 'work' / 'epoch_True.pth').is_file()


def test_a_moved_training_goes_on_with_its_own_best(tmp_path: Path) -> None:
    train(settings(tmp_path / 'old', **BEST), stop=8)
    (tmp_path / 'old').rename(tmp_path / 'new')
    assert 'best_score_epoch_2.pth' in saved(tmp_path / 'new')
    arguments = settings(tmp_path / 'new', **BEST)
    arguments['val_evaluator'][0].calls = 10  # each epoch is still the best so far
    last = str(tmp_path / 'new' / 'epoch_2.pth')
    Runner(**arguments, resume=True, load_from=last).train()
    found = {name for name in saved(tmp_path / 'new') if name.startswith('best')}
    assert found == {'best_score_epoch_4.pth'}

"""What a training cannot go on from is refused in one message, before it is used."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.runner import Runner
from toy_training import settings, train

from paperzoo.engine.resume import check_checkpoint, resume_completely
from paperzoo.errors import UserError

SCHEDULE = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=5),
    dict(type='CosineAnnealingLR', T_max=4, end=4, convert_to_iter_based=True),
]


def arguments(work_dir: Path, **options: Any) -> dict[str, Any]:
    return {**settings(work_dir), 'param_scheduler': SCHEDULE, **options}


@pytest.fixture(scope='module')
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work dir of a training that was stopped in its third epoch."""
    work_dir = tmp_path_factory.mktemp('trained')
    train(arguments(work_dir), stop=9)
    return work_dir


def changed(trained: Path, to: Path, change: Callable[[Any], Any]) -> Path:
    """Copy a work dir, with another content of its last checkpoint."""
    shutil.copytree(trained, to, dirs_exist_ok=True)
    file = to / 'epoch_2.pth'
    content = torch.load(file, weights_only=True)
    new = change(content)
    torch.save(content if new is None else new, file)
    (to / 'last_checkpoint').write_text(str(file))
    return file


def put(*keys: Any) -> Callable[[dict], None]:
    """Return what puts the last of `keys` where the others lead."""

    def change(content: Any) -> None:
        *path, last, value = keys
        for key in path:
            content = content[key]
        content[last] = value

    return change


def drop(*keys: Any) -> Callable[[dict], None]:
    def change(content: Any) -> None:
        for key in keys[:-1]:
            content = content[key]
        del content[keys[-1]]

    return change


INFO = ('message_hub', 'runtime_info')
BAD = {
    'a list': (lambda content: [1], 'holds a list'),
    'no weights': (drop('state_dict'), 'state_dict'),
    'weights: list': (put('state_dict', [1]), 'state_dict'),
    'weights: empty': (put('state_dict', {}), 'state_dict'),
    'weights: text': (put('state_dict', {'a': 'b'}), 'state_dict'),
    'no meta': (drop('meta'), "'meta'"),
    'meta: None': (put('meta', None), "'meta'"),
    'meta: list': (put('meta', [1]), "'meta'"),
    'no epoch': (drop('meta', 'epoch'), 'meta.epoch is None'),
    'no iter': (drop('meta', 'iter'), 'meta.iter is None'),
    'epoch: NaN': (put('meta', 'epoch', math.nan), 'meta.epoch is nan'),
    'epoch: infinite': (put('meta', 'epoch', math.inf), 'meta.epoch is inf'),
    'epoch: negative': (put('meta', 'epoch', -1), 'meta.epoch is -1'),
    'epoch: text': (put('meta', 'epoch', '2'), "meta.epoch is '2'"),
    'epoch: half': (put('meta', 'epoch', 1.5), 'meta.epoch is 1.5'),
    'epoch: true': (put('meta', 'epoch', True), 'meta.epoch is True'),
    'epoch: far away': (put('meta', 'epoch', 10**6), 'beyond the end'),
    'epoch: after the end': (put('meta', 'epoch', 5), 'max_epochs=6'),
    'iter: negative': (put('meta', 'iter', -4), 'meta.iter is -4'),
    'iter: 0': (put('meta', 'iter', 0), 'meta.iter is 0'),
    'iter: no 64 bits': (put('meta', 'iter', 2**70), 'meta.iter is 11805916207'),
    'seed: text': (put('meta', 'seed', 'x'), "meta.seed is 'x'"),
    'no hub': (drop('message_hub'), 'message_hub'),
    'hub: text': (put('message_hub', 'x'), 'message_hub'),
    'hub: empty': (put('message_hub', {}), 'message_hub.log_scalars'),
    'hub: None inside': (put(*INFO, None), 'message_hub.runtime_info'),
    'scalars: number': (put('message_hub', 'log_scalars', {'a': 1}), 'log_scalars.a'),
    'info: number key': (
        put(*INFO, 5, 6),
        'message_hub.runtime_info has the key 5, no text',
    ),
    'kept: text': (put(*INFO, 'keep_ckpt_ids', 'x'), 'keep_ckpt_ids'),
    'kept: paths': (put(*INFO, 'keep_ckpt_ids', ['/']), 'keep_ckpt_ids'),
    'best: list': (put(*INFO, 'best_ckpt', ['x']), 'best_ckpt'),
    'best score: text': (put(*INFO, 'best_score', 'x'), 'best_score'),
    'no optimizer': (drop('optimizer'), "no 'optimizer'"),
    'optimizer: empty': (put('optimizer', {}), "no 'optimizer'"),
    'optimizer: list': (put('optimizer', [1]), 'optimizer'),
    'optimizer: no state': (put('optimizer', 'state', {}), 'optimizer.state is empty'),
    'optimizer: no groups': (drop('optimizer', 'param_groups'), 'param_groups'),
    'optimizer: fewer': (put('optimizer', 'param_groups', 0, 'params', [0]), 'group'),
    'optimizer: other shape': (
        put('optimizer', 'state', 0, 'momentum_buffer', torch.zeros(9)),
        'momentum_buffer is of shape',
    ),
    'optimizer: rate: text': (
        put('optimizer', 'param_groups', 0, 'lr', 'x'),
        "its optimizer.param_groups[0].lr is 'x', where this training has 0.",
    ),
    'optimizer: rate: NaN': (
        put('optimizer', 'param_groups', 0, 'initial_lr', math.nan),
        'optimizer.param_groups[0].initial_lr is nan',
    ),
    'optimizer: flag: text': (
        put('optimizer', 'param_groups', 0, 'nesterov', 'x'),
        "optimizer.param_groups[0].nesterov is 'x'",
    ),
    'no schedules': (drop('param_schedulers'), "no 'param_schedulers'"),
    'schedules: empty': (put('param_schedulers', []), "no 'param_schedulers'"),
    'schedules: dict': (put('param_schedulers', {'a': 1}), 'param_schedulers'),
    'schedules: fewer': (drop('param_schedulers', 1), 'the config has 2'),
    'schedule: empty': (put('param_schedulers', 1, {}), 'param_schedulers[1]'),
    'schedule: text': (put('param_schedulers', 0, 'x'), 'param_schedulers[0]'),
    'schedule: NaN': (
        put('param_schedulers', 1, 'last_step', math.nan),
        'param_schedulers[1].last_step is nan',
    ),
    'schedule: end: text': (
        put('param_schedulers', 1, 'end', 'x'),
        "its param_schedulers[1].end is 'x', where this training has ",
    ),
    'schedule: rates: text': (
        put('param_schedulers', 0, '_last_value', ['x']),
        "param_schedulers[0]._last_value is ['x']",
    ),
    'schedule: another': (
        put('param_schedulers', 1, 'step', 'x'),
        "param_schedulers[1] is with 'step'",
    ),
}


@pytest.mark.parametrize(('change', 'said'), BAD.values(), ids=BAD)
def test_a_bad_checkpoint_is_refused_in_one_message(
    trained: Path, tmp_path: Path, change: Callable, said: str
) -> None:
    file = changed(trained, tmp_path, change)
    with pytest.raises(UserError) as caught:
        train(arguments(tmp_path, resume=True))
    message = str(caught.value)
    assert str(file) in message
    assert said in message
    assert '--resume FILE' in message
    assert 'load_from' in message
    assert '\n' not in message


def test_the_same_checkpoint_unchanged_is_resumed(
    trained: Path, tmp_path: Path
) -> None:
    changed(trained, tmp_path, lambda content: None)
    runner = train(arguments(tmp_path, resume=True))
    assert (runner.epoch, runner.iter) == (4, 16)


def test_a_training_of_steps_that_is_over_its_end(tmp_path: Path) -> None:
    train(settings(tmp_path, by_epoch=False), stop=11)
    short = settings(tmp_path, by_epoch=False)
    short['train_cfg']['max_iters'] = 8
    with pytest.raises(UserError, match=r'meta.iter is 9.*max_iters=10'):
        train({**short, 'resume': True})


def test_a_training_at_its_end_has_been_done(tmp_path: Path) -> None:
    train(arguments(tmp_path))
    runner = train(arguments(tmp_path, resume=True))
    assert (runner.epoch, runner.iter) == (4, 16)


def test_weights_to_start_from_need_nothing_else(tmp_path: Path) -> None:
    weights = Runner(**settings(tmp_path)).model.state_dict()
    torch.save({'state_dict': weights}, tmp_path / 'weights.pth')
    train({**settings(tmp_path), 'load_from': str(tmp_path / 'weights.pth')})
    assert (tmp_path / 'epoch_4.pth').is_file()


def test_a_best_checkpoint_is_none_to_resume(tmp_path: Path) -> None:
    train(settings(tmp_path, save_best='score', rule='greater'))
    (best,) = tmp_path.glob('best_*.pth')
    with pytest.raises(UserError, match=r"no 'optimizer'.*best or published"):
        train({**settings(tmp_path), 'resume': True, 'load_from': str(best)})


def test_without_the_checks_the_optimizer_silently_starts_anew(
    trained: Path, tmp_path: Path
) -> None:
    """What MMEngine does: should it ever refuse, `_check_states` can go."""
    changed(trained, tmp_path, drop('optimizer'))
    train(arguments(tmp_path, resume=True), resumable=False)


def test_memory_and_interrupts_are_not_the_checkpoints_fault() -> None:
    class Full:
        register_hook = staticmethod(lambda hook: None)

        def __init__(self, error: Exception) -> None:
            self.error = error

        def resume(self, filename: str) -> None:
            raise self.error

    for error in (torch.OutOfMemoryError('x'), KeyboardInterrupt(), UserError('mine')):
        runner = Full(error)
        resume_completely(runner)
        with pytest.raises(type(error)) as caught:
            runner.resume('a.pth')
        assert caught.value is error


def test_a_checkpoint_that_fits() -> None:
    hub: dict = {'log_scalars': {}, 'runtime_info': {}, 'resumed_keys': {}}
    content = {'state_dict': {'a': torch.ones(1)}, 'meta': {'epoch': 0, 'iter': 0}}
    check_checkpoint({**content, 'message_hub': hub}, 'a.pth')

"""A loss that is no number stops the training, says why, and can be run again."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch import Tensor, nn
from torch.utils.data import Dataset

from paperzoo.engine.finite_loss import FiniteLossHook, _image_paths, replay
from paperzoo.errors import UserError

BAD_STEP = 4


class Reciprocal(nn.Module):
    """Infinite where the input is zero."""

    def forward(self, x: Tensor) -> Tensor:
        return 1 / x


class Toy(BaseModel):
    def __init__(self, gradient_only: bool = False) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3, bias=False)
        self.drop = nn.Dropout(0.5)
        self.body: nn.Module = nn.Sequential(nn.Identity(), Reciprocal())
        self.gradient_only = gradient_only
        nn.init.eye_(self.first.weight)

    def forward(self, inputs: Any, data_samples: Any = None, mode: str = '') -> dict:
        x = self.first(torch.stack(inputs))
        if self.gradient_only:
            return {'loss_a': x.abs().sqrt().sum()}
        # A sum over dropped numbers: the loss shows that the same ones were dropped.
        kept = self.drop(x.detach().abs() + 1).sum()
        return {'loss_a': kept, 'loss_b': (self.body(x) ** 2).mean()}


class Numbers(Dataset):
    """Ones, but zeros in the sample that step BAD_STEP sees."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> dict:
        value = 0.0 if index == BAD_STEP - 1 else 1.0
        sample = BaseDataElement(
            metainfo={'img_path': f'images/{index}.jpg', 'ori_shape': (4, 5)}
        )
        return {'inputs': torch.full((3,), value), 'data_samples': sample}


def runner_of(
    folder: Path, model: BaseModel, *, lr: float = 0.0, **more: Any
) -> Runner:
    optim_wrapper = dict(optimizer=dict(type='SGD', lr=lr, momentum=0.9), **more)
    cfg = Config(
        dict(
            work_dir=str(folder),
            default_scope='mmengine',
            log_level='ERROR',
        )
    )
    return Runner(
        model=model,
        work_dir=str(folder),
        train_dataloader=dict(
            dataset=Numbers(),
            batch_size=1,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='pseudo_collate'),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=optim_wrapper,
        custom_hooks=[FiniteLossHook()],
        default_scope='mmengine',
        log_level='ERROR',
        randomness=dict(seed=0),
        experiment_name=folder.name,
        cfg=cfg,
    )


@pytest.fixture
def failed(tmp_path: Path) -> tuple[Runner, str]:
    runner = runner_of(tmp_path, Toy(), lr=0.1)
    with pytest.raises(UserError) as caught:
        runner.train()
    return runner, str(caught.value)


def test_names_the_layer_the_loss_and_the_images(failed: tuple[Runner, str]) -> None:
    runner, message = failed
    assert f'at iteration {BAD_STEP};' in message
    assert 'first layer: body.1 (Reciprocal)' in message
    assert '0 NaN and 3 inf of 3 numbers' in message
    assert 'losses that are not finite: loss_b\n' in message
    assert 'images/3.jpg' in message
    assert f'--replay {runner.work_dir}/nonfinite_iter_4.pth' in message


def test_the_weights_are_those_before_the_step(
    failed: tuple[Runner, str], tmp_path: Path
) -> None:
    runner, _ = failed
    assert runner.iter == BAD_STEP - 1
    weight = runner.model.first.weight
    assert weight.isfinite().all()
    state = torch.load(tmp_path / 'nonfinite_iter_4.pth', weights_only=True)
    torch.testing.assert_close(state['state_dict']['first.weight'], weight.data)
    momentum = state['optimizer']['state'][0]['momentum_buffer']
    assert momentum.isfinite().all()
    assert momentum.abs().sum() > 0
    assert [file.name for file in tmp_path.glob('*.pth')] == ['nonfinite_iter_4.pth']


def test_replay_says_the_same(failed: tuple[Runner, str], tmp_path: Path) -> None:
    _, message = failed
    again = runner_of(tmp_path / 'again', Toy())
    text = replay(again, str(tmp_path / 'nonfinite_iter_4.pth'))
    assert 'iteration 4, run again' in text
    assert 'images/3.jpg' in text
    first = next(line for line in message.splitlines() if 'first layer' in line)
    assert first in text


def test_replay_refuses_another_checkpoint(tmp_path: Path) -> None:
    torch.save({'state_dict': {}}, tmp_path / 'epoch_1.pth')
    with pytest.raises(UserError, match='no state of a step that failed'):
        replay(runner_of(tmp_path, Toy()), str(tmp_path / 'epoch_1.pth'))


def test_a_gradient_that_went_first_is_told_apart(tmp_path: Path) -> None:
    # The square root is finite at zero, its gradient is not.
    runner = runner_of(tmp_path, Toy(gradient_only=True), lr=0.01)
    with pytest.raises(UserError) as caught:
        runner.train()
    assert f'at iteration {BAD_STEP + 1};' in str(caught.value)
    assert '1 weights were not finite before the step, first of them first.weight' in (
        str(caught.value)
    )


def test_added_gradients_are_checked_at_every_batch(tmp_path: Path) -> None:
    runner = runner_of(tmp_path, Toy(), accumulative_counts=8)
    with pytest.raises(UserError, match=f'at iteration {BAD_STEP};'):
        runner.train()


def test_a_healthy_training_is_left_alone(tmp_path: Path) -> None:
    model = Toy()
    model.body = nn.Identity()
    runner = runner_of(tmp_path, model, lr=0.01)
    runner.train()
    assert runner.iter == 8
    assert not {'update_params', 'step'} & set(vars(runner.optim_wrapper))
    assert not list(tmp_path.glob('nonfinite*'))


def test_a_scheduler_does_not_complain(tmp_path: Path) -> None:
    model = Toy()
    model.body = nn.Identity()
    runner = runner_of(tmp_path, model, lr=0.01)
    runner.param_schedulers = [
        dict(type='ConstantLR', factor=0.5, by_epoch=False, begin=0, end=4)
    ]
    with warnings.catch_warnings():
        warnings.filterwarnings('error', message='Seems like')
        runner.train()
    assert runner.optim_wrapper.step._with_counter
    assert runner.optim_wrapper.get_lr()['lr'] == [0.01]


def test_a_loss_outside_of_all_layers_is_named(tmp_path: Path) -> None:
    class Outside(Toy):
        def forward(self, inputs: Any, data_samples: Any = None, mode: str = '') -> Any:
            x = self.first(torch.stack(inputs))
            return {'loss_a': x.sum(), 'loss_log': x.abs().sum().log()}

    with pytest.raises(UserError, match='the loss function of loss_log is at fault'):
        runner_of(tmp_path, Outside()).train()


def test_a_batch_without_paths() -> None:
    assert _image_paths([1, 2]) == ['the batch does not name its images']

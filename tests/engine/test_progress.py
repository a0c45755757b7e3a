"""The bar moves in a terminal, ends, and leaves the log as MMEngine writes it."""

import io
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.runner import Runner
from rich.console import Console
from torch import nn

from paperzoo.engine.progress import ProgressBarHook, stop_all


class Toy(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, inputs: Any, mode: str = '') -> Any:
        loss = self.layer(torch.ones(1, 1)).sum()
        return {'loss': loss} if mode == 'loss' else [1.0]


class Count(BaseMetric):
    def process(self, data_batch: Any, data_samples: Any) -> None:
        self.results.append(1)

    def compute_metrics(self, results: list) -> dict:
        return {'count': len(results)}


def runner_of(folder: Path, hook: ProgressBarHook) -> Runner:
    loader = dict(
        dataset=list(range(6)),
        batch_size=1,
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=lambda rows: {'inputs': rows},
    )
    return Runner(
        model=Toy(),
        work_dir=str(folder),
        train_dataloader=loader,
        val_dataloader=loader,
        test_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=2),
        val_cfg={},
        test_cfg={},
        val_evaluator=[Count()],
        test_evaluator=[Count()],
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        default_hooks=dict(logger=dict(type='LoggerHook', interval=2)),
        custom_hooks=[hook],
        experiment_name=folder.name,
    )


@pytest.fixture
def screen() -> io.StringIO:
    return io.StringIO()


def terminal(screen: io.StringIO) -> ProgressBarHook:
    console = Console(
        file=screen, force_terminal=True, width=120, _environ={'TERM': 'xterm'}
    )
    return ProgressBarHook(console, refreshes=1e9)


def test_all_loops_reach_their_end(tmp_path: Path, screen: io.StringIO) -> None:
    hook = terminal(screen)
    runner = runner_of(tmp_path, hook)
    runner.train()
    shown = screen.getvalue()
    assert 'train' in shown
    assert '12/12' in shown
    assert 'epoch 2 loss' in shown
    assert '6/6' in shown.partition('val')[2]
    assert 'test ' not in shown
    runner.test()
    assert '6/6' in screen.getvalue()[len(shown) :].partition('test ')[2]
    assert screen.getvalue().endswith('\x1b[?25h')  # the cursor is back


def test_log_lines_are_shown_above_and_written_to_the_file(
    tmp_path: Path, screen: io.StringIO
) -> None:
    hook = terminal(screen)
    runner = runner_of(tmp_path, hook)
    streams = [
        handler.stream
        for handler in runner.logger.handlers
        if isinstance(handler, logging.StreamHandler)
    ]
    runner.train()
    (log,) = tmp_path.glob('*/*.log')
    line = 'Epoch(train) [1][2/6]'
    assert line in log.read_text()
    assert '\x1b' not in log.read_text()
    assert line in screen.getvalue()
    after = [
        handler.stream
        for handler in runner.logger.handlers
        if isinstance(handler, logging.StreamHandler)
    ]
    assert after == streams


def test_nothing_without_a_terminal(tmp_path: Path, screen: io.StringIO) -> None:
    runner = runner_of(tmp_path, ProgressBarHook(Console(file=screen)))
    runner.train()
    runner.test()
    assert screen.getvalue() == ''


def test_an_error_gives_the_terminal_back(
    tmp_path: Path, screen: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = runner_of(tmp_path, terminal(screen))

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError('in the third step')

    monkeypatch.setattr(runner.model, 'train_step', fail)
    with pytest.raises(RuntimeError, match='third step'):
        runner.train()
    assert not screen.getvalue().endswith('\x1b[?25h')
    stop_all()
    assert screen.getvalue().endswith('\x1b[?25h')

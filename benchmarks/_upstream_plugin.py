"""A plugin of pytest: notes each outcome at once, and lets tests of a GPU run on a CPU.

Many tests of mmdet and mmseg return at once where there is no GPU, since compiled
mmcv once had no CPU kernel of an op. With `--cuda-is-cpu` the CPU answers for it.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode


class CudaIsCpu(TorchFunctionMode):
    """Puts on the CPU what is made on, or sent to, a GPU."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func is torch.Tensor.cuda:
            return args[0]
        kwargs = {key: _on_cpu(value) for key, value in (kwargs or {}).items()}
        return func(*(_on_cpu(value) for value in args), **kwargs)


def _on_cpu(value: Any) -> Any:
    if isinstance(value, torch.device) and value.type == 'cuda':
        return torch.device('cpu')
    return 'cpu' if isinstance(value, str) and value.startswith('cuda') else value


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption('--cuda-is-cpu', action='store_true')
    parser.addoption('--outcomes', type=Path)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Outcomes(config.getoption('--outcomes')))
    if config.getoption('--cuda-is-cpu'):
        # Before anything is collected: tests are skipped by decorators, too.
        torch.cuda.is_available = lambda: True
        torch.cuda.device_count = lambda: 1


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Any:
    if not item.config.getoption('--cuda-is-cpu'):
        return (yield)
    with CudaIsCpu():
        return (yield)


class Outcomes:
    """Writes a line for each test: its name, what became of it, what the error says."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def note(self, name: str, outcome: str, said: str = '') -> None:
        with self.file.open('a') as file:
            file.write(json.dumps([name, outcome, ' '.join(said.split())[:300]]) + '\n')

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.note(nodeid, 'begun')

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed or report.skipped or report.when == 'call':
            self.note(report.nodeid, report.outcome, _said(report.longrepr))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed or report.skipped:
            self.note(report.nodeid, report.outcome, _said(report.longrepr))


def _said(text: Any) -> str:
    """Return what an error says, from pytest's own account of it."""
    if isinstance(text, tuple):  # file, line and reason of what is skipped
        return text[2]
    crash = getattr(text, 'reprcrash', None)
    if crash is not None:
        return crash.message
    errors = [line[2:] for line in str(text or '').splitlines() if line[:2] == 'E ']
    return errors[-1] if errors else ''

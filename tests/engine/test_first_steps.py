"""A first step that does not go through is one message, a later one a traceback."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from paperzoo.engine.first_steps import FirstStepsHook, first_steps_explained
from paperzoo.errors import UserError


def runner(folder: Path) -> tuple[Any, list[FirstStepsHook]]:
    hooks: list[FirstStepsHook] = []
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(4, 2))
    return SimpleNamespace(
        model=model, log_dir=str(folder), register_hook=hooks.append
    ), hooks


def test_the_layer_and_a_file_with_the_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, hooks = runner(tmp_path)
    # This file counts as the stack's, too.
    monkeypatch.setattr('paperzoo.__file__', str(Path(__file__).parents[1]))
    with pytest.raises(UserError) as caught, first_steps_explained(run):  # noqa: PT012
        hooks[0].before_train(run)
        run.model(torch.ones(1, 2))
    said = str(caught.value)
    assert said.startswith('the first step of the training does not go through in 1:')
    file = tmp_path / 'first_step_error.txt'
    assert str(file) in said
    assert 'Traceback' in file.read_text()


@pytest.mark.parametrize('why', ['own code', 'later', 'before'])
def test_other_errors_keep_their_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    run, hooks = runner(tmp_path)
    if why != 'own code':
        monkeypatch.setattr('paperzoo.__file__', str(Path(__file__).parents[1]))
    with pytest.raises(RuntimeError), first_steps_explained(run):  # noqa: PT012
        if why != 'before':
            hooks[0].before_val(run)
        if why == 'later':
            hooks[0].after_val_iter()
        run.model(torch.ones(1, 2))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('error', 'kind', 'said'),
    [
        (FileNotFoundError(2, 'No such file', 'a.jpg'), FileNotFoundError, 'a.jpg'),
        (UserError('the size is odd'), UserError, '^the size is odd$'),
        (torch.OutOfMemoryError('CUDA'), UserError, 'not fit into .*--batch-size N'),
    ],
)
def test_what_is_no_misfit_is_not_called_one(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    kind: type[Exception],
    said: str,
) -> None:
    run, hooks = runner(tmp_path)
    monkeypatch.setattr('paperzoo.__file__', str(Path(__file__).parents[1]))
    with pytest.raises(kind, match=f'(?s){said}'), first_steps_explained(run):  # noqa: PT012
        hooks[0].before_train(run)
        raise error
    assert not list(tmp_path.iterdir())


def test_a_folder_beside_the_package_is_none_of_the_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, hooks = runner(tmp_path)
    # tests/eng/__init__.py: this file lies in tests/engine.
    beside = Path(__file__).parents[1] / 'eng' / '__init__.py'
    monkeypatch.setattr('paperzoo.__file__', str(beside))
    with pytest.raises(RuntimeError), first_steps_explained(run):  # noqa: PT012
        hooks[0].before_train(run)
        run.model(torch.ones(1, 2))

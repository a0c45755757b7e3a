"""Files of a graph: what is free in them is what was asked for."""

from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from paperzoo.deploy.formats import check_packages, program, write
from paperzoo.deploy.graph import Graph
from paperzoo.errors import UserError
from paperzoo.runtime.card import KEY, Card, read_card
from paperzoo.runtime.sessions import open_session

CARD = Card(task='sequence', model='Double', classes=(), settings={'k': 1})


class Double(nn.Module):
    """Doubles; or fixes its batch on the way, as `len` does under torch.export."""

    def __init__(self, fixing: bool = False) -> None:
        super().__init__()
        self.fixing = fixing

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return twice x."""
        return {'y': x.reshape(len(x) if self.fixing else x.size(0), -1) * 2}


def graph(module: nn.Module, free: bool) -> Graph:
    sides = {0: Dim('batch', min=1, max=64)} if free else None
    given = {'x': torch.arange(6.0).view(2, 3)}
    return Graph(module.eval(), 'sequence', given, {'x': sides}, ('y',))


@pytest.mark.parametrize('free', [True, False])
def test_the_file_doubles_and_tells(free: bool, tmp_path: Path) -> None:
    file = write(graph(Double(), free), CARD, tmp_path / 'a.onnx', 'onnx')
    session = open_session(file)
    assert session.card == CARD
    x = torch.rand(5 if free else 2, 3).numpy()
    assert (session.run({'x': x})['y'] == 2 * x).all()
    (side, _) = session.inputs[0].shape
    assert isinstance(side, str) == free


def test_a_fixed_side_that_should_be_free_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / 'a.onnx'
    with pytest.raises(UserError, match=r'fixes|cannot write this model'):
        write(graph(Double(fixing=True), True), CARD, file, 'onnx')
    assert not file.exists()


def test_free_sides_of_the_file_are_compared(tmp_path: Path) -> None:
    from paperzoo.deploy.formats import compare_dimensions

    file = write(graph(Double(), False), CARD, tmp_path / 'a.onnx', 'onnx')
    model = onnx.load(file)
    compare_dimensions(model, graph(Double(), False))
    with pytest.raises(UserError, match=r"'x' has the free sides \[\], .* \[0\]"):
        compare_dimensions(model, graph(Double(), True))


def test_torch_keeps_the_card(tmp_path: Path) -> None:
    file = write(graph(Double(), True), CARD, tmp_path / 'a.pt2', 'torch')
    extra = {KEY: ''}
    loaded = torch.export.load(file, extra_files=extra)
    assert read_card(extra[KEY], 'a.pt2') == CARD
    assert loaded.module()(torch.ones(4, 3))['y'].sum() == 24


def test_missing_packages_are_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    def missing(name: str) -> None:
        raise ModuleNotFoundError(f'No module named {name!r}', name=name)

    monkeypatch.setattr(importlib, 'import_module', missing)
    with pytest.raises(
        UserError, match=r"not installed: pip install 'paperzoo\[export"
    ):
        check_packages('openvino')
    check_packages('torch')


def test_program_is_the_module() -> None:
    made = program(graph(Double(), True)).module()
    assert torch.equal(made(torch.ones(4, 3))['y'], torch.full((4, 3), 2.0))


def test_ctrl_c_in_an_import_stays_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    program(graph(Double(), free=False))
    # As an import that was cut off leaves it.
    monkeypatch.delattr(torch._dynamo, 'exc')
    monkeypatch.setattr(torch.export, 'export', interrupted)
    with pytest.raises(KeyboardInterrupt):
        program(graph(Double(), free=False))

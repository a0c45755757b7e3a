"""Recorded calls are the model's own, and nothing is left behind."""

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from paperzoo.common import DiceLoss
from paperzoo.explain.recording import record, redefined


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.part = nn.Linear(2, 2)
        self.none = None

    def forward(self, x: Tensor) -> Tensor:
        return self.scaled(self.part(x), factor=2.0)

    def scaled(self, x: Tensor, factor: float) -> Tensor:
        return x * factor


class Shifted(Model):
    def scaled(self, x: Tensor, factor: float) -> Tensor:
        return super().scaled(x, factor=factor) + 1


class Flat(DiceLoss):
    def elementwise(self, pred: Tensor, target: Tensor) -> Tensor:
        return super().elementwise(pred, target).flatten()

    def extra(self) -> None: ...


@pytest.mark.parametrize('kind', [Model, Shifted])
def test_calls_are_what_went_in_and_came_out(kind: type[Model]) -> None:
    model, x = kind(), torch.randn(3, 2)
    with record(model, 'part.forward', 'scaled', 'none.forward') as calls:
        outs = [model(x), model(-x)]
    first, second = calls['scaled']
    assert first.result is outs[0]
    assert second.result is outs[1]
    assert first.kwargs == {'factor': 2.0}
    assert first.args[0] is calls['part.forward'][0].result
    assert_close(calls['part.forward'][1].args[0], -x)
    assert calls['none.forward'] == []


def test_an_error_leaves_nothing_behind() -> None:
    model = Model()
    before = dict(vars(model)), dict(vars(model.part))
    with pytest.raises(ZeroDivisionError), record(model, 'scaled', 'part.forward'):
        raise ZeroDivisionError
    with pytest.raises(AttributeError, match='typo'), record(model, 'scaled', 'typo'):
        pass
    assert (vars(model), vars(model.part)) == before


def test_what_lay_on_the_object_comes_back() -> None:
    model = Model()
    own = model.scaled = lambda x, factor: x  # type: ignore[method-assign]
    with record(model, 'scaled') as outer, record(model, 'scaled') as inner:
        model(torch.zeros(1, 2))
    assert model.scaled is own
    assert len(outer['scaled']) == len(inner['scaled']) == 1


def test_what_a_subclass_redefines_is_named() -> None:
    said = 'Flat redefines elementwise of DiceLoss.'
    assert redefined(Flat(), None, DiceLoss(), Flat()) == said
    assert redefined(DiceLoss(), nn.ReLU(), None) == ''

"""Optimizers do the same without torch's compiler, which comes when it is asked for."""

from own_process import python

START = """
import sys, torch, paperzoo.compat
from torch import nn
torch.manual_seed(0)
x, y = torch.randn(2, 8, 4)

def trained(name, steps=3):
    torch.manual_seed(1)
    model = nn.Linear(4, 4)
    optimizer = getattr(torch.optim, name)(model.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    for _ in range(steps):
        optimizer.zero_grad()
        (model(x) - y).square().mean().backward()
        optimizer.step()
        scheduler.step()
    saved = optimizer.state_dict()
    optimizer.load_state_dict(saved)
    return model, optimizer
"""


def test_a_training_imports_no_compiler_and_does_the_same() -> None:
    python(
        START
        + """
names = ('SGD', 'Adam', 'AdamW', 'RMSprop', 'Adagrad')
before = [trained(name)[0].weight for name in names]
assert not {'torch._dynamo', 'sympy'} & set(sys.modules)
import torch._dynamo
after = [trained(name)[0].weight for name in names]
for mine, theirs in zip(before, after):
    assert torch.equal(mine, theirs)
    assert not torch.equal(mine, trained('SGD', steps=0)[0].weight)
"""
    )


def test_gradients_flow_only_where_they_are_asked_for() -> None:
    python(
        START
        + """
for asked in (False, True):
    leaf = torch.ones(1, requires_grad=True)
    moved = leaf.clone()
    optimizer = torch.optim.SGD([leaf if not asked else moved], lr=1.0,
                                differentiable=asked)
    moved.grad = leaf.grad = leaf * 2
    optimizer.step()
    assert (leaf.item(), moved.item()) == ((1, -1) if asked else (-1, 1))
    assert (moved.grad_fn.name() == 'CloneBackward0') == (not asked)
assert 'torch._dynamo' not in sys.modules
"""
    )


def test_a_step_can_be_compiled_afterwards() -> None:
    python(
        START
        + """
model, plain = nn.Linear(4, 4), trained('SGD', steps=0)[0]
model.load_state_dict(plain.state_dict())
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
other = torch.optim.SGD(plain.parameters(), lr=0.01)
assert 'torch._dynamo' not in sys.modules
loss = (model(x) - y).square().mean()
loss.backward()
(plain(x) - y).square().mean().backward()
graphs = []

def kept(graph, inputs):
    graphs.append(graph)
    return graph

torch.compile(optimizer.step, backend=kept)()
assert graphs
other.step()
assert torch.equal(model.weight, plain.weight)
"""
    )

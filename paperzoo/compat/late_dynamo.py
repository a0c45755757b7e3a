"""Lets a training that compiles nothing go without torch's compiler.

Ailment: the first optimizer imports `torch._dynamo` with sympy, which takes about as
long as torch itself, for two marks that only mean something to the compiler: where it
is to stop, and what it is to leave alone. As long as nothing has imported it, the
methods run without the marks; afterwards they are torch's own.
Upstream thread: none.
Delete when: creating and stepping an optimizer no longer imports `torch._dynamo`.
"""

import sys
from collections.abc import Callable
from functools import wraps
from types import ModuleType
from typing import Any

from paperzoo.utils.when_imported import when_imported

# Torch's wrappers, by the name of their code.
_LEFT_ALONE = '_disable_dynamo.<locals>.inner'
_STEP = '_use_grad_for_differentiable.<locals>._use_grad'


def apply() -> None:
    """Mend torch's optimizers."""
    when_imported('torch.optim', _mend)


def _mend(module: ModuleType) -> None:
    optimizers = {
        one
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, module.Optimizer)
    }
    for optimizer in optimizers:
        for name, method in list(vars(optimizer).items()):
            code = getattr(method, '__code__', None)
            kind = getattr(code, 'co_qualname', None)
            if kind in (_LEFT_ALONE, _STEP):
                setattr(optimizer, name, _without_compiler(method, kind == _STEP))


def _without_compiler(method: Any, step: bool) -> Callable[..., Any]:
    import torch

    own = method.__wrapped__

    @wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if 'torch._dynamo' in sys.modules:
            return method(self, *args, **kwargs)
        if not step:
            return own(self, *args, **kwargs)
        with torch.set_grad_enabled(self.defaults['differentiable']):
            return own(self, *args, **kwargs)

    return call

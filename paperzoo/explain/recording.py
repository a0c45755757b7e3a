"""What a model's own methods were given and returned, recorded while they run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from itertools import count
from typing import Any, NamedTuple


class Call(NamedTuple):
    """One call of a method.

    Attributes:
        args: Its positional arguments, without the object.
        kwargs: Its named arguments.
        result: What it returned.
        number: How many recorded calls, of any method, had returned before.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Any
    number: int


@contextmanager
def record(root: object, *methods: str) -> Iterator[dict[str, list[Call]]]:
    """Record the calls of methods of an object and its parts.

    The methods do what they always do, those of a subclass included. Each is replaced
    on the object itself, not on its class, and is back afterwards, also after an error.
    Arguments and results are kept as they are, not copied. To call a module is to call
    its `forward`.

    Args:
        root: The object, such as a model.
        *methods: Names as one would write them behind the object, with dots: `loss`,
            `bbox_head.forward`. A part that is None has no calls.

    Yields:
        The calls of each method, the earliest first; complete when the body has run.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.ReLU(), nn.Flatten())
        >>> with record(model, '0.forward') as calls:
        ...     out = model(torch.tensor([[-1.0, 2.0]]))
        >>> [call.result.tolist() for call in calls['0.forward']]
        [[[0.0, 2.0]]]
    """
    calls: dict[str, list[Call]] = {method: [] for method in methods}
    replaced: list[tuple[Any, str, Any]] = []
    numbers = count()
    try:
        for method, own in calls.items():
            *path, name = method.split('.')
            part: Any = root
            for step in path:
                part = getattr(part, step)
            if part is not None:
                watched = _recorded(getattr(part, name), own, numbers)
                # Only what lies on the object itself has to be put back.
                replaced.append((part, name, vars(part).get(name)))
                vars(part)[name] = watched
        yield calls
    finally:
        for part, name, before in reversed(replaced):
            del vars(part)[name]
            if before is not None:
                vars(part)[name] = before


def _recorded(method: Callable, calls: list[Call], numbers: Iterator[int]) -> Callable:
    @wraps(method)
    def run(*args: Any, **kwargs: Any) -> Any:
        result = method(*args, **kwargs)
        calls.append(Call(args, kwargs, result, next(numbers)))
        return result

    return run


def redefined(*parts: object) -> str:
    """Return a sentence on methods that subclasses of paperzoo's classes redefine.

    Where there are some, a reader of a page should know that not all numbers come from
    the paper's rules.

    Args:
        *parts: Objects; those of paperzoo's own classes have nothing to say, nor has
            None.

    Example:
        >>> from paperzoo.common import FocalLoss
        >>> class Halved(FocalLoss):
        ...     __module__ = 'my_project'
        ...     def elementwise(self, pred, target):
        ...         return super().elementwise(pred, target) / 2
        >>> redefined(Halved(), FocalLoss())
        'Halved redefines elementwise of FocalLoss.'
    """
    said = []
    for part in parts:
        names: dict[str, None] = {}
        for kind in type(part).__mro__:
            if kind.__module__.startswith('paperzoo.'):
                known = [name for name in names if hasattr(kind, name)]
                if known:
                    listed = ', '.join(known)
                    own = f'{type(part).__name__} redefines {listed}'
                    said.append(f'{own} of {kind.__name__}.')
                break
            names |= dict.fromkeys(
                name
                for name, value in vars(kind).items()
                if callable(value) and not name.startswith('__')
            )
    return ' '.join(dict.fromkeys(said))

"""A GPU that is not there: CPU tensors carry a tag, and say that they are on it.

Under `PretendedGpu` an operation on a tensor of the GPU beside one of the CPU is
noted, and so is each wait for the GPU: whatever reads values, or depends on them for
the size of its result. What goes up to the GPU from ordinary memory is counted apart.

It sees what Python calls. What C++ does inside a call is not seen, such as the backward
pass; the tests marked `gpu` look at the real thing.
"""

import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

GPU = torch.device('cuda', 0)
TAG = '_is_on_pretended_gpu'
HERE = str(Path(__file__))
# They read values, or the size of their result depends on values.
WAITS = {
    *('item', 'tolist', '__bool__', '__int__', '__float__', '__index__', '__complex__'),
    *('__contains__', '__format__', '__repr__', 'is_nonzero', 'equal', 'allclose'),
    *('nonzero', 'argwhere', 'masked_select', 'unique', 'unique_consecutive'),
    *('_unique2', 'bincount', 'histogram', 'multinomial', 'cpu'),
}
# They take tensors of several devices, or make one of another.
FREE = {
    *('view_as', 'reshape_as', 'expand_as'),
    *('to', 'copy_', 'set_', 'type_as', 'requires_grad_', 'detach', 'data_ptr'),
    *('new_tensor', 'new_zeros', 'new_ones', 'new_full', 'new_empty', '__deepcopy__'),
}


class PretendedGpu(TorchFunctionMode):
    """Notes what mixes devices and what waits.

    Attributes:
        mixed: Where a tensor of the GPU met one of the CPU, and how often.
        waits: Where the GPU was waited for.
        uploads: Where values went up, which waits too.
    """

    def __init__(self) -> None:
        super().__init__()
        self.mixed: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()
        self.uploads: Counter[str] = Counter()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call the function, look at its arguments, and tag its results."""
        kwargs = dict(kwargs or {})
        name = getattr(func, '__name__', str(func))
        if name in ('__get__', '__set__'):
            return self._attribute(func, name, args)
        target, args, kwargs = _without_device(name, args, kwargs)
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        here = [x for x in tensors if on_gpu(x)]
        first = tensors[0] if tensors and args and args[0] is tensors[0] else None
        self._look(name, args, kwargs, first, tensors)
        result = func(*args, **kwargs)
        if target is None:
            by_first = name in FREE or name in ('__getitem__', '__setitem__')
            place = on_gpu(first) if by_first and first is not None else bool(here)
            if name == 'type_as':
                place = on_gpu(args[1])
        else:
            place = target == 'cuda'
        moved = target is not None and first is not None and on_gpu(first) != place
        made_of_values = name in ('tensor', 'as_tensor', 'new_tensor')
        if place and (made_of_values or (moved and not kwargs.get('non_blocking'))):
            self.uploads[f'{name} {_where()}'] += 1
        if target == 'cpu' and moved and name != 'cpu':
            self.waits[f'{name} cpu {_where()}'] += 1
        return tree_map(lambda one: self._placed(one, place, moved), result)

    def _attribute(self, func: Any, name: str, args: tuple) -> Any:
        """Read or set an attribute of a tensor, of which some tell its device."""
        owner, attribute = args[0], getattr(func.__self__, '__name__', '')
        if name == '__set__':
            return func(*args)
        if attribute == 'device':
            return GPU if on_gpu(owner) else torch.device('cpu')
        if attribute in ('is_cuda', 'is_cpu'):
            return on_gpu(owner) == (attribute == 'is_cuda')
        result = func(*args)
        if isinstance(result, Tensor) and on_gpu(owner):
            tag(result)
        return result

    def _look(
        self,
        name: str,
        args: tuple,
        kwargs: dict[str, Any],
        first: Tensor | None,
        tensors: list[Tensor],
    ) -> None:
        """Note what mixes and what waits."""
        here = [one for one in tensors if on_gpu(one)]
        if not here:
            return
        if name in WAITS or (name == 'where' and len(tensors) == 1 and len(args) == 1):
            self.waits[f'{name} {_where()}'] += 1
        if name in ('numpy', '__array__'):
            self.mixed[f'{name} of a tensor on the GPU {_where()}'] += 1
        if name in ('__getitem__', '__setitem__'):
            self._look_at_index(name, args, first)
        elif name not in FREE and any(one.dim() and not on_gpu(one) for one in tensors):
            self.mixed[f'{name} {_where()}'] += 1

    def _look_at_index(self, name: str, args: tuple, first: Tensor | None) -> None:
        index = args[1] if isinstance(args[1], tuple) else (args[1],)
        masks = [one for one in index if _is_mask(one)]
        # One value under one mask is filled in; else the mask's places are looked for.
        filled = name == '__setitem__' and len(index) == 1 and _is_scalar(args[2])
        if masks and not filled:
            self.waits[f'{name} by a mask {_where()}'] += 1
        if any(isinstance(one, list) for one in index):
            self.uploads[f'{name} by a list {_where()}'] += 1
        by_gpu = any(isinstance(one, Tensor) and on_gpu(one) for one in index)
        if by_gpu and first is not None and not on_gpu(first):
            self.mixed[f'{name} on the CPU by the GPU {_where()}'] += 1

    @staticmethod
    def _placed(one: Any, place: bool, moved: bool) -> Any:
        if not isinstance(one, Tensor):
            return one
        if not place and on_gpu(one):
            # It would be the same object as on the GPU.
            one = one.detach().clone()
            setattr(one, TAG, False)
        elif place and moved and not on_gpu(one):
            one = one.view_as(one)
        return tag(one) if place else one


def _without_device(
    name: str, args: tuple, kwargs: dict[str, Any]
) -> tuple[str | None, tuple, dict[str, Any]]:
    """Return the kind of device that is asked for, and the call without it."""
    if name == 'cpu':
        return 'cpu', args, kwargs
    if name == 'cuda':
        return 'cuda', args[:1], {}
    target = None
    if kwargs.get('device') is not None:
        target = torch.device(kwargs['device']).type
        kwargs['device'] = 'cpu'
    given = list(args)
    for place, one in enumerate(given):
        if isinstance(one, torch.device) or (name == 'to' and isinstance(one, str)):
            target, given[place] = torch.device(one).type, 'cpu'
        elif name == 'to' and place and isinstance(one, Tensor):
            target = 'cuda' if on_gpu(one) else 'cpu'
    if name == 'to' and len(given) > 2 and given[1] == 'cpu':
        # to(device, dtype, non_blocking): the last is what uploads look at.
        flags = [one for one in given[2:] if isinstance(one, bool)]
        kwargs.setdefault('non_blocking', flags[0] if flags else False)
        given = [one for one in given if not isinstance(one, bool)]
    return target, tuple(given), kwargs


def _is_mask(one: Any) -> bool:
    return (
        isinstance(one, Tensor)
        and one.dtype in (torch.bool, torch.uint8)
        and on_gpu(one)
    )


def _is_scalar(one: Any) -> bool:
    return not isinstance(one, Tensor) or (one.numel() == 1 and not on_gpu(one))


def _where() -> str:
    """Return the last three lines of the stack that are no part of torch."""
    lines = [
        f'{Path(frame.filename).name}:{frame.lineno} {frame.name}'
        for frame in traceback.extract_stack()
        if frame.filename != HERE and '/torch/' not in frame.filename
    ]
    return ' < '.join(reversed(lines[-3:]))


def on_gpu(tensor: Tensor) -> bool:
    return bool(getattr(tensor, TAG, False))


def tag(tensor: Tensor) -> Tensor:
    """Put a tensor on the GPU."""
    setattr(tensor, TAG, True)
    return tensor


def move(thing: Any) -> Any:
    """Put a module, or the tensors of samples and data, on the GPU."""
    if isinstance(thing, Tensor):
        return tag(thing)
    if isinstance(thing, nn.Module):
        for one in (*thing.parameters(), *thing.buffers()):
            tag(one)
        return thing
    if hasattr(thing, 'all_items'):
        for _, value in thing.all_items():
            move(value)
        return thing
    return tree_map(lambda one: tag(one) if isinstance(one, Tensor) else one, thing)

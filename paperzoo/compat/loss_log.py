"""The losses of a step are read when a log asks for them, not at each step.

Ailment: after each step `RuntimeInfoHook` hands every loss to the message hub, which
takes its number at once: a GPU is waited for as often as there are losses, in every
step, for a log of each 50th.
Upstream thread: none; mmengine/hooks/runtime_info_hook.py, logging/message_hub.py.
Delete when: the supported mmengine reads losses when they are logged.

Losses that lie on a device are kept as they are, those of the steps since the last look
are stacked and copied together as soon as anybody looks at the hub's scalars: at each
`interval` of the `LoggerHook`, at a checkpoint, at the end.
"""

from collections.abc import Callable
from functools import wraps
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from paperzoo.utils.when_imported import when_imported

_MARK = '_paperzoo_waits_for_none'
_WAITING = '_paperzoo_waiting'
# Kept at most: without a log nobody would ever look.
_MOST = 1000
_READERS = ('state_dict', '__getstate__')


def apply() -> None:
    """Replace methods of the message hub, once."""
    if find_spec('mmengine') is not None:
        when_imported('mmengine.logging.message_hub', _mend)


def _mend(module: Any) -> None:
    hub = module.MessageHub
    if hasattr(hub, _MARK):
        return
    setattr(hub, _MARK, True)
    hub.update_scalar = _waiting(hub.update_scalar)
    hub.log_scalars = property(_after_all(hub.log_scalars.fget))
    hub.get_scalar = _after_its_own(hub.get_scalar)
    for name in _READERS:
        if name in vars(hub):
            setattr(hub, name, _after_all(getattr(hub, name)))


def _on_device(value: Any) -> bool:
    return (
        isinstance(value, Tensor) and value.device.type != 'cpu' and value.numel() == 1
    )


def _waiting(update: Callable[..., None]) -> Callable[..., None]:
    """Return an `update_scalar` that keeps what lies on a device for later."""

    @wraps(update)
    def update_scalar(
        self: Any, key: str, value: Any, count: int = 1, resumed: bool = True
    ) -> None:
        waiting = vars(self).setdefault(_WAITING, [])
        if _on_device(value):
            waiting.append((key, value.detach().reshape(()), count, resumed))
            if len(waiting) >= _MOST:
                settle(self)
            return
        # The numbers of one name stay in their order.
        if any(key == one[0] for one in waiting):
            settle(self)
        update(self, key, value, count, resumed)

    return update_scalar


def settle(hub: Any) -> None:
    """Copy what waits in one go, and hand it to the hub.

    Args:
        hub: A message hub.
    """
    waiting = vars(hub).get(_WAITING)
    if not waiting:
        return
    vars(hub)[_WAITING] = []
    keys, values, counts, resumed = zip(*waiting, strict=True)
    # Double precision holds every number that `item` would have given.
    numbers = torch.stack([value.double() for value in values]).cpu().tolist()
    update = type(hub).update_scalar
    for entry in zip(keys, numbers, counts, resumed, strict=True):
        update(hub, *entry)


def _after_its_own(read: Callable[..., Any]) -> Callable[..., Any]:
    """Return a `get_scalar` that settles if the name that is asked for waits.

    `IterTimerHook` asks for the time in every step.
    """

    @wraps(read)
    def get_scalar(self: Any, key: str) -> Any:
        if any(key == one[0] for one in vars(self).get(_WAITING, ())):
            settle(self)
        # Upstream's way goes by `log_scalars`, which settles all.
        known = self._log_scalars
        return known[key] if key in known else read(self, key)

    return get_scalar


def _after_all(read: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method that sees all numbers."""

    @wraps(read)
    def complete(self: Any, *args: Any, **kwargs: Any) -> Any:
        settle(self)
        return read(self, *args, **kwargs)

    return complete

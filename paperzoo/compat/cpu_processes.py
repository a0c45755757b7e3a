"""Several processes on machines without a GPU.

Ailment: mmengine's launchers call `torch.cuda.set_device` wherever there is no other
accelerator it knows, ask for the backend `nccl` of nearly every config, and hand the
local rank as a device to DistributedDataParallel and to FullyShardedDataParallel: each
of the four ends a training on the CPU.
Upstream thread: none; mmengine/dist/utils.py, mmengine/runner/runner.py (`wrap_model`),
mmengine/_strategy/{distributed,fsdp}.py.
Delete when: the supported mmengine starts `--launcher pytorch` without a GPU.

With an accelerator nothing changes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from importlib.util import find_spec
from typing import Any

import torch

from paperzoo.utils.when_imported import when_imported

_MARK = '_paperzoo_on_cpu'
_LAUNCHERS = ('_init_dist_pytorch', '_init_dist_mpi', '_init_dist_slurm')


def apply() -> None:
    """Replace the launchers and the constructors of the wrappers, once."""
    if find_spec('mmengine') is None or not torch.distributed.is_available():
        return
    import mmengine.dist.utils as home
    from mmengine.model import wrappers

    for name in _LAUNCHERS:
        _replace(home, name, _gloo_on_cpu)
    _replace(
        wrappers.MMDistributedDataParallel, '__init__', _on_device('device_ids', None)
    )
    when_imported(
        'mmengine.model.wrappers.fully_sharded_distributed',
        lambda module: _replace(
            module.MMFullyShardedDataParallel,
            '__init__',
            _on_device('device_id', torch.device('cpu')),
        ),
    )


def _replace(owner: Any, name: str, remedy: Callable[[Callable], Callable]) -> None:
    theirs = getattr(owner, name)
    if not hasattr(theirs, _MARK):
        ours = remedy(theirs)
        setattr(ours, _MARK, True)
        setattr(owner, name, ours)


def _on_cpu() -> bool:
    from mmengine.device import get_device

    return get_device() == 'cpu'


def _gloo_on_cpu(theirs: Callable[..., None]) -> Callable[..., None]:
    """Let a launcher use gloo, and no GPU, where there is none."""

    @wraps(theirs)
    def launch(backend: str = 'nccl', *args: Any, **kwargs: Any) -> None:
        if not _on_cpu():
            theirs(backend, *args, **kwargs)
            return
        with _no_set_device():
            theirs('gloo' if 'nccl' in backend else backend, *args, **kwargs)

    return launch


@contextmanager
def _no_set_device() -> Iterator[None]:
    theirs = torch.cuda.set_device
    torch.cuda.set_device = lambda device: None
    try:
        yield
    finally:
        torch.cuda.set_device = theirs


def _on_device(argument: str, device: Any) -> Callable[[Callable], Callable]:
    """Give a constructor the device that there is."""

    def remedy(theirs: Callable[..., None]) -> Callable[..., None]:
        @wraps(theirs)
        def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
            if _on_cpu():
                kwargs[argument] = device
            theirs(self, *args, **kwargs)

        return __init__

    return remedy

"""Several processes on machines without a GPU.

Ailment: mmengine's launchers call `torch.cuda.set_device` wherever there is no other
accelerator it knows, ask for the backend `nccl` of nearly every config, and hand the
local rank as a device to DistributedDataParallel and to FullyShardedDataParallel: each
of the four ends a training on the CPU.
Upstream thread: none; mmengine/dist/utils.py, mmengine/runner/runner.py (`wrap_model`),
mmengine/_strategy/{distributed,fsdp}.py.
Delete when: the supported mmengine starts `--launcher pytorch` without a GPU.

With an accelerator nothing changes, but that a launcher which was not started as one
says so, in the place of a KeyError.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from importlib.util import find_spec
from typing import Any

import torch

from paperzoo.errors import UserError
from paperzoo.utils.when_imported import when_imported

_MARK = '_paperzoo_on_cpu'
# What starts the processes, and what it tells each of them.
_LAUNCHERS = {
    'pytorch': (
        'torchrun',
        ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT'),
    ),
    'mpi': (
        'mpirun -x MASTER_ADDR=HOST',
        (
            'MASTER_ADDR',
            *(f'OMPI_COMM_WORLD_{name}' for name in ('LOCAL_RANK', 'RANK', 'SIZE')),
        ),
    ),
    'slurm': ('srun', ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_NODELIST')),
}


def apply() -> None:
    """Replace the launchers and the constructors of the wrappers, once."""
    if find_spec('mmengine') is None or not torch.distributed.is_available():
        return
    import mmengine.dist.utils as home
    from mmengine.model import wrappers

    for name in _LAUNCHERS:
        _replace(home, f'_init_dist_{name}', partial(_launch, name))
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


def _launch(name: str, theirs: Callable[..., None]) -> Callable[..., None]:
    """Let a launcher say that it has not started the process, or begin."""
    command, told = _LAUNCHERS[name]
    begin = _gloo_on_cpu(theirs)

    @wraps(theirs)
    def launch(*args: Any, **kwargs: Any) -> None:
        if missing := [one for one in told if one not in os.environ]:
            raise UserError(
                f'--launcher {name}: {", ".join(missing)} not set. Start the command '
                f'with {command}, or leave --launcher out'
            )
        begin(*args, **kwargs)

    return launch


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

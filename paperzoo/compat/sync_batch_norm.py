"""Synchronised batch normalisation on machines without a GPU.

Ailment: 638 of mmseg's configs name `SyncBN`. In several processes on the CPU it ends
the first step: "SyncBatchNorm expected input tensor to be on GPU". mmcv's own,
`MMSyncBN` in four of mmdet's configs, cannot even be built in a process that runs
alone: "Default process group has not been initialized".
Upstream thread: none; torch/nn/modules/batchnorm.py, mmcv/ops/sync_bn.py.
Delete when: torch synchronises on the CPU; the second part, when mmcv builds its layer
without a process group.
"""

from functools import wraps
from types import SimpleNamespace
from typing import Any

from torch import Tensor, distributed, nn

from paperzoo.utils.when_imported import when_imported

_MARK = '_paperzoo_on_cpu'


def apply() -> None:
    """Let torch's layer take CPU tensors, and mmcv's be built in one process, once."""
    if not distributed.is_available():
        return
    theirs = nn.SyncBatchNorm.forward
    if not hasattr(theirs, _MARK):

        @wraps(theirs)
        def forward(self: nn.SyncBatchNorm, input: Tensor) -> Tensor:  # noqa: A002
            synced = self.training and distributed.is_initialized()
            if synced and input.device.type == 'cpu':
                return _synced(self, input)
            return theirs(self, input)

        setattr(forward, _MARK, True)
        nn.SyncBatchNorm.forward = forward  # type: ignore[method-assign]
    when_imported('mmcv.ops.sync_bn', _mend_mmcv)


def _synced(layer: nn.SyncBatchNorm, given: Tensor) -> Tensor:
    from paperzoo.ops.sync_bn import synced_batch_norm

    momentum = layer.momentum
    running: tuple[Tensor | None, Tensor | None] = (None, None)
    if layer.track_running_stats:
        running = layer.running_mean, layer.running_var
        if layer.num_batches_tracked is not None:
            layer.num_batches_tracked.add_(1)
            if momentum is None:
                momentum = 1 / float(layer.num_batches_tracked)
    group = layer.process_group
    affine = layer.weight, layer.bias
    return synced_batch_norm(given, running, affine, momentum or 0.0, layer.eps, group)


def _mend_mmcv(module: Any) -> None:
    def get_world_size(group: Any = None) -> int:
        alone = not distributed.is_initialized()
        return 1 if alone else distributed.get_world_size(group)

    module.dist = SimpleNamespace(
        group=distributed.group,
        all_reduce=distributed.all_reduce,
        get_world_size=get_world_size,
    )

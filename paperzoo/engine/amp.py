"""Mixed precision where mmengine's `AmpOptimWrapper` refuses to work: on the CPU."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from torch import nn

from paperzoo.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class Bf16OptimWrapper(OptimWrapper):
    """Run the forward pass under bfloat16 autocast, on any device.

    bfloat16 has the range of float32, so losses need no scaling. It pays on processors
    with bfloat16 units and with `ChannelsLastHook`; elsewhere it is slower than
    float32.

    Example:
        >>> model = nn.Linear(2, 1, device=get_device())
        >>> wrapper = Bf16OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
        >>> with wrapper.optim_context(model):
        ...     model(torch.ones(1, 2, device=get_device())).dtype
        torch.bfloat16
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Accumulate as MMEngine does, in bfloat16.

        Args:
            model: The model that is trained.
        """
        device = get_device().partition(':')[0]
        with super().optim_context(model), torch.autocast(device, torch.bfloat16):
            yield

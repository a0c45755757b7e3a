"""MMEngine's `FSDPStrategy` on today's torch, and without a GPU.

Ailment: resuming hands `FSDP.optim_state_dict_to_load` its arguments in the order of
torch 2.0; torch 2.1 changed it ("unhashable type: 'dict'"). On the CPU a full state
dict that is offloaded to the CPU, as `state_dict_cfg='full'` asks, crashes torch: the
weights are freed before they are copied. Torch refuses parameters without a dimension,
which every head with mmcv's `Scale` has. And `clip_grad` clips each process by the norm
of its own shard.
Upstream thread: none; mmengine/_strategy/fsdp.py, mmengine/optim/optimizer.
Delete when: the supported mmengine passes these arguments by name, does not offload
where there is no GPU, shards a model with `Scale`, and clips by the norm of the whole.
"""

from collections.abc import Callable
from functools import wraps
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from paperzoo.utils.when_imported import when_imported

_MARK = '_paperzoo_fsdp'


def apply() -> None:
    """Replace methods of the strategy and the constructor of its wrapper, once."""
    if find_spec('mmengine') is None or not torch.distributed.is_available():
        return
    when_imported('mmengine._strategy.fsdp', _mend_strategy)
    when_imported('mmengine.model.wrappers.fully_sharded_distributed', _mend_wrapper)


def _mend_strategy(module: Any) -> None:
    strategy = module.FSDPStrategy
    if hasattr(strategy, _MARK):
        return
    setattr(strategy, _MARK, True)
    strategy.load_optim_state_dict = _load_optim_state_dict
    strategy._init_state_dict_cfg = _without_offload(strategy._init_state_dict_cfg)
    strategy.build_optim_wrapper = _with_whole_norm(strategy.build_optim_wrapper)


def _mend_wrapper(module: Any) -> None:
    wrapper = module.MMFullyShardedDataParallel
    if not hasattr(wrapper, _MARK):
        setattr(wrapper, _MARK, True)
        wrapper.__init__ = _with_scalars(wrapper.__init__)


def _load_optim_state_dict(self: Any, state_dict: dict) -> None:
    """Stand in for `FSDPStrategy.load_optim_state_dict`: arguments by name."""
    from torch.distributed.fsdp import FullyShardedDataParallel

    loaded = FullyShardedDataParallel.optim_state_dict_to_load(
        model=self.model,
        optim=self.optim_wrapper.optimizer,
        optim_state_dict=state_dict,
    )
    self.optim_wrapper.load_state_dict(loaded)


def _without_offload(theirs: Callable[..., None]) -> Callable[..., None]:
    """Let the CPU's weights be copied, not moved to where they are already."""

    @wraps(theirs)
    def _init_state_dict_cfg(self: Any, *args: Any, **kwargs: Any) -> None:
        from mmengine.device import get_device

        theirs(self, *args, **kwargs)
        if get_device() == 'cpu':
            for config in (self.state_dict_config, self.optim_state_dict_config):
                config.offload_to_cpu = False

    return _init_state_dict_cfg


def _with_whole_norm(theirs: Callable[..., Any]) -> Callable[..., Any]:
    """Let `clip_grad` see the gradients of all shards."""

    @wraps(theirs)
    def build_optim_wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        wrapper = theirs(self, *args, **kwargs)
        if getattr(wrapper, 'clip_func', None) is nn.utils.clip_grad_norm_:

            def clip(params: list, max_norm: float, norm_type: float = 2.0) -> Tensor:
                return self.model.clip_grad_norm_(max_norm, norm_type)

            wrapper.clip_func = clip
        return wrapper

    return build_optim_wrapper


def _with_scalars(theirs: Callable[..., None]) -> Callable[..., None]:
    """Keep parameters without a dimension whole, on every process the same."""

    @wraps(theirs)
    def __init__(self: Any, module: nn.Module, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        from mmengine.device import get_device

        scalars = [value for value in module.parameters() if value.dim() == 0]
        if not scalars or any(key.startswith('ignored_') for key in kwargs):
            theirs(self, module, *args, **kwargs)
            return
        theirs(self, module, *args, ignored_states=scalars, **kwargs)
        for value in scalars:
            value.data = value.data.to(get_device())
            value.register_post_accumulate_grad_hook(_average)

    return __init__


def _average(parameter: Tensor) -> None:
    """Average a gradient over the processes, as FSDP does with what it shards."""
    assert parameter.grad is not None
    torch.distributed.all_reduce(parameter.grad)
    parameter.grad /= torch.distributed.get_world_size()

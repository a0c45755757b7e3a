"""In which precision a run computes: asked for once, the same in validation, said."""

from typing import Any

import torch
from mmengine.device import is_cuda_available
from mmengine.hooks import Hook
from mmengine.optim import AmpOptimWrapper
from mmengine.runner import Runner
from torch import nn

from paperzoo.engine.amp import Bf16OptimWrapper
from paperzoo.registry import HOOKS
from paperzoo.utils.precision import precision_on
from paperzoo.utils.wrappers import unwrap_model


@HOOKS.register_module()
class PrecisionHook(Hook):
    """Validate and test in the precision that is asked for, and log what is chosen.

    MMEngine's loops switch autocast off, or on in float16 on a GPU: a model that was
    trained in bfloat16 was validated in float32.

    Args:
        evaluation: Precision of validation and test: `'float32'`, `'bfloat16'`,
            `'float16'` (a GPU), or `'auto'`, bfloat16 where the device computes in it.
            None leaves the loops as the config has them.

    Raises:
        UserError: If the device has no such precision.

    Example:
        >>> PrecisionHook('auto').evaluation in ('float32', 'bfloat16')
        True
    """

    # After the hooks that change the memory of the model.
    priority = 'LOWEST'

    def __init__(self, evaluation: str | None = None) -> None:
        self.kind = 'cuda' if is_cuda_available() else 'cpu'
        self.evaluation = evaluation and precision_on(self.kind, evaluation)
        self._before: torch.dtype | None = None

    def before_train(self, runner: Runner) -> None:
        """Log precision and memory format."""
        wrapper = runner.optim_wrapper
        evaluation = self.evaluation or 'as val_cfg.fp16 says'
        runner.logger.info(
            f'Precision: {trained_in(wrapper)} in training, {evaluation} in '
            f'validation. Memory format: {memory_format(unwrap_model(runner.model))}.'
        )

    def before_val(self, runner: Runner) -> None:
        """Switch to the precision."""
        self._switch(runner.val_loop)

    def after_val(self, runner: Runner) -> None:
        """Switch back."""
        self._switch_back()

    def before_test(self, runner: Runner) -> None:
        """Switch to the precision, and log it with the memory format."""
        self._switch(runner.test_loop)
        if self.evaluation is not None:
            model = unwrap_model(runner.model)
            runner.logger.info(
                f'Precision: {self.evaluation}. Memory format: {memory_format(model)}.'
            )

    def after_test(self, runner: Runner) -> None:
        """Switch back."""
        self._switch_back()

    def _switch(self, loop: Any) -> None:
        if self.evaluation is None:
            return
        loop.fp16 = self.evaluation != 'float32'
        if loop.fp16:
            # What MMEngine's autocast takes when its loops do not say which.
            self._before = torch.get_autocast_dtype(self.kind)
            torch.set_autocast_dtype(self.kind, getattr(torch, self.evaluation))

    def _switch_back(self) -> None:
        if self._before is not None:
            torch.set_autocast_dtype(self.kind, self._before)
            self._before = None


def trained_in(wrapper: Any) -> str:
    """Return the precision in which an optimizer wrapper lets a model train.

    Args:
        wrapper: MMEngine's.

    Example:
        >>> trained_in(None)
        'float32'
    """
    if isinstance(wrapper, Bf16OptimWrapper):
        return 'bfloat16'
    if isinstance(wrapper, AmpOptimWrapper):
        dtype = getattr(wrapper, 'cast_dtype', None) or torch.float16
        return str(dtype).removeprefix('torch.')
    return 'float32'


def memory_format(model: nn.Module) -> str:
    """Return how the weights of a model's convolutions lie in memory.

    Args:
        model: With convolutions or without.

    Example:
        >>> memory_format(nn.Conv2d(3, 4, 3)), memory_format(nn.Linear(2, 2))
        ('channels first', 'channels first')
    """
    # Of 1x1 kernels and of one channel both formats are the same memory; those that a
    # process shares with others (FSDP) are a flat part of them.
    telling = [
        one.weight
        for one in model.modules()
        if isinstance(one, nn.Conv2d)
        and one.weight.dim() == 4
        and one.weight.size(1) > 1
        and one.weight[0, 0].numel() > 1
    ]
    last = [w.is_contiguous(memory_format=torch.channels_last) for w in telling]
    return 'channels last' if last and all(last) else 'channels first'

"""The learning rate that rises in a warm-up and then falls as 1 / sqrt(step)."""

from typing import Any

from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import _ParamScheduler

from paperzoo.errors import UserError
from paperzoo.registry import PARAM_SCHEDULERS


def warmup_rate(step: int, embed_dims: int, warmup: int) -> float:
    """Return d_model^-0.5 min(step^-0.5, step warmup^-1.5).

    Args:
        step: Number of the step, from 1.
        embed_dims: Channels of the model.
        warmup: Steps of the warm-up, in which the rate rises by the same each time.

    Example:
        >>> from paperzoo.attention.schedule import warmup_rate
        >>> [warmup_rate(step, embed_dims=1, warmup=4) for step in (1, 4, 16)]
        [0.125, 0.5, 0.25]

    Paper: attention Eq. 3
    """
    return embed_dims**-0.5 * min(step**-0.5, step * warmup**-1.5)


@PARAM_SCHEDULERS.register_module()
class InverseSqrtLR(LRSchedulerMixin, _ParamScheduler):
    """Multiplies the optimizer's `lr` by the rate of the paper, step by step.

    Args:
        optimizer: Whose learning rate is set; `lr=1` for the paper's rate itself.
        embed_dims: Channels of the model.
        warmup: Steps of the warm-up.
        **kwargs: As of MMEngine's schedulers: `begin`, `end`, `last_step`, `verbose`.

    Raises:
        UserError: If `embed_dims` or `warmup` is not positive.

    Example:
        >>> import torch
        >>> from paperzoo.attention import InverseSqrtLR
        >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        >>> schedule = InverseSqrtLR(optimizer, embed_dims=1, warmup=4)
        >>> schedule.get_last_value()  # of the first step
        [0.125]

    Paper: attention Eq. 3
    """

    def __init__(
        self, optimizer: Any, *, embed_dims: int, warmup: int, **kwargs: Any
    ) -> None:
        if embed_dims < 1 or warmup < 1:
            raise UserError(
                f'InverseSqrtLR: embed_dims={embed_dims}, warmup={warmup}: use '
                'positive numbers'
            )
        self.embed_dims, self.warmup = embed_dims, warmup
        super().__init__(optimizer, **{'by_epoch': False, **kwargs})

    def _get_value(self) -> list[float]:
        rate = warmup_rate(self.last_step + 1, self.embed_dims, self.warmup)
        return [base * rate for base in self.base_values]

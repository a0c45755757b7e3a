"""A checkpoint that holds no weights is refused before anything is loaded from it."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from torch import Tensor

from paperzoo.errors import UserError
from paperzoo.utils.run_info import trained_classes


def check_weights(loaded: Any, file: str | Path) -> None:
    """Refuse what is no dict of tensors by name, nor has one as its `state_dict`.

    Args:
        loaded: What a checkpoint holds.
        file: Its name, for messages.

    Raises:
        UserError: If there are no weights in it, or what it says of itself is of a
            kind that cannot be read.

    Example:
        >>> import torch
        >>> check_weights({'state_dict': {'weight': torch.ones(1)}}, 'a.pth')
        >>> check_weights([], 'a.pth')
        Traceback (most recent call last):
        paperzoo.errors.UserError: checkpoint 'a.pth' holds no weights: ...
    """
    weights = loaded.get('state_dict', loaded) if isinstance(loaded, Mapping) else None
    if (
        not isinstance(weights, Mapping)
        or not all(isinstance(name, str) for name in weights)
        or not any(isinstance(one, Tensor) for one in weights.values())
    ):
        raise UserError(
            f"checkpoint '{file}' holds no weights: a checkpoint is a dict of "
            "tensors by name, or has one as its 'state_dict'"
        )
    if not isinstance(loaded.get('meta', {}), Mapping):
        raise UserError(f"checkpoint '{file}': its 'meta' is no dict")
    versions = getattr(weights, '_metadata', None)  # of layers, by torch
    if versions is not None and not (
        isinstance(versions, Mapping)
        and all(isinstance(one, Mapping) for one in versions.values())
    ):
        raise UserError(
            f"checkpoint '{file}': the _metadata of its 'state_dict' is no dict of "
            'dicts. Write it anew with dict(state_dict), which leaves that out'
        )
    try:
        trained_classes(loaded.get('meta') or {})
    except UserError as error:
        raise UserError(f"checkpoint '{file}': {error}") from error


def check_finite(weights: Iterable[tuple[str, Tensor]], file: str | Path) -> None:
    """Refuse the weights of a training that has diverged.

    Args:
        weights: The model's parameters by name, without its buffers.
        file: Name of the checkpoint, for messages.

    Raises:
        UserError: If one holds NaN or infinity; the message names the first.

    Example:
        >>> import torch
        >>> check_finite([('weight', torch.tensor([1.0, torch.nan]))], 'a.pth')
        Traceback (most recent call last):
        paperzoo.errors.UserError: checkpoint 'a.pth': weight holds numbers ...
    """
    for name, weight in weights:
        # A sum is quick, but may be infinite where no number is.
        if not weight.detach().sum().isfinite() and not weight.isfinite().all():
            raise UserError(
                f"checkpoint '{file}': {name} holds numbers that are not finite "
                '(NaN or inf), and so would all results: its training has diverged. '
                'Take an earlier checkpoint'
            )


class WeightsCheckHook(Hook):
    """Looks at a checkpoint when a runner has read it.

    Attributes:
        file: The checkpoint, for messages.
    """

    priority = 'HIGHEST'

    def __init__(self) -> None:
        self.file = ''

    def after_load_checkpoint(self, runner: Any, checkpoint: Any) -> None:
        """Refuse one without weights.

        Raises:
            UserError: If there are no weights in it.
        """
        check_weights(checkpoint, self.file)

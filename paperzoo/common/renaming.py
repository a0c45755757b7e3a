"""Renames the parameters of checkpoints of other code while loading."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


def rename_keys(
    state_dict: dict[str, Tensor], prefix: str, names: Mapping[str, str]
) -> None:
    """Rename, in place, the keys of a state dict that lie below `prefix`.

    Args:
        state_dict: The state dict.
        prefix: Path of the module whose children are renamed, with its final dot.
        names: From the beginning of a path below `prefix` to what replaces it; whole
            path components are compared, the longest match wins.

    Example:
        >>> import torch
        >>> from paperzoo.common import rename_keys
        >>> state = {'model.base.weight': torch.zeros(1)}
        >>> rename_keys(state, 'model.', {'base': 'backbone'})
        >>> list(state)
        ['model.backbone.weight']
    """
    for key in [key for key in state_dict if key.startswith(prefix)]:
        parts = key[len(prefix) :].split('.')
        for end in range(len(parts), 0, -1):
            new = names.get('.'.join(parts[:end]))
            if new is not None:
                renamed = '.'.join([new, *parts[end:]])
                state_dict[prefix + renamed] = state_dict.pop(key)
                break


class _Renaming:
    # No function within another one: a model can be pickled with it.

    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = names

    def __call__(
        self, module: nn.Module, state_dict: dict[str, Tensor], prefix: str, *_: Any
    ) -> None:
        rename_keys(state_dict, prefix, self.names)


def rename_on_load(module: nn.Module, names: Mapping[str, str]) -> None:
    """Let a module load state dicts that have other names for its children.

    Its own names go on loading: `names` should have none of them as a key.

    Args:
        module: The module.
        names: As of `rename_keys`, with paths below the module.

    Example:
        >>> from torch import nn
        >>> from paperzoo.common import rename_on_load
        >>> model = nn.Sequential(nn.Linear(1, 1, bias=False))
        >>> rename_on_load(model, {'linear': '0'})
        >>> model.load_state_dict({'linear.weight': model[0].weight})
        <All keys matched successfully>
    """
    module.register_load_state_dict_pre_hook(_Renaming(names))
    # Kept for `renamed_keys`, which asks without loading.
    before = getattr(module, '_names_on_load', ())
    module.__dict__['_names_on_load'] = [*before, names]


def renamed_keys(
    module: nn.Module, state_dict: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return a state dict under the names that a module has itself.

    Args:
        module: The module, with `rename_on_load` somewhere in it.
        state_dict: Of any names that it loads.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from paperzoo.common import rename_on_load, renamed_keys
        >>> model = nn.Sequential(nn.Linear(1, 1))
        >>> rename_on_load(model, {'linear': '0'})
        >>> list(renamed_keys(model, {'linear.bias': torch.zeros(1)}))
        ['0.bias']
    """
    renamed = dict(state_dict)
    for path, one in module.named_modules():
        for names in getattr(one, '_names_on_load', ()):
            rename_keys(renamed, f'{path}.' if path else '', names)
    return renamed

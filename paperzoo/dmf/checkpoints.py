"""Loads checkpoints of the authors' code, whose parameters have other names."""

from typing import Any

from torch import Tensor, nn

_OURS = {
    'base.': 'backbone.',
    'global_clasifier.': 'global_classifier.',
    'dw_gen.off_conv.': 'meta_filter.offset_conv.',
    'dw_gen.kernel_conv.': 'meta_filter.filter_conv.',
}


def rename_on_load(module: nn.Module) -> None:
    """Let a classifier load state dicts of the authors' as well as its own."""
    module.register_load_state_dict_pre_hook(_rename)


def _rename(
    module: nn.Module, state_dict: dict[str, Tensor], prefix: str, *_: Any
) -> None:
    for theirs, ours in _OURS.items():
        for key in [key for key in state_dict if key.startswith(prefix + theirs)]:
            renamed = prefix + ours + key[len(prefix + theirs) :]
            state_dict[renamed] = state_dict.pop(key)

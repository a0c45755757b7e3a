"""Grounding DINO runs on the later releases of transformers 4.

Ailment: mmdet imports three functions from `transformers.modeling_utils`, which keeps
them elsewhere by 4.57. It then goes on without its base class, and its layers end in
"object.__init__() takes exactly one argument".
Upstream thread: none; mmdet/models/utils/vlfuse_helper.py.
Delete when: mmdet imports them from `transformers.pytorch_utils`.
"""

from importlib import import_module
from typing import Any

from paperzoo.utils.when_imported import when_imported

_MOVED = (
    'apply_chunking_to_forward',
    'find_pruneable_heads_and_indices',
    'prune_linear_layer',
)


def apply() -> None:
    """Put the functions back where they were, once transformers is imported."""
    when_imported('transformers.modeling_utils', _mend)


def _mend(module: Any) -> None:
    home = import_module('transformers.pytorch_utils')
    for name in _MOVED:
        if not hasattr(module, name) and hasattr(home, name):
            setattr(module, name, getattr(home, name))

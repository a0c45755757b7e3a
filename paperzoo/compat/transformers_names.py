"""Grounding DINO, GLIP and mmpretrain run on the later releases of transformers 4.

Ailment: mmdet and mmpretrain import functions and classes from
`transformers.modeling_utils`, which keeps them elsewhere by 4.57. mmdet then goes on
without its base class, and its layers end in "object.__init__() takes exactly one
argument"; mmpretrain, which many configs import for a backbone, ends in "cannot import
name 'GenerationMixin'".
Upstream thread: none; mmdet/models/utils/vlfuse_helper.py and
mmpretrain/models/multimodal/ofa/ofa_modules.py.
Delete when: they import them from where they are.
"""

from functools import partial
from importlib import import_module
from typing import Any

from paperzoo.utils.when_imported import when_imported

_MOVED = {
    'apply_chunking_to_forward': 'transformers.pytorch_utils',
    'find_pruneable_heads_and_indices': 'transformers.pytorch_utils',
    'prune_linear_layer': 'transformers.pytorch_utils',
    'GenerationConfig': 'transformers.generation',
    'GenerationMixin': 'transformers.generation',
    'PretrainedConfig': 'transformers.configuration_utils',
}


def apply() -> None:
    """Let them be found where they were, once transformers is imported."""
    when_imported('transformers.modeling_utils', _mend)


def _mend(module: Any) -> None:
    # Found when asked for: generation takes long to import, and imports this module.
    vars(module).setdefault('__getattr__', partial(_where_it_is, module.__name__))


def _where_it_is(module: str, name: str) -> Any:
    if name in _MOVED:
        return getattr(import_module(_MOVED[name]), name)
    raise AttributeError(f"module '{module}' has no attribute '{name}'")

"""Which compiled ops a model will call that are not there, before it is trained.

An op that only the prediction calls would be missed after the first epoch.
"""

import sys
from pathlib import Path

from torch import nn

from paperzoo.apis.diagnostics import ops_of_file
from paperzoo.compat.mmcv_ext import NAME, StandIn, missing_op
from paperzoo.errors import MissingOpError

_LAYERS = 'mmcv.ops.'
# Files whose layers do without the op where there is none, on a CPU.
_WITHOUT = ('bias_act', 'filtered_lrelu', 'fused_bias_leakyrelu', 'upfirdn2d')


def check_ops(model: nn.Module) -> None:
    """Refuse a model with a layer of mmcv whose op is missing.

    Args:
        model: As built.

    Raises:
        MissingOpError: If a layer's op is neither compiled nor stood in for.

    Example:
        >>> from torch import nn
        >>> from paperzoo.apis.model_ops import check_ops
        >>> check_ops(nn.Linear(1, 1))
    """
    ext = sys.modules.get(NAME)
    if not isinstance(ext, StandIn):
        return
    seen: set[type] = set()
    for name, layer in model.named_modules():
        for kind in type(layer).__mro__:
            if kind in seen or not kind.__module__.startswith(_LAYERS):
                continue
            seen.add(kind)
            file = Path(str(sys.modules[kind.__module__].__file__))
            if file.stem in _WITHOUT:
                continue
            for op in ops_of_file(file):
                if op not in vars(ext):
                    said = missing_op(op).replace('was called', 'would be called')
                    place = f'model.{name}' if name else 'model'
                    raise MissingOpError(f'{place} ({kind.__name__}): {said}')

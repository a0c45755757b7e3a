"""`RoIAlign(use_torchvision=True)` and `RoIPool` run without torchvision.

Ailment: mmdet's CrowdDet asks mmcv for torchvision's operator and ends in "No module
named 'torchvision'". mmcv's own operators compute the same.
Upstream thread: none; mmcv/ops/roi_align.py and roi_pool.py.
Delete when: mmcv-lite brings torchvision, or mmdet's configs no longer ask for it.

Where torchvision can be imported nothing changes.
"""

from functools import wraps
from typing import Any

from paperzoo.ops.torchvision_ops import has_torchvision
from paperzoo.utils.when_imported import when_imported

_MARK = '_paperzoo_redirects'


def apply() -> None:
    """Let both layers use mmcv's operators, once these are imported."""
    when_imported('mmcv.ops.roi_align', lambda module: _mend(module.RoIAlign))
    when_imported('mmcv.ops.roi_pool', lambda module: _mend(module.RoIPool))


def _mend(layer: Any) -> None:
    theirs = layer.forward
    if hasattr(theirs, _MARK):
        return

    @wraps(theirs)
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        if getattr(self, 'use_torchvision', False) and not has_torchvision():
            self.use_torchvision = False
        return theirs(self, *args, **kwargs)

    setattr(forward, _MARK, True)
    layer.forward = forward

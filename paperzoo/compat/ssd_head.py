"""SSD and SSDLite are validated.

Ailment: the first validation or prediction of each of mmdet's ten SSD configs ends in
"'SSDHead' object has no attribute 'loss_cls'": what all dense heads share looks at the
loss, which SSDHead computes itself.
Upstream thread: https://github.com/open-mmlab/mmdetection/issues/11780
Delete when: the supported mmdet predicts with SSDHead.
"""

from typing import Any

from paperzoo.utils.when_imported import when_imported


def apply() -> None:
    """Give SSDHead the attribute, once mmdet is imported: no loss of its own kind."""
    when_imported('mmdet.models.dense_heads.ssd_head', _mend)


def _mend(module: Any) -> None:
    if not hasattr(module.SSDHead, 'loss_cls'):
        module.SSDHead.loss_cls = None

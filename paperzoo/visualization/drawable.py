"""Data samples as a picture can be drawn of them."""

import numpy as np
import torch
from mmengine.structures import BaseDataElement, InstanceData

from paperzoo.utils.masks import decode


def drawable(
    sample: BaseDataElement, score_thr: float, num_classes: int
) -> BaseDataElement:
    """Return a sample without what mmdet cannot draw: empty predictions, run lengths.

    Early in a training masks are empty and panoptic maps all void. Masks that are
    COCO's run-length codes are decoded.

    Args:
        sample: With its predictions.
        score_thr: Instances of a lower score are not drawn.
        num_classes: Number of classes, which is the id of void in a panoptic map.

    Example:
        >>> import torch
        >>> from mmengine.structures import BaseDataElement, PixelData
        >>> from paperzoo.visualization.drawable import drawable
        >>> void = PixelData(sem_seg=torch.full((1, 2, 2), 7))
        >>> sample = BaseDataElement(pred_panoptic_seg=void)
        >>> 'pred_panoptic_seg' in drawable(sample, 0.3, num_classes=7)
        False
    """
    shown = sample.new()
    instances = shown.get('pred_instances')
    if instances is not None and isinstance(instances.get('masks'), list):
        instances = decoded(instances[instances.scores > score_thr])
    if instances is not None and isinstance(instances.get('masks'), torch.Tensor):
        there = instances.masks.flatten(1).any(dim=1) & (instances.scores > score_thr)
        shown.pred_instances = instances[there]
        if not there.any():
            del shown.pred_instances
    panoptic = shown.get('pred_panoptic_seg')
    if panoptic is not None and (panoptic.sem_seg == num_classes).all():
        del shown.pred_panoptic_seg
    return shown


def decoded(instances: InstanceData) -> InstanceData:
    """Return instances whose masks are COCO's run-length codes, with a tensor of them.

    Args:
        instances: At least their `masks`, a list of codes.

    Example:
        >>> import numpy as np
        >>> from mmengine.structures import InstanceData
        >>> from paperzoo.utils.masks import encode
        >>> from paperzoo.visualization.drawable import decoded
        >>> masks = [encode(np.eye(2, dtype=bool))]
        >>> decoded(InstanceData(masks=masks)).masks
        tensor([[[ True, False],
                 [False,  True]]])
    """
    made = instances.new()
    planes = [decode({'segmentation': code}) for code in instances.masks]
    masks = np.stack(planes) if planes else np.zeros((0, 1, 1))
    made.masks = torch.from_numpy(masks).bool()
    return made

"""The objects and the stuff of an image, at the stride where masks are learnt."""

from collections.abc import Sequence

import torch
from mmdet.structures import DetDataSample
from torch import Tensor
from torch.nn import functional as F

from paperzoo.errors import UserError
from paperzoo.knet.targets import GroundTruth

IGNORE = 255
# Masks at full size that are in single precision at once; it bounds the memory.
BLOCK = 8


def ground_truth(
    sample: DetDataSample, like: Tensor, stride: int, num_things: int, num_stuff: int
) -> GroundTruth:
    """Return objects and stuff of one image at a stride of the padded image.

    Args:
        sample: With `gt_instances` and, if there are stuff classes, `gt_sem_seg`.
        like: A tensor of the device and the type that masks should have.
        stride: Pixels of the padded image per pixel of a mask.
        num_things: Number of thing classes, which come first.
        num_stuff: Number of stuff classes.

    Raises:
        UserError: If there are stuff classes, but the image has no `gt_sem_seg`.
    """
    padded = tuple(sample.metainfo['batch_input_shape'])
    size = tuple(length // stride for length in padded)
    labels = sample.gt_instances.labels.to(like.device)
    masks = sample.gt_instances.masks
    if not isinstance(masks, Tensor):
        masks = masks.pad(padded).to_tensor(torch.uint8, like.device)
    parts = [_padded(part.to(like), padded, 0) for part in masks.split(BLOCK)]
    masks = torch.cat([_resized(part, size) for part in parts])
    stuff = torch.arange(num_stuff, device=like.device)
    if not len(stuff):
        present = torch.zeros(0, dtype=torch.bool, device=like.device)
        return GroundTruth(masks, labels, like.new_zeros(0, *size), present)
    if 'gt_sem_seg' not in sample:
        raise UserError(
            f'{sample.metainfo.get("img_path", "an image")} has no gt_sem_seg, '
            f'which num_stuff_classes={num_stuff} needs: use '
            'LoadPanopticAnnotations(with_seg=True) in the train pipeline'
        )
    classes = sample.gt_sem_seg.sem_seg.squeeze(0).to(like.device)
    classes = _padded(classes, padded, IGNORE)
    blocks = [
        classes == block[:, None, None] for block in (num_things + stuff).split(BLOCK)
    ]
    stuff_masks = torch.cat([_resized(block.to(like), size) for block in blocks])
    present = torch.cat([block.flatten(1).any(dim=1) for block in blocks])
    return GroundTruth(masks, labels, stuff_masks, present)


def hardened(truths: Sequence[GroundTruth]) -> list[GroundTruth]:
    """Return the truths with masks of 0 and 1; any pixel that was touched is 1.

    Args:
        truths: One for each image; masks at a stride are soft at their edges.
    """
    return [gt._replace(masks=(gt.masks != 0).to(gt.masks)) for gt in truths]


def _padded(masks: Tensor, size: tuple[int, ...], value: int) -> Tensor:
    """Return masks padded at the right and at the bottom."""
    bottom, right = size[0] - masks.size(-2), size[1] - masks.size(-1)
    return F.pad(masks, (0, right, 0, bottom), value=value)


def _resized(masks: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return masks (masks, height, width) at another size; there may be none."""
    if not len(masks):
        return masks.new_zeros(0, *size)
    return F.interpolate(masks[None], size, mode='bilinear')[0]

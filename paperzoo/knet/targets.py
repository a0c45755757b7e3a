"""What each kernel learns, given which object it was matched with."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from paperzoo.errors import UserError

if TYPE_CHECKING:
    from mmdet.structures import DetDataSample

IGNORE = 255
# Masks at full size that are in single precision at once; it bounds the memory.
BLOCK = 8
# The kernel that should win a pixel where no mask covers it. The authors use 255, which
# is also the number of a kernel where there are as many.
NOBODY = -1


class GroundTruth(NamedTuple):
    """The objects and the stuff of one image, at the size where masks are compared.

    Attributes:
        masks: Mask of each object, (objects, height, width), 0 to 1.
        labels: Class of each object.
        stuff_masks: Mask of each stuff class, (stuff classes, height, width).
        stuff_present: Which stuff classes the image has.
    """

    masks: Tensor
    labels: Tensor
    stuff_masks: Tensor
    stuff_present: Tensor


class KernelTargets(NamedTuple):
    """What the kernels of a batch learn, at one stage.

    Attributes:
        labels: Class of each kernel, (images, kernels); `num_classes` is no object.
        label_weights: Weight of each class logit, (images, kernels, classes).
        masks: (images, kernels, height, width); zeros for kernels without object.
        positive: Which kernels have an object or a stuff class to learn.
        winners: Number of the kernel that should have the highest logit at each pixel,
            (images, height, width), or `NOBODY`; None where no loss asks.
        pixel_classes: Class of each pixel, of the same shape, `num_classes` where there
            is none; None where no loss asks.
    """

    labels: Tensor
    label_weights: Tensor
    masks: Tensor
    positive: Tensor
    winners: Tensor | None = None
    pixel_classes: Tensor | None = None


def topmost(
    masks: Float[Tensor, 'masks height width'],
) -> Int[Tensor, 'height width']:
    """Return the number of the last mask that covers each pixel, or `NOBODY`.

    Args:
        masks: Masks painted one over the other; any value but 0 covers.

    Example:
        >>> topmost(torch.tensor([[[1.0, 0.5, 0.0]], [[0.0, 1.0, 0.0]]]))
        tensor([[ 0,  1, -1]])
    """
    numbers = torch.arange(len(masks), device=masks.device, dtype=torch.int32)
    covered = torch.where(masks != 0, numbers[:, None, None], NOBODY)
    # The plane below all others lets it work without any mask.
    bottom = covered.new_full((1, *covered.shape[1:]), NOBODY)
    return torch.cat([bottom, covered]).amax(dim=0).long()


def kernel_targets(
    gt_inds: Sequence[Int[Tensor, ' things']],
    ground_truths: Sequence[GroundTruth],
    num_thing_classes: int,
    num_stuff_classes: int,
    *,
    with_stuff: bool,
    pos_weight: float = 1.0,
    rank: bool = False,
    paint: bool = False,
) -> KernelTargets:
    """Return what the kernels of a batch learn.

    Stuff kernel j always learns stuff class j. A thing kernel is not punished for the
    stuff classes, nor a stuff kernel for any class but its own; a stuff class that an
    image lacks is a pure negative.

    Args:
        gt_inds: For each image the object of each thing kernel: 0 for none, k for
            object k - 1.
        ground_truths: The objects and the stuff of each image.
        num_thing_classes: Number of thing classes, which come first.
        num_stuff_classes: Number of stuff classes.
        with_stuff: Whether stuff kernels follow the thing kernels.
        pos_weight: Weight of the classes of kernels that have an object.
        rank: Whether there is a loss that asks for the `winners`.
        paint: Whether there is a loss that asks for the `pixel_classes`.

    Example:
        >>> no_stuff = torch.zeros(0, 1, 2), torch.zeros(0, dtype=torch.bool)
        >>> mask, label = torch.tensor([[[0.0, 1.0]]]), torch.tensor([1])
        >>> truth, gt_inds = GroundTruth(mask, label, *no_stuff), torch.tensor([0, 1])
        >>> kernel_targets([gt_inds], [truth], 2, 0, with_stuff=False).labels
        tensor([[2, 1]])

    Paper: knet "Training Instance Kernels"
    """
    num_classes = num_thing_classes + num_stuff_classes
    per_image = [
        _targets_single(inds, gt, num_thing_classes, num_classes, with_stuff)
        for inds, gt in zip(gt_inds, ground_truths, strict=True)
    ]
    labels, masks = (torch.stack(parts) for parts in zip(*per_image, strict=True))
    positive = labels < num_classes
    things = gt_inds[0].numel()
    # Which classes a kernel answers for: (kernels, classes).
    weights = masks.new_zeros(labels.size(1), num_classes)
    weights[:things, :num_thing_classes] = 1
    if with_stuff:
        weights[things:, num_thing_classes:].fill_diagonal_(1)
    label_weights = torch.where(positive, pos_weight, 1.0).to(masks)[..., None]
    winners = torch.stack([topmost(each) for each in masks]) if rank else None
    pixel_classes = None
    if paint:
        painted = [
            paint_classes(*own, gt.stuff_masks, num_thing_classes, num_classes)
            for own, gt in zip(per_image, ground_truths, strict=True)
        ]
        pixel_classes = torch.stack(painted)
    return KernelTargets(
        labels, label_weights * weights, masks, positive, winners, pixel_classes
    )


def _targets_single(
    gt_inds: Tensor,
    gt: GroundTruth,
    num_thing_classes: int,
    num_classes: int,
    with_stuff: bool,
) -> tuple[Tensor, Tensor]:
    """Return label and mask of each kernel of one image."""
    # Entry 0 is "no object", so an image without objects is no special case.
    labels = torch.cat([gt.labels.new_full((1,), num_classes), gt.labels])[gt_inds]
    nothing = gt.masks.new_zeros(1, *gt.masks.shape[1:])
    masks = torch.cat([nothing, gt.masks])[gt_inds]
    if with_stuff:
        stuff = torch.arange(num_thing_classes, num_classes, device=labels.device)
        labels = torch.cat([labels, torch.where(gt.stuff_present, stuff, num_classes)])
        masks = torch.cat([masks, gt.stuff_masks])
    return labels, masks


def paint_classes(
    labels: Int[Tensor, ' kernels'],
    masks: Float[Tensor, 'kernels height width'],
    stuff_masks: Float[Tensor, 'stuff height width'],
    num_thing_classes: int,
    num_classes: int,
) -> Int[Tensor, 'height width']:
    """Return the class of each pixel: stuff, painted over by things in kernel order.

    Args:
        labels: Class of each thing kernel.
        masks: Its mask; zeros if it has none.
        stuff_masks: Mask of each stuff class.
        num_thing_classes: Number of thing classes.
        num_classes: Number of classes; what no mask covers gets this number.

    Example:
        >>> mask, stuff = torch.tensor([[[1.0, 0.0]]]), torch.ones(1, 1, 2)
        >>> paint_classes(torch.tensor([0]), mask, stuff, 2, 3)
        tensor([[0, 2]])
    """
    stuff, thing = topmost(stuff_masks), topmost(masks)
    painted = torch.where(stuff != NOBODY, num_thing_classes + stuff, num_classes)
    return torch.where(thing != NOBODY, labels[thing.clamp(min=0)], painted)


def ground_truth(
    sample: 'DetDataSample', like: Tensor, stride: int, num_things: int, num_stuff: int
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

    Example:
        >>> from mmdet.structures import DetDataSample
        >>> from mmengine.structures import InstanceData
        >>> sample = DetDataSample(metainfo={'batch_input_shape': (8, 8)})
        >>> masks, labels = torch.ones(1, 8, 8), torch.tensor([3])
        >>> sample.gt_instances = InstanceData(masks=masks, labels=labels)
        >>> ground_truth(sample, torch.zeros(0), 4, 5, 0).masks
        tensor([[[1., 1.],
                 [1., 1.]]])
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

    Example:
        >>> soft = torch.tensor([[[0.0, 0.25]]])
        >>> hardened([GroundTruth(soft, soft, soft, soft)])[0].masks
        tensor([[[0., 1.]]])
    """
    return [gt._replace(masks=(gt.masks != 0).to(gt.masks)) for gt in truths]


def check_sizes(
    predicted: Mapping[str, Tensor], truth: GroundTruth, mask_assign_stride: int
) -> None:
    """Refuse predicted masks of another size than those of the objects.

    Args:
        predicted: Upsampled masks, (..., height, width), by the argument that
            sets their size.
        truth: That of any image.
        mask_assign_stride: That of the detector.

    Raises:
        UserError: If the height or the width of predicted masks is not that of the
            objects' masks.

    Example:
        >>> masks = torch.ones(1, 8, 8)
        >>> check_sizes({'mine': masks}, GroundTruth(masks, masks, masks, masks), 4)
    """
    height, width = truth.masks.shape[-2:]
    for place, masks in predicted.items():
        if masks.shape[-2:] != (height, width):
            raise UserError(
                f'masks of {height} x {width} pixels are to be learnt '
                f'(mask_assign_stride={mask_assign_stride} of KNet), but those '
                f'predicted have {masks.size(-2)} x {masks.size(-1)} ({place}): set '
                'mask_assign_stride to the stride of the predicted masks, and pad '
                'images to a multiple of 32 (pad_size_divisor of the data preprocessor)'
            )


def _padded(masks: Tensor, size: tuple[int, ...], value: int) -> Tensor:
    """Return masks padded at the right and at the bottom."""
    bottom, right = size[0] - masks.size(-2), size[1] - masks.size(-1)
    return F.pad(masks, (0, right, 0, bottom), value=value)


def _resized(masks: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return masks (masks, height, width) at another size; there may be none."""
    if not len(masks):
        return masks.new_zeros(0, *size)
    return F.interpolate(masks[None], size, mode='bilinear')[0]

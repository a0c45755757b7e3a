"""From classes and masks to results: instances, and one map of everything."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from mmengine.structures import InstanceData
from torch import Tensor
from torch.nn import functional as F

from paperzoo.utils.masks import INSTANCE_OFFSET
from paperzoo.utils.precision import at_least_float32

# Pixels of all masks that are enlarged at once: 256 MiB in single precision.
BLOCK_PIXELS = 1 << 26
# Masks of an image become run-length codes where a tensor would be larger.
MAX_MASK_MIB = 1024

Size = tuple[int, int]


class Sizes(NamedTuple):
    """The sizes an image had on its way.

    Attributes:
        padded: Height and width of the batch.
        image: Height and width of the image in it.
        result: Height and width that results should have.
    """

    padded: Size
    image: Size
    result: Size


def enlarged_blocks(
    mask_logits: Float[Tensor, 'masks height width'],
    sizes: Sizes,
    block_pixels: int = BLOCK_PIXELS,
) -> Iterator[tuple[int, Tensor]]:
    """Yield probabilities of a few masks at a time, at the size of the result.

    Args:
        mask_logits: The masks at any size.
        sizes: Those of the image.
        block_pixels: How many pixels a block may have; a block has at least one mask.

    Yields:
        Number of the block's first mask, and the block, (masks, height, width).
    """
    largest = max(height * width for height, width in sizes)
    step = max(1, block_pixels // largest)
    for start in range(0, len(mask_logits), step):
        prob = at_least_float32(mask_logits[None, start : start + step]).sigmoid()
        prob = F.interpolate(prob, sizes.padded, mode='bilinear')
        prob = prob[..., : sizes.image[0], : sizes.image[1]]
        if sizes.result != sizes.image:
            prob = F.interpolate(prob, sizes.result, mode='bilinear')
        yield start, prob[0]


def top_instances(
    cls_logits: Float[Tensor, 'kernels classes'], max_per_img: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return score, label and kernel of the best pairs of kernel and class.

    Args:
        cls_logits: Class logits.
        max_per_img: How many pairs.
    """
    classes = cls_logits.size(1)
    scores = at_least_float32(cls_logits).sigmoid().flatten()
    scores, pairs = scores.topk(min(max_per_img, len(scores)))
    return scores, pairs % classes, pairs // classes


def instance_results(
    cls_logits: Tensor,
    mask_logits: Tensor,
    sizes: Sizes,
    max_per_img: int = 100,
    mask_thr: float = 0.5,
    rle: bool | None = None,
    max_mask_mib: float = MAX_MASK_MIB,
) -> InstanceData:
    """Return the instances of one image.

    Args:
        cls_logits: Class logits, (kernels, classes).
        mask_logits: Mask logits, (kernels, height, width).
        sizes: Those of the image.
        max_per_img: How many instances.
        mask_thr: Probability from which on a pixel belongs to an instance.
        rle: Masks as COCO's run-length codes, not as a tensor, which alone has 2.2 GiB
            for 100 masks of 4000 x 6000 pixels. None: where the tensor would be larger
            than `max_mask_mib`.
        max_mask_mib: In MiB, a byte being a pixel of a mask.

    Returns:
        `scores`, `labels`, `masks`, and `bboxes` around the masks.
    """
    scores, labels, kernels = top_instances(cls_logits, max_per_img)
    if rle is None:
        pixels = len(scores) * sizes.result[0] * sizes.result[1]
        rle = pixels > max_mask_mib * (1 << 20)
    used, place = kernels.unique(return_inverse=True)
    boxes = mask_logits.new_zeros(len(used), 4, dtype=torch.float32)
    codes: list[dict[str, Any]] = []
    masks = mask_logits.new_zeros(
        (0 if rle else len(scores), *sizes.result), dtype=torch.bool
    )
    # A kernel that is among the best with several classes is enlarged once.
    for start, prob in enlarged_blocks(mask_logits[used], sizes):
        block = prob > mask_thr
        boxes[start : start + len(block)] = boxes_around(block)
        if rle:
            codes += encode(block)
            continue
        inside = ((place >= start) & (place < start + len(block))).nonzero()[:, 0]
        for index in inside.tolist():
            masks[index] = block[place[index] - start]
    found: Any = [codes[index] for index in place.tolist()] if rle else masks
    return InstanceData(scores=scores, labels=labels, bboxes=boxes[place], masks=found)


def boxes_around(
    masks: Bool[Tensor, 'masks height width'],
) -> Float[Tensor, 'masks 4']:
    """Return x0, y0, x1, y1 around each mask; zeros around an empty one.

    Args:
        masks: The masks.
    """
    edges = []
    for dim in (1, 2):  # columns, then rows, that the mask touches
        touched = masks.any(dim=dim)
        first = touched.int().argmax(dim=1)
        last = touched.size(1) - touched.flip(1).int().argmax(dim=1)
        edges.append(torch.stack([first, last], dim=1) * touched.any(dim=1)[:, None])
    return torch.stack(edges, dim=2).flatten(1).float()


def encode(masks: Bool[Tensor, 'masks height width']) -> list[dict[str, Any]]:
    """Return the masks as COCO's run-length codes.

    Args:
        masks: The masks.
    """
    from pycocotools import mask as coco  # heavy, and not needed by most runs

    return [
        coco.encode(np.asfortranarray(mask.cpu().numpy().astype(np.uint8)))
        for mask in masks
    ]


def segment_scores(
    cls_prob: Float[Tensor, 'kernels classes'], num_things: int, num_thing_classes: int
) -> tuple[Float[Tensor, ' kernels'], Int[Tensor, ' kernels']]:
    """Return score and label of each kernel: its best thing class, or its stuff class.

    Args:
        cls_prob: Class probabilities; stuff kernels follow the thing kernels.
        num_things: Number of thing kernels.
        num_thing_classes: Number of thing classes, which come first.
    """
    scores, labels = cls_prob[:num_things, :num_thing_classes].max(dim=1)
    stuff = cls_prob[num_things:, num_thing_classes:].diagonal()
    stuff_labels = num_thing_classes + torch.arange(len(stuff), device=labels.device)
    return torch.cat([scores, stuff]), torch.cat([labels, stuff_labels])


def merge_panoptic(
    scores: Float[Tensor, ' kernels'],
    labels: Int[Tensor, ' kernels'],
    blocks: Iterator[tuple[int, Tensor]],
    num_thing_classes: int,
    num_classes: int,
    *,
    instance_score_thr: float = 0.3,
    overlap_thr: float = 0.6,
    filter_first: bool = False,
) -> Int[Tensor, 'height width']:
    """Return label + 1000 * number of the segment of each pixel; void is `num_classes`.

    Each pixel goes to the kernel with the largest product of score and probability.
    Things with a low score are void, and so are segments that keep less than a part
    `overlap_thr` of their mask. Things and stuff are numbered together, by score.

    Args:
        scores: Score of each kernel.
        labels: Its class.
        blocks: Its mask's probabilities, as of `enlarged_blocks`.
        num_thing_classes: Number of thing classes, which come first.
        num_classes: Number of classes.
        instance_score_thr: Score that a thing must have.
        overlap_thr: Part of its mask that a segment must keep.
        filter_first: Things with a low score do not compete for pixels: these go to
            the next kernel. The authors let them compete.
    """
    low = (labels < num_thing_classes) & (scores < instance_score_thr)
    barred = low if filter_first else torch.zeros_like(low)
    winner, areas = compete(scores, barred, blocks)
    won = torch.bincount(winner.flatten(), minlength=len(scores))
    # The decisions are about a few numbers: one transfer, then plain Python.
    order = scores.argsort(descending=True, stable=True)
    table = torch.stack([order, labels, low.long(), won, areas]).tolist()
    ids = [num_classes] * len(scores)
    number = 0
    for kernel in table[0]:
        label, rejected, kept, area = (row[kernel] for row in table[1:])
        if rejected or not kept or not area or kept / area < overlap_thr:
            continue
        ids[kernel] = label + INSTANCE_OFFSET * number
        number += 1
    return torch.tensor(ids, device=winner.device)[winner]


def compete(
    scores: Tensor, barred: Tensor, blocks: Iterator[tuple[int, Tensor]]
) -> tuple[Int[Tensor, 'height width'], Int[Tensor, ' kernels']]:
    """Return the kernel that wins each pixel, and the area of each kernel's mask.

    Args:
        scores: Of the kernels.
        barred: Kernels that take part in no pixel's contest, (kernels,).
        blocks: Probabilities of some masks at a time, as of `enlarged_blocks`.
    """
    best: Tensor | None = None
    winner = torch.empty(0)
    areas = []
    for start, prob in blocks:
        areas.append((prob >= 0.5).sum(dim=(1, 2)))
        part = slice(start, start + len(prob))
        bids = scores[part, None, None] * prob
        bids.masked_fill_(barred[part, None, None], -1.0)
        value, index = bids.max(dim=0)
        index = index.int() + start
        if best is None:
            best, winner = value, index
            continue
        better = value > best  # the first of equals wins, as in one argmax over all
        winner = torch.where(better, index, winner)
        best = torch.maximum(best, value)
    return winner, torch.cat(areas)

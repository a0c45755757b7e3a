"""From classes and masks to results: instances, and one map of everything."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from mmengine.structures import InstanceData
from torch import Tensor

from paperzoo.knet.pasting import Sizes, enlarged_blocks, pasted
from paperzoo.utils.masks import INSTANCE_OFFSET, encode
from paperzoo.utils.precision import at_least_float32

# Masks of an image become run-length codes where a tensor would be larger.
MAX_MASK_MIB = 1024.0


def top_instances(
    cls_logits: Float[Tensor, '*batch kernels classes'], max_per_img: int
) -> tuple[
    Float[Tensor, '*batch instances'],
    Int[Tensor, '*batch instances'],
    Int[Tensor, '*batch instances'],
]:
    """Return score, label and kernel of the best pairs of kernel and class.

    Args:
        cls_logits: Class logits.
        max_per_img: How many pairs.

    Example:
        >>> logits = torch.tensor([[0.0, 3.0], [2.0, -1.0]])
        >>> scores, labels, kernels = top_instances(logits, 2)
        >>> labels.tolist(), kernels.tolist()
        ([1, 0], [0, 1])
    """
    kernels, classes = cls_logits.shape[-2:]
    scores = at_least_float32(cls_logits).sigmoid().flatten(-2)
    scores, pairs = scores.topk(min(max_per_img, kernels * classes))
    return scores, pairs % classes, pairs // classes


def instance_results(
    cls_logits: Float[Tensor, 'kernels classes'],
    mask_logits: Float[Tensor, 'kernels height width'],
    sizes: Sizes,
    max_per_img: int = 100,
    mask_thr: float = 0.5,
    rle: bool | None = None,
    max_mask_mib: float = MAX_MASK_MIB,
) -> InstanceData:
    """Return the instances of one image.

    Args:
        cls_logits: Class logits.
        mask_logits: Mask logits, at any size.
        sizes: Those of the image.
        max_per_img: How many instances.
        mask_thr: Probability from which on a pixel belongs to an instance.
        rle: Masks as COCO's run-length codes, not as a tensor, which alone has 2.2 GiB
            for 100 masks of 4000 x 6000 pixels. None: where the tensor would be larger
            than `max_mask_mib`.
        max_mask_mib: In MiB, a byte being a pixel of a mask.

    Returns:
        `scores`, `labels`, `masks`, and `bboxes` around the masks.

    Example:
        >>> sizes = Sizes((4, 4), (4, 4), (4, 4))
        >>> instance_results(torch.zeros(1, 1), torch.ones(1, 2, 2), sizes).bboxes
        tensor([[0., 0., 4., 4.]])
    """
    scores, labels, kernels = top_instances(cls_logits, max_per_img)
    if rle is None:
        pixels = len(scores) * sizes.result[0] * sizes.result[1]
        rle = pixels > max_mask_mib * (1 << 20)
    chosen = _pasted_masks if mask_logits.device.type == 'cpu' else _enlarged_masks
    masks, boxes = chosen(mask_logits, kernels, sizes, mask_thr, rle)
    return InstanceData(scores=scores, labels=labels, bboxes=boxes, masks=masks)


def _pasted_masks(
    mask_logits: Tensor, kernels: Tensor, sizes: Sizes, mask_thr: float, rle: bool
) -> tuple[Any, Tensor]:
    """Return the masks of kernels, or their codes, and boxes around them."""
    # A kernel that is among the best with several classes is enlarged once.
    used, place = kernels.unique(return_inverse=True)
    boxes = mask_logits.new_zeros(len(used), 4, dtype=torch.float32)
    empty = torch.zeros(sizes.result, dtype=torch.bool)
    masks = torch.zeros((0 if rle else len(kernels), *sizes.result), dtype=torch.bool)
    codes = []
    for number, part in enumerate(pasted(mask_logits[used], sizes, mask_thr)):
        boxes[number] = torch.tensor(part.box())
        where = part.rows, part.columns
        if rle:
            empty[where] = part.mask
            codes.append(encode(empty.numpy()))
            empty[where] = False
            continue
        for index in (place == number).nonzero()[:, 0].tolist():
            masks[index][where] = part.mask
    found = [codes[index] for index in place.tolist()] if rle else masks
    return found, boxes[place]


def _enlarged_masks(
    mask_logits: Tensor, kernels: Tensor, sizes: Sizes, mask_thr: float, rle: bool
) -> tuple[Any, Tensor]:
    """Return the same; the device is waited for to make codes, else never."""
    boxes: list[Tensor] = [mask_logits.new_zeros(0, 4, dtype=torch.float32)]
    masks = mask_logits.new_zeros(
        (0 if rle else len(kernels), *sizes.result), dtype=torch.bool
    )
    codes = []
    for start, prob in enlarged_blocks(mask_logits[kernels], sizes):
        block = prob > mask_thr
        boxes.append(boxes_around(block))
        if rle:
            codes += [encode(mask) for mask in block.cpu().numpy()]
        else:
            masks[start : start + len(block)] = block
    return codes if rle else masks, torch.cat(boxes)


def boxes_around(
    masks: Bool[Tensor, '*batch height width'],
) -> Float[Tensor, '*batch 4']:
    """Return x0, y0, x1, y1 around each mask; zeros around an empty one.

    Args:
        masks: The masks.

    Example:
        >>> boxes_around(torch.tensor([[[False, True, True], [False, False, False]]]))
        tensor([[1., 0., 3., 1.]])
    """
    edges = []
    for dim in (-2, -1):  # columns, then rows, that the mask touches
        touched = masks.any(dim=dim)
        length = touched.size(-1)
        at = torch.arange(length, device=masks.device)
        first = torch.where(touched, at, length).amin(-1)
        last = torch.where(touched, at + 1, 0).amax(-1)
        first = torch.where(touched.any(-1), first, 0)
        edges.append(torch.stack([first, last], dim=-1))
    return torch.stack(edges, dim=-1).flatten(-2).float()


def segment_scores(
    cls_prob: Float[Tensor, '*batch kernels classes'],
    num_things: int,
    num_thing_classes: int,
) -> tuple[Float[Tensor, '*batch kernels'], Int[Tensor, '*batch kernels']]:
    """Return score and label of each kernel: its best thing class, or its stuff class.

    Args:
        cls_prob: Class probabilities; stuff kernels follow the thing kernels.
        num_things: Number of thing kernels.
        num_thing_classes: Number of thing classes, which come first.

    Example:
        >>> prob = torch.tensor([[0.2, 0.6, 0.9], [0.5, 0.1, 0.3]])  # a thing, a stuff
        >>> segment_scores(prob, 1, 2)
        (tensor([0.6000, 0.3000]), tensor([1, 2]))
    """
    scores, labels = cls_prob[..., :num_things, :num_thing_classes].max(dim=-1)
    stuff = cls_prob[..., num_things:, num_thing_classes:].diagonal(dim1=-2, dim2=-1)
    own = torch.arange(stuff.size(-1), device=labels.device).expand_as(stuff)
    labels = torch.cat([labels, num_thing_classes + own], dim=-1)
    return torch.cat([scores, stuff], dim=-1), labels


class PanopticSegments(NamedTuple):
    """The segments of an image, and what became of each kernel.

    Attributes:
        ids: Label + 1000 * number of the segment of each pixel, or the number of
            classes where there is none, (height, width).
        winner: The kernel that won each pixel, (height, width).
        scores: Score of each kernel.
        labels: Its class.
        area: Pixels of its mask.
        won: Pixels that it won.
        removed: Why it is no segment: `'low score'`, `'no pixel'`, or `'overlapped'`,
            too little of its mask being left; `''` if it is one.
    """

    ids: Tensor
    winner: Tensor
    scores: Tensor
    labels: Tensor
    area: Tensor
    won: Tensor
    removed: tuple[str, ...]


def merge_panoptic(
    scores: Float[Tensor, ' kernels'],
    labels: Int[Tensor, ' kernels'],
    blocks: Iterable[tuple[int, Float[Tensor, 'masks height width']]],
    num_thing_classes: int,
    num_classes: int,
    *,
    instance_score_thr: float = 0.3,
    overlap_thr: float = 0.6,
    filter_first: bool = False,
) -> PanopticSegments:
    """Return the segments of an image, which do not overlap.

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

    Example:
        >>> prob = torch.tensor([[[0.9, 0.9, 0.1]], [[0.2, 0.2, 0.8]]])
        >>> kernels = torch.tensor([0.8, 0.7]), torch.tensor([1, 2])  # scores, labels
        >>> merge_panoptic(*kernels, [(0, prob)], 2, 3).ids
        tensor([[   1,    1, 1002]])
    """
    low = (labels < num_thing_classes) & (scores < instance_score_thr)
    excluded = low if filter_first else torch.zeros_like(low)
    winner, areas = pixel_winners(scores, excluded, blocks)
    # A bincount would wait on a GPU, to see how many numbers there are.
    one_each = areas.new_ones(()).expand(winner.numel())
    won = torch.zeros_like(areas).index_add_(0, winner.flatten(), one_each)
    # The decisions are about a few numbers: one transfer, then plain Python.
    order = scores.argsort(descending=True, stable=True)
    table = torch.stack([order, labels, low.long(), won, areas]).tolist()
    ids, removed = [num_classes] * len(scores), [''] * len(scores)
    number = 0
    for kernel in table[0]:
        label, is_low, kept, area = (row[kernel] for row in table[1:])
        if is_low:
            removed[kernel] = 'low score'
        elif not kept or not area:
            removed[kernel] = 'no pixel'
        elif kept / area < overlap_thr:
            removed[kernel] = 'overlapped'
        else:
            ids[kernel] = label + INSTANCE_OFFSET * number
            number += 1
    known = torch.tensor(ids).to(winner.device, non_blocking=True)
    segments = known[winner]
    return PanopticSegments(
        segments, winner, scores, labels, areas, won, tuple(removed)
    )


def pixel_winners(
    scores: Float[Tensor, ' kernels'],
    excluded: Bool[Tensor, ' kernels'],
    blocks: Iterable[tuple[int, Float[Tensor, 'masks height width']]],
) -> tuple[Int[Tensor, 'height width'], Int[Tensor, ' kernels']]:
    """Return the kernel that wins each pixel, and the area of each kernel's mask.

    Args:
        scores: Of the kernels.
        excluded: Kernels that win no pixel.
        blocks: Probabilities of some masks at a time, as of `enlarged_blocks`.

    Example:
        >>> prob = torch.tensor([[[0.9, 0.9, 0.1]], [[0.2, 0.2, 0.8]]])
        >>> pixel_winners(torch.ones(2), torch.zeros(2, dtype=torch.bool), [(0, prob)])
        (tensor([[0, 0, 1]], dtype=torch.int32), tensor([2, 1]))
    """
    best: Tensor | None = None
    winner = torch.empty(0)
    areas = []
    for start, prob in blocks:
        areas.append((prob >= 0.5).sum(dim=(1, 2)))
        part = slice(start, start + len(prob))
        weighted = scores[part, None, None] * prob
        weighted.masked_fill_(excluded[part, None, None], -1.0)
        value, index = weighted.max(dim=0)
        index = index.int() + start
        if best is None:
            best, winner = value, index
            continue
        better = value > best  # the first of equals wins, as in one argmax over all
        winner = torch.where(better, index, winner)
        best = torch.maximum(best, value)
    return winner, torch.cat(areas)

"""Results: the merge against a loop, instances against plain resizing."""

import pytest
import torch
from beartype import beartype
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import jaxtyped
from pycocotools import mask as coco
from references import knet as reference
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from paperzoo.knet import panoptic as room
from paperzoo.knet import pasting
from paperzoo.knet.panoptic import instance_results, merge_panoptic, segment_scores
from paperzoo.knet.pasting import Sizes, enlarged_blocks

boxes_around = jaxtyped(typechecker=beartype)(room.boxes_around)
top_instances = jaxtyped(typechecker=beartype)(room.top_instances)
SIZES = Sizes((16, 24), (14, 24), (33, 40))


def masks(number: int, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    return 3 * torch.randn(number, 4, 6)


def enlarged(logits: Tensor, sizes: Sizes) -> Tensor:
    prob = F.interpolate(logits.sigmoid()[None], sizes.padded, mode='bilinear')
    prob = prob[..., : sizes.image[0], : sizes.image[1]]
    return F.interpolate(prob, sizes.result, mode='bilinear')[0]


@pytest.mark.parametrize('block_pixels', [1, 2000, 1 << 26])
def test_blocks_are_parts_of_the_whole(block_pixels: int) -> None:
    blocks = list(enlarged_blocks(masks(5), SIZES, block_pixels))
    assert_close(torch.cat([block for _, block in blocks]), enlarged(masks(5), SIZES))
    starts = [start for start, _ in blocks]
    assert starts == {1: [0, 1, 2, 3, 4], 2000: [0, 1, 2, 3, 4]}.get(block_pixels, [0])


def test_a_block_of_a_large_photo_is_small() -> None:
    # 100 masks of 4000 x 6000 pixels are 9 GiB in single precision.
    large = Sizes((800, 1216), (800, 1200), (4000, 6000))
    _, block = next(enlarged_blocks(torch.zeros(100, 2, 2), large))
    assert block.numel() <= pasting.BLOCK_PIXELS


def test_top_instances_by_hand() -> None:
    logits = torch.tensor([[0.0, 3.0], [2.0, -1.0], [1.0, 2.5]])
    scores, labels, kernels = top_instances(logits, 4)
    assert_close(scores, torch.tensor([3.0, 2.5, 2.0, 1.0]).sigmoid())
    assert labels.tolist() == [1, 1, 0, 0]
    assert kernels.tolist() == [0, 2, 1, 2]
    assert len(top_instances(logits, 100)[0]) == 6


@pytest.mark.parametrize('block_pixels', [1, 1 << 26])
def test_instances_and_their_codes(
    block_pixels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        pasting.enlarged_blocks, '__defaults__', (block_pixels,), raising=True
    )
    torch.manual_seed(1)
    logits, limit = torch.randn(5, 3), 9
    found = instance_results(logits, masks(5), SIZES, max_per_img=limit)
    scores, labels, kernels = top_instances(logits, limit)
    assert_close(found.scores, scores)
    assert_close(found.labels, labels)
    expected = enlarged(masks(5), SIZES)[kernels] > 0.5
    assert_close(found.masks, expected)
    assert_close(found.bboxes, boxes_around(expected))
    coded = instance_results(logits, masks(5), SIZES, max_per_img=limit, rle=True)
    decoded = torch.from_numpy(coco.decode(coded.masks)).permute(2, 0, 1).bool()
    assert_close(decoded, expected)
    assert_close(coded.bboxes, found.bboxes)


def test_large_results_are_run_length_codes() -> None:
    logits = torch.randn(5, 1)
    size = 5 * 33 * 40 / 2**20
    found = instance_results(logits, masks(5), SIZES, max_mask_mib=size)
    assert isinstance(found.masks, Tensor)
    found = instance_results(logits, masks(5), SIZES, max_mask_mib=0.99 * size)
    assert isinstance(found.masks, list)
    found = instance_results(logits, masks(5), SIZES, rle=False, max_mask_mib=0.0)
    assert isinstance(found.masks, Tensor)


def test_mask_thr() -> None:
    found = instance_results(torch.zeros(5, 1), masks(5), SIZES, mask_thr=0.8)
    _, _, kernels = top_instances(torch.zeros(5, 1), 100)
    assert_close(found.masks, enlarged(masks(5), SIZES)[kernels] > 0.8)


def test_boxes_by_hand() -> None:
    found = torch.zeros(3, 5, 7, dtype=torch.bool)
    found[0, 1:3, 2:6] = True
    found[1, 0, 0] = found[1, 4, 6] = True
    expected = [[2.0, 1.0, 6.0, 3.0], [0.0, 0.0, 7.0, 5.0], [0.0, 0.0, 0.0, 0.0]]
    assert_close(boxes_around(found), torch.tensor(expected))


def test_a_batch_is_its_images() -> None:
    masks = torch.rand(3, 4, 6, 7) > 0.8
    masks[0, 0] = False
    assert_close(boxes_around(masks)[0], boxes_around(masks[0]))
    assert_close(boxes_around(masks)[0, 0], torch.zeros(4))
    logits = torch.rand(2, 6, 5)
    prob = logits.sigmoid()
    for image in range(2):
        for found, wanted in (
            (top_instances(logits, 7), top_instances(logits[image], 7)),
            (segment_scores(prob, 4, 3), segment_scores(prob[image], 4, 3)),
        ):
            for one, other in zip(found, wanted, strict=True):
                assert_close(one[image], other)


def test_segment_scores_by_hand() -> None:
    prob = torch.tensor(
        [
            [0.2, 0.6, 0.9, 0.1],  # two thing kernels: the stuff columns do not count
            [0.5, 0.1, 0.0, 0.0],
            [0.9, 0.9, 0.3, 0.8],  # two stuff kernels: only their own column counts
            [0.9, 0.9, 0.8, 0.4],
        ]
    )
    scores, labels = segment_scores(prob, 2, 2)
    assert_close(scores, torch.tensor([0.6, 0.5, 0.3, 0.4]))
    assert labels.tolist() == [1, 0, 2, 3]


PROB = st.integers(0, 20).map(lambda n: n / 20)
KERNEL = st.tuples(
    st.integers(1, 19).map(lambda n: n / 20),
    st.integers(0, 3),
    st.lists(PROB, min_size=6, max_size=6),
)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(KERNEL, min_size=1, max_size=6, unique_by=lambda kernel: kernel[0]),
    st.booleans(),
    st.integers(1, 6),
)
def test_the_merge_equals_the_loop(
    kernels: list[tuple[float, int, list[float]]], filter_first: bool, step: int
) -> None:
    scores, labels, probs = (list(part) for part in zip(*kernels, strict=True))
    expected = reference.panoptic(scores, labels, probs, 2, 4, 0.3, 0.6, filter_first)
    maps = torch.tensor(probs, dtype=torch.float64).view(-1, 2, 3)
    blocks = (
        (start, maps[start : start + step]) for start in range(0, len(maps), step)
    )
    found = merge_panoptic(
        torch.tensor(scores, dtype=torch.float64),
        torch.tensor(labels),
        blocks,
        2,
        4,
        filter_first=filter_first,
    )
    assert found.ids.flatten().tolist() == expected


def test_filter_first_leaves_no_pixel_to_things_of_low_score() -> None:
    # A weak thing with a sure mask outbids a stuff class with a vague one.
    scores, labels = torch.tensor([0.2, 0.25]), torch.tensor([0, 2])
    maps = torch.tensor([[[1.0, 0.0]], [[0.6, 0.9]]])
    arguments = (scores, labels, [(0, maps)], 2, 4)
    found = merge_panoptic(*arguments, overlap_thr=0.3)
    assert found.ids.tolist() == [[4, 2]]
    found = merge_panoptic(*arguments, overlap_thr=0.3, filter_first=True)
    assert found.ids.tolist() == [[2, 2]]


def test_a_barred_kernel_loses_even_a_tie_at_zero() -> None:
    scores, labels = torch.tensor([0.2, 0.9]), torch.tensor([0, 2])
    maps = torch.tensor([[[0.0, 0.0]], [[0.0, 0.9]]])
    arguments = (scores, labels, [(0, maps)], 2, 4)
    assert merge_panoptic(*arguments, filter_first=True).ids.tolist() == [[2, 2]]


def test_why_a_kernel_is_no_segment() -> None:
    # A segment, a weak thing, one that wins nowhere, one that keeps 1 of 3 pixels.
    scores, labels = torch.tensor([0.9, 0.2, 0.4, 0.5]), torch.tensor([0, 1, 2, 3])
    maps = torch.tensor(
        [
            [[0.9, 0.9, 0.0, 0.0]],
            [[0.0, 0.0, 0.0, 0.8]],
            [[0.1, 0.1, 0.1, 0.1]],
            [[0.6, 0.6, 0.6, 0.1]],
        ]
    )
    found = merge_panoptic(scores, labels, [(0, maps)], 2, 4)
    assert found.removed == ('', 'low score', 'no pixel', 'overlapped')
    assert found.winner.tolist() == [[0, 0, 3, 1]]
    assert found.won.tolist() == [2, 1, 0, 1]
    assert found.area.tolist() == [2, 1, 0, 3]
    assert found.ids.tolist() == [[0, 0, 4, 4]]


def test_inputs_are_left_alone() -> None:
    maps, scores = torch.rand(3, 2, 3), torch.rand(3)
    before = maps.clone(), scores.clone()
    merge_panoptic(scores, torch.tensor([0, 1, 2]), [(0, maps)], 2, 4)
    assert_close((maps, scores), before)

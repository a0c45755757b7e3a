"""Masks as run lengths."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from paperzoo.utils.masks import encode, is_whole


def test_what_cocos_tools_encode_is_whole() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        height, width = random.integers(1, 60, 2)
        mask = random.random((height, width)) < random.random()
        runs = encode(mask)
        assert is_whole(runs)
        assert is_whole({**runs, 'counts': runs['counts'].encode()})
        assert not is_whole({**runs, 'size': [int(height) + 1, int(width)]})


def test_a_large_mask_is_whole() -> None:
    mask = np.zeros((3000, 4000), bool)
    mask[1500:, 2000:] = True
    assert is_whole(encode(mask))


def test_any_text_is_whole_only_where_all_pixels_are_covered() -> None:
    random = np.random.default_rng(1)
    whole = 0
    for _ in range(20_000):
        letters = random.integers(48, 56, random.integers(1, 5))
        runs = {'size': [2, 3], 'counts': ''.join(map(chr, letters))}
        if is_whole(runs):
            whole += 1
            found = coco_mask.decode(runs)
            # Encoded again it is the same mask, and twice the same: no noise.
            assert np.array_equal(coco_mask.decode(encode(found)), found)
            assert np.array_equal(coco_mask.decode(runs), found)
    assert 100 < whole < 10_000


@pytest.mark.parametrize(
    'mask',
    [
        None,
        [[1, 2, 3, 4, 5, 6]],
        {'size': [2, 2]},
        {'size': [2], 'counts': [4]},
        {'size': [2, 2.0], 'counts': [4]},
        {'size': [2, 2], 'counts': '2'},
        {'size': [2, 2], 'counts': 'zzzz'},
        {'size': [2, 2], 'counts': '\x00\n'},
        {'size': [2, 2], 'counts': 'Ã©'},
        {'size': [2, 2], 'counts': 'o' * 100_000},
        {'size': [2, 2], 'counts': [1, 2, 3]},
        {'size': [2, 2], 'counts': [-1, 5]},
        {'size': [2, 2], 'counts': ['4']},
        {'size': [2, 2], 'counts': [True, 3]},
        {'size': [2, 2], 'counts': [2**32, 4 - 2**32]},
    ],
)
def test_anything_else_is_not_whole(mask: object) -> None:
    assert not is_whole(mask)

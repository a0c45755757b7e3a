from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from paperzoo.compat.ops import rois


def image_of(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def joined(image: Tensor) -> Tensor:
    # Copied at once: a table is valid until the next one.
    tables = [(block, table.clone()) for block, table in rois.tables(image)]
    whole = torch.full((rois.pixels_of(image.shape), image.size(1)), float('nan'))
    for block, table in tables:
        whole[:, block] = table
    return whole


@pytest.mark.parametrize('channels', [1, 31, 32, 33, 70])
@pytest.mark.parametrize('block', [1, 1 << 22])
def test_tables_hold_each_pixel_in_a_row(channels, block):
    image = image_of(2, channels, 3, 5)
    with patch.object(rois, '_BLOCK', block):
        assert len(list(rois.tables(image))) == (
            -(-channels // 32) if block == 1 else 1
        )
        whole = joined(image)
    for pixel, row in enumerate(whole):
        n, y, x = pixel // 15, pixel % 15 // 5, pixel % 5
        torch.testing.assert_close(row, image[n, :, y, x], rtol=0, atol=0)


def test_a_channels_last_image_is_not_copied():
    image = image_of(2, 70, 3, 5).to(memory_format=torch.channels_last)
    with patch.object(rois, '_BLOCK', 1):
        ((_, table),) = rois.tables(image)
    assert table.data_ptr() == image.data_ptr()
    torch.testing.assert_close(table, joined(image.contiguous()), rtol=0, atol=0)


@pytest.mark.parametrize('pixels', [1, 1000, 1 << 17])
def test_blocks_of_channels_are_whole_vectors(pixels):
    blocks = list(rois.channel_blocks(torch.Size((1, 256, 1, pixels))))
    assert [block.start for block in blocks[1:]] == [b.stop for b in blocks[:-1]]
    assert all((block.stop - block.start) % 32 == 0 for block in blocks)
    largest = max(block.stop - block.start for block in blocks)
    assert largest == 32 or largest * pixels <= rois._BLOCK or len(blocks) == 1

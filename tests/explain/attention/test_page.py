"""The page of attention layers: shares of whom a place looks at."""

from typing import Any

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from torch import Tensor, nn
from torch.testing import assert_close

from paperzoo.attention import LocalSelfAttention2d, MultiHeadSelfAttention
from paperzoo.explain import page_of, sections
from paperzoo.explain.attention.page import _spread
from paperzoo.explain.attention.trace import attention_views
from paperzoo.explain.html.report import HeatMap, Row
from paperzoo.explain.sample import Sample


class Model(nn.Module):
    """A local attention over the image, and a global one over its rows."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.local = LocalSelfAttention2d(3, 4, 3, padding=1, num_heads=2)
        self.whole = MultiHeadSelfAttention(4, 2)

    def forward(self, inputs: Tensor, data_samples: Any, mode: str) -> Tensor:
        assert mode == 'tensor'
        return self.whole(self.local(inputs).mean(dim=-1).transpose(1, 2))


@pytest.fixture
def sample() -> Sample:
    image = np.full((6, 7, 3), 50, np.uint8)
    inputs = torch.randn(1, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    return Sample(image, inputs, DetDataSample(), ('a',), 'a.png')


def test_the_maps_are_the_layers_weights(sample: Sample) -> None:
    model = Model().eval()
    local, whole = sections(model, sample)
    assert 'local, call 1' in local.title
    assert 'whole, call 1' in whole.title
    run = lambda: model(sample.inputs, None, 'tensor')
    seen, everything = attention_views(model, run)
    (slider,) = local.figures
    assert len(slider.frames) == 9
    for label, frame in zip(slider.labels, slider.frames, strict=True):
        place = tuple(int(word.split()[1]) for word in label.split(', '))
        assert isinstance(frame, Row)
        shares = np.nan_to_num(np.stack([one.values for one in frame.figures]))
        assert shares.shape == (4, 6, 8)
        assert_close(torch.from_numpy(shares[::2]), seen.attended(0, place))
        assert_close(torch.from_numpy(shares[1::2]), seen.everywhere(0, place))
        assert frame.figures[0].over.shape == (6, 8, 3)
    (slider,) = whole.figures
    for label, frame in zip(slider.labels, slider.frames, strict=True):
        assert isinstance(frame, HeatMap)
        token = int(label.split()[1])
        assert_close(torch.from_numpy(frame.values), everything.attended(0, token))
        np.testing.assert_allclose(frame.values.sum(axis=1), 1, atol=1e-5)


def test_attention_is_a_page_of_its_own_where_there_is_no_other() -> None:
    assert page_of(Model()) == 'paperzoo.explain.attention.page'


@pytest.mark.parametrize('count', [1, 2, 5, 100])
def test_places_lie_inside_and_are_different(count: int) -> None:
    places = _spread(count)
    assert 0 <= places[0] <= places[-1] < count
    assert len(set(places)) == len(places) == min(count, 3)

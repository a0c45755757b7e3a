"""The fused pyramid: sizes, options, coordinates."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from paperzoo.errors import UserError
from paperzoo.knet import SemanticFPNWrapper
from paperzoo.knet.semantic_fpn import coordinates

SMALL: dict[str, Any] = {
    'in_channels': 8,
    'feat_channels': 12,
    'out_channels': 16,
    'norm_cfg': {'type': 'GN', 'num_groups': 4},
    'positional_encoding': None,
    'num_aux_convs': 0,
}


def wrapper(**options: Any) -> SemanticFPNWrapper:
    torch.manual_seed(0)
    module = SemanticFPNWrapper(**(SMALL | options))
    module.init_weights()
    return module


def levels() -> list[Tensor]:
    torch.manual_seed(1)
    return [torch.randn(2, 8, 32 // 2**level, 48 // 2**level) for level in range(4)]


@pytest.mark.parametrize(
    ('times', 'size'), [(0, (4, 6)), (1, (8, 12)), (2, (16, 24)), (3, (32, 48))]
)
def test_the_number_of_doublings_sets_the_size(
    times: int, size: tuple[int, int]
) -> None:
    assert wrapper(upsample_times=times)(levels()).shape == (2, 16, *size)


@pytest.mark.parametrize(
    ('options', 'channels'),
    [
        ({'fuse_by_cat': True}, [16]),
        ({'num_aux_convs': 2}, [16, 16, 16]),
        ({'return_list': True}, [16]),
        ({'with_pred': False}, [12]),
        ({'with_pred': False, 'fuse_by_cat': True, 'num_aux_convs': 1}, [48, 16]),
        ({'cat_coors': True}, [16]),
        ({'start_level': 1}, [16]),
        ({'end_level': 2, 'upsample_times': 1}, [16]),
    ],
    ids=str,
)
def test_options(options: dict[str, Any], channels: list[int]) -> None:
    found = wrapper(**options)(levels())
    assert isinstance(found, list) == (len(channels) > 1 or 'return_list' in options)
    found = found if isinstance(found, list) else [found]
    assert [tuple(result.shape) for result in found] == [
        (2, number, 16, 24) for number in channels
    ]


def test_a_level_that_is_not_used_has_no_influence() -> None:
    module, x = wrapper(start_level=1), levels()
    expected = module(x)
    assert_close(module([torch.full_like(x[0], torch.nan), *x[1:]]), expected)


def test_coordinates_by_hand() -> None:
    found = coordinates(torch.zeros(2, 7, 2, 3))
    x = torch.tensor([[-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0]])
    y = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
    assert_close(found, torch.stack([x, y]).expand(2, 2, 2, 3))


def test_the_encoding_is_added_to_the_coarsest_level() -> None:
    encoding = {'type': 'mmdet.SinePositionalEncoding', 'num_feats': 4}
    module, x = wrapper(positional_encoding=encoding), levels()
    assert module.positional_encoding is not None
    added = module.positional_encoding(torch.zeros(1, 4, 6, dtype=torch.bool))
    assert_close(module(x), wrapper()([*x[:3], x[3] + added]))


@pytest.mark.parametrize('weight', [0.0, 1.0])
def test_coordinates_are_two_more_channels_of_the_coarsest_level(weight: float) -> None:
    module, plain, x = wrapper(cat_coors=True), wrapper(), levels()
    first = module.convs_all_levels[3][0].conv.weight
    state = plain.state_dict()
    key = 'convs_all_levels.3.conv0.conv.weight'
    more = torch.full_like(first[:, 8:], weight)
    module.load_state_dict(state | {key: torch.cat([state[key], more], dim=1)})
    same = torch.equal(module(x), plain(x))
    assert same == (weight == 0)


def test_initial_weights_are_small() -> None:
    weight = wrapper().convs_all_levels[3][0].conv.weight
    assert 0.007 < weight.std() < 0.013


def test_an_impossible_size_is_named() -> None:
    with pytest.raises(UserError, match='upsample_times=4'):
        wrapper(upsample_times=4)

"""Towers of mixed layers: what they are made of, and that they learn."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.registry import MODELS
from project_tools import assert_learns_and_predicts, load, run_projects
from torch.testing import assert_close

from paperzoo.errors import UserError
from projects.local_attention_tower.head import MixedTowerFCOSHead
from projects.local_attention_tower.peak_memory import PeakMemoryHook

ATTENTION = run_projects.ATTENTION
BASE: dict[str, Any] = {
    'num_classes': 3,
    'in_channels': 8,
    'feat_channels': 16,
    'strides': [8],
    'regress_ranges': ((-1, 1e8),),
    'norm_cfg': {'type': 'GN', 'num_groups': 4},
}


def kinds(head: Any) -> list[list[str]]:
    towers = (head.cls_convs, head.reg_convs)
    return [[type(layer.conv).__name__ for layer in tower] for tower in towers]


def test_convolutions_alone_are_the_plain_head() -> None:
    plain = MODELS.build({'type': 'paperzoo.FCOSHead', **BASE, 'stacked_convs': 2})
    ours = MODELS.build(
        {'type': 'MixedTowerFCOSHead', **BASE, 'conv_cfgs': [None, None]}
    )
    assert type(ours) is MixedTowerFCOSHead
    ours.load_state_dict(plain.state_dict())
    torch.manual_seed(0)
    x = [torch.randn(1, 8, 5, 6)]
    assert_close(ours(x), plain(x))


def test_attention_everywhere_is_conv_cfg() -> None:
    """Where all layers are of a kind, `conv_cfg` of the plain head is enough."""
    plain = MODELS.build(
        {
            'type': 'paperzoo.FCOSHead',
            **BASE,
            'stacked_convs': 2,
            'conv_cfg': ATTENTION,
        }
    )
    ours = MODELS.build(
        {'type': 'MixedTowerFCOSHead', **BASE, 'conv_cfgs': [ATTENTION] * 2}
    )
    assert kinds(ours) == kinds(plain) == [['LocalSelfAttention2d'] * 2] * 2
    ours.load_state_dict(plain.state_dict())
    torch.manual_seed(0)
    x = [torch.randn(1, 8, 5, 6)]
    assert_close(ours(x), plain(x))


@pytest.mark.parametrize(
    'wrong', [{'conv_cfg': ATTENTION}, {'dcn_on_last_conv': True}, {'stacked_convs': 3}]
)
def test_arguments_that_do_not_go_together(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        MixedTowerFCOSHead(**BASE, conv_cfgs=[None, ATTENTION], **wrong)


@pytest.mark.parametrize('data', ['shapes', 'bccd'])
@pytest.mark.parametrize('variant', run_projects.PROJECTS['local_attention_tower'])
def test_variants(data: str, variant: str) -> None:
    config, train, _ = run_projects.PROJECTS['local_attention_tower'][variant]
    cfg = load(config.format(data=data))
    cfg.merge_from_dict(train)
    model = assert_learns_and_predicts(cfg)
    convolution, attention = 'Conv2d', 'LocalSelfAttention2d'
    expected = {
        'convolution': [convolution, convolution],
        'local attention': [attention, attention],
        'convolution, then attention': [convolution, attention],
    }
    assert kinds(model.bbox_head) == [expected[variant]] * 2


def test_peak_memory_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        'projects.local_attention_tower.peak_memory.get_device', lambda: 'cpu'
    )
    PeakMemoryHook().after_train(SimpleNamespace(work_dir=str(tmp_path)))
    record = json.loads((tmp_path / 'peak_memory.json').read_text())
    # An imported torch alone has more than 50 MiB.
    assert 50 < record['train_peak_mib'] < 100_000

"""Remedies for stock configs of mmdet: what ails without them, and what works with."""

import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any
from unittest.mock import patch

import pytest
import torch
from mmengine.config import Config

import paperzoo.compat  # noqa: F401
from paperzoo.compat import (
    glip_attention,
    ssd_head,
    torchvision_rois,
    transformers_names,
)

mmcv_ops = import_module('mmcv.ops')


def test_ssd_head_lacks_the_attribute_without_the_remedy() -> None:
    code = (
        'from paperzoo.compat import mmcv_ext\n'
        'from paperzoo.utils import when_imported\n'
        'when_imported._LATER.clear()\n'
        'from mmdet.models import SSDHead\n'
        'print(hasattr(SSDHead, "loss_cls"))'
    )
    command = [sys.executable, '-W', 'ignore', '-c', code]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.stdout.strip() == 'False', run.stderr


def test_ssd_head_predicts() -> None:
    head = import_module('mmdet.models').SSDHead
    assert head.loss_cls is None
    ssd_head.apply()  # again
    anchors = {
        'type': 'SSDAnchorGenerator',
        'scale_major': False,
        'strides': [8, 16, 32, 64, 100, 300],
        'ratios': ([2], [2, 3], [2, 3], [2, 3], [2], [2]),
        'basesize_ratio_range': (0.15, 0.9),
    }
    made = head(num_classes=3, in_channels=(4,) * 6, anchor_generator=anchors)
    nms = {'type': 'nms', 'iou_threshold': 0.5}
    made.test_cfg = Config({'nms': nms, 'score_thr': 0.1, 'max_per_img': 5})
    maps = [torch.randn(1, 4, size, size) for size in (9, 5, 3, 2, 2, 1)]
    meta = {'img_shape': (300, 300), 'scale_factor': (1.0, 1.0)}
    (found,) = made.predict_by_feat(*made(maps), batch_img_metas=[meta])
    assert len(found) > 0


def test_names_that_transformers_moved_are_found_where_they_were(
    monkeypatch,
) -> None:
    old = ModuleType('transformers.modeling_utils')
    homes: dict[str, ModuleType] = {}
    for name, home in transformers_names._MOVED.items():
        setattr(homes.setdefault(home, ModuleType(home)), name, len)
    setattr(old, 'prune_linear_layer', max)  # noqa: B010  (what is there stays)
    monkeypatch.setattr(transformers_names, 'import_module', homes.__getitem__)
    transformers_names._mend(old)
    found = {name: getattr(old, name) for name in transformers_names._MOVED}
    assert found.pop('prune_linear_layer') is max
    assert set(found.values()) == {len}
    with pytest.raises(AttributeError, match='has no attribute'):
        old.nothing  # noqa: B018


def test_glip_attends_with_a_forward_of_its_own() -> None:
    class Parent(torch.nn.Module):
        def forward(self, *args: Any, **kwargs: Any) -> None:
            self.self(*args, past_key_values=None, **kwargs)

    class Attention(Parent):
        def self(
            self,
            hidden: Any,
            mask: Any,
            heads: Any,
            past_key_value: Any = None,
            output_attentions: bool = False,
        ) -> Any:
            return 2 * hidden + mask, *(['weights'] if output_attentions else [])

        def output(self, found: Any, hidden: Any) -> Any:
            return found - hidden

    words, mask = torch.rand(1, 3, 4), torch.rand(1, 3, 1)
    with pytest.raises(TypeError, match='past_key_values'):
        Attention()(words, mask, None, output_attentions=True)
    module = ModuleType('vlfuse_helper')
    vars(module)['BertAttention'] = Attention
    for _ in range(2):  # once is enough
        glip_attention._mend(module)
    found, weights = Attention()(
        words, mask, None, output_attentions=True, past_key_value=None
    )
    torch.testing.assert_close(found, words + mask)
    assert weights == 'weights'


def test_a_meshgrid_without_its_argument_says_nothing() -> None:
    code = 'import torch; {}torch.meshgrid(torch.ones(2), torch.ones(2))'
    said = []
    for begin in ('', 'import paperzoo.compat; '):
        command = [sys.executable, '-c', code.format(begin)]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        said.append('indexing argument' in run.stderr)
    assert said == [True, False]


@pytest.mark.parametrize('there', [False, True])
def test_rois_are_pooled_without_torchvision(there: bool) -> None:
    image = torch.randn(1, 2, 6, 6)
    rois = torch.tensor([[0.0, 1, 1, 4, 5]])
    layer = mmcv_ops.RoIAlign((2, 2), 1.0, -1, aligned=True, use_torchvision=True)
    wanted = mmcv_ops.roi_align(image, rois, (2, 2), 1.0, 0, 'avg', True)
    with patch.object(torchvision_rois, 'has_torchvision', lambda: there):
        if there and not find_spec('torchvision'):
            with pytest.raises(ModuleNotFoundError, match='torchvision'):
                layer(image, rois)  # what ails without the remedy
            return
        torch.testing.assert_close(layer(image, rois), wanted)
    pool = mmcv_ops.RoIPool((2, 2), 1.0)
    torch.testing.assert_close(
        pool(image, rois), mmcv_ops.roi_pool(image, rois, (2, 2))
    )

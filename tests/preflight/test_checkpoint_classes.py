"""A test, and what is drawn, stop where labels would mean other classes."""

from pathlib import Path
from typing import Any

import pytest
import torch

from paperzoo.apis.config import class_names, load_config
from paperzoo.apis.testing import evaluate_checkpoint
from paperzoo.errors import UserError
from paperzoo.preflight.checkpoint_classes import compare_classes


def checkpoint(tmp_path: Path, classes: tuple[str, ...]) -> tuple[Any, str]:
    """Return a config of two test images, and weights that were trained on classes."""
    cfg = load_config('fcos_tiny_shapes', work_dir=tmp_path / 'work')
    cfg.test_dataloader.dataset.indices = 2
    cfg.log_level = 'WARNING'
    from mmengine.registry import init_default_scope

    from paperzoo.registry import MODELS

    init_default_scope('mmdet')
    state = MODELS.build(cfg.model).state_dict()
    file = str(tmp_path / 'a.pth')
    meta = {'dataset_meta': {'classes': classes}}
    torch.save({'state_dict': state, 'meta': meta}, file)
    return cfg, file


NAMES = ('circle', 'rectangle', 'triangle', 'star', 'cross', 'ring', 'frame')


def test_a_test_of_the_same_classes(tmp_path: Path) -> None:
    cfg, file = checkpoint(tmp_path, NAMES)
    metrics, _ = evaluate_checkpoint(cfg, file)
    assert 'coco/bbox_mAP' in metrics


@pytest.mark.parametrize(
    ('names', 'why'),
    [
        (NAMES[::-1], r"another order: label 0 is 'frame' in the checkpoint, but 'cir"),
        (NAMES[:5], r'trained on 5 classes \(circle, .*\), the data has 7'),
    ],
)
def test_a_test_of_other_classes_stops(
    names: tuple[str, ...], why: str, tmp_path: Path
) -> None:
    cfg, file = checkpoint(tmp_path, names)
    with pytest.raises(UserError, match=why):
        evaluate_checkpoint(cfg, file)


def test_a_renamed_class_is_a_warning() -> None:
    assert compare_classes(['a', 'b'], ['a', 'c']) == (
        "label 1 is 'b' in the checkpoint, but 'c' in the data"
    )
    assert compare_classes([], ['a']) is None
    assert compare_classes(['a'], ['a']) is None


def test_names_that_no_head_counts() -> None:
    cfg = load_config('fcos_tiny_shapes')
    assert class_names(cfg, {}) == NAMES
    with pytest.raises(
        UserError, match=r'num_classes = 7, but there are 3 class names'
    ):
        class_names(cfg, {'CLASSES': NAMES[:3]})
    # Things are boxes, all classes are segments: one of both must fit.
    cfg = load_config('panoptic-fpn_r50_fpn_1x_coco')
    assert len(class_names(cfg, {})) == 133


@pytest.mark.parametrize('content', [None, [torch.ones(1)], torch.ones(1)], ids=str)
def test_a_checkpoint_without_weights_has_no_classes(
    tmp_path: Path, content: Any
) -> None:
    cfg, file = checkpoint(tmp_path, ())
    torch.save(content, file)
    with pytest.raises(UserError, match='holds no weights'):
        evaluate_checkpoint(cfg, file)

"""Every config loads, dumps, builds, learns and predicts, also without objects."""

import ast
from pathlib import Path

import pytest
import torch
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.registry import init_default_scope
from small_models import images, samples, side, small_model

from paperzoo.apis.config import config_folders
from paperzoo.registry import (
    DATASETS,
    HOOKS,
    METRICS,
    MODELS,
    PARAM_SCHEDULERS,
    TASK_UTILS,
)

FOLDER = config_folders()[0]
CONFIGS = sorted(path for path in FOLDER.rglob('*.py') if '_base_' not in path.parts)
FCOS = [path for path in CONFIGS if path.stem.startswith('fcos_')]
# Those of few-shot classification take episodes (test_few_shot_configs.py), those
# of attention sequences (tests/attention/test_tasks.py).
UNLIKE = {'attention', 'can', 'dmf', 'feat'}
ANNOTATED = [
    path
    for path in CONFIGS
    if not {'can', 'dmf', 'feat', 'attention'}
    & {*path.parts, path.stem.partition('_')[0]}
]
by_name = pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
by_annotated_name = pytest.mark.parametrize(
    'path', ANNOTATED, ids=lambda path: path.stem
)
by_fcos_name = pytest.mark.parametrize('path', FCOS, ids=lambda path: path.stem)


def load(path: Path) -> Config:
    cfg = Config.fromfile(str(path))
    init_default_scope(cfg.default_scope)
    return cfg


def test_basenames_are_unique() -> None:
    """Configs, and what they are based on, are found by their basename."""
    names = [path.name for path in FOLDER.rglob('*.py') if path.name != '__init__.py']
    assert len(names) == len(set(names))
    assert all('-' not in name for name in names)


@by_name
def test_loads_dumps_and_reloads(path: Path, tmp_path: Path) -> None:
    cfg = load(path)
    cfg.dump(str(tmp_path / 'dumped.py'))
    again = Config.fromfile(str(tmp_path / 'dumped.py'))
    again.dump(str(tmp_path / 'again.py'))
    dumped, twice = (tmp_path / f'{name}.py' for name in ('dumped', 'again'))
    assert dumped.read_text() == twice.read_text()
    assert MODELS.get(again.model.type) is cfg.model.type
    assert again.train_dataloader.batch_size == cfg.train_dataloader.batch_size


@by_name
def test_has_a_lab_header(path: Path) -> None:
    header = ast.get_docstring(ast.parse(path.read_text()))
    assert header
    for word in ('Paper: ', 'Expect: ', 'Run: '):
        assert f'\n{word}' in header
    assert path.name in header


@by_annotated_name
def test_every_parameter_learns(path: Path) -> None:
    cfg = load(path)
    model = small_model(cfg)
    model.train()
    losses = model.loss(images(cfg, 2), samples(cfg, 2, 4))
    total, _ = model.parse_losses(losses)
    total.backward()
    without = [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and parameter.grad is None
    ]
    assert not without


@by_annotated_name
def test_an_image_without_objects_is_no_special_case(path: Path) -> None:
    cfg = load(path)
    model = small_model(cfg)
    model.train()
    losses = model.loss(images(cfg, 2), samples(cfg, 2, 0))
    total, values = model.parse_losses(losses)
    total.backward()
    assert torch.isfinite(total)
    of_objects = ('loss_bbox', 'loss_centerness', '_mask', '_dice', '_rank', 'loss_ce')
    for key, value in values.items():
        if any(word in key for word in of_objects):
            assert value == 0, key
    assert all(
        parameter.grad is not None
        for parameter in model.parameters()
        if parameter.requires_grad
    )
    with torch.no_grad():
        model.eval().predict(images(cfg, 1), samples(cfg, 1, 0))


@by_fcos_name
def test_predicts_boxes_inside_the_image(path: Path) -> None:
    cfg = load(path)
    cfg.model.test_cfg.score_thr = 0.0
    model = small_model(cfg)
    model.eval()
    with torch.no_grad():
        (found,) = model.predict(images(cfg, 1), samples(cfg, 1, 0))
    boxes = found.pred_instances.bboxes
    assert 0 < len(boxes) <= 100
    assert boxes.min() >= 0
    assert boxes.max() <= side(cfg)
    assert found.pred_instances.labels.max() < cfg.model.bbox_head.num_classes


@pytest.mark.parametrize('scope', ['mmdet', 'mmseg', 'mmengine'])
def test_string_names_are_found_from_any_scope(scope: str) -> None:
    register_all_modules(init_default_scope=False)
    init_default_scope(scope)
    from mmengine.registry import DATASETS as ALL_DATASETS
    from mmengine.registry import MODELS as ALL_MODELS
    from mmengine.registry import TASK_UTILS as ALL_TASK_UTILS

    for name in (
        'CenternessLoss',
        'DiceLoss',
        'FCOSHead',
        'FocalLoss',
        'GIoULoss',
        'IoULoss',
        'KNet',
        'KNetKernelInitHead',
        'KNetKernelUpdateHead',
        'KNetSemanticHead',
        'KernelUpdater',
        'SemanticFPNWrapper',
        'SequenceTagger',
        'SequenceTranslator',
        'SetClassifier',
    ):
        found = ALL_MODELS.get(f'paperzoo.{name}')
        assert found is MODELS.get(name)
        assert found.__module__.startswith('paperzoo.')
    for name in (
        'ADE20KDataset',
        'CamVidDataset',
        'CocoDataset',
        'CocoPanopticDataset',
        'EpisodeDataset',
        'LookUpDataset',
        'RunLengthDataset',
        'SeenBeforeDataset',
        'SemanticDataset',
        'ShapesDataset',
        'ShapesPanopticDataset',
        'ShapesSemanticDataset',
    ):
        found = ALL_DATASETS.get(f'paperzoo.{name}')
        assert found is DATASETS.get(name)
        assert found.__module__.startswith('paperzoo.')
    for name in ('FCOSRangeAssigner', 'MaskHungarianAssigner', 'MaskCost'):
        found = ALL_TASK_UTILS.get(f'paperzoo.{name}')
        assert found is TASK_UTILS.get(name)
        assert found.__module__.startswith('paperzoo.')
    assert METRICS.get('paperzoo.PanopticQuality')
    assert METRICS.get('paperzoo.FastCocoMetric')
    assert METRICS.get('paperzoo.FewShotAccuracy')
    assert METRICS.get('paperzoo.SequenceAccuracy')
    assert HOOKS.get('paperzoo.PicturePageHook')
    assert HOOKS.get('paperzoo.ExplainHook')
    assert PARAM_SCHEDULERS.get('paperzoo.InverseSqrtLR')


def test_text_config_inherits_a_printed_one(tmp_path: Path) -> None:
    load(FOLDER / 'fcos_r50_fpn.py').dump(str(tmp_path / 'base.py'))
    child = tmp_path / 'child.py'
    child.write_text(
        "_base_ = ['base.py']\n"
        'model = dict(backbone=dict(init_cfg=None), bbox_head=dict(num_classes=3))\n'
    )
    cfg = load(child)
    assert cfg.model.bbox_head.num_classes == 3
    assert small_model(cfg).bbox_head.num_classes == 3


@pytest.mark.wheel
def test_python_config_inherits_from_the_installed_package(tmp_path: Path) -> None:
    child = tmp_path / 'child.py'
    child.write_text(
        'from mmengine.config import read_base\n'
        'with read_base():\n'
        '    from paperzoo.configs.fcos.fcos_tiny_shapes import *\n'
        "model['bbox_head'].update(num_classes=5)\n"
    )
    assert load(child).model.bbox_head.num_classes == 5

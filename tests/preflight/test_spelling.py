"""A misspelt name is answered by the nearest right one; correct configs by nothing."""

from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

from paperzoo.apis.config import config_folders, find_config
from paperzoo.errors import UserError
from paperzoo.fcos import FCOSHead
from paperzoo.preflight.spelling import check_config, misspelt, nearest

MMDET = 'fcos_r50-caffe_fpn_gn-head_1x_coco'
MMSEG = 'knet-s3_r50-d8_fcn_8xb2-adamw-80k_ade20k-512x512'
OURS = 'fcos_tiny_shapes'
# mmdet ships these with a name that its own classes do not take.
BROKEN = (
    'bytetrack_yolox_x_8xb4-80e_crowdhuman-mot20',
    'cascade-rpn_',
    'voc0712-cocofmt',
    'solov2-light_',
    'v3det',
    'deepsort_',
    'reid_r50_',
    'strongsort_',
)
SHIPPED = [
    file
    for folder in config_folders()
    for file in sorted(folder.rglob('*.py'))
    if '_base_' not in file.parts and not any(name in str(file) for name in BROKEN)
]


def texts(cfg: Config) -> list[str]:
    return [issue.text for issue in misspelt(cfg)]


def load(name: str, **options: Any) -> Config:
    cfg = Config.fromfile(str(find_config(name)))
    cfg.merge_from_dict({key.replace('__', '.'): x for key, x in options.items()})
    return cfg


@pytest.mark.parametrize(
    ('config', 'key', 'value', 'answer'),
    [
        (MMDET, 'model.type', 'FCOSS', 'FCOS'),
        (MMDET, 'model.bbox_head.loss_bbox.type', 'IoULos', 'IoULoss'),
        (MMDET, 'model.bbox_head.type', 'paperzoo.FCOSHed', 'paperzoo.FCOSHead'),
        (MMDET, 'model.backbone.type', 'mmdet.ResNett', 'ResNet'),
        (MMDET, 'train_dataloader.dataset.type', 'CocoDatset', 'CocoDataset'),
        (MMDET, 'train_dataloader.sampler.type', 'DefaultSmapler', 'DefaultSampler'),
        (MMDET, 'train_dataloader.dataset.pipeline.2.type', 'Rezise', 'Resize'),
        (MMDET, 'optim_wrapper.optimizer.type', 'AdmW', 'AdamW'),
        (MMDET, 'optim_wrapper.type', 'OptimWraper', 'OptimWrapper'),
        (MMDET, 'param_scheduler.1.type', 'MultistepLr', 'MultiStepLR'),
        (MMDET, 'val_evaluator.type', 'CocoMetrics', 'CocoMetric'),
        (MMDET, 'default_hooks.logger.type', 'LogerHook', 'LoggerHook'),
        (MMDET, 'visualizer.vis_backends.0.type', 'WanbVisBackend', 'WandbVisBackend'),
        (MMDET, 'train_cfg.type', 'EpochTrainLoop', 'EpochBasedTrainLoop'),
        (MMSEG, 'model.decode_head.type', 'IterativeDecodHead', 'IterativeDecodeHead'),
        (MMSEG, 'train_dataloader.dataset.type', 'ADE20kDataset', 'ADE20KDataset'),
        (OURS, 'model.bbox_head.assigner.type', 'FCOSRangeAsigner', None),
        (OURS, 'val_evaluator.type', 'FastCocoMetrik', 'paperzoo.FastCocoMetric'),
    ],
)
def test_type(config: str, key: str, value: str, answer: str | None) -> None:
    cfg = load(config)
    cfg.merge_from_dict({key: value})
    messages = texts(cfg)
    mine = [text for text in messages if text.startswith(f"{key} = '{value}'")]
    assert len(mine) == 1
    near = mine[0].partition('Did you mean ')[2].partition('?')[0].split(' or ')
    assert (answer or 'paperzoo.FCOSRangeAssigner') in near
    assert cfg.filename in mine[0]


@pytest.mark.parametrize(
    ('config', 'key', 'owner', 'answer'),
    [
        (MMDET, 'model.bbox_head.strids', 'FCOSHead', 'strides'),
        (MMDET, 'model.bbox_head.loss_cls.gama', 'FocalLoss', 'gamma'),
        (MMDET, 'train_dataloader.dataset.pipeline.2.keep_raito', 'Resize', None),
        (MMDET, 'train_dataloader.batchsize', 'DataLoader', 'batch_size'),
        (MMDET, 'train_dataloader.sampler.shufle', 'DefaultSampler', 'shuffle'),
        (MMDET, 'optim_wrapper.optimizer.momentun', 'SGD', 'momentum'),
        (MMDET, 'optim_wrapper.clip_grads', 'OptimWrapper', 'clip_grad'),
        (MMDET, 'param_scheduler.1.gama', 'MultiStepLR', 'gamma'),
        (MMDET, 'val_evaluator.ann_files', 'CocoMetric', 'ann_file'),
        (MMDET, 'train_cfg.max_epoch', 'EpochBasedTrainLoop', 'max_epochs'),
        (OURS, 'model.bbox_head.num_class', 'FCOSHead', 'num_classes'),
        (OURS, 'custom_hooks.0.formats', 'ChannelsLastHook', ''),
    ],
)
def test_argument(config: str, key: str, owner: str, answer: str | None) -> None:
    if owner == 'FCOSHead' and hasattr(FCOSHead.__init__, '__wrapped__'):
        pytest.skip('the check of shapes wraps the constructors')
    cfg = load(config)
    if key.startswith('train_cfg'):
        cfg.train_cfg.pop('max_epochs', None)
        cfg.train_cfg.type = 'EpochBasedTrainLoop'
    cfg.merge_from_dict({key: 1})
    (message,) = texts(cfg)
    name = key.rpartition('.')[2]
    assert message.startswith(f"{key}: {owner} takes no argument '{name}'")
    if answer != '':
        assert f'Did you mean {answer or "keep_ratio"}' in message


def test_argument_left_over_from_the_base(tmp_path: Path) -> None:
    file = tmp_path / 'mine.py'
    file.write_text(
        f"_base_ = 'mmdet::fcos/{MMDET}.py'\n"
        "model = dict(bbox_head=dict(loss_cls=dict(type='L1Loss')))\n"
    )
    messages = texts(Config.fromfile(str(file)))
    assert [text.partition(':')[0] for text in messages] == [
        'model.bbox_head.loss_cls.gamma',
        'model.bbox_head.loss_cls.alpha',
    ]
    assert '_delete_=True' in messages[0]
    # The line of the base that gave the argument.
    base = find_config(MMDET)
    number = next(
        n for n, row in enumerate(base.read_text().split('\n'), 1) if 'gamma' in row
    )
    assert f'{base}:{number}'.endswith(messages[0].split('\n')[1].split('/')[-1])


def test_the_line_of_a_text_config(tmp_path: Path) -> None:
    file = tmp_path / 'mine.py'
    file.write_text(
        f"_base_ = ['mmdet::fcos/{MMDET}.py']\n"
        '# paperzoo.FCOSHed in a comment\nmodel = dict(\n'
        "    bbox_head=dict(type='paperzoo.FCOSHed'))\n"
    )
    with pytest.raises(UserError, match=r'paperzoo\.FCOSHead') as caught:
        check_config(Config.fromfile(str(file)), '(the way out)')
    assert f'{file}:4' in str(caught.value)
    assert str(caught.value).endswith('(the way out)')


def test_an_import_of_a_pure_python_config(tmp_path: Path) -> None:
    file = tmp_path / 'pure.py'
    file.write_text(
        'from mmdet.models import FCOS\nfrom paperzoo.fcos import FCOSHed\n\n'
        'model = dict(type=FCOS, bbox_head=dict(type=FCOSHed))\n'
    )
    (message,) = texts(Config.fromfile(str(file)))
    assert message.startswith("model.bbox_head.type: paperzoo.fcos has no 'FCOSHed'")
    assert 'Did you mean FCOSHead' in message
    assert f'{file}:2' in message


def test_package_that_is_not_installed() -> None:
    (message,) = texts(load(MMDET, model__neck__type='nowhere_zoo.FPN'))
    assert 'Did you mean FPN' in message
    assert "'nowhere_zoo' is not installed" in message


def test_what_only_a_class_understands_is_left_alone() -> None:
    cfg = load(MMDET, model__test_cfg__nms__type='soft_nmss')
    # An argument that the head takes out of the dict before it builds the loss.
    assert texts(load('detr_r50_8xb2-150e_coco')) == []
    assert texts(cfg) == []


@pytest.mark.parametrize('file', SHIPPED[7::47], ids=lambda file: file.stem)
def test_no_false_alarm(file: Path) -> None:
    try:
        cfg = Config.fromfile(str(file))
    except (ImportError, FileNotFoundError) as error:
        pytest.skip(str(error)[:80])
    assert texts(cfg) == []


def test_nearest_is_ordered_and_may_be_empty() -> None:
    choices = {'FCOSHead', 'mmdet.FCOSHead', 'RetinaHead', 'ATSSHead'}
    assert nearest('fcoshead', choices)[:2] == ['FCOSHead', 'mmdet.FCOSHead']
    assert nearest('Zebra', choices) == []


def test_nearest_begins_with_the_scope_that_was_written() -> None:
    choices = {'FCOSHead', 'a.FCOSHead', 'mmdet.FCOSHead', 'paperzoo.FCOSHead'}
    for scope in ('paperzoo', 'mmdet'):
        assert nearest(f'{scope}.FCOSHed', choices)[0] == f'{scope}.FCOSHead'
    # A scope is more than the beginning of another one.
    assert nearest('mmdet3.FCOSHed', {'mmdet3.FCOSHead', 'mmdet30.FCOSHead'})[0] == (
        'mmdet3.FCOSHead'
    )
    assert nearest('zoo.Resize', {'a.Resize', 'zoo2.Resize', 'zoo.Resiz'})[0] == (
        'zoo.Resiz'
    )

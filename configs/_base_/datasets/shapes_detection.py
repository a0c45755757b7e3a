"""The built-in Shapes set at its own size, 320x240: generated on first use."""

from mmengine.config import read_base

from mmdet.datasets.transforms import (
    LoadAnnotations,
    PackDetInputs,
    RandomFlip,
    Resize,
)
from mmcv.transforms import LoadImageFromFile
from paperzoo.data.coco import ShapesDataset

with read_base():
    from .coco_detection import *

data_root = 'data/shapes/'

train_pipeline = [
    dict(type=LoadImageFromFile),
    dict(type=LoadAnnotations, with_bbox=True),
    dict(type=RandomFlip, prob=0.5),
    dict(type=PackDetInputs),
]
test_pipeline = [
    dict(type=LoadImageFromFile),
    dict(type=Resize, scale=(320, 240), keep_ratio=True),
    dict(type=LoadAnnotations, with_bbox=True),
    dict(
        type=PackDetInputs,
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
train_dataloader.update(
    batch_size=8,
    dataset=dict(
        type=ShapesDataset,
        data_root=data_root,
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='train/'),
        filter_cfg=dict(filter_empty_gt=True, min_size=8),
        pipeline=train_pipeline,
    ),
)
val_dataloader.update(
    batch_size=8,
    dataset=dict(
        type=ShapesDataset,
        data_root=data_root,
        ann_file='annotations/instances_val.json',
        data_prefix=dict(img='val/'),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

val_evaluator.update(ann_file=data_root + 'annotations/instances_val.json')
test_evaluator = val_evaluator

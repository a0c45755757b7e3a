"""Blood cells of BCCD (205 training and 87 validation images) at 320x240."""

from mmengine.config import read_base

from mmdet.datasets.transforms import RandomFlip, Resize

with read_base():
    from .coco_detection import *

data_root = 'data/bccd/'
metainfo = dict(
    classes=('RBC', 'WBC', 'Platelets'),
    palette=[(220, 20, 60), (119, 11, 32), (0, 0, 142)],
)
scale = (320, 240)

train_pipeline[2:4] = [
    dict(type=Resize, scale=scale, keep_ratio=True),
    dict(
        type=RandomFlip,
        prob=[0.25, 0.25, 0.25],
        direction=['horizontal', 'vertical', 'diagonal'],
    ),
]
test_pipeline[1].update(scale=scale)

train_dataloader.update(batch_size=4)
train_dataloader['dataset'].update(
    data_root=data_root,
    ann_file='annotations/train.json',
    data_prefix=dict(img='images/'),
    filter_cfg=dict(filter_empty_gt=True, min_size=8),
    metainfo=metainfo,
    pipeline=train_pipeline,
)
val_dataloader.update(batch_size=4)
val_dataloader['dataset'].update(
    data_root=data_root,
    ann_file='annotations/val.json',
    data_prefix=dict(img='images/'),
    metainfo=metainfo,
    pipeline=test_pipeline,
)
test_dataloader = val_dataloader

val_evaluator.update(ann_file=data_root + 'annotations/val.json')
test_evaluator = val_evaluator

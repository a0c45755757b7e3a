"""CamVid: 367 training and 233 test images of streets at 240x180, 11 classes."""

from mmcv.transforms import (
    LoadImageFromFile,
    RandomFlip,
    RandomResize,
    Resize,
    TestTimeAug,
)
from mmengine.config import read_base
from mmengine.dataset.sampler import DefaultSampler

from mmseg.datasets.transforms import (
    LoadAnnotations,
    PackSegInputs,
    PhotoMetricDistortion,
    RandomCrop,
)
from paperzoo.data.semantic import CamVidDataset

with read_base():
    from .ade20k_semantic import *

data_root = 'data/camvid/'
crop_size = (160, 224)

train_pipeline = [
    dict(type=LoadImageFromFile),
    dict(type=LoadAnnotations),
    dict(
        type=RandomResize, scale=(240, 180), ratio_range=(0.75, 1.75), keep_ratio=True
    ),
    dict(type=RandomCrop, crop_size=crop_size, cat_max_ratio=0.75),
    dict(type=RandomFlip, prob=0.5),
    dict(type=PhotoMetricDistortion),
    dict(type=PackSegInputs),
]
test_pipeline = [
    dict(type=LoadImageFromFile),
    dict(type=LoadAnnotations),
    dict(type=PackSegInputs),
]
tta_pipeline = [
    dict(type=LoadImageFromFile),
    dict(
        type=TestTimeAug,
        transforms=[
            [
                dict(type=Resize, scale_factor=0.75, keep_ratio=True),
                dict(type=Resize, scale_factor=1.0, keep_ratio=True),
                dict(type=Resize, scale_factor=1.25, keep_ratio=True),
            ],
            [dict(type=RandomFlip, prob=0.0), dict(type=RandomFlip, prob=1.0)],
            [dict(type=LoadAnnotations)],
            [dict(type=PackSegInputs)],
        ],
    ),
]
train_dataloader.update(
    batch_size=4,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type=DefaultSampler, shuffle=True),
    dataset=dict(
        type=CamVidDataset,
        data_root=data_root,
        data_prefix=dict(img_path='img_dir/train', seg_map_path='ann_dir/train'),
        pipeline=train_pipeline,
    ),
)
val_dataloader.update(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        type=CamVidDataset,
        data_root=data_root,
        data_prefix=dict(img_path='img_dir/val', seg_map_path='ann_dir/val'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type=DefaultSampler, shuffle=False),
    dataset=dict(
        type=CamVidDataset,
        data_root=data_root,
        data_prefix=dict(img_path='img_dir/test', seg_map_path='ann_dir/test'),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)

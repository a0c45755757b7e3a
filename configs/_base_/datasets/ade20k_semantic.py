"""ADE20K: 150 classes, short side 512, scaled, cut to 512x512, flipped at random."""

from mmcv.transforms import (
    LoadImageFromFile,
    RandomFlip,
    RandomResize,
    Resize,
    TestTimeAug,
)
from mmengine.dataset.sampler import DefaultSampler, InfiniteSampler

from mmseg.datasets.transforms import (
    LoadAnnotations,
    PackSegInputs,
    PhotoMetricDistortion,
    RandomCrop,
)
from mmseg.evaluation import IoUMetric
from paperzoo.data.semantic import ADE20KDataset

data_root = 'data/ade/ADEChallengeData2016'

train_pipeline = [
    dict(type=LoadImageFromFile),
    dict(type=LoadAnnotations, reduce_zero_label=True),
    dict(type=RandomResize, scale=(2048, 512), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type=RandomCrop, crop_size=(512, 512), cat_max_ratio=0.75),
    dict(type=RandomFlip, prob=0.5),
    dict(type=PhotoMetricDistortion),
    dict(type=PackSegInputs),
]
# Labels are loaded after the resize: they are compared at their own size.
test_pipeline = [
    dict(type=LoadImageFromFile),
    dict(type=Resize, scale=(2048, 512), keep_ratio=True),
    dict(type=LoadAnnotations, reduce_zero_label=True),
    dict(type=PackSegInputs),
]
tta_pipeline = [
    dict(type=LoadImageFromFile),
    dict(
        type=TestTimeAug,
        transforms=[
            [
                dict(type=Resize, scale_factor=0.5, keep_ratio=True),
                dict(type=Resize, scale_factor=0.75, keep_ratio=True),
                dict(type=Resize, scale_factor=1.0, keep_ratio=True),
                dict(type=Resize, scale_factor=1.25, keep_ratio=True),
                dict(type=Resize, scale_factor=1.5, keep_ratio=True),
                dict(type=Resize, scale_factor=1.75, keep_ratio=True),
            ],
            [dict(type=RandomFlip, prob=0.0), dict(type=RandomFlip, prob=1.0)],
            [dict(type=LoadAnnotations, reduce_zero_label=True)],
            [dict(type=PackSegInputs)],
        ],
    ),
]
train_dataloader = dict(
    batch_size=2,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type=InfiniteSampler, shuffle=True),
    dataset=dict(
        type=ADE20KDataset,
        data_root=data_root,
        data_prefix=dict(
            img_path='images/training', seg_map_path='annotations/training'
        ),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type=DefaultSampler, shuffle=False),
    dataset=dict(
        type=ADE20KDataset,
        data_root=data_root,
        data_prefix=dict(
            img_path='images/validation', seg_map_path='annotations/validation'
        ),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(type=IoUMetric, iou_metrics=['mIoU'])
test_evaluator = val_evaluator

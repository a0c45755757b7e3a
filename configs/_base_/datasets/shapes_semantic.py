"""The built-in Shapes set, things and stuff as 10 classes, at 192x144."""

from mmcv.transforms import LoadImageFromFile, RandomFlip, Resize, TestTimeAug
from mmengine.config import read_base
from mmengine.dataset.sampler import DefaultSampler

from mmseg.datasets.transforms import LoadAnnotations, PackSegInputs
from paperzoo.data.semantic import ShapesSemanticDataset

with read_base():
    from .ade20k_semantic import *

data_root = 'data/shapes/'
scale = (192, 144)

train_pipeline = [
    dict(type=LoadImageFromFile),
    dict(type=LoadAnnotations),
    dict(type=Resize, scale=scale, keep_ratio=True),
    dict(
        type=RandomFlip,
        prob=[0.25, 0.25, 0.25],
        direction=['horizontal', 'vertical', 'diagonal'],
    ),
    dict(type=PackSegInputs),
]
test_pipeline = [
    dict(type=LoadImageFromFile),
    dict(type=Resize, scale=scale, keep_ratio=True),
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
        type=ShapesSemanticDataset,
        data_root=data_root,
        data_prefix=dict(img_path='train', seg_map_path='semantic/train'),
        pipeline=train_pipeline,
    ),
)
val_dataloader.update(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        type=ShapesSemanticDataset,
        data_root=data_root,
        data_prefix=dict(img_path='val', seg_map_path='semantic/val'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

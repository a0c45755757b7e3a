"""The built-in Shapes set, panoptic, at 256x192: generated on first use."""

from mmengine.config import read_base

from mmdet.datasets.transforms import LoadPanopticAnnotations
from paperzoo.data.panoptic import ShapesPanopticDataset
from paperzoo.evaluation.panoptic_quality import PanopticQuality

with read_base():
    from .shapes_instance import *

train_pipeline[1] = dict(type=LoadPanopticAnnotations)
test_pipeline[2] = dict(type=LoadPanopticAnnotations)
train_dataloader['dataset'].update(
    type=ShapesPanopticDataset,
    ann_file='annotations/panoptic_train.json',
    data_prefix=dict(img='train/', seg='annotations/panoptic_train/'),
    pipeline=train_pipeline,
)
val_dataloader['dataset'].update(
    type=ShapesPanopticDataset,
    ann_file='annotations/panoptic_val.json',
    data_prefix=dict(img='val/', seg='annotations/panoptic_val/'),
    pipeline=test_pipeline,
)
test_dataloader = val_dataloader

val_evaluator = dict(
    type=PanopticQuality,
    ann_file=data_root + 'annotations/panoptic_val.json',
    seg_prefix=data_root + 'annotations/panoptic_val/',
)
test_evaluator = val_evaluator

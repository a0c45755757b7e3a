"""COCO 2017 panoptic, short side 800, long side at most 1333, flipped at random."""

from mmengine.config import read_base

from mmdet.datasets.transforms import LoadPanopticAnnotations
from paperzoo.data.panoptic import CocoPanopticDataset
from paperzoo.evaluation.panoptic_quality import PanopticQuality

with read_base():
    from .coco_detection import *

train_pipeline[1] = dict(type=LoadPanopticAnnotations)
test_pipeline[2] = dict(type=LoadPanopticAnnotations)
train_dataloader['dataset'].update(
    type=CocoPanopticDataset,
    ann_file='annotations/panoptic_train2017.json',
    data_prefix=dict(img='train2017/', seg='annotations/panoptic_train2017/'),
    pipeline=train_pipeline,
)
val_dataloader['dataset'].update(
    type=CocoPanopticDataset,
    ann_file='annotations/panoptic_val2017.json',
    data_prefix=dict(img='val2017/', seg='annotations/panoptic_val2017/'),
    pipeline=test_pipeline,
)
test_dataloader = val_dataloader

val_evaluator = dict(
    type=PanopticQuality,
    ann_file=data_root + 'annotations/panoptic_val2017.json',
    seg_prefix=data_root + 'annotations/panoptic_val2017/',
)
test_evaluator = val_evaluator

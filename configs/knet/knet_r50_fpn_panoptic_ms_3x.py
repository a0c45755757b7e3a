"""K-Net for panoptic segmentation, ResNet-50, FPN: short side 640 to 800, 3x.

Paper: knet (arXiv 2106.14855), "K-Net"
Expect: PQ 47.1 on COCO (the authors' knet_s3_r50_fpn_ms-3x_coco-panoptic); not
    measured by us
Run: mim train paperzoo knet_r50_fpn_panoptic_ms_3x.py
"""

from mmcv.transforms import RandomResize
from mmengine.config import read_base

from mmdet.datasets.transforms import Resize

with read_base():
    from ..knet_r50_fpn_panoptic import *

train_pipeline[2] = dict(
    type=RandomResize,
    scale=[(1333, 640), (1333, 800)],
    resize_type=Resize,
    keep_ratio=True,
)
train_dataloader['dataset'].update(pipeline=train_pipeline)

# The authors count 12 epochs of a data set that is repeated 3 times.
max_epochs = 36
train_cfg.update(max_epochs=max_epochs, val_interval=3)
param_scheduler[1].update(end=max_epochs, milestones=[27, 33])

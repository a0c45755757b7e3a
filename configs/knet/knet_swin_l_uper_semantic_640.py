"""K-Net for semantic segmentation, Swin-L, UPerNet's head, cut to 640x640, on ADE20K.

Paper: knet (arXiv 2106.14855), "K-Net"
Expect: mIoU 52.7 on ADE20K (the authors'
    knet_s3_upernet_swin-l_80k_adamw_640x640_ade20k); not measured by us
Run: mim train paperzoo knet_swin_l_uper_semantic_640.py
"""

from mmengine.config import read_base

with read_base():
    from .knet_swin_l_uper_semantic import *

model['backbone'].update(drop_path_rate=0.4)
model['data_preprocessor'].update(size=(640, 640))

# The pipelines reach the data loaders: mmseg's own 640 config loses its.
train_pipeline[2].update(scale=(2048, 640))
train_pipeline[3].update(crop_size=(640, 640))
test_pipeline[1].update(scale=(2048, 640))
train_dataloader['dataset'].update(pipeline=train_pipeline)
val_dataloader['dataset'].update(pipeline=test_pipeline)
test_dataloader = val_dataloader

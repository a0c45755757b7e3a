"""A small FCOS on real blood cells, from scratch, minutes on two CPU cores.

Paper: fcos (arXiv 1904.01355), with the improvements of the authors' code
Expect: box AP 0.546 on the 87 validation images (benchmarks/results/fcos_bccd.json)
Run: PAPERZOO_DATA=FOLDER_OF_bccd mim train paperzoo fcos_r18_fpn_bccd.py
Differs: ResNet-18 and heads half as wide and less; three levels.
"""

from mmengine.config import read_base

with read_base():
    from .fcos_tiny_shapes import *
    from .._base_.datasets.bccd_detection import *

model['backbone'].update(base_channels=32)
model['neck'].update(in_channels=[32, 64, 128, 256], out_channels=64)
model['bbox_head'].update(
    num_classes=3,
    in_channels=64,
    feat_channels=64,
    regress_ranges=((-1, 32), (32, 64), (64, 1e8)),
)

train_dataloader.update(num_workers=0, persistent_workers=False)
val_dataloader.update(num_workers=0, persistent_workers=False)
test_dataloader = val_dataloader

max_epochs = 18
train_cfg.update(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler[1].update(end=max_epochs)

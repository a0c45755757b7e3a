"""DMF on miniImageNet, 5-way 1-shot, ResNet-12, 95 epochs of 1200 episodes.

Paper: dmf (arXiv 2103.13582)
Expect: accuracy 67.76 +- 0.46 on miniImageNet 1-shot (the paper); not measured by us
Run: mim train paperzoo dmf_resnet12.py
"""

from mmengine.config import read_base

from paperzoo.dmf import (
    AdaptiveAlignment,
    DMFClassifier,
    DynamicMetaFilter,
    EpisodeDataPreprocessor,
    ResNet12,
)

with read_base():
    from ._base_.datasets.mini_imagenet_episodes import *
    from ._base_.default_runtime_episodes import *
    from ._base_.schedules.schedule_episodes_95e import *

model = dict(
    type=DMFClassifier,
    data_preprocessor=dict(
        type=EpisodeDataPreprocessor,
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
    ),
    backbone=dict(type=ResNet12, widths=(64, 160, 320, 640)),
    meta_filter=dict(
        type=DynamicMetaFilter, groups=64, kernel=1, dynamic_sampling=True
    ),
    alignment=dict(type=AdaptiveAlignment, solver='rk4', steps=1),
    feat_channels=640,
    num_classes=64,
    meta_weight=0.5,
)

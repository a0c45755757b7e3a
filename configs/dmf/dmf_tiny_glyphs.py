"""A small DMF on the built-in Glyphs set: the demo, minutes on two CPU cores.

Paper: dmf (arXiv 2103.13582)
Expect: accuracy 94.7 on Glyphs, ours, 3 seeds; the paper does not use it
Run: mim train paperzoo dmf_tiny_glyphs.py
"""

from mmengine.config import read_base

with read_base():
    from ..dmf_resnet12 import *
    from .._base_.datasets.glyphs_episodes import *
    from .._base_.schedules.schedule_episodes_scratch import *

model['data_preprocessor'].update(mean=[220.0] * 3, std=[75.0] * 3)
model['backbone'].update(
    widths=(16, 32, 64, 64), pools=(True, True, False, False), drop_rate=0.0
)
model['meta_filter'].update(groups=16)
model.update(feat_channels=64, num_classes=200)
default_hooks['logger'].update(interval=20)

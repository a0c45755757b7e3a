"""80 000 iterations of AdamW, the rate divided by 10 after 60 000 and 72 000."""

from mmengine.optim import LinearLR, MultiStepLR, OptimWrapper
from mmengine.runner import IterBasedTrainLoop, TestLoop, ValLoop
from torch.optim import AdamW

train_cfg = dict(type=IterBasedTrainLoop, max_iters=80000, val_interval=8000)
val_cfg = dict(type=ValLoop)
test_cfg = dict(type=TestLoop)

param_scheduler = [
    dict(type=LinearLR, start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(
        type=MultiStepLR,
        begin=1000,
        end=80000,
        by_epoch=False,
        milestones=[60000, 72000],
        gamma=0.1,
    ),
]
optim_wrapper = dict(
    type=OptimWrapper,
    optimizer=dict(type=AdamW, lr=0.0001, weight_decay=0.0005),
    clip_grad=dict(max_norm=1, norm_type=2),
)
auto_scale_lr = dict(enable=False, base_batch_size=16)

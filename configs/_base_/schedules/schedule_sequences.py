"""AdamW with a cosine, for small models of sequences; 6 epochs unless changed."""

from mmengine.optim import CosineAnnealingLR, LinearLR, OptimWrapper
from mmengine.runner import EpochBasedTrainLoop, TestLoop, ValLoop
from torch.optim import AdamW

max_epochs = 6
train_cfg = dict(
    type=EpochBasedTrainLoop, max_epochs=max_epochs, val_interval=max_epochs
)
val_cfg = dict(type=ValLoop)
test_cfg = dict(type=TestLoop)

param_scheduler = [
    dict(type=LinearLR, start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(
        type=CosineAnnealingLR,
        begin=0,
        end=max_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
optim_wrapper = dict(
    type=OptimWrapper,
    optimizer=dict(type=AdamW, lr=0.001, weight_decay=0.01, fused=True),
    clip_grad=dict(max_norm=5),
)
randomness = dict(seed=0)

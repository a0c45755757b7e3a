"""AdamW with a cosine, for small few-shot models; 6 epochs unless changed."""

from mmengine.optim import CosineAnnealingLR, LinearLR, OptimWrapper
from mmengine.runner import EpochBasedTrainLoop
from torch.optim import AdamW

from paperzoo.engine import EpisodeTestLoop, EpisodeValLoop

max_epochs = 6
train_cfg = dict(type=EpochBasedTrainLoop, max_epochs=max_epochs, val_interval=2)
val_cfg = dict(type=EpisodeValLoop)
test_cfg = dict(type=EpisodeTestLoop)

param_scheduler = [
    dict(type=LinearLR, start_factor=0.01, by_epoch=False, begin=0, end=20),
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
    optimizer=dict(type=AdamW, lr=0.003, weight_decay=0.05, fused=True),
    clip_grad=dict(max_norm=5),
)
randomness = dict(seed=0)

"""SGD with a cosine over 90 epochs after 5 epochs of warm-up, as the authors'."""

from mmengine.optim import CosineAnnealingLR, LinearLR, OptimWrapper
from mmengine.runner import EpochBasedTrainLoop
from torch.optim import SGD

from paperzoo.engine import EpisodeTestLoop, EpisodeValLoop

train_cfg = dict(type=EpochBasedTrainLoop, max_epochs=95, val_interval=1)
val_cfg = dict(type=EpisodeValLoop)
test_cfg = dict(type=EpisodeTestLoop)

param_scheduler = [
    dict(
        type=LinearLR,
        start_factor=0.01,
        by_epoch=True,
        begin=0,
        end=5,
        convert_to_iter_based=True,
    ),
    dict(
        type=CosineAnnealingLR,
        by_epoch=True,
        begin=5,
        end=95,
        convert_to_iter_based=True,
    ),
]
optim_wrapper = dict(
    type=OptimWrapper,
    optimizer=dict(type=SGD, lr=0.35, momentum=0.9, nesterov=True, weight_decay=0.0005),
)
# Episodes of a batch.
auto_scale_lr = dict(enable=False, base_batch_size=4)

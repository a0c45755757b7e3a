"""What more than one paper uses; no paper's name inside, and no need of mmdet."""

from paperzoo.common.focal import FocalLoss, sigmoid_focal_loss
from paperzoo.common.losses import (
    DiceLoss,
    SigmoidCrossEntropyLoss,
    WeightedLoss,
    dice_loss,
    weighted_reduction,
)
from paperzoo.common.renaming import rename_keys, rename_on_load, renamed_keys

__all__ = [
    'DiceLoss',
    'FocalLoss',
    'SigmoidCrossEntropyLoss',
    'WeightedLoss',
    'dice_loss',
    'rename_keys',
    'rename_on_load',
    'renamed_keys',
    'sigmoid_focal_loss',
    'weighted_reduction',
]

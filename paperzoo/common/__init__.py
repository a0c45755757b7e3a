"""What more than one paper uses; no paper's name inside, and no need of mmdet."""

from paperzoo.common.cross_entropy import SigmoidCrossEntropyLoss
from paperzoo.common.dice import DiceLoss, dice_loss
from paperzoo.common.focal import FocalLoss, sigmoid_focal_loss
from paperzoo.common.weighted import WeightedLoss, weighted_reduction

__all__ = [
    'DiceLoss',
    'FocalLoss',
    'SigmoidCrossEntropyLoss',
    'WeightedLoss',
    'dice_loss',
    'sigmoid_focal_loss',
    'weighted_reduction',
]

"""What more than one paper uses; no paper's name inside, and no need of mmdet."""

from paperzoo.common.focal import (
    FocalLoss,
    WeightedLoss,
    sigmoid_focal_loss,
    weighted_reduction,
)

__all__ = ['FocalLoss', 'WeightedLoss', 'sigmoid_focal_loss', 'weighted_reduction']

"""What DMF shares with other few-shot papers, under the names that it has here.

Configs, and those stored in checkpoints, name `paperzoo.dmf.ResNet12`.
"""

from paperzoo.common.few_shot.episode_classifier import (
    EpisodeClassifier,
    dense_cross_entropy,
    prototype_scores,
    prototypes,
)
from paperzoo.common.few_shot.preprocessor import EpisodeDataPreprocessor
from paperzoo.common.few_shot.resnet12 import ResNet12

__all__ = [
    'EpisodeClassifier',
    'EpisodeDataPreprocessor',
    'ResNet12',
    'dense_cross_entropy',
    'prototype_scores',
    'prototypes',
]

from .episode_classifier import EpisodeClassifier as EpisodeClassifier
from .episode_classifier import dense_cross_entropy as dense_cross_entropy
from .episode_classifier import mean_of_places as mean_of_places
from .episode_classifier import prototype_scores as prototype_scores
from .episode_classifier import prototypes as prototypes
from .preprocessor import EpisodeDataPreprocessor as EpisodeDataPreprocessor
from .resnet12 import ResNet12 as ResNet12

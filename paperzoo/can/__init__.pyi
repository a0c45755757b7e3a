from .classifier import CANClassifier as CANClassifier
from .classifier import with_confident_queries as with_confident_queries
from .cross_attention import MetaFusion as MetaFusion
from .cross_attention import attended_mean as attended_mean
from .cross_attention import attention_map as attention_map
from .cross_attention import correlation as correlation
from .cross_attention import position_scores as position_scores

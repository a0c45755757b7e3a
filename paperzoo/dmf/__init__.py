"""DMF: Learning Dynamic Alignment via Meta-filter for Few-shot Learning.

arXiv 2103.13582. A query image is compared with every class of an episode after its
feature map was moved towards the class: filters predicted from query and support say
how, a neural ODE how far.

Files, in the order in which the paper introduces them:
    resnet12.py: the backbone, with DropBlock.
    episodes.py: what every few-shot classifier shares: embedding, prototypes, losses,
        predictions, the authors' names of weights; preprocessor.py brings episodes to
        the device.
    meta_filter.py: offsets ("Dynamic Sampling"), the filters and their application
        ("Dynamic Meta-filter"); gather.py: how samples are gathered.
    alignment.py: the flow and its solvers ("Adaptive Alignment").
    classifier.py: DMFClassifier, with the "Meta-classifier".
    protonet.py: the yardsticks ProtoNet and NearestPrototype.
    explain.py: what it did with an episode, as arrays.

Where the paper and the authors' code part, the authors' way is an option or ours the
default:

    filters of more than one tap      right    authors: official_kernel3=True
    border of the score map           none     authors: zero_pad_score=True
    what the global classifier sees   query    paper: global_on_aligned=True
    counter of DropBlock's schedule   training steps; the authors count evaluations, too

Where we differ from the authors' code: no compiled op; with filters of one tap no map
of a query-class pair is ever made (see `factored_scores`), and an adaptive solver then
solves for the factors of the groups.

torchdiffeq is needed for `solver='dopri5'` and for filters of more than one tap only.
"""

from paperzoo.dmf.alignment import AdaptiveAlignment, flow_factors, grow_positive
from paperzoo.dmf.classifier import (
    DMFClassifier,
    class_weights,
    factored_scores,
    meta_scores,
)
from paperzoo.dmf.episodes import EpisodeClassifier, dense_cross_entropy, prototypes
from paperzoo.dmf.meta_filter import (
    DynamicMetaFilter,
    apply_filters,
    plain_filters,
    sampled_filters,
    sampling_offsets,
)
from paperzoo.dmf.preprocessor import EpisodeDataPreprocessor
from paperzoo.dmf.protonet import NearestPrototype, ProtoNet, prototype_scores
from paperzoo.dmf.resnet12 import ResNet12

__all__ = [
    'AdaptiveAlignment',
    'DMFClassifier',
    'DynamicMetaFilter',
    'EpisodeClassifier',
    'EpisodeDataPreprocessor',
    'NearestPrototype',
    'ProtoNet',
    'ResNet12',
    'apply_filters',
    'class_weights',
    'dense_cross_entropy',
    'factored_scores',
    'flow_factors',
    'grow_positive',
    'meta_scores',
    'plain_filters',
    'prototype_scores',
    'prototypes',
    'sampled_filters',
    'sampling_offsets',
]

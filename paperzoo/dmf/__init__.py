"""DMF: Learning Dynamic Alignment via Meta-filter for Few-shot Learning.

arXiv 2103.13582. A query image is compared with every class of an episode after its
feature map was moved towards the class: filters predicted from query and support say
how, a neural ODE how far.

Files, in the order in which the paper introduces them:
    few_shot.py: names of what other few-shot papers need, too: the backbone with its
        DropBlock, embedding, prototypes, losses (in `paperzoo.common.few_shot`).
    meta_filter.py: offsets ("Dynamic Sampling"), the filters and their application
        ("Dynamic Meta-filter").
    alignment.py: the flow and its solvers ("Adaptive Alignment").
    classifier.py: DMFClassifier, with the "Meta-classifier".
    checkpoints.py: the authors' names of weights.
    protonet.py: the baselines ProtoNet and NearestPrototype.

Where the paper and the authors' code part, the authors' way is an option or ours the
default:

    filters of more than one tap      right    authors: official_kernel3=True
    border of the score map           none     authors: zero_pad_score=True
    what the global classifier sees   query    paper: global_on_aligned=True
    blocks of DropBlock               whole    authors: official_dropblock=True
    temperature of the scores         none     neither has one; ours: scale
    counter of DropBlock's schedule   training steps; the authors count evaluations, too

Where we differ from the authors' code: no compiled op; with filters of one tap no map
of a query-class pair is ever made (see `factored_scores`), and an adaptive solver then
solves for the factors of the groups.

torchdiffeq is needed for `solver='dopri5'` and for filters of more than one tap only.
"""

import lazy_loader

# Names and their files are in __init__.pyi: each is imported when it is asked for.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

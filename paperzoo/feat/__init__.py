"""FEAT: Few-Shot Learning via Embedding Adaptation with Set-to-Set Functions.

arXiv 1812.03664. The prototypes of an episode's classes look at each other and move, so
that features become those that tell just these classes apart.

Files, in the order in which the paper introduces them:
    adaptation.py: SetToSet, self-attention as a function of sets ("Embedding Adaptation
        via Set-to-set Functions").
    classifier.py: FEATClassifier ("Adapting to Task-Specific Embeddings"), with the
        contrastive loss as an option ("Contrastive Learning of Set-to-Set Functions").

What is from the paper: one head of self-attention over the prototypes, added to them;
the nearest adapted prototype; centres of adapted supports and queries together for the
contrastive loss.

Where we differ: the backbone is not trained first, its global classifier learns beside
(`num_classes`), as in all few-shot models here; without dropout unless asked for; a
query's feature is the mean of its map. What follows the sum in transformers, a layer
norm, is an option (`norm=True`): with it, features of queries have another length than
prototypes, and the distance needs a `scale` of its own. One `scale` multiplies the
scores of both losses, where the paper has a temperature of each.

Written from the paper; no code was taken, and no name of the authors' weights is
mapped.
"""

import lazy_loader

# Names and their files are in __init__.pyi: each is imported when it is asked for.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

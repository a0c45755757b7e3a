"""CAN: Cross Attention Network for Few-shot Classification, arXiv 1910.07677.

For each pair of a query image and a class, one number per position says how much of the
position counts: high where query and class have something in common.

Files, in the order in which the paper introduces them:
    cross_attention.py: correlation, fusion and attention ("Cross Attention Module").
    classifier.py: CANClassifier, the nearest neighbour of attended maps beside a global
        classifier; "Transductive Inference" is `transductive_rounds`.

What is from the paper: cosine correlations of all positions; the kernel that fuses
them, predicted from their mean by two layers with a ReLU between; the softmax at a
temperature, added to one; a cross-entropy of every position by cosine, pooled maps at
test time; more supports from confident queries.

Where we differ: `scale`, which multiplies the cosines, is ours (cosines alone are too
flat for a softmax), as are the numbers of rounds and candidates. No map of a pair of
query and class is ever made: attention multiplies a position by one number, which no
cosine of that position sees, and the mean over an attended map is a matrix product.

Written from the paper. The repository that it links has no licence that we found: its
code was not opened, and its checkpoints have no key that we could name.
"""

import lazy_loader

# Names and their files are in __init__.pyi: each is imported when it is asked for.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""FCOS: Fully Convolutional One-Stage Object Detection, arXiv 1904.01355.

A detector without anchors: every location of every pyramid level predicts a class, the
distances to the four edges of the box around it, and how central it is in that box.

Files, in the order in which the paper introduces them:
    geometry.py: locations, Eq. 1 (distances to the edges), Eq. 3 (centre-ness).
    assigner.py: which location learns which box ("Multi-level Prediction with FPN").
    losses.py: the box losses and the centre-ness loss of Eq. 2, and what the class loss
        is divided by; the focal loss is in `paperzoo.common`.
    head.py: the network's head, its targets, its losses (Eq. 2), its prediction.
    post_processing.py: scores, candidates and suppression, as functions.
    target_counts.py: how many locations learn which boxes of a data set.
    checkpoints.py: weights of the authors' code and of AdelaiDet.

Where we differ from the paper: the box loss is weighted by centre-ness (Eq. 2 counts
all positives alike), as the authors' code does.

The authors' later improvements are options, off by default: `center_sampling`,
`norm_on_bbox`, `centerness_on_reg`, the GIoU loss, `dcn_on_last_conv`, and of their
AdelaiDet `box_quality='iou'` and `cls_normalizer='moving_fg'` or `'all'`. Nobody else's
is `ambiguity='nearest'`.

Where mmdet 3.3 and the authors' code part, the default is mmdet's and the other is an
option:

    area that decides between boxes     w h             area_convention='authors'
    IoU in the losses                   I / U           smooth_iou=True
    score of a detection                class x centre  test_cfg score_mode='sqrt'
    what `nms_pre` keeps the best of    class score     test_cfg rank_by='product'
    what `score_thr` is compared with   class score     test_cfg threshold_by='product'
    boxes without area                  dropped         test_cfg min_bbox_size=-1
    overlap in the suppression          I / U           nms offset=1

Comparing the product with `score_thr` is an option in AdelaiDet, too. The official code
clips boxes to the last pixel instead of the edge: that is no option here. Nor is what
both do in centre sampling to an image whose first box is centred on x = 0: it has no
positives.

Where we differ from mmdet: an exponent cannot overflow to infinity, configs are not
modified, strides may differ between the axes, shapes are static, and images without
objects take the same path as all others.
"""

import lazy_loader

# Names and their files are in __init__.pyi: each is imported when it is asked for.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

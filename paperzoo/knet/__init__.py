"""K-Net: Towards Unified Image Segmentation, arXiv 2106.14855.

One set of learnable kernels, each of which predicts a mask as a convolution kernel, for
semantic, instance and panoptic segmentation. Kernels are updated in stages: each takes
up the features of the pixels it has claimed, and looks at the other kernels.

Files, in the order in which the paper introduces them:
    init_head.py: the first kernels and their masks ("K-Net"), on the fused pyramid of
        semantic_fpn.py.
    kernels.py: the mathematics of an update ("Group Feature Assembling", "Adaptive
        Kernel Update") and the KernelUpdater.
    update_head.py: one stage ("Group-Aware Kernels", "Kernel Interaction").
    iter_head.py: the stages one after the other.
    match_costs.py, assigner.py: which kernel learns which object ("Training Instance
        Kernels"); targets.py: the objects of an image, and what kernels learn of them;
        losses.py: the losses, of which dice and focal are in `paperzoo.common`.
    pasting.py: masks at the size of the image.
    panoptic.py: from classes and masks to instances or one panoptic map.
    detector.py: KNet, the mmdet detector that holds all this. Its `loss` is the order
        in which to read: predictions of all stages, their targets, their losses.
    semantic.py: KNetSemanticHead, the mmseg decode head.

`paperzoo.explain.knet` shows what the kernels did with an image.

Where we differ from the paper: as in the authors' code, the loss of panoptic
segmentation also makes kernels compete for each pixel (`loss_rank`).

Where we differ from the authors' code: any batch size; images without objects, and
batches without any, take the same path as all others; defaults are the values of their
configs, not of their classes; assignments of all stages are made together; boxes of
instances are those around the masks; kernels may be more than 255;
`s{i}_pos_acc` is a percentage whatever the stage weighs (theirs is multiplied by
`stage_loss_weights`). `filter_first`,
`num_points` and `num_stages=0` are ours.

This module imports its parts when they are asked for: the kernel updates need mmcv, the
detector needs mmdet, the semantic head mmseg.
"""

import lazy_loader

# Names and their files are in __init__.pyi: each is imported when it is asked for.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""K-Net for panoptic segmentation, ResNet-50, FPN, on COCO, 1x.

100 kernels for things, and one for each of the 53 stuff classes.

Paper: knet (arXiv 2106.14855), "K-Net"
Expect: PQ 44.3 on COCO (the authors' knet_s3_r50_fpn_1x_coco-panoptic); not measured
    by us
Run: mim train paperzoo knet_r50_fpn_panoptic.py
"""

from mmengine.config import read_base

from paperzoo.knet import RankLoss

with read_base():
    from .knet_r50_fpn_instance import *
    from ._base_.datasets.coco_panoptic import *

model['rpn_head'].update(
    num_classes=133,
    num_stuff_classes=53,
    cat_stuff_mask=True,
    loss_rank=dict(type=RankLoss, loss_weight=0.1),
)
model['roi_head'].update(num_stuff_classes=53, do_panoptic=True)
model['roi_head']['mask_head'].update(
    num_classes=133,
    num_stuff_classes=53,
    loss_rank=dict(type=RankLoss, loss_weight=0.1),
)
model['test_cfg'] = dict(
    rcnn=dict(
        merge_stuff_thing=dict(
            instance_score_thr=0.3, overlap_thr=0.6, filter_first=False
        )
    )
)

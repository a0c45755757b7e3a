"""K-Net for panoptic segmentation, Swin-L, FPN, multi-scale, 3x, batches of 32.

Paper: knet (arXiv 2106.14855), "K-Net"
Expect: PQ 54.6 on COCO (the authors' knet_s3_swin-l_fpn_ms-3x_16x2_coco-panoptic); not
    measured by us
Run: mim train paperzoo knet_swin_l_fpn_panoptic_ms_3x.py
"""

from mmengine.config import read_base

from mmdet.models import SwinTransformer

with read_base():
    from .knet_r50_fpn_panoptic_ms_3x import *

# Replaced whole: no argument of the ResNet fits.
model['backbone'] = dict(
    type=SwinTransformer,
    embed_dims=192,
    depths=(2, 2, 18, 2),
    num_heads=(6, 12, 24, 48),
    window_size=7,
    drop_path_rate=0.2,
    out_indices=(0, 1, 2, 3),
    convert_weights=True,
    init_cfg=dict(
        type='Pretrained',
        checkpoint='https://github.com/SwinTransformer/storage/releases/download/'
        'v1.0.0/swin_large_patch4_window7_224_22k.pth',
    ),
)
model['neck'].update(in_channels=[192, 384, 768, 1536])
auto_scale_lr.update(base_batch_size=32)

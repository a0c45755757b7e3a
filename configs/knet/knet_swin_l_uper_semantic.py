"""K-Net for semantic segmentation, Swin-L, UPerNet's head, on ADE20K.

Paper: knet (arXiv 2106.14855), "K-Net"
Expect: mIoU 52.0 on ADE20K (the authors' knet_s3_upernet_swin-l_80k_adamw_ade20k); not
    measured by us
Run: mim train paperzoo knet_swin_l_uper_semantic.py
"""

from mmengine.config import read_base

with read_base():
    from .knet_swin_t_uper_semantic import *

model['backbone'].update(
    embed_dims=192,
    depths=(2, 2, 18, 2),
    num_heads=(6, 12, 24, 48),
    init_cfg=dict(
        type='Pretrained',
        checkpoint='https://download.openmmlab.com/mmsegmentation/v0.5/pretrain/swin/'
        'swin_large_patch4_window7_224_22k_20220308-d5bdebaf.pth',
    ),
)
model['decode_head']['kernel_generate_head'].update(in_channels=[192, 384, 768, 1536])
model['auxiliary_head'].update(in_channels=768)

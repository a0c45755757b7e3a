"""K-Net for semantic segmentation, Swin-T, UPerNet's head, on ADE20K.

Paper: knet (arXiv 2106.14855), "K-Net"
Expect: mIoU 45.4 on ADE20K (the authors' knet_s3_upernet_swin-t_80k_adamw_ade20k); not
    measured by us
Run: mim train paperzoo knet_swin_t_uper_semantic.py
"""

from mmengine.config import read_base

from mmseg.models import SwinTransformer

with read_base():
    from .knet_r50_uper_semantic import *

# Replaced whole: no argument of the ResNet fits.
model['backbone'] = dict(
    type=SwinTransformer,
    embed_dims=96,
    depths=(2, 2, 6, 2),
    num_heads=(3, 6, 12, 24),
    window_size=7,
    drop_path_rate=0.3,
    out_indices=(0, 1, 2, 3),
    init_cfg=dict(
        type='Pretrained',
        checkpoint='https://download.openmmlab.com/mmsegmentation/v0.5/pretrain/swin/'
        'swin_tiny_patch4_window7_224_20220308-f41b89d3.pth',
    ),
)
model['decode_head']['kernel_generate_head'].update(in_channels=[96, 192, 384, 768])
model['auxiliary_head'].update(in_channels=384)

optim_wrapper.update(
    optimizer=dict(lr=0.00006),
    paramwise_cfg=dict(
        custom_keys=dict(
            absolute_pos_embed=dict(decay_mult=0.0),
            relative_position_bias_table=dict(decay_mult=0.0),
            norm=dict(decay_mult=0.0),
        )
    ),
)

# mmseg's own UPerNet config. Its head stays as it is and becomes what K-Net starts
# from: its features, its classes, and its class weights as the first kernels.
_base_ = 'mmseg::upernet/upernet_r50_4xb4-80k_ade20k-512x512.py'

model = dict(
    decode_head=dict(
        _delete_=True,
        type='paperzoo.KNetSemanticHead',
        num_stages=3,
        kernel_generate_head={{_base_.model.decode_head}},
        kernel_update_head=dict(
            type='paperzoo.KNetKernelUpdateHead',
            num_classes=150,
            in_channels=512,
            out_channels=512,
        ),
    )
)

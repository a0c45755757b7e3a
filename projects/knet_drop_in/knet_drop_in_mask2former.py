# mmdet's own Mask2Former config with our assigner: the same three costs, the same
# assignments. Our DiceCost is squared unless told otherwise; mmdet's is not.
_base_ = 'mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco-panoptic.py'

model = dict(
    train_cfg=dict(
        assigner=dict(
            _delete_=True,
            type='paperzoo.MaskHungarianAssigner',
            cls_cost=dict(type='mmdet.ClassificationCost', weight=2.0),
            mask_cost=dict(
                type='mmdet.CrossEntropyLossCost', weight=5.0, use_sigmoid=True
            ),
            dice_cost=dict(
                type='paperzoo.DiceCost', weight=5.0, eps=1.0, naive_dice=True
            ),
        )
    )
)

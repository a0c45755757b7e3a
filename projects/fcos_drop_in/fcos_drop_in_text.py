# mmdet's own config with our head: the type string is the only necessary change. The
# second argument is what one gains: an option that mmdet's head does not have.
_base_ = 'mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py'

model = dict(bbox_head=dict(type='paperzoo.FCOSHead', box_quality='iou'))

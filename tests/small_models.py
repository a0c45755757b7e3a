"""Models of configs made narrow, and random annotated samples to feed them."""

from typing import Any

import numpy as np
import torch
from mmdet.models import MobileNetV2, ResNeXt
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample
from torch import Tensor

from paperzoo.registry import MODELS

IGNORE = 255


def is_semantic(cfg: Config) -> bool:
    return 'decode_head' in cfg.model


def side(cfg: Config) -> int:
    """Return the side of the images: FCOS has levels down to 1/128."""
    return 128 if 'bbox_head' in cfg.model else 64


def classes(cfg: Config) -> tuple[int, int]:
    """Return the numbers of thing and of stuff classes; semantic classes are stuff."""
    model = cfg.model
    if is_semantic(cfg):
        head = model.decode_head
        return 0, head.get('kernel_generate_head', head).num_classes
    if 'roi_head' in model:
        return model.roi_head.num_thing_classes, model.roi_head.num_stuff_classes
    if 'panoptic_head' in model:
        head = model.panoptic_head
        return head.num_things_classes, head.num_stuff_classes
    return model.bbox_head.num_classes, 0


def images(cfg: Config, count: int) -> Tensor:
    torch.manual_seed(2)
    return torch.randn(count, 3, side(cfg), side(cfg))


def samples(cfg: Config, count: int, objects: int) -> list[Any]:
    """Return samples with so many objects; without objects there is no stuff either."""
    torch.manual_seed(1)
    size = (side(cfg), side(cfg))
    info = dict(
        img_shape=size,
        ori_shape=size,
        pad_shape=size,
        batch_input_shape=size,
        scale_factor=(1.0, 1.0),
    )
    things, stuff = classes(cfg)
    made = []
    for _ in range(count):
        kind = SegDataSample if is_semantic(cfg) else DetDataSample
        sample = kind(metainfo=info)
        if things:
            sample.gt_instances = instances(size, objects, things)
        if stuff:
            labels = torch.full((1, *size), IGNORE, dtype=torch.long)
            if objects:
                labels[:, size[0] // 2 :] = things + torch.randint(0, stuff, ())
            key = 'data' if is_semantic(cfg) else 'sem_seg'
            sample.gt_sem_seg = PixelData(**{key: labels})
        made.append(sample)
    return made


def instances(size: tuple[int, int], objects: int, things: int) -> InstanceData:
    corner = torch.rand(objects, 2) * size[0] / 2
    boxes = torch.cat(
        [corner, corner + size[0] / 12 + torch.rand(objects, 2) * size[0] / 2.5], dim=1
    )
    masks = np.zeros((objects, *size), np.uint8)
    for mask, (left, top, right, bottom) in zip(
        masks, boxes.round().int().tolist(), strict=True
    ):
        mask[top:bottom, left:right] = 1
    return InstanceData(
        bboxes=boxes,
        labels=torch.randint(0, things, (objects,)),
        masks=BitmapMasks(masks, *size),
    )


def small_model(cfg: Config) -> Any:
    """Build the model of a config with a narrow, shallow backbone of its kind."""
    widths = shrink(cfg.model.backbone)
    model = cfg.model
    model.pop('pretrained', None)
    if 'neck' in model:
        # A neck has as many inputs as before, the last ones.
        model.neck.in_channels = widths[-len(model.neck.in_channels) :]
    if 'panoptic_head' in model:
        model.panoptic_head.in_channels = widths
    if is_semantic(cfg):
        head = model.decode_head
        head = head.get('kernel_generate_head', head)
        several = isinstance(head.in_channels, list | tuple)
        head.in_channels = widths if several else widths[-1]
        model.auxiliary_head.in_channels = widths[2]
    torch.manual_seed(0)
    return revert_sync_batchnorm(MODELS.build(model))


def shrink(backbone: Any) -> list[int]:
    """Make a backbone narrow; return the channels of its levels."""
    backbone.init_cfg = None
    if backbone.type is MobileNetV2:
        backbone.widen_factor = 0.25
        return [8, 24, 1280]
    if 'embed_dims' in backbone:
        backbone.update(embed_dims=12, depths=(1, 1, 1, 1), num_heads=(1, 2, 4, 8))
        return [12, 24, 48, 96]
    if backbone.type is ResNeXt or 'dcn' in backbone:
        backbone.update(depth=50, base_channels=8)
        if 'groups' in backbone:
            backbone.update(groups=4, base_width=4)
        return [32, 64, 128, 256]
    backbone.update(depth=18, base_channels=8)
    return [8, 16, 32, 64]

"""Detectors of configs made narrow, and random annotated samples to feed them."""

from typing import Any

import torch
from mmdet.models import MobileNetV2, ResNeXt
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData

from paperzoo.registry import MODELS


def samples(count: int, objects: int, classes: int) -> list[DetDataSample]:
    torch.manual_seed(1)
    made = []
    for _ in range(count):
        corner = torch.rand(objects, 2) * 60
        boxes = torch.cat([corner, corner + 10 + torch.rand(objects, 2) * 50], dim=1)
        sample = DetDataSample(
            metainfo=dict(
                img_shape=(128, 128),
                ori_shape=(128, 128),
                batch_input_shape=(128, 128),
                scale_factor=(1.0, 1.0),
            )
        )
        sample.gt_instances = InstanceData(
            bboxes=boxes, labels=torch.randint(0, classes, (objects,))
        )
        made.append(sample)
    return made


def small_model(cfg: Config) -> Any:
    """Build the model of a config with a narrow, shallow backbone of its kind."""
    backbone = cfg.model.backbone
    backbone.init_cfg = None
    if backbone.type is MobileNetV2:
        backbone.widen_factor = 0.25
        cfg.model.neck.in_channels = [8, 24, 1280]
    elif backbone.type is ResNeXt or 'dcn' in backbone:
        backbone.update(depth=50, base_channels=8)
        if 'groups' in backbone:
            backbone.update(groups=4, base_width=4)
        cfg.model.neck.in_channels = [32, 64, 128, 256]
    else:
        backbone.update(depth=18, base_channels=8)
        cfg.model.neck.in_channels = [8, 16, 32, 64]
    torch.manual_seed(0)
    return MODELS.build(cfg.model)

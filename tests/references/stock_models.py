"""Models of mmdet and mmseg that use mmcv's ops: losses, gradients and predictions.

With compiled mmcv, `python tests/references/stock_models.py FOLDER` writes what
they give; a test compares that with what the stand-in gives.

Everything is computed in double precision: in single precision a convolution rounds
as the vector units of the processor do, and a gradient of a deep model differs by more
between two processors than between two implementations of an op.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from math import prod
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData, PixelData
from torch import Tensor, nn

Arrays = dict[str, np.ndarray]
SIZE = 96, 128
WIDTHS = [64, 128, 256, 512]


def config(package: str, name: str) -> ConfigDict:
    """Return the model of one of the package's own configs, its backbone narrow."""
    folder = Path(__import__(package).__file__).parent / '.mim' / 'configs'
    cfg = Config.fromfile(str(folder / name))
    init_default_scope(cfg.default_scope)
    cfg.model.backbone.init_cfg = None
    cfg.model.pop('pretrained', None)
    if 'ResNet' in cfg.model.backbone.type:
        cfg.model.backbone.update(depth=50, base_channels=16, stem_channels=16)
    return cfg.model


def mask_rcnn() -> ConfigDict:
    model = config('mmdet', 'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py')
    model.neck.in_channels = WIDTHS
    model.roi_head.bbox_head.update(fc_out_channels=64)
    model.roi_head.mask_head.update(conv_out_channels=32)
    return model


def fcos_dcn() -> ConfigDict:
    name = 'r50-dcn-caffe_fpn_gn-head-center-normbbox-centeronreg-giou_1x_coco'
    model = config('mmdet', f'fcos/fcos_{name}.py')
    model.neck.update(in_channels=WIDTHS, out_channels=64)
    model.bbox_head.update(in_channels=64, feat_channels=64)
    return model


def deformable_detr() -> ConfigDict:
    name = 'deformable_detr/deformable-detr_r50_16xb2-50e_coco.py'
    model = config('mmdet', name)
    model.neck.in_channels = WIDTHS[1:]
    model.num_queries = 30
    model.test_cfg.max_per_img = 20
    model.encoder.num_layers = model.decoder.num_layers = 2
    return model


def mask2former() -> ConfigDict:
    model = config('mmdet', 'mask2former/mask2former_r50_8xb2-lsj-50e_coco.py')
    head = model.panoptic_head
    head.update(in_channels=WIDTHS, num_queries=20)
    head.pixel_decoder.encoder.num_layers = 2
    head.transformer_decoder.num_layers = 3
    model.test_cfg.max_per_image = 10
    model.train_cfg.num_points = 256
    return model


def rtmdet() -> ConfigDict:
    return config('mmdet', 'rtmdet/rtmdet_tiny_8xb32-300e_coco.py')


def rtmdet_ins() -> ConfigDict:
    return config('mmdet', 'rtmdet/rtmdet-ins_tiny_8xb32-300e_coco.py')


def dyhead() -> ConfigDict:
    model = config('mmdet', 'dyhead/atss_r50_fpn_dyhead_1x_coco.py')
    model.neck[0].update(in_channels=WIDTHS, out_channels=64)
    model.neck[1].update(in_channels=64, out_channels=64, num_blocks=2)
    model.bbox_head.update(in_channels=64, feat_channels=64)
    return model


def crowddet() -> ConfigDict:
    import_module('paperzoo.compat')  # mmcv's operator in place of torchvision's
    model = config('mmdet', 'crowddet/crowddet-rcnn_r50_fpn_8xb2-30e_crowdhuman.py')
    model.neck.update(in_channels=WIDTHS)
    roi_head = model.roi_head
    roi_head.bbox_head.fc_out_channels = 64
    roi_head.bbox_roi_extractor.roi_layer.use_torchvision = False
    return model


def ssd() -> ConfigDict:
    import_module('paperzoo.compat')  # its prediction fails without a remedy
    model = config('mmdet', 'ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py')
    model.test_cfg.update(score_thr=0.0, max_per_img=30)
    return model


def point_rend() -> ConfigDict:
    model = config('mmseg', 'point_rend/pointrend_r50_4xb4-160k_ade20k-512x512.py')
    model.backbone.depth = 50
    model.neck.update(in_channels=WIDTHS)
    model.backbone.norm_cfg = model.decode_head[0].norm_cfg = {'type': 'BN'}
    model.decode_head[1].update(in_channels=[256])
    return model


STOCK: dict[str, Callable[[], ConfigDict]] = {
    build.__name__: build
    for build in (
        mask_rcnn,
        fcos_dcn,
        deformable_detr,
        mask2former,
        rtmdet,
        rtmdet_ins,
        dyhead,
        crowddet,
        ssd,
        point_rend,
    )
}


@contextmanager
def double_precision() -> Iterator[None]:
    """Give double precision to whoever asks for single precision, as mmdet often does.

    Only nms gets single precision: the compiled one takes nothing else.
    """
    single, double = torch.float32, torch.float64
    module = import_module('mmcv.ops.nms')
    ops = module.ext_module

    def nms(boxes: Tensor, scores: Tensor, **options: Any) -> Tensor:
        return ops.nms(boxes.to(single), scores.to(single), **options)

    # Defaults of arguments are read at the import, which must come before the change.
    generators = import_module('mmdet.models.task_modules.prior_generators')
    import_module('mmseg.models')
    torch.set_default_dtype(double)
    try:
        with ExitStack() as stack:
            for kind in (generators.AnchorGenerator, generators.MlvlPointGenerator):
                priors = kind.grid_priors
                given = tuple(double if d is single else d for d in priors.__defaults__)
                stack.enter_context(mock.patch.object(priors, '__defaults__', given))
            for patch in (
                mock.patch.multiple(torch, float32=double, float=double),
                mock.patch.object(Tensor, 'float', Tensor.double),
                mock.patch.object(module, 'ext_module', SimpleNamespace(nms=nms)),
            ):
                stack.enter_context(patch)
            yield
    finally:
        torch.set_default_dtype(single)


def fill(model: nn.Module) -> None:
    """Give a model weights that depend on nothing but their names and shapes."""
    random = np.random.RandomState(0)
    for name, value in sorted(model.state_dict().items()):
        if not value.is_floating_point():
            continue
        noise = torch.from_numpy(random.standard_normal(value.shape))
        if value.dim() > 1:
            # Scores that are nearly equal would be in any order.
            gain = 30.0 if 'rtm_cls' in name else 1.0
            value.copy_(gain * noise / prod(value.shape[1:]) ** 0.5)
        elif name.endswith('weight'):
            value.copy_(1 + 0.1 * noise)
        elif name.endswith('running_var'):
            value.copy_(1 + 0.1 * noise.abs())
        else:
            value.copy_(0.05 * noise)


def samples(semantic: bool) -> list[Any]:
    """Return two annotated images."""
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmseg.structures import SegDataSample

    random = np.random.RandomState(1)
    made = []
    for _ in range(2):
        meta = {
            'img_shape': SIZE,
            'ori_shape': SIZE,
            'pad_shape': SIZE,
            'batch_input_shape': SIZE,
            'scale_factor': (1.0, 1.0),
        }
        corner = random.uniform(0, 50, (4, 2))
        boxes = np.concatenate((corner, corner + random.uniform(12, 45, (4, 2))), 1)
        masks = np.zeros((4, *SIZE), np.uint8)
        for mask, (x0, y0, x1, y1) in zip(masks, boxes.astype(int), strict=True):
            mask[y0:y1, x0:x1] = 1
        if semantic:
            sample = SegDataSample(metainfo=meta)
            labels = torch.from_numpy(random.randint(0, 150, (1, *SIZE)))
            sample.gt_sem_seg = PixelData(data=labels)
        else:
            sample = DetDataSample(metainfo=meta)
            sample.gt_instances = InstanceData(
                bboxes=torch.from_numpy(boxes),
                labels=torch.from_numpy(random.randint(0, 80, 4)),
                masks=BitmapMasks(masks, *SIZE),
            )
            stuff = torch.from_numpy(random.randint(80, 133, (1, *SIZE)))
            sample.gt_sem_seg = PixelData(sem_seg=stuff)
        made.append(sample)
    return made


@double_precision()
def run(name: str) -> Arrays:
    """Return losses, gradients and predictions of one of the stock models."""
    torch.manual_seed(0)
    model = MODELS.build(STOCK[name]()).double()
    fill(model)
    batch = samples(semantic=name == 'point_rend')
    if name == 'rtmdet':
        for sample in batch:
            del sample.gt_instances.masks
    if name == 'crowddet':  # one class; it looks at what is to be ignored
        for sample in batch:
            sample.gt_instances.labels.zero_()
            sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4))
    images = torch.from_numpy(np.random.RandomState(2).standard_normal((2, 3, *SIZE)))
    torch.manual_seed(1)
    model.train()
    losses = flat(model.loss(images, batch))
    sum(value for key, value in losses.items() if 'loss' in key).backward()
    arrays = {f'loss.{key}': value.detach().numpy() for key, value in losses.items()}
    for key, parameter in model.named_parameters():
        if parameter.grad is not None:
            arrays[f'grad_norm.{key}'] = parameter.grad.norm().numpy()
    torch.manual_seed(2)
    with torch.no_grad():
        found = model.eval().predict(images, batch)
    for number, sample in enumerate(found):
        for key, value in predictions(sample).items():
            arrays[f'predict.{number}.{key}'] = value.numpy()
    return arrays


def flat(losses: dict[str, Any]) -> dict[str, Tensor]:
    """Return one tensor for each loss; some heads give a list of levels."""
    return {
        key: sum(value, torch.zeros(())) if isinstance(value, list) else value
        for key, value in losses.items()
    }


def predictions(sample: Any) -> dict[str, Tensor]:
    if 'pred_sem_seg' in sample:
        logits = sample.seg_logits.data[:, ::16, ::16]
        return {'labels': sample.pred_sem_seg.data, 'logits': logits}
    found = {}
    if 'pred_panoptic_seg' in sample:
        found['panoptic'] = sample.pred_panoptic_seg.sem_seg
    if 'pred_instances' in sample:
        instances = sample.pred_instances
        found |= {key: instances[key] for key in ('bboxes', 'scores', 'labels')}
        if 'masks' in instances:
            found['mask_areas'] = instances.masks.flatten(1).sum(dim=1)
    return found


def main() -> None:
    folder = Path(sys.argv[1])
    for name in sys.argv[2:] or STOCK:
        np.savez_compressed(folder / f'stock_{name}.npz', **run(name))
        print(name)


if __name__ == '__main__':
    main()

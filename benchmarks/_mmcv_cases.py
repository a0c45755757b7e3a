"""The ops of mmcv at the sizes that models use, for `mmcv_ops.py`."""

from collections.abc import Callable
from functools import partial
from importlib import import_module

import torch
from _mmcv_box_cases import (
    Case,
    Results,
    bbox_overlaps,
    nms,
    nms_match,
    seeded,
    soft_nms,
)
from torch import Tensor

from paperzoo.common import FocalLoss

mmcv_ops = import_module('mmcv.ops')


def pyramid_rois(number: int) -> list[tuple[float, Tensor]]:
    """Scales of P2 to P5 and the RoIs that mmdet pools from each: two images."""
    generator = seeded(number)
    size = 16 * 2 ** (torch.rand(number, 1, generator=generator) * 5)
    shape = (torch.randn(number, 1, generator=generator) * 0.4).exp()
    extent = torch.cat((size * shape, size / shape), dim=1)
    border = torch.tensor([1216.0, 800.0])
    centre = torch.rand(number, 2, generator=generator) * border
    low = (centre - extent / 2).clamp(min=0)
    high = torch.minimum(centre + extent / 2, border)
    index = torch.randint(2, (number, 1), generator=generator)
    rois = torch.cat((index, low, high), dim=1)
    area = (high - low).prod(dim=1)
    level = (area.sqrt() / 56 + 1e-6).log2().floor().clamp(0, 3)
    return [(1 / (4 << n), rois[level == n]) for n in range(4)]


def roi_align(
    number: int,
    bins: int,
    sampling: int,
    mode: str = 'avg',
    backward: bool = False,
    memory_format: torch.memory_format = torch.contiguous_format,
    aligned: bool = True,
) -> Case:
    def make(contiguous: bool = False) -> Callable[[], Results]:
        levels = pyramid_rois(number)
        shapes = [(200 >> n, 304 >> n) for n in range(4)]
        images = [
            torch.randn(2, 256, *s, generator=seeded(*s[:1])).to(
                memory_format=memory_format
            )
            for s in shapes
        ]

        def run() -> Results:
            results = {}
            for n, (image, (scale, rois)) in enumerate(
                zip(images, levels, strict=True)
            ):
                leaf = image.contiguous() if contiguous else image
                leaf = leaf.detach().requires_grad_(backward)
                options = bins, scale, sampling, mode, aligned
                out = mmcv_ops.roi_align(leaf, rois, *options)
                results[f'P{n + 2}'] = out.detach()
                if backward:
                    out.backward(out.detach())
                    results[f'gradient of P{n + 2}'] = leaf.grad
            return results

        return run

    # The compiled op reads a channels_last image as if it were not: it needs a copy.
    return Case('roi_align', make, partial(make, contiguous=True))


def deform_conv(
    channels: int,
    size: tuple[int, int],
    stride: int,
    modulated: bool,
    backward: bool,
    dilation: int = 1,
    groups: int = 1,
    deform_groups: int = 1,
) -> Case:
    def make() -> Callable[[], Results]:
        generator = seeded(channels)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator)

        out = [(n - 1) // stride + 1 for n in size]
        fan = channels // groups
        tensors = {
            'image': normal(2, channels, *size),
            'offset': normal(2, 18 * deform_groups, *out),
            'mask': normal(2, 9 * deform_groups, *out).sigmoid(),
            'weight': normal(channels, fan, 3, 3) / (9 * fan) ** 0.5,
        }
        grad = normal(2, channels, *out)
        if not modulated:
            del tensors['mask']
        name = 'modulated_deform_conv2d' if modulated else 'deform_conv2d'
        bias = (None,) if modulated else ()
        op = getattr(mmcv_ops, name)

        def run() -> Results:
            leaves = [x.detach().requires_grad_(backward) for x in tensors.values()]
            # A padding of one dilation keeps the size.
            options = stride, dilation, dilation, groups, deform_groups
            output = op(*leaves, *bias, *options)
            if not backward:
                return {'output': output}
            grads = torch.autograd.grad(output, leaves, grad)
            names = [f'gradient of {name}' for name in tensors]
            return {
                'output': output.detach(),
                **dict(zip(names, grads, strict=True)),
            }

        return run

    return Case('modulated_deform_conv' if modulated else 'deform_conv', make)


def ms_deform_attn(queries: int, backward: bool) -> Case:
    """300 queries of a decoder or each key of an encoder, against mmcv's Python."""

    def make(peer: bool = False) -> Callable[[], Results]:
        module = import_module('mmcv.ops.multi_scale_deform_attn')
        generator = seeded(queries)
        shapes = torch.tensor([(50, 76), (25, 38), (13, 19), (7, 10)])
        keys = shapes.prod(dim=1)
        total = int(keys.sum())
        value = torch.randn(2, total, 8, 32, generator=generator)
        locations = torch.rand(2, queries or total, 8, 4, 4, 2, generator=generator)
        attention = torch.rand(locations.shape[:-1], generator=generator)

        def run() -> Results:
            leaves = [
                x.detach().requires_grad_(backward)
                for x in (value, locations, attention)
            ]
            if peer:
                output = module.multi_scale_deformable_attn_pytorch(
                    leaves[0], shapes, *leaves[1:]
                )
            else:
                output = module.MultiScaleDeformableAttnFunction.apply(
                    leaves[0], shapes, keys.cumsum(0) - keys, *leaves[1:], 64
                )
            if not backward:
                return {'output': output}
            grads = torch.autograd.grad(output, leaves, output.detach())
            names = ('value', 'locations', 'attention')
            return {f'gradient of {n}': g for n, g in zip(names, grads, strict=True)}

        return run

    return Case(
        'multi_scale_deform_attn', make, lambda: make(peer=True), "mmcv's Python"
    )


def sigmoid_focal_loss(registered: bool = False) -> Case:
    """The points of two images of FCOS, against mmdet's Python version.

    Args:
        registered: Ours is paperzoo's registered loss instead of mmcv's op.
    """

    def make(peer: bool = False) -> Callable[[], Results]:
        losses = import_module('mmdet.models.losses.focal_loss')
        registered_loss = FocalLoss(reduction='sum')
        generator = seeded(0)
        logits = torch.randn(40_534, 80, generator=generator) - 4
        target = torch.full((len(logits),), 80)
        target[::50] = torch.randint(80, (len(target[::50]),), generator=generator)

        def run() -> Results:
            leaf = logits.detach().requires_grad_()
            if peer:
                onehot = torch.nn.functional.one_hot(target, 81)[:, :80]
                loss = losses.py_sigmoid_focal_loss(leaf, onehot, reduction='sum')
            elif registered:
                loss = registered_loss(leaf, target)
            else:
                loss = mmcv_ops.sigmoid_focal_loss(leaf, target, 2, 0.25, None, 'sum')
            (grad,) = torch.autograd.grad(loss, leaf)
            return {'loss': loss.detach(), 'gradient': grad}

        return run

    return Case('focal_loss', make, lambda: make(peer=True), "mmdet's Python")


CASES: dict[str, Case] = {
    'nms, 1000 proposals, IoU 0.7': nms(1000, 200, 0.7, 1),
    'nms, 1000 detections of 80 classes, IoU 0.6': nms(1000, 100, 0.6, 80),
    'nms, 1000 detections of one class, IoU 0.5': nms(1000, 100, 0.5, 1),
    'nms, 5000 proposals of 5 levels, IoU 0.7': nms(5000, 500, 0.7, 5),
    'nms, 5000 detections of 80 classes, IoU 0.6': nms(5000, 100, 0.6, 80),
    'nms, 5000 detections of one class, IoU 0.5': nms(5000, 100, 0.5, 1),
    'nms, 20000 detections of one class, IoU 0.5': nms(20000, 2000, 0.5, 1),
    'softnms, 500 boxes, linear': soft_nms(500, 50, 'linear'),
    'softnms, 500 boxes, gaussian': soft_nms(500, 50, 'gaussian'),
    'softnms, 500 boxes, naive': soft_nms(500, 50, 'naive'),
    'nms_match, 1000 boxes': nms_match(1000, 100),
    'bbox_overlaps, 2000 x 2000, iou': bbox_overlaps(2000, 2000, 'iou'),
    'bbox_overlaps, 2000 x 2000, iof': bbox_overlaps(2000, 2000, 'iof'),
    **{
        f'roi_align, 1000 RoIs 7 x 7, sampling {sampling}'
        f'{", with backward" if backward else ""}': roi_align(
            1000, 7, sampling, 'avg', backward
        )
        for sampling in (0, 2)
        for backward in (False, True)
    },
    'roi_align, 1000 RoIs 7 x 7, sampling 2, channels_last': roi_align(
        1000, 7, 2, memory_format=torch.channels_last
    ),
    # What a mask head is trained with: a quarter of 512 RoIs of two images.
    'roi_align, 256 RoIs 14 x 14, sampling 0, with backward': roi_align(
        256, 14, 0, 'avg', True
    ),
    # What it pools in a test: 100 detections each.
    'roi_align, 200 RoIs 14 x 14, sampling 0': roi_align(200, 14, 0),
    'roi_align, 200 RoIs 14 x 14, sampling 2, with backward': roi_align(
        200, 14, 2, 'avg', True
    ),
    'roi_align, 200 RoIs 7 x 7, sampling 2, aligned=False': roi_align(
        200, 7, 2, aligned=False
    ),
    'roi_align, 200 RoIs 7 x 7, sampling 2, max': roi_align(200, 7, 2, 'max'),
    **{
        f'DCN v{1 + modulated}, {channels} channels {high} x {wide}, stride {stride}, '
        'with backward': deform_conv(channels, (high, wide), stride, modulated, True)
        for channels, high, wide, stride in ((256, 100, 152, 1), (512, 50, 76, 2))
        for modulated in (False, True)
    },
    **{
        f'DCN v{1 + modulated}, 128 channels 50 x 76, groups 2, deform groups 2, '
        'dilation 2, with backward': deform_conv(
            128, (50, 76), 1, modulated, True, dilation=2, groups=2, deform_groups=2
        )
        for modulated in (False, True)
    },
    **{
        f'ms_deform_attn, 300 queries{", with backward" if backward else ""}': (
            ms_deform_attn(300, backward)
        )
        for backward in (False, True)
    },
    'sigmoid_focal_loss, 40534 x 80, with backward': sigmoid_focal_loss(),
    'paperzoo.FocalLoss, 40534 x 80, with backward': sigmoid_focal_loss(True),
}

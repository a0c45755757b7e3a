"""Time FCOS with our head beside mmdet's: loss, post-processing, training, inference.

python benchmarks/fcos_speed.py --out benchmarks/results/fcos_speed_cpu.json

Everything but the head is the same module with the same weights. The two take turns, so
that a slow spell of the machine hits both; ratios are medians over the turns.
"""

import argparse
import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from _shared import commit, take_turns
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.detectors import BaseDetector
from mmdet.structures import DetDataSample
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.structures import InstanceData
from torch import Tensor

from paperzoo.registry import MODELS
from paperzoo.utils.files import write_json
from paperzoo.utils.run_info import run_info

CONFIG = Path(__file__).parents[1] / 'configs' / 'fcos_r50_fpn.py'
MMDET = {
    'type': 'mmdet.FCOSHead',
    'loss_cls': {'type': 'mmdet.FocalLoss', 'use_sigmoid': True},
    'loss_bbox': {'type': 'mmdet.IoULoss'},
    'loss_centerness': {'type': 'mmdet.CrossEntropyLoss', 'use_sigmoid': True},
}
Timed = Callable[[], Any]


def models(device: str, config: Path = CONFIG) -> dict[str, BaseDetector]:
    """Return FCOS, R50 by default, with our head and with mmdet's, weights equal."""
    cfg = Config.fromfile(str(config)).model
    cfg.backbone.init_cfg = None
    theirs = copy.deepcopy(cfg)
    theirs.bbox_head.update(copy.deepcopy(MMDET))
    built = {'ours': MODELS.build(cfg), 'mmdet': MODELS.build(theirs)}
    torch.manual_seed(0)
    built['ours'].init_weights()
    built['mmdet'].load_state_dict(built['ours'].state_dict(), strict=True)
    return {
        name: model.to(device, memory_format=torch.channels_last)
        for name, model in built.items()
    }


def samples(
    images: int, size: tuple[int, int], device: str, classes: int = 80
) -> list[DetDataSample]:
    """Return samples with 20 random boxes each, of 16 to about 500 pixels."""
    made = []
    limit = torch.tensor([size[1], size[0]] * 2)
    for _ in range(images):
        centre = torch.rand(20, 2) * limit[:2]
        half = torch.exp(torch.rand(20, 2) * 3.4) * 8
        boxes = torch.cat((centre - half, centre + half), dim=1).clamp(min=0)
        sample = DetDataSample(
            metainfo={
                'img_shape': size,
                'ori_shape': size,
                'batch_input_shape': size,
                'scale_factor': (1.0, 1.0),
            }
        )
        sample.gt_instances = InstanceData(
            bboxes=torch.minimum(boxes, limit).to(device),
            labels=torch.randint(0, classes, (20,), device=device),
        )
        made.append(sample)
    return made


def outputs(
    head: BaseDenseHead, images: int, size: tuple[int, int], device: str
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Return random outputs of a head: one class in 200 is above the threshold."""
    classes = head.num_classes
    maps = [(-(-size[0] // s), -(-size[1] // s)) for s in head.strides]
    logits = [torch.randn(images, classes, *m, device=device) * 1.5 - 7 for m in maps]
    ltrb = [torch.rand(images, 4, *m, device=device) * 200 + 1 for m in maps]
    quality = [torch.randn(images, 1, *m, device=device) for m in maps]
    for level in (*logits, *ltrb, *quality):
        level.requires_grad_()
    return logits, ltrb, quality


def head_cases(
    built: dict[str, BaseDetector], images: int, size: tuple[int, int], device: str
) -> dict[str, dict[str, Timed]]:
    """Return loss and post-processing of both heads on the same random outputs."""
    head = built['ours'].bbox_head
    raw = outputs(head, images, size, device)
    batch = samples(images, size, device, head.num_classes)
    truth = [sample.gt_instances for sample in batch]
    metas = [sample.metainfo for sample in batch]

    def loss(head: BaseDenseHead) -> None:
        total = sum(head.loss_by_feat(*raw, truth, metas).values())
        torch.autograd.grad(total, [level for kind in raw for level in kind])

    def predict(head: BaseDenseHead) -> None:
        detached = ([level.detach() for level in kind] for kind in raw)
        head.predict_by_feat(*detached, metas, rescale=True)

    heads = {name: model.bbox_head for name, model in built.items()}
    return {
        'loss, forward and backward': {
            name: partial(loss, head) for name, head in heads.items()
        },
        'post-processing': {
            name: partial(predict, head) for name, head in heads.items()
        },
    }


def model_cases(
    built: dict[str, BaseDetector],
    images: int,
    size: tuple[int, int],
    device: str,
    dtype: torch.dtype,
) -> dict[str, dict[str, Timed]]:
    """Return a training step (without the optimizer) and an inference of both."""
    batch = samples(images, size, device, built['ours'].bbox_head.num_classes)
    pixels = torch.randn(images, 3, *size, device=device)
    pixels = pixels.to(memory_format=torch.channels_last)
    cast = partial(torch.autocast, device, dtype, enabled=dtype != torch.float32)

    def train(model: BaseDetector) -> None:
        model.train()
        with cast():
            total = sum(model.loss(pixels, batch).values())
        total.backward()
        model.zero_grad()

    @torch.inference_mode()
    def infer(model: BaseDetector) -> None:
        model.eval()
        with cast():
            model.predict(pixels, copy.deepcopy(batch))

    return {
        'training step': {name: partial(train, model) for name, model in built.items()},
        'inference': {name: partial(infer, model) for name, model in built.items()},
    }


def compile_parts(model: BaseDetector) -> None:
    """Compile backbone, neck and head's forward, each on its own."""
    for part in (model.backbone, model.neck, model.bbox_head):
        part.compile()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--size', type=int, nargs=2, default=[800, 1216])
    parser.add_argument('--images', type=int, default=1, help='batch of whole models')
    parser.add_argument('--repeats', type=int, default=3, help='of whole models')
    parser.add_argument('--bf16-size', type=int, nargs=2, default=[800, 1216])
    parser.add_argument('--bf16-repeats', type=int, default=3)
    parser.add_argument('--no-compile', action='store_true')
    args = parser.parse_args()
    register_all_modules()
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    size = args.size[0], args.size[1]
    built = models(device)
    rows: dict[str, Any] = {}

    def add(name: str, pair: dict[str, Timed], repeats: int, warm_up: int) -> None:
        rows[name] = take_turns(pair, repeats, warm_up)
        print(name, rows[name], flush=True)

    for case, pair in head_cases(built, 2, size, device).items():
        add(f'{case}, 2 images', pair, 9, 2)
    for dtype, own_size, repeats in (
        (torch.float32, size, args.repeats),
        (torch.float32, tuple(args.bf16_size), args.bf16_repeats),
        (torch.bfloat16, tuple(args.bf16_size), args.bf16_repeats),
    ):
        cases = model_cases(built, args.images, own_size, device, dtype)
        for case, pair in cases.items():
            name = f'{case}, {str(dtype)[6:]}, {own_size[0]}x{own_size[1]}'
            if name not in rows:
                add(name, pair, repeats, 1 if repeats > 1 else 0)
    if not args.no_compile:
        for model in built.values():
            compile_parts(model)
        cases = model_cases(built, args.images, size, device, torch.float32)
        for case, pair in cases.items():
            name = f'{case}, float32, {size[0]}x{size[1]}, compiled'
            add(name, pair, args.repeats, 1)
    record = {
        'what': 'FCOS R50 with our head beside mmdet.FCOSHead; everything else equal',
        'data': 'random images with 20 random boxes each',
        'images': args.images,
        'rows': rows,
        'commit': commit(),
        **run_info(),
    }
    print(f'Written: {write_json(args.out, record)}')


if __name__ == '__main__':
    main()

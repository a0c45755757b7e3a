"""Time our stand-ins for mmcv's compiled ops beside the compiled ones, and compare.

python benchmarks/mmcv_ops.py --out benchmarks/results/mmcv_ops_cpu.json

Needs compiled mmcv. Both sides run through mmcv's own Python wrappers, in turns; only
the module that these call is exchanged, so nothing but the op differs.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from _shared import commit, take_turns
from torch import Tensor

from paperzoo.compat.mmcv_ext import NAME, StandIn
from paperzoo.compat.ops import OPS
from paperzoo.engine.record import run_record, write_json

mmcv_ops = import_module('mmcv.ops')
Results = Mapping[str, Tensor]
PEER = 'compiled'
OURS = 'stand-in'


@dataclass(frozen=True)
class Case:
    """One op at one size.

    Attributes:
        file: The file of `mmcv.ops` that calls the op.
        make: Returns what is timed; that returns named results, which are compared.
        peer: The same of the peer, where compiled mmcv has no kernel for the CPU.
    """

    file: str
    make: Callable[[], Callable[[], Results]]
    peer: Callable[[], Callable[[], Results]] | None = None


@contextmanager
def stand_in(file: str) -> Iterator[None]:
    """Let one file of `mmcv.ops` call our ops."""
    module = import_module(f'mmcv.ops.{file}')
    compiled = module.ext_module
    module.ext_module = SimpleNamespace(**OPS)
    try:
        yield
    finally:
        module.ext_module = compiled


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clustered(number: int, objects: int, classes: int = 1) -> tuple[Tensor, Tensor]:
    """Boxes around objects in a 1333 x 800 image, classes moved apart, and scores."""
    generator = seeded(number + objects)
    owner = torch.randint(objects, (number,), generator=generator)
    size = 16 * 2 ** (torch.rand(objects, 2, generator=generator)[owner] * 4)
    centre = torch.rand(objects, 2, generator=generator)[owner]
    centre = centre * torch.tensor([1333.0, 800.0])
    noise = torch.randn(2, number, 2, generator=generator) * 0.12
    centre, size = centre + noise[0] * size, size * noise[1].exp()
    label = torch.randint(classes, (objects,), generator=generator)[owner]
    boxes = torch.cat((centre - size / 2, centre + size / 2), dim=1)
    moved = boxes + label[:, None] * (boxes.max() + 1)
    return moved, torch.rand(number, generator=generator)


def nms(number: int, objects: int, threshold: float, classes: int) -> Case:
    def make() -> Callable[[], Results]:
        boxes, scores = clustered(number, objects, classes)
        return lambda: {'kept': mmcv_ops.nms(boxes, scores, threshold)[1]}

    return Case('nms', make)


def soft_nms(number: int, objects: int, method: str) -> Case:
    def make() -> Callable[[], Results]:
        boxes, scores = clustered(number, objects)

        def run() -> Results:
            dets, kept = mmcv_ops.soft_nms(boxes, scores, 0.3, 0.5, 1e-3, method)
            return {'kept': kept, 'scores': dets[:, 4]}

        return run

    return Case('nms', make)


def nms_match(number: int, objects: int) -> Case:
    def make() -> Callable[[], Results]:
        boxes, scores = clustered(number, objects)
        dets = torch.cat((boxes, scores[:, None]), dim=1)

        def run() -> Results:
            groups = mmcv_ops.nms_match(dets, 0.5)
            sizes = torch.tensor([len(group) for group in groups])
            return {'members': torch.cat(groups), 'sizes': sizes}

        return run

    return Case('nms', make)


def bbox_overlaps(rows: int, columns: int, mode: str) -> Case:
    def make() -> Callable[[], Results]:
        first, second = clustered(rows, 50)[0], clustered(columns, 51)[0]
        return lambda: {'overlaps': mmcv_ops.bbox_overlaps(first, second, mode)}

    return Case('bbox', make)


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
    number: int, bins: int, sampling: int, mode: str = 'avg', backward: bool = False
) -> Case:
    def make() -> Callable[[], Results]:
        levels = pyramid_rois(number)
        shapes = [(200 >> n, 304 >> n) for n in range(4)]
        images = [torch.randn(2, 256, *s, generator=seeded(*s[:1])) for s in shapes]

        def run() -> Results:
            results = {}
            for n, (image, (scale, rois)) in enumerate(
                zip(images, levels, strict=True)
            ):
                leaf = image.detach().requires_grad_(backward)
                out = mmcv_ops.roi_align(leaf, rois, bins, scale, sampling, mode, True)
                results[f'P{n + 2}'] = out.detach()
                if backward:
                    out.backward(out.detach())
                    results[f'gradient of P{n + 2}'] = leaf.grad
            return results

        return run

    return Case('roi_align', make)


def deform_conv(
    channels: int, size: tuple[int, int], stride: int, modulated: bool, backward: bool
) -> Case:
    def make() -> Callable[[], Results]:
        generator = seeded(channels)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator)

        out = [(n - 1) // stride + 1 for n in size]
        tensors = {
            'image': normal(2, channels, *size),
            'offset': normal(2, 18, *out),
            'mask': normal(2, 9, *out).sigmoid(),
            'weight': normal(channels, channels, 3, 3) / (9 * channels) ** 0.5,
        }
        grad = normal(2, channels, *out)
        if not modulated:
            del tensors['mask']
        name = 'modulated_deform_conv2d' if modulated else 'deform_conv2d'
        bias = (None,) if modulated else ()
        op = getattr(mmcv_ops, name)

        def run() -> Results:
            leaves = [x.detach().requires_grad_(backward) for x in tensors.values()]
            output = op(*leaves, *bias, stride, 1, 1)
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

    return Case('multi_scale_deform_attn', make, lambda: make(peer=True))


def sigmoid_focal_loss() -> Case:
    """The points of two images of FCOS, against mmdet's Python version."""

    def make(peer: bool = False) -> Callable[[], Results]:
        losses = import_module('mmdet.models.losses.focal_loss')
        generator = seeded(0)
        logits = torch.randn(40_534, 80, generator=generator) - 4
        target = torch.full((len(logits),), 80)
        target[::50] = torch.randint(80, (len(target[::50]),), generator=generator)

        def run() -> Results:
            leaf = logits.detach().requires_grad_()
            if peer:
                onehot = torch.nn.functional.one_hot(target, 81)[:, :80]
                loss = losses.py_sigmoid_focal_loss(leaf, onehot, reduction='sum')
            else:
                loss = mmcv_ops.sigmoid_focal_loss(leaf, target, 2, 0.25, None, 'sum')
            (grad,) = torch.autograd.grad(loss, leaf)
            return {'loss': loss.detach(), 'gradient': grad}

        return run

    return Case('focal_loss', make, lambda: make(peer=True))


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
        f'roi_align, {number} RoIs {bins} x {bins}, sampling {sampling}, {mode}'
        f'{", with backward" if backward else ""}': roi_align(
            number, bins, sampling, mode, backward
        )
        for number, bins in ((1000, 7), (200, 14))
        for sampling in (0, 2)
        for mode in ('avg', 'max')
        for backward in (False, True)
    },
    **{
        f'DCN v{1 + modulated}, {channels} channels {high} x {wide}, stride {stride}'
        f'{", with backward" if backward else ""}': deform_conv(
            channels, (high, wide), stride, modulated, backward
        )
        for channels, high, wide, stride in (
            (256, 100, 152, 1),
            (512, 50, 76, 1),
            (512, 50, 76, 2),
        )
        for modulated in (False, True)
        for backward in (False, True)
    },
    **{
        f'ms_deform_attn, {queries or "all"} queries'
        f'{", with backward" if backward else ""}': ms_deform_attn(queries, backward)
        for queries in (300, 0)
        for backward in (False, True)
    },
    'sigmoid_focal_loss, 40534 x 80, with backward': sigmoid_focal_loss(),
}


def sides(case: Case) -> dict[str, Callable[[], Results]]:
    """Return ours and the peer's way to the same results, the inputs equal."""
    ours = case.make()
    peer = case.peer() if case.peer else case.make()

    def run() -> Results:
        with stand_in(case.file):
            return ours()

    return {OURS: run, PEER: peer}


def differences(ours: Results, peer: Results) -> dict[str, Any]:
    """Return the largest difference per result; of integers, how many differ."""
    found: dict[str, Any] = {}
    for name, wanted in peer.items():
        actual = ours[name]
        if actual.shape != wanted.shape:
            found[name] = (
                f'shape {tuple(actual.shape)} instead of {tuple(wanted.shape)}'
            )
        elif wanted.is_floating_point():
            largest = (actual - wanted).abs().nan_to_num(0).amax().item()
            found[name] = {
                'largest': largest,
                'of_at_most': wanted.abs().nan_to_num(0).amax().item(),
                'nan_differ': int((actual.isnan() != wanted.isnan()).sum()),
            }
        else:
            found[name] = {
                'differ': int((actual != wanted).sum()),
                'of': wanted.numel(),
            }
    return found


def _kib(key: str) -> int:
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))


def peak_mib(name: str, side: str, threads: int) -> float:
    """Return by how much one run in a fresh process raises the resident memory."""
    command = [sys.executable, __file__, '--only', name, '--memory', side]
    command += ['--threads', str(threads)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(run.stdout.split()[-1])


def print_peak(name: str, side: str) -> None:
    run = sides(CASES[name])[side]
    before = _kib('VmRSS')
    Path('/proc/self/clear_refs').write_text('5')  # forgets the peak so far
    results = run()
    print(round((_kib('VmHWM') - before) / 1024, 1) if results else 0)


def measure(name: str, repeats: int, threads: int) -> dict[str, Any]:
    pair = sides(CASES[name])
    found = differences(pair[OURS](), pair[PEER]())
    peaks = {side: peak_mib(name, side, threads) for side in pair}
    row = {'case': name, **take_turns(pair, repeats), 'peak_mib': peaks}
    print(f'{name}: ratio {row["ratio"]}, {row["seconds"]}, {peaks} MiB', flush=True)
    return {**row, 'differences': found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', default='benchmarks/results/mmcv_ops_cpu.json')
    parser.add_argument('--only', default='', help='cases whose name starts with this')
    parser.add_argument('--repeats', type=int, default=9)
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    parser.add_argument('--memory', choices=[OURS, PEER], help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if isinstance(import_module(NAME), StandIn):
        sys.exit(f'{NAME} is our stand-in: install compiled mmcv to compare with it')
    if args.memory:
        print_peak(args.only, args.memory)
        return
    names = [name for name in CASES if name.startswith(args.only)]
    rows = [measure(name, args.repeats, args.threads) for name in names]
    record = {
        'what': "mmcv's compiled ops and our stand-ins, in turns in one process",
        'data': 'random images; boxes clustered around random objects',
        'ratio': 'time of the stand-in / of the compiled op, median over the turns',
        'cases': rows,
        'commit': commit(),
        **run_record(),
    }
    print(f'Written: {write_json(Path(args.out), record)}')


if __name__ == '__main__':
    main()

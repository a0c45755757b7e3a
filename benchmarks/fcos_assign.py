"""FCOS's targets: our head's `get_targets` beside mmdet's, in turns, in one run.

python benchmarks/fcos_assign.py --out benchmarks/results/fcos_assign.json
"""

import argparse
from itertools import product
from pathlib import Path
from typing import Any

import torch
from _shared import commit, take_turns
from mmengine.structures import InstanceData
from torch import Tensor
from torch.autograd.profiler import profile
from torch.testing import assert_close

from paperzoo.fcos import level_points
from paperzoo.registry import MODELS
from paperzoo.utils.files import write_json
from paperzoo.utils.run_info import run_info

STRIDES = (8, 16, 32, 64, 128)
SIZES = ((100, 152), (50, 76), (25, 38), (13, 19), (7, 10))
HEADS = ('paperzoo.FCOSHead', 'mmdet.FCOSHead')
CLASSES = 80


def images(boxes: int, device: str) -> list[InstanceData]:
    """Return the objects of two images of 800 x 1216: sizes over all levels."""
    generator = torch.Generator().manual_seed(boxes)
    batch = []
    for _ in range(2):
        middle = torch.rand(boxes, 2, generator=generator)
        middle *= torch.tensor([1216.0, 800.0])
        half = torch.exp(torch.rand(boxes, 2, generator=generator) * 4 + 1.5)
        corners = torch.cat((middle - half, middle + half), dim=1)
        corners = corners.clamp(min=0).minimum(torch.tensor([1216.0, 800] * 2))
        labels = torch.randint(CLASSES, (boxes,), generator=generator)
        batch.append(InstanceData(bboxes=corners, labels=labels).to(device))
    return batch


def peak_bytes(run: Any) -> int:
    """Return the most memory that `run` holds at once on the CPU."""
    with profile(profile_memory=True) as profiled:
        run()
    held = most = 0
    for event in profiled.kineto_results.events():
        if event.name() == '[memory]':
            held += event.nbytes()
            most = max(most, held)
    return most


def measure(boxes: int, sampling: bool, repeats: int, device: str) -> dict:
    """Return times, ratio and memory of both heads; their results must be equal."""
    points = [
        level_points(size, (stride, stride), device=device)
        for size, stride in zip(SIZES, STRIDES, strict=True)
    ]
    gts = images(boxes, device)

    def targets(kind: str) -> Any:
        config = {
            'type': kind,
            'num_classes': CLASSES,
            'in_channels': 1,
            'feat_channels': 1,
            'stacked_convs': 0,
            'strides': STRIDES,
            'center_sampling': sampling,
            'norm_cfg': None,
        }
        head = MODELS.build(config)
        return lambda: head.get_targets(points, gts)

    runs = {kind: targets(kind) for kind in HEADS}
    (ours, ours_ltrb), (theirs, theirs_ltrb) = (run() for run in runs.values())
    assert_close(ours, theirs, rtol=0, atol=0)
    for label, one, other in zip(ours, ours_ltrb, theirs_ltrb, strict=True):
        # On background mmdet leaves the distances to some box; nobody reads them.
        assert_close(_on_boxes(one, label), _on_boxes(other, label), rtol=0, atol=0)
    timed = take_turns(runs, repeats)
    ours_seconds, theirs_seconds = timed['seconds'].values()
    return {
        'boxes': boxes,
        'center_sampling': sampling,
        'threads': torch.get_num_threads(),
        'times_faster': round(theirs_seconds / ours_seconds, 1),
        **timed,
        **(
            {'peak_mb': {k: round(peak_bytes(v) / 1e6, 1) for k, v in runs.items()}}
            if device == 'cpu'
            else {}
        ),
    }


def _on_boxes(ltrb: Tensor, labels: Tensor) -> Tensor:
    return ltrb[labels < CLASSES]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--boxes', type=int, nargs='+', default=[10, 100, 500])
    parser.add_argument('--threads', type=int, nargs='+', default=[1, 2])
    parser.add_argument('--repeats', type=int, default=9)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--out', default='benchmarks/results/fcos_assign.json')
    args = parser.parse_args()
    rows = []
    for threads, boxes, sampling in product(args.threads, args.boxes, (False, True)):
        torch.set_num_threads(threads)
        rows.append(measure(boxes, sampling, args.repeats, args.device))
        print(rows[-1])
    record = {
        'what': "FCOSHead.get_targets, ours beside mmdet's: 2 images of 800 x 1216, "
        f'{sum(h * w for h, w in SIZES)} points each, equal results',
        'data': 'random boxes of 9 to 490 pixels a side',
        'turns': args.repeats,
        'rows': rows,
        'commit': commit(),
        **run_info(),
    }
    print(f'Written: {write_json(Path(args.out), record)}')


if __name__ == '__main__':
    main()

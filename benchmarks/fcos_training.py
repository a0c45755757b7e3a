"""Train our FCOS head and mmdet's side by side: one config, equal seeds, one JSON.

python benchmarks/fcos_training.py fcos_tiny_shapes --seeds 0 1 2 \
    --data 'Shapes: 400 training and 100 test images, synthetic' \
    --out benchmarks/results/fcos_shapes.json

Both heads train at the same time, each on one thread, so that what slows the machine
slows both; the times of steps are comparable within a run only.
"""

import argparse
import tempfile
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from _shared import (
    commit,
    finish,
    loss_lines,
    metrics_of,
    start,
    train_side_by_side,
)
from mmengine.config import Config

from paperzoo.apis.config import find_config
from paperzoo.utils.files import write_json
from paperzoo.utils.run_info import run_info

MMDET = {
    'model.bbox_head.type': 'mmdet.FCOSHead',
    'model.bbox_head.loss_cls.type': 'mmdet.FocalLoss',
    'model.bbox_head.loss_bbox.type': 'mmdet.GIoULoss',
    'model.bbox_head.loss_centerness.type': 'mmdet.CrossEntropyLoss',
    'model.bbox_head.loss_centerness.use_sigmoid': True,
}
HEADS = {'paperzoo.FCOSHead': {}, 'mmdet.FCOSHead': MMDET}


def train_and_test(config: str, seed: int, folder: Path, options: list[str]) -> list:
    """Return what the trainings of both heads with one seed came to."""
    extra = ['--cfg-options', *options] if options else []
    configs = {head: Config.fromfile(str(find_config(config))) for head in HEADS}
    for head, changes in HEADS.items():
        configs[head].merge_from_dict(changes)
    works = train_side_by_side(configs, seed, folder, extra)
    tests = {}
    for head, work in works.items():
        checkpoint = (work / 'last_checkpoint').read_text()
        tests[head] = start(work, 'test', str(work / 'given.py'), checkpoint, *extra)
    for head, process in tests.items():
        finish(works[head], process)
    return [result(head, seed, work) for head, work in works.items()]


def result(head: str, seed: int, work: Path) -> dict[str, Any]:
    return {
        'head': head,
        'seed': seed,
        'seconds_per_step': round(median(line['time'] for line in loss_lines(work)), 4),
        **metrics_of(work),
    }


def summary(runs: list[dict]) -> dict[str, Any]:
    """Return mean and spread of the AP of each head, and ours over mmdet's time."""
    by_head = {head: [run for run in runs if run['head'] == head] for head in HEADS}
    aps = {head: [run['bbox_mAP'] for run in own] for head, own in by_head.items()}
    ours, theirs = (
        [run['seconds_per_step'] for run in by_head[head]] for head in HEADS
    )
    return {
        'mean_bbox_mAP': {head: round(mean(ap), 4) for head, ap in aps.items()},
        'stdev_bbox_mAP': {
            head: round(stdev(ap), 4) if len(ap) > 1 else None
            for head, ap in aps.items()
        },
        'step_time_ours_over_mmdet': round(
            median(a / b for a, b in zip(ours, theirs, strict=True)), 3
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config')
    parser.add_argument('--data', required=True, help='what it is measured on')
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--seeds', type=int, nargs='+', default=[0])
    parser.add_argument('--cfg-options', nargs='*', default=[])
    args = parser.parse_args()
    runs: list[dict] = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in args.seeds:
            runs += train_and_test(args.config, seed, Path(folder), args.cfg_options)
            print(*runs[-2:], sep='\n', flush=True)
    record = {
        'what': f'{args.config}: {" beside ".join(HEADS)}, everything else equal',
        'data': f'{args.data}; no paper has these numbers',
        **summary(runs),
        'runs': runs,
        'cfg_options': args.cfg_options,
        'threads_per_training': 1,
        'commit': commit(),
        **run_info(),
    }
    print(f'Written: {write_json(args.out, record)}')


if __name__ == '__main__':
    main()

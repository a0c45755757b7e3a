"""FCOS on Shapes: our head beside mmdet's, same config, steps and seeds, in one run.

python benchmarks/fcos_shapes.py --seeds 0 1 --out benchmarks/results/fcos_shapes.json
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from paperzoo.engine.record import run_record, write_json

CONFIG = 'fcos_tiny_shapes'
MMDET = [
    'model.bbox_head.type=mmdet.FCOSHead',
    'model.bbox_head.loss_cls.type=mmdet.FocalLoss',
    'model.bbox_head.loss_bbox.type=mmdet.GIoULoss',
    'model.bbox_head.loss_centerness.type=mmdet.CrossEntropyLoss',
    'model.bbox_head.loss_centerness.use_sigmoid=True',
]
HEADS = {'paperzoo.FCOSHead': [], 'mmdet.FCOSHead': MMDET}


def paperzoo(*arguments: str) -> None:
    subprocess.run([sys.executable, '-m', 'paperzoo', *arguments], check=True)


def train_and_test(head: str, seed: int, folder: Path, extra: list[str]) -> dict:
    """Return the AP of one training with a head and a seed."""
    options = ['--cfg-options', f'randomness.seed={seed}', *HEADS[head], *extra]
    work = folder / f'{head}_{seed}'
    paperzoo('train', CONFIG, '--work-dir', str(work), *options)
    checkpoint = (work / 'last_checkpoint').read_text()
    paperzoo('test', CONFIG, checkpoint, '--work-dir', str(work), *options)
    (file,) = work.glob('*/test_metrics.json')
    metrics = json.loads(file.read_text())['metrics']
    return {
        'head': head,
        'seed': seed,
        **{key.removeprefix('coco/'): value for key, value in metrics.items()},
    }


def mean(runs: list[dict], head: str, key: str) -> float:
    values = [run[key] for run in runs if run['head'] == head]
    return sum(values) / len(values)


def commit() -> str:
    git = ['git', '-C', str(Path(__file__).parent), 'describe', '--always', '--dirty']
    return subprocess.run(git, capture_output=True, text=True).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seeds', type=int, nargs='+', default=[0])
    parser.add_argument('--out', default='benchmarks/results/fcos_shapes.json')
    parser.add_argument('--cfg-options', nargs='*', default=[])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        # Heads alternate, so that a slow spell of the machine hits both.
        runs = [
            train_and_test(head, seed, Path(folder), args.cfg_options)
            for seed in args.seeds
            for head in HEADS
        ]
    record = {
        'what': f'{CONFIG}: {" beside ".join(HEADS)}, everything else equal',
        'data': 'Shapes: 400 training and 100 test images, synthetic; no paper has it',
        'mean_bbox_mAP': {
            head: round(mean(runs, head, 'bbox_mAP'), 4) for head in HEADS
        },
        'runs': runs,
        'cfg_options': args.cfg_options,
        'commit': commit(),
        **run_record(),
    }
    print(f'Written: {write_json(Path(args.out), record)}')


if __name__ == '__main__':
    main()

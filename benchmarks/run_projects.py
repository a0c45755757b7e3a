"""Train and test all variants of a project, beside the plain model, into one JSON.

python benchmarks/run_projects.py smooth_targets --seeds 0 1 2
python benchmarks/run_projects.py smooth_targets --data bccd
python benchmarks/run_projects.py smooth_targets --report

writes projects/smooth_targets/results.json, the tables of its README and its pictures;
the last only the tables and charts again. The trainings of a seed run at the same time,
each on one thread: their times are comparable within a run only.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any, NamedTuple

import torch
from _project_report import draw_chart, draw_predictions, fill_readme
from _shared import (
    commit,
    finish,
    loss_lines,
    metrics_of,
    start,
    train_side_by_side,
)
from mmengine.config import Config

from paperzoo.engine.record import run_record

ROOT = Path(__file__).parents[1]
DATA = {
    'shapes': 'Shapes: 400 training and 100 test images, synthetic',
    'bccd': 'blood cells (BCCD): 205 training and 87 validation images, real',
}


class Variant(NamedTuple):
    """A config of the project, `{data}` in its name, and what changes in it."""

    config: str
    train: dict[str, Any] = {}
    test: dict[str, Any] = {}


HEAD = 'model.bbox_head.'
SMOOTH, TOWER = 'smooth_targets_{data}', 'local_attention_{data}'
PLAIN = {HEAD + 'smooth_weight': 0.0}
UNMOVED = {HEAD + 'voting': None}
ATTENTION = {'type': 'paperzoo.LocalSelfAttention2d', 'num_heads': 8}
# The first of each is what the others are compared with. Those that are trained alike
# are trained once.
PROJECTS: dict[str, dict[str, Variant]] = {
    'smooth_targets': {
        'plain FCOS': Variant(SMOOTH, PLAIN, UNMOVED),
        'voting': Variant(SMOOTH, PLAIN),
        'penalty': Variant(SMOOTH, {}, UNMOVED),
        'penalty and voting': Variant(SMOOTH),
    },
    'box_from_mask': {
        'boxes regressed (FCOS)': Variant('box_from_mask_fcos_{data}'),
        'boxes around masks (K-Net)': Variant('box_from_mask_knet_{data}'),
    },
    'local_attention_tower': {
        'convolution': Variant(TOWER, {HEAD + 'conv_cfgs': [None, None]}),
        'local attention': Variant(TOWER, {HEAD + 'conv_cfgs': [ATTENTION] * 2}),
        'convolution, then attention': Variant(TOWER),
    },
}


def train_all(
    variants: dict[str, Variant], project: str, data: str, seed: int, folder: Path
) -> dict[str, Path]:
    """Train what the variants need, side by side; return the work dir of each."""
    configs: dict[str, Config] = {}
    key_of = {}
    for name, variant in variants.items():
        key = key_of[name] = f'{variant.config} {variant.train}'
        if key not in configs:
            file = ROOT / 'projects' / project / f'{variant.config.format(data=data)}'
            configs[key] = Config.fromfile(str(file.with_suffix('.py')))
            configs[key].merge_from_dict(variant.train)
    works = train_side_by_side(configs, seed, folder, [])
    return {name: works[key] for name, key in key_of.items()}


def tested(work: Path, number: int, variant: Variant) -> tuple[dict[str, Any], Path]:
    """Return what a trained variant comes to, and the file of what it found."""
    cfg = Config.fromfile(str(work / 'given.py'))
    cfg.merge_from_dict(variant.test)
    file, folder = work / f'variant_{number}.py', work / f'test_{number}'
    cfg.dump(str(file))
    checkpoint = (work / 'last_checkpoint').read_text()
    found = folder / 'found.json'
    arguments = ['test', str(file), checkpoint, '--out', str(found)]
    finish(folder, start(folder, *arguments))
    speed = folder / 'speed.json'
    threads = ['--checkpoint', checkpoint, '--threads', '1', '--out', str(speed)]
    finish(folder, start(folder, 'benchmark', str(file), *threads))
    return {
        # Who finds nothing gets no numbers from mmdet.
        'bbox_mAP': 0.0,
        **metrics_of(folder),
        **of_training(work),
        **of_inference(json.loads(speed.read_text())),
    }, found


def of_training(work: Path) -> dict[str, float]:
    """Return time and, if a hook has measured it, memory of a training."""
    steps = loss_lines(work)
    seconds = median(line['time'] for line in steps)
    memory = work / 'peak_memory.json'
    return {
        'train_seconds_per_step': round(seconds, 4),
        'train_minutes': round(seconds * steps[-1]['step'] / 60, 2),
        **(json.loads(memory.read_text()) if memory.exists() else {}),
    }


def of_inference(record: dict[str, Any]) -> dict[str, float]:
    return {
        'parameters': record['parameters'],
        'gflops_per_image': record['gflops_per_image'],
        'test_ms_per_image': record['latency_ms_median'],
        'test_peak_mib': record.get('peak_process_mib', record.get('peak_gpu_mib', 0)),
    }


def summary(runs: list[dict]) -> dict[str, dict[str, dict[str, float | None]]]:
    """Return mean and spread of every number of each variant, and what AP it gains.

    The gain is over the first variant with the same seed.
    """
    first = {run['seed']: run for run in runs if run['variant'] == runs[0]['variant']}
    for run in runs:
        gain = run['bbox_mAP'] - first[run['seed']]['bbox_mAP']
        run['bbox_mAP_gain'] = round(gain, 4)
    by_variant: dict[str, list[dict]] = {}
    for run in runs:
        by_variant.setdefault(run['variant'], []).append(run)
    return {
        name: {
            key: mean_and_spread([run[key] for run in own])
            for key in own[0]
            if key not in ('variant', 'seed') and all(key in run for run in own)
        }
        for name, own in by_variant.items()
    }


def mean_and_spread(values: Iterable[float]) -> dict[str, float | None]:
    values = list(values)
    spread = round(stdev(values), 4) if len(values) > 1 else None
    return {'mean': round(mean(values), 4), 'stdev': spread}


def experiment(args: argparse.Namespace, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the record of all variants after each seed; draw what the first found."""
    variants = PROJECTS[args.project]
    runs: list[dict] = []
    measured_at = commit()  # before the pictures change files
    for seed in args.seeds:
        place = folder / f'seed_{seed}'
        works = train_all(variants, args.project, args.data, seed, place)
        found = {}
        for number, (name, variant) in enumerate(variants.items()):
            numbers, found[name] = tested(works[name], number, variant)
            runs.append({'variant': name, 'seed': seed, **numbers})
            print(runs[-1], flush=True)
        if seed == args.seeds[0]:
            target = ROOT / 'projects' / args.project / f'predictions_{args.data}.jpg'
            draw_predictions(found, target)
        yield {
            'what': f'{args.project}: {", ".join(variants)}',
            'data': f'{DATA[args.data]}; no paper has these numbers',
            'summary': summary(runs),
            'runs': runs,
            'threads_per_training': 1,
            'commit': measured_at,
            **run_record(),
        }


def write(file: Path, measured: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Add records to those in a file, and return them all.

    Args:
        file: The JSON file; who stops in the middle finds it as it was.
        measured: A record per data set.
    """
    # Read only now: another data set may have been measured in the meantime.
    records = json.loads(file.read_text()) if file.exists() else {}
    if measured:
        records |= measured
        partial = file.with_suffix(f'.{os.getpid()}.tmp')
        partial.write_text(json.dumps(records, indent=2) + '\n')
        partial.replace(file)
    return records


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('project', choices=PROJECTS)
    parser.add_argument('--data', choices=DATA, default='shapes')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0])
    parser.add_argument('--keep', type=Path, help='folder for checkpoints and logs')
    parser.add_argument('--report', action='store_true', help='train nothing')
    args = parser.parse_args()
    torch.set_num_threads(1)  # as the commands have; the record names it
    # The configs name classes of the projects, here and in the commands.
    sys.path.append(str(ROOT))
    os.environ['PYTHONPATH'] = f'{os.environ.get("PYTHONPATH", "")}{os.pathsep}{ROOT}'
    project = ROOT / 'projects' / args.project
    file = project / 'results.json'
    records = write(file, {})
    if not args.report:
        with tempfile.TemporaryDirectory() as temporary:
            # After each seed: who stops the next one keeps the earlier ones.
            for record in experiment(args, args.keep or Path(temporary)):
                records = write(file, {args.data: record})
    fill_readme(project / 'README.md', records)
    for data, record in records.items():
        draw_chart(record, project / f'results_{data}.png')
    print(f'Written: {file}, README.md and pictures beside it')


if __name__ == '__main__':
    main()

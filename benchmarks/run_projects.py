"""Train and test all variants of a project, beside the plain model, into one JSON.

python benchmarks/run_projects.py smooth_targets --seeds 0 1 2
python benchmarks/run_projects.py smooth_targets --data bccd
python benchmarks/run_projects.py smooth_targets --report

writes projects/smooth_targets/results.json, the tables of its README and its pictures;
the last only the tables and charts again. Seeds are added to the earlier ones if these
were measured with the same settings and code; else they replace them once there are as
many, or with --fresh. The trainings of a seed run at the same time, as many as there
are processors, each on one thread: their times are comparable within a run only.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from _project_record import (
    code_sha256,
    seeds_of,
    settings_of,
    summary,
    together,
    write,
)
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

from paperzoo.utils.run_info import run_info

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
            configs[key] = resolved(variant, project, data)
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
        # Who finds nothing gets no numbers from mmdet; `summary` adds the others.
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


def resolved(variant: Variant, project: str, data: str) -> Config:
    """Return the config that a variant is trained with."""
    file = ROOT / 'projects' / project / f'{variant.config.format(data=data)}.py'
    cfg = Config.fromfile(str(file))
    cfg.merge_from_dict(variant.train)
    return cfg


def made_of(project: str, data: str) -> dict[str, Any]:
    """Return the settings of each variant and the hash of the project's code."""
    variants = PROJECTS[project]
    changed = {key for one in variants.values() for key in {**one.train, **one.test}}
    settings = {}
    for name, variant in variants.items():
        cfg = resolved(variant, project, data)
        cfg.merge_from_dict(variant.test)
        config = variant.config.format(data=data)
        settings[name] = {'config': config, **settings_of(cfg, changed)}
    return {
        'settings': settings,
        'code_sha256': code_sha256(ROOT / 'projects' / project, data, DATA),
    }


def experiment(
    args: argparse.Namespace, folder: Path
) -> Iterator[tuple[dict[str, Any], dict[str, Path]]]:
    """Yield, after each seed, the record of all so far and what the first has found."""
    variants = PROJECTS[args.project]
    runs: list[dict] = []
    found: dict[str, Path] = {}
    measured_at = commit()  # before the pictures change files
    made = made_of(args.project, args.data)
    for seed in args.seeds:
        place = folder / f'seed_{seed}'
        works = train_all(variants, args.project, args.data, seed, place)
        for number, (name, variant) in enumerate(variants.items()):
            numbers, file = tested(works[name], number, variant)
            found.setdefault(name, file)
            run = {'variant': name, 'seed': seed, 'commit': measured_at, **numbers}
            runs.append(run)
            print(run, flush=True)
        record = {
            'what': f'{args.project}: {", ".join(variants)}',
            'data': f'{DATA[args.data]}; no paper has these numbers',
            'summary': summary(runs),
            'runs': runs,
            'threads_per_training': 1,
            'commit': measured_at,
            **made,
            **run_info(),
        }
        yield record, found


def keep(
    project: Path,
    data: str,
    record: dict[str, Any],
    found: dict[str, Path],
    fresh: bool,
) -> None:
    """Write a record if it is worth more than the present one, and its pictures.

    Args:
        project: The folder.
        data: The data set.
        record: What was measured in this run.
        found: What each variant has found with the first seed of it.
        fresh: Forget the present record in any case.
    """
    file = project / 'results.json'
    kept = together(write(file, {}).get(data), record, fresh)
    if kept is None:
        print(f'{file} has more seeds of something else; --fresh replaces them')
        return
    write(file, {data: kept})
    # The first seed's, whatever was measured earlier or last.
    if record['runs'][0]['seed'] == min(seeds_of(kept)):
        draw_predictions(found, project / f'predictions_{data}.jpg')


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('project', choices=PROJECTS)
    parser.add_argument('--data', choices=DATA, default='shapes')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0])
    parser.add_argument('--keep', type=Path, help='folder for checkpoints and logs')
    parser.add_argument('--fresh', action='store_true', help='forget earlier seeds')
    parser.add_argument('--report', action='store_true', help='train nothing')
    args = parser.parse_args()
    torch.set_num_threads(1)  # as the commands have; the record names it
    # The configs name classes of the projects, here and in the commands.
    sys.path.append(str(ROOT))
    os.environ['PYTHONPATH'] = f'{os.environ.get("PYTHONPATH", "")}{os.pathsep}{ROOT}'
    project = ROOT / 'projects' / args.project
    file = project / 'results.json'
    if not args.report:
        with tempfile.TemporaryDirectory() as temporary:
            # After each seed: who stops the next one keeps the earlier ones.
            for measured in experiment(args, args.keep or Path(temporary)):
                keep(project, args.data, *measured, args.fresh)
    records = write(file, {})
    fill_readme(project / 'README.md', records)
    for data, record in records.items():
        draw_chart(record, project / f'results_{data}.png')
    print(f'Written: {file}, README.md and pictures beside it')


if __name__ == '__main__':
    main()

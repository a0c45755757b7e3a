"""Train a small DMF beside its baselines: equal backbone, episodes and budget, one JSON.

python benchmarks/dmf_training.py glyphs --seeds 0 1 2 --out benchmarks/results/dmf_glyphs.json
python benchmarks/dmf_training.py omniglot --out benchmarks/results/dmf_omniglot.json

| what | trained side by side |
| --- | --- |
| glyphs, omniglot | DMF; DMF without its meta-filter; ProtoNet; nearest prototype |
| cifar_fs | DMF with the full-width ResNet-12; the same without its meta-filter (a GPU) |

All of one seed train at the same time, each on one thread, so that what slows the
machine slows all. Each is tested once, at the end, on the same episodes of classes that
it has not seen; the intervals are over these episodes, for one training. Because the
episodes are the same, the difference of two models is known better than either: its
interval is given too.
"""  # noqa: E501

import argparse
import pickle
import tempfile
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import numpy as np
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
from paperzoo.evaluation.few_shot import mean_interval
from paperzoo.utils.files import write_json
from paperzoo.utils.run_info import run_info

GLYPHS = 'Glyphs: 200 training and 60 test characters of 20 drawings, synthetic'
OMNIGLOT = 'part of Omniglot: 136 characters of 5 alphabets, tested on 106 of 3 others'
CIFAR_FS = 'part of CIFAR-FS: 64 training and 20 test classes of 40 and 60 images'


def tiny(data: str) -> dict[str, tuple[str, dict]]:
    """Return the variants on a data set: their configs and what is changed in them."""
    return {
        'DMF': (f'dmf_tiny_{data}', {}),
        'DMF without meta-filter': (f'dmf_tiny_{data}', {'model.meta_filter': None}),
        'ProtoNet': (f'protonet_tiny_{data}', {}),
        'nearest prototype': (f'nearest_prototype_tiny_{data}', {}),
    }


TRAININGS: dict[str, tuple[str, dict[str, tuple[str, dict]]]] = {
    'glyphs': (GLYPHS, tiny('glyphs')),
    'omniglot': (OMNIGLOT, tiny('omniglot')),
    'cifar_fs': (
        CIFAR_FS,
        {
            'DMF': ('dmf_resnet12_cifar_fs_lite', {}),
            'DMF without meta-filter': (
                'dmf_resnet12_cifar_fs_lite',
                {'model.meta_filter': None},
            ),
        },
    ),
}


def train_all(
    variants: dict[str, tuple[str, dict]], seed: int, folder: Path, options: list[str]
) -> list[dict[str, Any]]:
    """Return what the trainings of one seed came to."""
    extra = ['--cfg-options', *options] if options else []
    configs = {}
    for name, (config, changes) in variants.items():
        configs[name] = Config.fromfile(str(find_config(config)))
        configs[name].merge_from_dict(changes)
    works = train_side_by_side(configs, seed, folder, extra)
    runs = [
        result(name, seed, works[name], config, extra)
        for name, (config, _) in variants.items()
    ]
    if 'ProtoNet' in works:
        # What of the difference lies in the scores, not in the maps?
        scorer = works['DMF without meta-filter'] / 'given.py'
        (run,) = (run for run in runs if run['what'] == 'ProtoNet')
        metrics = tested(works['ProtoNet'], scorer, 'scores_of_dmf', extra)
        run['accuracy_of_its_maps_with_scores_of_dmf'] = metrics['test_accuracy']
    return runs


def result(
    name: str, seed: int, work: Path, config: str, extra: list[str]
) -> dict[str, Any]:
    """Test a model; return its accuracy, the interval and the curve of the loss."""
    lines = loss_lines(work)
    metrics = tested(work, work / 'given.py', 'test', extra)
    seconds = median(line['time'] for line in lines)
    return {
        'what': name,
        'config': config,
        'seed': seed,
        'seconds_per_step': round(seconds, 4),
        'seconds_of_training': round(seconds * lines[-1]['step'], 1),
        **metrics,
        'curve': [[line['step'], round(line['loss'], 4)] for line in lines],
        'episodes': episode_accuracies(work / 'test' / 'episodes.pkl'),
    }


def tested(work: Path, config: Path, name: str, extra: list[str]) -> dict[str, float]:
    """Return the metrics of a training's weights under a config."""
    folder = work / name
    folder.mkdir()
    checkpoint = (work / 'last_checkpoint').read_text()
    dump = ['--out', str(folder / 'episodes.pkl')]
    finish(folder, start(folder, 'test', str(config), checkpoint, *dump, *extra))
    return metrics_of(folder)


def episode_accuracies(file: Path) -> list[float]:
    """Return the accuracy of each test episode in percent."""
    samples = pickle.loads(file.read_bytes())
    return [
        100 * float((one['pred_label'] == one['gt_label']).float().mean())
        for one in samples
    ]


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return mean and spread over the seeds, and DMF's lead with its interval."""
    by_name: dict[str, list[dict]] = {}
    for run in runs:
        by_name.setdefault(run['what'], []).append(run)
    accuracy = {
        name: [run['test_accuracy'] for run in own] for name, own in by_name.items()
    }
    leads = {}
    for name, own in by_name.items():
        if name == 'DMF':
            continue
        pairs = zip(by_name['DMF'], own, strict=True)
        leads[name] = [
            _rounded(np.subtract(dmf['episodes'], other['episodes']))
            for dmf, other in pairs
        ]
    return {
        'mean_accuracy': {name: round(mean(own), 2) for name, own in accuracy.items()},
        'stdev_of_seeds': {
            name: round(stdev(own), 2) if len(own) > 1 else None
            for name, own in accuracy.items()
        },
        'lead_of_dmf_and_ci95_per_seed': leads,
    }


def _rounded(differences: np.ndarray) -> list[float]:
    interval = mean_interval(differences)
    return [round(interval.mean, 2), round(interval.normal, 2)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('what', choices=TRAININGS)
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--seeds', type=int, nargs='+', default=[0])
    parser.add_argument('--cfg-options', nargs='*', default=[])
    parser.add_argument('--keep', type=Path, help='folder for checkpoints and logs')
    args = parser.parse_args()
    data, variants = TRAININGS[args.what]
    runs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary)
        for seed in args.seeds:
            runs += train_all(variants, seed, folder, args.cfg_options)
            print(summary(runs[-len(variants) :]), flush=True)
    record = {
        'what': f'{args.what}, 5-way 1-shot: {" beside ".join(variants)}, everything '
        'else equal',
        'data': f'{data}; no paper has these numbers',
        **summary(runs),
        # The accuracies of single episodes have served their purpose.
        'runs': [{k: v for k, v in run.items() if k != 'episodes'} for run in runs],
        'cfg_options': args.cfg_options,
        'threads_per_training': 1,
        'commit': commit(),
        **run_info(),
    }
    print(f'Written: {write_json(args.out, record)}')


if __name__ == '__main__':
    main()

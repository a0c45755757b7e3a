"""Train the three small attention models, each beside one without what it needs.

python benchmarks/attention_tasks.py --seeds 0 1 2 --out benchmarks/results/attention_tasks.json

| task | beside it |
| --- | --- |
| a label per token | the same without positions |
| a label per set | no attention: the mean of wider embeddings, more weights |
| a length that the model decides | the same without positions |

Every model is trained by its config and tested once, at the end, on sequences that it
has not seen. One after the other, on one thread.
"""  # noqa: E501

import argparse
import tempfile
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from _shared import commit
from mmengine.config import Config
from mmengine.runner import Runner

from paperzoo.apis.config import find_config
from paperzoo.utils.files import write_json
from paperzoo.utils.run_info import run_info


def as_it_is(cfg: Config) -> None:
    """Leave a config as it is."""


def drop_positions(cfg: Config) -> None:
    """Let no token know where it is."""
    cfg.model.positions = None


def drop_attention(cfg: Config) -> None:
    """Leave embeddings that do not know of each other, but are four times as wide."""
    cfg.model.encoder.num_layers = 0
    cfg.model.embed_dims *= 4


Variants = dict[str, Callable[[Config], None]]
TASKS: dict[str, tuple[str, Variants]] = {
    'attention_tagging': (
        'accuracy',
        {'transformer': as_it_is, 'without positions': drop_positions},
    ),
    'attention_set_classification': (
        'accuracy',
        {'transformer': as_it_is, 'without attention': drop_attention},
    ),
    'attention_translation': (
        'exact_match',
        {'transformer': as_it_is, 'without positions': drop_positions},
    ),
}


def train_and_test(task: str, what: str, seed: int, folder: Path) -> dict[str, Any]:
    """Return what one training came to.

    Args:
        task: Name of the config.
        what: Which variant of it.
        seed: Of weights and order.
        folder: Where logs go.
    """
    cfg = Config.fromfile(str(find_config(task)))
    TASKS[task][1][what](cfg)
    cfg.work_dir = str(folder / f'{task}_{what}_{seed}'.replace(' ', '_'))
    cfg.experiment_name = Path(cfg.work_dir).name
    cfg.randomness = {'seed': seed}
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.log_level = 'WARNING'
    runner = Runner.from_cfg(cfg)
    begun, begun_cpu = time.perf_counter(), time.process_time()
    runner.train()
    spent, spent_cpu = time.perf_counter() - begun, time.process_time() - begun_cpu
    found = runner.test()
    return {
        'what': what,
        'seed': seed,
        **{
            key.removeprefix('sequences/test_'): round(value, 3)
            for key, value in found.items()
        },
        'parameters': sum(p.numel() for p in runner.model.parameters()),
        'steps': runner.iter,
        'seconds_of_training': round(spent, 1),
        'cpu_seconds_of_training': round(spent_cpu, 1),
    }


def summary(task: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return mean and spread of the seeds of each variant."""
    metric, variants = TASKS[task]
    found = {}
    for name in variants:
        own = [run[metric] for run in runs if run['what'] == name]
        found[name] = {
            'mean': round(mean(own), 2),
            'stdev_of_seeds': round(stdev(own), 2) if len(own) > 1 else None,
        }
    return {'config': task, 'metric': metric, 'summary': found, 'runs': runs}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--seeds', type=int, nargs='+', default=[0])
    parser.add_argument('--tasks', nargs='+', choices=TASKS, default=list(TASKS))
    args = parser.parse_args()
    torch.set_num_threads(1)
    runs: dict[str, list[dict]] = {task: [] for task in args.tasks}
    with tempfile.TemporaryDirectory() as folder:
        for seed, task in product(args.seeds, args.tasks):
            for what in TASKS[task][1]:
                run = train_and_test(task, what, seed, Path(folder))
                print(task, run, flush=True)
                runs[task].append(run)
    record = {
        'what': 'small attention models for three kinds of output, each beside one '
        'without what it needs; percent of right labels, or of exact matches',
        'data': 'generated: 8000 training and 1000 test sequences of each task, none '
        'in both; no paper has these numbers',
        'tasks': [summary(task, own) for task, own in runs.items()],
        'commit': commit(),
        **run_info(),
    }
    print(f'Written: {write_json(args.out, record)}')


if __name__ == '__main__':
    main()

"""What is kept of a project's runs: their numbers, and what they were made with.

A record is what results.json holds per data set. It says which settings and which code
it was measured with, so that only runs of the same are put together.
"""

import ast
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from mmengine.config import Config

from paperzoo.utils.files import write_text

# In records that agree in these, runs are of the same thing.
SAME = ('data', 'settings', 'code_sha256', 'threads_per_training', 'device', 'versions')
NO_NUMBERS = ('variant', 'seed', 'commit')
ALWAYS_SET = (
    'train_cfg.max_epochs',
    'train_dataloader.batch_size',
    'optim_wrapper.optimizer.lr',
)


def settings_of(cfg: Config, changed: Iterable[str]) -> dict[str, Any]:
    """Return what a config comes to at some keys, as plain JSON.

    Args:
        cfg: The config of a variant, with its changes.
        changed: Keys with dots that any variant of the project changes. A value that
            the config does not set is None.
    """
    found = {}
    for key in (*ALWAYS_SET, *sorted(changed)):
        value: Any = cfg
        for part in key.split('.'):
            value = None if value is None else value.get(part)
        found[key] = value
    return json.loads(json.dumps(found, default=lambda one: one.__name__))


def code_sha256(folder: Path, data: str, all_data: Iterable[str]) -> str:
    """Return the hash of a project's code without comments, docstrings and imports.

    Args:
        folder: Of the project.
        data: The data set; configs of others do not count.
        all_data: All data sets, which configs end in.
    """
    others = tuple(f'_{name}.py' for name in all_data if name != data)
    files = [file for file in folder.glob('*.py') if not file.name.endswith(others)]
    code = [f'{file.name}\n{_bare(file.read_text("utf-8"))}' for file in sorted(files)]
    return hashlib.sha256('\n'.join(code).encode()).hexdigest()


def _bare(text: str) -> str:
    """Return source text without docstrings, imports, empty lines, lines of comment."""
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        # Where a name lives is no part of what was measured.
        if isinstance(node, ast.Import | ast.ImportFrom):
            for number in range(node.lineno - 1, node.end_lineno or 0):
                lines[number] = ''
        body = getattr(node, 'body', None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            first = body[0]
            if isinstance(first.value, ast.Constant):
                for number in range(first.lineno - 1, first.end_lineno or 0):
                    lines[number] = ''
    kept = (line for line in lines if not line.lstrip().startswith('#'))
    return '\n'.join(line for line in kept if line.strip())


def summary(runs: list[dict]) -> dict[str, dict[str, dict[str, float | None]]]:
    """Return mean and spread of every number of each variant, and what AP it gains.

    The gain is over the first variant with the same seed. Who finds nothing at all gets
    no numbers from mmdet; here its APs are 0.

    Args:
        runs: The numbers of each variant and seed; they get the gain, too.
    """
    first = {run['seed']: run for run in runs if run['variant'] == runs[0]['variant']}
    scores = dict.fromkeys(key for run in runs for key in run if key.startswith('bbox'))
    by_variant: dict[str, list[dict]] = {}
    for run in runs:
        run.update({key: run.get(key, 0.0) for key in scores})
        gain = run['bbox_mAP'] - first[run['seed']]['bbox_mAP']
        run['bbox_mAP_gain'] = round(gain, 4)
        by_variant.setdefault(run['variant'], []).append(run)
    return {
        name: {
            key: mean_and_spread([run[key] for run in own])
            for key in own[0]
            if key not in NO_NUMBERS and all(key in run for run in own)
        }
        for name, own in by_variant.items()
    }


def mean_and_spread(values: Iterable[float]) -> dict[str, float | None]:
    """Return mean and standard deviation; None for the latter of a single value."""
    values = list(values)
    spread = round(stdev(values), 4) if len(values) > 1 else None
    return {'mean': round(mean(values), 4), 'stdev': spread}


def together(
    old: Mapping[str, Any] | None, new: Mapping[str, Any], fresh: bool = False
) -> dict[str, Any] | None:
    """Return the record that should be kept of two; None if the new one should not.

    Runs of the same thing are put together; of the same variant and seed the new one
    is kept. Otherwise the new record replaces the old one if it has as many seeds.

    Args:
        old: What was measured earlier, None for nothing.
        new: What was measured now.
        fresh: Forget the old one in any case.
    """
    if old is None or fresh:
        return dict(new)
    if any(old.get(key) != new[key] for key in SAME):
        enough = len(seeds_of(new)) >= len(seeds_of(old))
        return dict(new) if enough else None
    renewed = seeds_of(new)
    runs = [run for run in old['runs'] if run['seed'] not in renewed] + new['runs']
    # Stable: the variants of a seed keep their order.
    runs = sorted((dict(run) for run in runs), key=lambda run: run['seed'])
    commits = dict.fromkeys(run['commit'] for run in runs)
    return {
        **new,
        'summary': summary(runs),
        'runs': runs,
        'commit': ', '.join(commits),
    }


def seeds_of(record: Mapping[str, Any]) -> set[int]:
    """Return the seeds that a record has runs of."""
    return {run['seed'] for run in record['runs']}


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
        write_text(file, json.dumps(records, indent=2) + '\n')
    return records

"""What the benchmarks share: turns, ratios, trainings, commands, the commit."""

import gc
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import torch
from mmengine.config import Config

import paperzoo.compat  # noqa: F401  (before any benchmark imports mmdet)


def take_turns(
    pair: Mapping[str, Callable[[], Any]],
    repeats: int,
    warm_up: int = 1,
    at_least: float = 0.0,
    loop: float = 0.0,
) -> dict[str, Any]:
    """Time two ways to the same result in turns; the second is the peer.

    A slow spell of the machine hits both, so the ratio of a turn is worth more than
    the times.

    Args:
        pair: Both ways, with their names.
        repeats: Number of turns; more until `at_least` has passed.
        warm_up: Number of turns before these.
        at_least: Seconds.
        loop: What takes fewer seconds runs several times in a turn: alone it would
            measure how cold the caches are.

    Returns:
        Median seconds of each; median and range of the ratio of the first to the
        second; on a GPU their peak memory.
    """
    times: dict[str, list[float]] = {name: [] for name in pair}
    memory = {}
    gpu = torch.cuda.is_available()
    begun = time.perf_counter()
    turn = 0
    runs = 1
    if loop:
        runs = math.ceil(loop / max(_seconds(run) for run in pair.values()))
    while turn < warm_up + repeats or time.perf_counter() < begun + at_least:
        for name, run in pair.items():
            gc.collect()
            if gpu:
                torch.cuda.reset_peak_memory_stats()
            seconds = _seconds(run, runs)
            if gpu:
                memory[name] = torch.cuda.max_memory_allocated() >> 20
            if turn >= warm_up:
                times[name].append(seconds)
        turn += 1
    one, peer = times.values()
    ratios = [a / b for a, b in zip(one, peer, strict=True)]
    return {
        'seconds': {name: round(median(own), 5) for name, own in times.items()},
        'ratio': round(median(ratios), 3),
        'ratio_range': [round(min(ratios), 3), round(max(ratios), 3)],
        **({'peak_mib': memory} if memory else {}),
    }


def _seconds(run: Callable[[], Any], times: int = 1) -> float:
    """Return how long a run takes, the mean of several in a loop."""
    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    wait()
    begin = time.perf_counter()
    for _ in range(times):
        run()
    wait()
    return (time.perf_counter() - begin) / times


def commit() -> str:
    """Return the commit that is measured, with `-dirty` if any code was changed.

    What else was changed may be the results of the run before.
    """

    def git(*arguments: str) -> str:
        command = ['git', '-C', str(Path(__file__).parents[1]), *arguments]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()

    changed = git('diff', 'HEAD', '--name-only', '--', '*.py')
    return git('describe', '--always') + ('-dirty' if changed else '')


def start(folder: Path, *arguments: str) -> subprocess.Popen:
    """Start the `paperzoo` command on one thread; its output goes to a file.

    Args:
        folder: The work dir.
        arguments: Of the command.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / 'output.txt').open('a') as output:
        return subprocess.Popen(
            [sys.executable, '-m', 'paperzoo', *arguments, '--work-dir', str(folder)],
            env={**os.environ, 'OMP_NUM_THREADS': '1'},
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def finish(folder: Path, process: subprocess.Popen) -> None:
    """Wait for a command of `start`; if it failed, show the end of what it said."""
    if process.wait():
        sys.exit((folder / 'output.txt').read_text()[-3000:])


def loss_lines(work: Path) -> list[dict[str, Any]]:
    """Return the lines of a training's log that hold a loss."""
    (log,) = work.glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [line for line in lines if 'loss' in line]


def metrics_of(folder: Path) -> dict[str, float]:
    """Return the metrics that `test` has written below a folder, without prefix."""
    (file,) = folder.glob('*/test_metrics.json')
    metrics = json.loads(file.read_text())['metrics']
    return {key.rpartition('/')[2]: value for key, value in metrics.items()}


def train_side_by_side(
    configs: Mapping[str, Config], seed: int, folder: Path, options: list[str]
) -> dict[str, Path]:
    """Train several configs, as many at a time as there are processors, a thread each.

    Args:
        configs: With their names. They are tested at the end only: validations, whose
            cost would count as training, are taken out.
        seed: Of all.
        folder: Where the work dirs are made.
        options: More arguments of the command.

    Returns:
        The work dirs; each holds its config as `given.py`.
    """
    works = {}
    for number, (name, cfg) in enumerate(configs.items()):
        cfg.randomness = {'seed': seed}
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
        cfg.default_hooks.checkpoint.save_best = None
        work = works[name] = folder / f'{seed}_{number}'
        work.mkdir(parents=True)
        cfg.dump(str(work / 'given.py'))

    def train(work: Path) -> None:
        finish(work, start(work, 'train', str(work / 'given.py'), *options))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(train, works.values()))
    return works

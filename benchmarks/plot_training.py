"""Draw what a file of knet_training.py has: losses, and quality after each stage.

python benchmarks/plot_training.py benchmarks/results/knet_shapes_panoptic.json

writes benchmarks/results/knet_shapes_panoptic.png.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use('Agg')
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

METRICS = ('segm_mAP', 'PQ', 'mIoU')


def draw_losses(axes: Axes, runs: list[dict[str, Any]], colours: dict) -> None:
    """Draw the loss of each run over the steps, smoothed over five logged values."""
    for run in runs:
        steps, losses = zip(*run['curve'], strict=True)
        smooth = [
            sum(near) / len(near)
            for near in (losses[max(0, n - 2) : n + 3] for n in range(len(losses)))
        ]
        axes.plot(steps, smooth, color=colours[run['what']], linewidth=1)
    axes.set(xlabel='step', ylabel='sum of the losses', yscale='log')


def draw_stages(
    axes: Axes, runs: list[dict[str, Any]], colours: dict, metric: str
) -> None:
    """Draw the metric after each stage; a model without stages is a level line."""
    for run in runs:
        colour = colours[run['what']]
        by_stage = {int(n): found[metric] for n, found in run['after_stage'].items()}
        if not by_stage:
            axes.axhline(run[metric], color=colour, linewidth=1, linestyle='--')
            continue
        values = [*by_stage.values(), run[metric]]
        axes.plot(range(len(values)), values, 'o-', color=colour, linewidth=1)
    axes.set(xlabel='stages in use', ylabel=metric)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('file', type=Path)
    args = parser.parse_args()
    record = json.loads(args.file.read_text())
    runs = [{'after_stage': {}, **run} for run in record['runs']]
    names = list(dict.fromkeys(run['what'] for run in runs))
    colours = {name: f'C{number}' for number, name in enumerate(names)}
    metric = next(m for m in METRICS if m in runs[0])
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout='constrained')
    draw_losses(left, runs, colours)
    draw_stages(right, runs, colours, metric)
    handles = [plt.Line2D([], [], color=colours[name], label=name) for name in names]
    left.legend(handles=handles, frameon=False)
    seeds = ', '.join(str(seed) for seed in dict.fromkeys(r['seed'] for r in runs))
    figure.suptitle(f'{record["data"].split(";")[0]}. Seeds: {seeds}', fontsize=9)
    target = args.file.with_suffix('.png')
    figure.savefig(target, dpi=110)
    print(f'Written: {target}')


if __name__ == '__main__':
    main()

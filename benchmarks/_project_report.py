"""What a project's results.json becomes: tables in its README, a chart, pictures.

A README says what it wants to show of which data, and where:

    <!-- table shapes: bbox_mAP, bbox_mAP_gain, train_minutes -->
    <!-- end -->
"""

import json
import re
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use('Agg')
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from paperzoo.errors import UserError
from paperzoo.utils.files import write_text

# Title and format of each number.
COLUMNS = {
    'bbox_mAP': ('box AP', '.3f'),
    'bbox_mAP_gain': ('gain', '+.3f'),
    'bbox_mAP_50': ('AP50', '.3f'),
    'bbox_mAP_75': ('AP75', '.3f'),
    'bbox_mAP_s': ('small', '.3f'),
    'bbox_mAP_m': ('medium', '.3f'),
    'bbox_mAP_l': ('large', '.3f'),
    'bbox_mAP_any_class': ('classes ignored', '.3f'),
    'bbox_mAP_whole': ('whole', '.3f'),
    'bbox_mAP_partly': ('partly hidden', '.3f'),
    'bbox_mAP_largely': ('largely hidden', '.3f'),
    'box_iou_if_mask_50': ('box IoU if mask IoU >= 0.5', '.3f'),
    'box_iou_if_mask_70': ('if >= 0.7', '.3f'),
    'box_iou_if_mask_90': ('if >= 0.9', '.3f'),
    'train_minutes': ('minutes of training', '.1f'),
    'train_seconds_per_step': ('s / step', '.3f'),
    'train_peak_mib': ('MiB, training', '.0f'),
    'test_peak_mib': ('MiB, inference', '.0f'),
    'test_ms_per_image': ('ms / image', '.1f'),
    'parameters': ('parameters', ',.0f'),
    'gflops_per_image': ('GFLOPs / image', '.3f'),
}
# Costs that hardly differ between seeds: their spread only makes a table wide.
WITHOUT_SPREAD = tuple(key for key in COLUMNS if not key.startswith(('bbox', 'box')))
MARKED = re.compile(
    r'(<!-- table (?P<data>\w+): (?P<columns>[^>]*?) -->\n).*?(<!-- end -->)', re.DOTALL
)
PICTURES = 4


def fill_readme(file: Path, records: dict[str, dict[str, Any]]) -> None:
    """Write the tables of a README between their markers.

    Args:
        file: The README.
        records: The record of each data set.

    Raises:
        UserError: If a marker names a column that there is not, or there is no marker
            for a record.
    """
    text = file.read_text(encoding='utf-8')
    asked = {match['data'] for match in MARKED.finditer(text)}
    if missing := set(records) - asked:
        raise UserError(
            f'{file}: no place for the results on {", ".join(sorted(missing))}; add '
            '"<!-- table DATA: bbox_mAP, bbox_mAP_gain -->" and "<!-- end -->" on '
            'lines of their own'
        )

    def filled(match: re.Match) -> str:
        columns = [name.strip() for name in match['columns'].split(',')]
        if unknown := [name for name in columns if name not in COLUMNS]:
            known = ', '.join(COLUMNS)
            raise UserError(
                f'{file}: no column {", ".join(unknown)}; there are {known}'
            )
        data = match['data']
        if data not in records:
            return f'{match[1]}Not measured yet.\n{match[4]}'
        return (
            f'{match[1]}{table(records[data], columns)}\n\n'
            f'![box AP of each variant and seed](results_{data}.png)\n\n'
            f'![truth and the best predictions](predictions_{data}.jpg)\n{match[4]}'
        )

    write_text(file, MARKED.sub(filled, text))


def table(record: dict[str, Any], columns: list[str]) -> str:
    """Return a Markdown table, a row per variant, and what it was measured on.

    Args:
        record: Of one data set.
        columns: Keys of `COLUMNS`.
    """
    titles = ['variant', *(COLUMNS[key][0] for key in columns)]
    lines = [f'| {" | ".join(titles)} |', '|' + ' --- |' * len(titles)]
    for name, numbers in record['summary'].items():
        cells = [cell(numbers, key) for key in columns]
        lines.append(f'| {name} | {" | ".join(cells)} |')
    seeds = len({run['seed'] for run in record['runs']})
    spread = 'mean ± standard deviation' if seeds > 1 else 'no spread known'
    lines += [
        '',
        f'{record["data"]}. {seeds} seed{"s" * (seeds > 1)}, {spread}. Measured at '
        f'{record["commit"]} on {record["device"]}.',
    ]
    return '\n'.join(lines)


def cell(numbers: dict[str, dict[str, float | None]], key: str) -> str:
    """Return one number with its spread, a dash if there is none.

    Args:
        numbers: Mean and spread of everything measured of a variant.
        key: Of `COLUMNS`.
    """
    if key not in numbers:
        return '-'
    average, spread = numbers[key]['mean'], numbers[key]['stdev']
    text = format(average, COLUMNS[key][1])
    if spread is None or key in WITHOUT_SPREAD:
        return text
    return f'{text} ± {format(spread, COLUMNS[key][1].lstrip("+"))}'


def draw_chart(record: dict[str, Any], file: Path) -> None:
    """Draw the AP of each variant, a dot per seed and a line at the mean.

    Args:
        record: Of one data set.
        file: Where to write.
    """
    names = list(record['summary'])
    figure, axes = plt.subplots(figsize=(6.4, 0.8 + 0.45 * len(names)))
    for row, name in enumerate(names):
        own = [run for run in record['runs'] if run['variant'] == name]
        average = record['summary'][name]['bbox_mAP']['mean']
        axes.plot([average, average], [row - 0.3, row + 0.3], color='k', linewidth=1)
        for run in own:
            axes.plot(run['bbox_mAP'], row, 'o', color=f'C{run["seed"]}', alpha=0.7)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel('box AP; a colour is a seed, a line the mean')
    axes.set_title(record['data'].split(';')[0], fontsize=9)
    figure.savefig(file, dpi=110, bbox_inches='tight')
    plt.close(figure)


def draw_predictions(found: dict[str, Path], file: Path) -> None:
    """Draw the truth and as many of each variant's best boxes on the first images.

    Args:
        found: The output of `paperzoo test --out` for each variant.
        file: Where to write.
    """
    results = {name: json.loads(path.read_text()) for name, path in found.items()}
    first = next(iter(results.values()))
    images = first['images'][:PICTURES]
    shown = {'truth': first['truth'] or []}
    shown |= {name: result['annotations'] for name, result in results.items()}
    size = (3.2 * len(shown), 2.5 * len(images))
    figure, grid = plt.subplots(
        len(images), len(shown), figsize=size, squeeze=False, layout='constrained'
    )
    for axes_row, image in zip(grid, images, strict=True):
        pixels = plt.imread(image['file_name'])
        objects = sum(one['image_id'] == image['id'] for one in shown['truth'])
        for axes, (name, records) in zip(axes_row, shown.items(), strict=True):
            own = [one for one in records if one['image_id'] == image['id']]
            own.sort(key=lambda one: -one.get('score', 1.0))
            axes.imshow(pixels)
            draw_boxes(axes, own[:objects])
            axes.set_axis_off()
            axes.set_title(name, fontsize=9)
    figure.savefig(file, dpi=80)
    plt.close(figure)


def draw_boxes(axes: Axes, records: list[dict[str, Any]]) -> None:
    """Draw boxes, a colour per class.

    Args:
        axes: On which the image is.
        records: Of COCO's format.
    """
    for record in records:
        x, y, width, height = record['bbox']
        colour = f'C{record["category_id"]}'
        box = Rectangle((x, y), width, height, fill=False, edgecolor=colour, lw=1.5)
        axes.add_patch(box)

"""Figures that the parts of K-Net's page share, and its sections on updates."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from paperzoo.explain.html.report import (
    Bars,
    Figure,
    HeatMap,
    Mark,
    Matrix,
    Picture,
    Row,
    Section,
    Slider,
    Table,
)
from paperzoo.explain.knet.trace import KNetView, StageView
from paperzoo.explain.sample import Sample
from paperzoo.visualization.overlays import color_of

# Kernels; more would neither fit on a screen nor help.
SHOWN = 20
COLUMNS = 5
TILE = 152


def stage_names(view: KNetView) -> list[str]:
    """Return what sliders call the stages.

    Args:
        view: What K-Net did.
    """
    return ['as learnt', *(f'after stage {i}' for i in range(1, len(view.stages)))]


def cropped(masks: Any, sample: Sample) -> NDArray:
    """Return maps (..., h, w) of the padded image without the padding.

    Args:
        masks: A tensor.
        sample: The image.
    """
    (height, width), padded = sample.image.shape[:2], sample.inputs.shape[-2:]
    bottom = max(1, round(masks.shape[-2] * height / padded[0]))
    right = max(1, round(masks.shape[-1] * width / padded[1]))
    return masks[..., :bottom, :right].numpy()


def mosaic(
    image: NDArray, masks: NDArray, numbers: Sequence[int], texts: Sequence[str]
) -> Picture:
    """Return one darkened copy of the image for each mask, bright inside the mask.

    Args:
        image: The image.
        masks: Probabilities, (masks, h, w).
        numbers: Written on the copies.
        texts: Shown when one points at them.
    """
    height = max(1, round(TILE * image.shape[0] / image.shape[1]))
    columns = min(COLUMNS, len(masks))
    rows = -(-len(masks) // columns)
    size, gap = (TILE, height), 4
    base = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    shape = (rows * (height + gap), columns * (TILE + gap), 3)
    sheet = np.full(shape, 255, np.uint8)
    marks = []
    for place, (mask, number, text) in enumerate(
        zip(masks, numbers, texts, strict=True)
    ):
        light = cv2.resize(mask.astype(np.float32), size)[..., None]
        tile = (base * (0.15 + 0.85 * light.clip(0, 1))).astype(np.uint8)
        for color, thick in (((0, 0, 0), 3), ((255, 255, 255), 1)):
            at = (4, 14)
            face = cv2.FONT_HERSHEY_SIMPLEX
            cv2.putText(tile, str(number), at, face, 0.45, color, thick, cv2.LINE_AA)
        row, column = divmod(place, columns)
        top, left = row * (height + gap), column * (TILE + gap)
        sheet[top : top + height, left : left + TILE] = tile
        box = (float(left), float(top), float(left + TILE), float(top + height))
        marks.append(Mark('box', box, '#888888', text))
    return Picture(sheet, 'Point at a tile to see what it is.', marks)


def painted(image: NDArray, ids: NDArray, names: Sequence[str]) -> Picture:
    """Return the image painted by a map of numbers; those without a name stay.

    Args:
        image: The image.
        ids: The numbers, (h, w).
        names: Of the numbers.
    """
    size = (image.shape[1], image.shape[0])
    large = cv2.resize(ids.astype(np.int32), size, interpolation=cv2.INTER_NEAREST)
    colors = np.array([color_of(k)[::-1] for k in range(len(names))], np.float32)
    inside = (large >= 0) & (large < len(names))
    paint = colors[large.clip(0, len(names) - 1)]
    mixed = np.where(inside[..., None], 0.45 * image + 0.55 * paint, image)
    marks = []
    for number in np.unique(large[inside]):
        rows, columns = np.nonzero(large == number)
        middle = len(rows) // 2
        point = (float(columns[middle]), float(rows[middle]))
        marks.append(Mark('point', point, hex_color(int(number)), names[number]))
    return Picture(mixed.astype(np.uint8), 'Point at a dot for its name.', marks)


def hex_color(number: int) -> str:
    """Return the colour of a number as `#rrggbb`.

    Args:
        number: Of a class, an object or a kernel.
    """
    blue, green, red = color_of(number)
    return f'#{red:02x}{green:02x}{blue:02x}'


def losses_table(losses: dict[str, float]) -> Table:
    """Return losses as one row per stage.

    Args:
        losses: By the names of training: `loss_rpn_mask`, `s0_loss_mask` or, of the
            semantic head, `loss_ce.s0`, which counts its decode head as a stage.
    """
    rates = {'pos_acc': 'classes right, %', 'acc_seg': 'pixels right, %'}
    cells: dict[int, dict[str, float]] = {}
    for key, value in losses.items():
        name, _, after = key.partition('.s')
        stage = int(after) if after else 0
        if not after and not name.startswith('loss_rpn_'):
            number, _, name = key.partition('_')
            stage = int(number[1:]) + 1
        short = name.removeprefix('loss_').removeprefix('rpn_')
        cells.setdefault(stage, {})[rates.get(short, short)] = value
    columns = list(dict.fromkeys(name for row in cells.values() for name in row))
    rows: list[list[str | float]] = []
    for stage, row in sorted(cells.items()):
        name = f'stage {stage}' if stage else 'as learnt'
        rows.append([name, *(row.get(column, '') for column in columns)])
    return Table(['stage', *columns], rows)


def update_sections(
    view: KNetView, order: Sequence[int], names: Sequence[str]
) -> list[Section]:
    """Return what the gates let through, and which kernels attend to which.

    Args:
        view: What K-Net did.
        order: The kernels to show.
        names: Their names.
    """
    looked = [stage for stage in view.stages[1:] if stage.attention is not None]
    if not looked:
        return []
    found = [_attention(looked, order, names)]
    if all(stage.feature_gate is not None for stage in looked):
        found.insert(0, _gates(looked, order, names))
    return found


def _gates(
    stages: Sequence[StageView], order: Sequence[int], names: Sequence[str]
) -> Section:
    frames = []
    for stage in stages:
        figures: list[Figure] = []
        for gate, what in (
            (stage.feature_gate, 'feature gate'),
            (stage.kernel_gate, 'kernel gate'),
        ):
            assert gate is not None  # see update_sections
            part, values = gate[list(order)], gate.flatten().numpy()
            edges = np.linspace(min(0.0, values.min()), max(1.0, values.max()), 11)
            counts = np.histogram(values, edges)[0] / values.size
            ranges = [f'{a:.1f} to {b:.1f}' for a, b in pairwise(edges)]
            figures += [
                HeatMap(part.numpy(), f'{what}: kernels (rows) by channels'),
                Bars(counts, ranges, f'{what}: share of all channels'),
                Bars(part.mean(1).numpy(), names, f'{what}: mean of each kernel'),
            ]
        # Gates side by side, what they show from top to bottom.
        frames.append(Row([figures[k] for k in (0, 3, 1, 4, 2, 5)]))
    labels = [f'stage {number}' for number in range(1, len(stages) + 1)]
    return Section(
        'How does a kernel change, and what do the gates do?',
        'The features of the pixels that a kernel claimed are summed up and mixed into '
        'it, channel by channel. Masks are noisy, so one gate says how much of that '
        'sum to take, the other how much of the old kernel to keep; they need not add '
        'up to 1. Before a gate the channels of a kernel are normalised, which leaves '
        'its mean little room: what differs is which channels are open.',
        [Slider('stage', labels, frames)],
        r'\tilde{K} = G^F \odot \psi_3(F^K) + G^K \odot \psi_4(K)',
        'knet "Adaptive Kernel Update"',
    )


def _attention(
    stages: Sequence[StageView], order: Sequence[int], names: Sequence[str]
) -> Section:
    weights = [stage.attention for stage in stages if stage.attention is not None]
    kernels = weights[-1].size(1)
    means = [_attended(each.mean(0), order, names) for each in weights]
    heads = [_attended(head, order, names) for head in weights[-1]]
    left = ' (columns not shown take the rest)' if len(order) < kernels else ''
    return Section(
        'Which kernels look at each other?',
        'After the gates, kernels attend to each other: this is how two kernels on one '
        'object can tell that there are two. A row sums up to 1 over all '
        f'{kernels} kernels{left}; alike for all it would be {1 / kernels:.3f}. The '
        'largest that is shown of each row is framed. First the mean of all heads by '
        'stage, then the heads of the last stage.',
        [
            Slider('stage', [f'stage {i + 1}' for i in range(len(means))], means),
            Slider('head', [f'head {i + 1}' for i in range(len(heads))], heads),
        ],
        r'\mathrm{softmax}\left(\frac{Q K^T}{\sqrt{d_k}}\right) V',
        'attention Eq. 1',
    )


def _attended(weights: Tensor, order: Sequence[int], names: Sequence[str]) -> Matrix:
    part = weights[list(order)][:, list(order)].numpy()
    best = [(row, int(column)) for row, column in enumerate(part.argmax(1))]
    columns = [name.partition(':')[0].removeprefix('kernel ') for name in names]
    return Matrix(part, names, columns, marked=best)

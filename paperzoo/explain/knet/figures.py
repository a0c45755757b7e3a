"""Pictures of masks and tables of losses that K-Net's page draws."""

import re
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from paperzoo.explain.html.report import Mark, Picture, Table
from paperzoo.explain.marks import colour
from paperzoo.explain.sample import Sample
from paperzoo.visualization.overlays import color_of

COLUMNS = 5
TILE = 152
# Which stage a logged loss is of. Of the semantic head `loss_ce.s0` is the decode head,
# whose class weights are the initial kernels.
_DETECTOR_LOSS = re.compile(r'(?:loss_(?=rpn_)|s(\d+)_)(?:loss_|rpn_)?(.+)')
_SEMANTIC_LOSS = re.compile(r'(?:decode\.)?(?:loss_)?(.+)\.s(\d+)')
_RATES = {'pos_acc': 'classes right, %', 'acc_seg': 'pixels right, %'}


def cropped(masks: Tensor, sample: Sample) -> NDArray:
    """Return maps (..., h, w) of the padded image without the padding.

    Example:
        >>> import torch
        >>> image, inputs = np.zeros((4, 6, 3), np.uint8), torch.zeros(1, 3, 8, 8)
        >>> sample = Sample(image, inputs, None, (), 'a.png')
        >>> cropped(torch.zeros(5, 4, 4), sample).shape
        (5, 2, 3)
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

    Example:
        >>> image, masks = np.zeros((4, 8, 3), np.uint8), np.zeros((2, 2, 4))
        >>> picture = mosaic(image, masks, [7, 9], ['a cat', 'a dog'])
        >>> [mark.text for mark in picture.marks]
        ['a cat', 'a dog']
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


def painted(
    image: NDArray, ids: NDArray, names: Sequence[str], what: str = ''
) -> Picture:
    """Return the image painted by a map of numbers; those without a name stay.

    Args:
        image: The image.
        ids: The numbers, (h, w).
        names: Of the numbers.
        what: What the picture shows.

    Example:
        >>> image, ids = np.zeros((2, 2, 3), np.uint8), np.array([[0, 0], [1, -1]])
        >>> [mark.text for mark in painted(image, ids, ['sky', 'grass']).marks]
        ['sky', 'grass']
    """
    size = (image.shape[1], image.shape[0])
    large = cv2.resize(ids.astype(np.int32), size, interpolation=cv2.INTER_NEAREST)
    count = len(names)
    colors = np.array([color_of(k)[::-1] for k in range(count + 1)], np.float32)
    inside = (large >= 0) & (large < count)
    paint = colors[large.clip(0, count)]
    mixed = np.where(inside[..., None], 0.45 * image + 0.55 * paint, image)
    marks = []
    for number in np.unique(large[inside]):
        rows, columns = np.nonzero(large == number)
        middle = len(rows) // 2
        point = (float(columns[middle]), float(rows[middle]))
        marks.append(Mark('point', point, colour(int(number)), names[number]))
    caption = f'{what}. Point at a dot for its name.'.removeprefix('. ')
    return Picture(mixed.astype(np.uint8), caption, marks)


def losses_table(losses: dict[str, float]) -> Table:
    """Return losses as one row per stage; what is of no stage has its own row.

    Args:
        losses: By the names of training: `loss_rpn_mask`, `s0_loss_mask`, or of the
            semantic head `decode.loss_ce.s0`; `loss` is the sum of all.

    Example:
        >>> losses = {'loss_rpn_mask': 0.5, 's0_loss_mask': 0.25, 'loss': 0.75}
        >>> table = losses_table(losses)
        >>> table.rows[0], table.rows[-1]
        (['as learnt', 0.5, ''], ['all losses together', '', 0.75])
    """
    cells: dict[str, dict[str, float]] = {'as learnt': {}}
    for key, value in losses.items():
        row, column = key, 'value'
        if found := _SEMANTIC_LOSS.fullmatch(key):
            column, stage = found[1], int(found[2])
            row = f'stage {stage}' if stage else 'as learnt'
        elif found := _DETECTOR_LOSS.fullmatch(key):
            column = found[2]
            row = 'as learnt' if found[1] is None else f'stage {int(found[1]) + 1}'
        elif key == 'loss':
            row = 'all losses together'
        cells.setdefault(row, {})[_RATES.get(column, column)] = value
    cells['all losses together'] = cells.pop('all losses together', {})
    cells = {name: row for name, row in cells.items() if row}
    columns = list(dict.fromkeys(name for row in cells.values() for name in row))
    rows = [
        [name, *(row.get(column, '') for column in columns)]
        for name, row in cells.items()
    ]
    return Table(['stage', *columns], rows)

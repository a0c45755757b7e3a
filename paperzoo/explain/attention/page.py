"""Whom a chosen place of an image attends to, for any model with attention layers."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from paperzoo.explain.attention.trace import GlobalView, LocalView, attention_views
from paperzoo.explain.html.report import Figure, HeatMap, Row, Section, Slider
from paperzoo.explain.marks import padded
from paperzoo.explain.sample import Sample

# Places along each axis, and calls of layers: what one can still go through.
PLACES = 3
MOST_CALLS = 8


def sections(model: nn.Module, sample: Sample) -> list[Section]:
    """Return one section per call of an attention layer.

    Args:
        model: Any that takes images, in evaluation mode.
        sample: An image.
    """
    detector: Any = model
    run = lambda: detector(sample.inputs, [sample.data_sample.clone()], mode='tensor')
    views = attention_views(model, run)[:MOST_CALLS]
    return [_section(view, sample) for view in views]


def _section(view: GlobalView | LocalView, sample: Sample) -> Section:
    name = f'{view.layer}, call {view.call + 1}'
    equation = r'\mathrm{softmax}\left(\frac{Q K^T}{\sqrt{d_k}}\right)'
    source = 'attention Eq. 1'
    if isinstance(view, LocalView):
        frames, labels = _local(view, sample)
        equation = (
            r'\mathrm{softmax}_{ab}\left(q_{ij}^T k_{ab} + q_{ij}^T r_{a-i,b-j}\right)'
        )
        source = 'local-attention "Self-Attention"'
        text = (
            'Each place looks at the window around it only. The slider goes through '
            'places of the map, row by row; a map shows the share of every neighbour, '
            'one map per head. Beside it is what the same queries and keys would '
            'look at if they saw the whole map.'
        )
    else:
        frames, labels = _global(view)
        text = (
            'Every token looks at all tokens. The slider goes through tokens; each '
            'line is one head, each column the share of one token.'
        )
    return Section(
        f'Whom does a place attend to? {name}',
        f'{text} {view.note}'.rstrip(),
        [Slider('place', labels, frames)],
        equation,
        source,
    )


def _local(view: LocalView, sample: Sample) -> tuple[list[Figure], list[str]]:
    height, width = view.weights.shape[-2:]
    over = padded(sample.image, *sample.inputs.shape[-2:])
    frames: list[Figure] = []
    labels = []
    for row in _spread(height):
        for column in _spread(width):
            place = (row, column)
            pairs = zip(view.attended(0, place), view.everywhere(0, place), strict=True)
            maps: list[Figure] = []
            for head, (window, whole) in enumerate(pairs, 1):
                maps.append(_map(window, f'head {head}, its window', over))
                maps.append(_map(whole, f'head {head}, if it saw all', over))
            frames.append(Row(maps))
            labels.append(f'row {row}, column {column}')
    return frames, labels


def _global(view: GlobalView) -> tuple[list[Figure], list[str]]:
    frames: list[Figure] = []
    labels = []
    for place in _spread(view.weights.size(2), PLACES**2):
        shares = view.attended(0, place)
        frames.append(_map(shares, 'heads from top to bottom', None))
        labels.append(f'token {place}')
    return frames, labels


def _map(values: Tensor, caption: str, over: NDArray | None) -> HeatMap:
    shown = torch.where(values > 0, values, torch.nan) if over is not None else values
    return HeatMap(shown.cpu().numpy(), caption, over, 0.0, float(values.amax()))


def _spread(count: int, places: int = PLACES) -> list[int]:
    """Return places inside a row of `count`, equally far from each other."""
    inner = np.linspace(0, count - 1, places + 2)[1:-1]
    return sorted({round(place) for place in inner.tolist()})

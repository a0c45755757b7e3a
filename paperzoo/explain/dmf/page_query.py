"""The parts of DMF's page that follow one query to every class."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paperzoo.explain.dmf.trace import QueryView
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
)

POSITIONS = 6
GROUPS = 8
REGULAR, SAMPLED, OUTSIDE = '#8a8a8a', '#e4572e', '#3b7dd8'


@dataclass(frozen=True)
class QueryPage:
    """The sections about one query.

    Args:
        names: Of the classes.
        query: Its image, (H, W, 3).
        supports: An image of each class.
        scores: The model's scores of the query.
        winner: The class with the highest score.
        next: The class that comes next.
    """

    names: Sequence[str]
    query: NDArray
    supports: Sequence[NDArray]
    scores: Tensor
    winner: int
    next: int

    def sampling(self, flow: QueryView) -> Section:
        """Return where the filters of a few positions are predicted from."""
        height, width = flow.score_maps.shape[-2:]
        best = flow.score_maps[-1, self.winner].flatten().argsort(descending=True)
        frames, labels = [], []
        for spot in best[:POSITIONS].tolist():
            y, x = divmod(spot, width)
            here = _at(self.query, x, y, (height, width))
            point = Mark('point', here, SAMPLED, f'row {y}, column {x}')
            pictures: list[Figure] = [Picture(self.query, 'the query', [point])]
            for k in (self.winner, self.next):
                marks = _samples(self.supports[k], flow, k, (y, x))
                caption = f'support of {self.names[k]}'
                pictures.append(Picture(self.supports[k], caption, marks))
            frames.append(Row(pictures))
            labels.append(f'row {y}, column {x}')
        return Section(
            'Where on the support does the filter look?',
            'The filter of a position is predicted from nine places on the support. '
            'Without dynamic sampling they are the grey grid around the position; a '
            '5x5 convolution of query and support moves each of them (line) to the '
            'red one, blue where it lies outside and counts as zero. The positions '
            'are those with the highest score for the winning class.',
            [Slider('position', labels, frames)],
            r'\Delta = W_{5 \times 5} * [q, s]',
            'dmf "Dynamic Sampling"',
        )

    def groups(self, flow: QueryView) -> Section:
        """Return which groups of channels mattered, and their filters."""
        moved = flow.by_group[-1] - flow.by_group[0]
        lead = moved[self.winner] - moved[self.next]
        order = lead.abs().argsort(descending=True).tolist()
        shown = order[: GROUPS - 1] + order[GROUPS - 1 :][-1:]
        filters = flow.filters[self.winner].mean(-1)
        size = flow.states.size(2) // filters.size(-1)
        before, after = (
            state[self.winner].unflatten(0, (-1, size)).norm(dim=1)
            for state in (flow.states[0], flow.states[-1])
        )
        top, frames = float(after.max()), []
        for g in shown:
            of_filter = HeatMap(
                filters[..., g].numpy(),
                'filter, over the support',
                self.supports[self.winner],
                0.0,
                1.0,
            )
            maps = [
                HeatMap(part[g].numpy(), f'query {when}', self.query, 0.0, top)
                for part, when in ((before, 'before'), (after, 'after'))
            ]
            frames.append(Row([of_filter, *maps]))
        names = [f'group {g}' for g in order]
        caption = (
            f'how much alignment moved the lead of {self.names[self.winner]} over '
            f'{self.names[self.next]}'
        )
        return Section(
            'What does the dynamic filter select?',
            f'{size} neighbouring channels share one filter, which says how strongly '
            'the query is amplified there. The bars are sorted by what that did to the '
            'lead of the winning class; the slider shows the groups that mattered '
            'most, and last the one that mattered least.',
            [
                Bars(lead[order].numpy(), names, caption),
                Slider('group', [f'group {g}' for g in shown], frames),
            ],
            r'W_g = \sigma(w_g * s_\Delta)',
            'dmf "Dynamic Meta-filter"',
        )

    def flow(self, flow: QueryView, alignment: Any) -> Section:
        """Return the query before, during and after the flow."""
        strength = flow.states.norm(dim=2).numpy()
        top = float(strength.max())
        pair = (self.winner, self.next)
        frames = [
            Row(
                [
                    HeatMap(now[k], f'towards {self.names[k]}', self.query, 0.0, top)
                    for k in pair
                ]
            )
            for now in strength
        ]
        times = [f't = {time:.2f}' for time in flow.times.tolist()]
        means = flow.score_maps.mean(dim=(2, 3)).numpy()
        best = [(row, int(column)) for row, column in enumerate(means.argmax(1))]
        # Zeros around the maps, or a method of a subclass.
        differ = not np.allclose(means[-1], self.scores, rtol=1e-4, atol=1e-6)
        scores = ', '.join(f'{score:.3f}' for score in self.scores.tolist())
        own = f' Its scores in the end are not these means but {scores}.'
        steps = 'steps that it chooses' if alignment.adaptive else 'fixed steps'
        solved = (
            f'The solver {alignment.solver} with {steps} evaluates the right-hand '
            f'side {flow.evaluations} times.'
            if alignment.flows
            else 'This model has no flow: the filter is applied once.'
        )
        return Section(
            'How does the query flow towards a class, and why is that an ODE?',
            'A residual layer adds what it computes, x + f(x): that is one Euler step '
            'of dx/dt = f(x). Repeating it with smaller steps is solving the equation '
            'more exactly, and a solver may choose how many steps an episode needs. '
            f'{solved} The maps are the length of the feature vector.{own * differ}',
            [
                Slider('time', times, frames),
                Matrix(means, times, self.names, 'mean score of each class', best),
            ],
            r'\frac{dx}{dt} = \mathrm{ReLU}(W \ast x), \quad x(0) = q',
            'dmf "Adaptive Alignment"',
        )

    def score_maps(self, flow: QueryView) -> Section:
        """Return where the query looks like each class."""
        maps = flow.score_maps[-1].numpy()
        low, high = float(maps.min()), float(maps.max())
        figures = [
            HeatMap(part, f'{name}: mean {part.mean():.3f}', self.query, low, high)
            for part, name in zip(maps, self.names, strict=True)
        ]
        return Section(
            'Which class wins, and where?',
            'Every position of the aligned query is compared with every class; the '
            'class with the highest mean wins.',
            [Row(figures)],
            r'p(x, y) = \mathrm{mean}(s / |s|) \cdot q(x, y)',
            'dmf "Meta-classifier"',
        )


def _at(
    image: NDArray, x: float, y: float, size: tuple[int, int]
) -> tuple[float, float]:
    """Return where the centre of a pixel of a map (h, w) lies on an image."""
    height, width = image.shape[:2]
    return (x + 0.5) * width / size[1], (y + 0.5) * height / size[0]


def _samples(
    image: NDArray, flow: QueryView, label: int, at: tuple[int, int]
) -> Sequence[Mark]:
    """Return marks of the places that a position's filter is predicted from."""
    assert flow.offsets is not None  # there is no section without
    height, width = flow.score_maps.shape[-2:]
    corner, edge = torch.full((2,), -0.5), torch.tensor([height, width]) - 0.5
    places = flow.places[(label, *at)]
    marks = []
    for tap, regular in enumerate(places - flow.offsets[(label, *at)]):
        place = places[tap]
        # Beside the map there is nothing to show: the border stands for it.
        (top, left), (y, x) = (
            each.clamp(corner, edge).tolist() for each in (regular, place)
        )
        start = _at(image, left, top, (height, width))
        end = _at(image, x, y, (height, width))
        # Within a pixel of the map a sample is a mix of its border and zeros.
        inside = bool(((place > -1) & (place < edge + 0.5)).all())
        color = SAMPLED if inside else OUTSIDE
        row, column = place.tolist()
        text = f'tap {tap}: row {row:.2f}, column {column:.2f}'
        marks += [
            Mark('line', (*start, *end), color),
            Mark('point', start, REGULAR, f'tap {tap}, regular'),
            Mark('point', end, color, text),
        ]
    return marks

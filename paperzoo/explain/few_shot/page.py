"""The page of CAN and of FEAT, and of several few-shot classifiers side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool1d

from paperzoo.explain.dmf.page import EpisodeSample, firsts, item, picture
from paperzoo.explain.few_shot.trace import RuleView, positions_used, view_episode
from paperzoo.explain.html.report import (
    Figure,
    HeatMap,
    Matrix,
    Picture,
    Row,
    Section,
    Table,
)
from paperzoo.explain.recording import redefined

CHANNELS = 64  # columns that a table may have
__all__ = ['beside', 'item', 'sections']


def sections(model: Any, sample: EpisodeSample) -> list[Section]:
    """Return the page of one episode.

    Args:
        model: A classifier of episodes, in evaluation mode.
        sample: The episode.
    """
    return beside({type(model).__name__: model}, sample)


def beside(models: Mapping[str, Any], sample: EpisodeSample) -> list[Section]:
    """Return the page of one episode and several models.

    Args:
        models: By the names that they have on the page.
        sample: The episode.
    """
    keys = ('support', 'support_label', 'query')
    views = {}
    for name, model in models.items():
        batch = model.data_preprocessor({key: sample.data[key][None] for key in keys})
        views[name] = view_episode(model, *(batch[key][0] for key in keys))
    index = telling(list(views.values()), sample.labels)
    truth = _own_class(sample, views, index)
    found = [
        task(sample, views, index, ' '.join(map(redefined, models.values())).strip()),
        _said(sample, views, index),
        _positions(sample, views, index, truth),
        channels(views, index, truth),
        cost(views),
    ]
    return found + [
        _taken(name, view.taken, sample.class_names)
        for name, view in views.items()
        if view.taken is not None
    ]


def _own_class(sample: EpisodeSample, views: Mapping[str, RuleView], index: int) -> int:
    """Return the class of a query; if nobody knows it, what the first model says."""
    if sample.labels is not None:
        return int(sample.labels[index])
    return int(next(iter(views.values())).scores[index].argmax())


def telling(views: Sequence[RuleView], labels: Tensor | None) -> int:
    """Return the first query that not all put alike, else the first."""
    guesses = [view.scores.argmax(1) for view in views]
    if len(views) == 1:
        differ = torch.zeros(1) if labels is None else guesses[0] == labels
    else:
        differ = torch.stack([guess != guesses[0] for guess in guesses]).any(0)
    return int(differ.int().argmax())


def task(
    sample: EpisodeSample, views: Mapping[str, RuleView], index: int, note: str
) -> Section:
    why = 'the first that they do not put alike, if there is one'
    if sample.labels is None:
        why = 'whose class nobody has said'
    elif len(views) == 1:
        why = 'the first that the model puts right, if there is one'
    supports: list[Figure] = [
        Picture(picture(sample.data['support'][k]), sample.class_names[label])
        for label, k in enumerate(firsts(sample))
    ]
    title = 'the query'
    if sample.labels is not None:
        title += f', of {sample.class_names[int(sample.labels[index])]}'
    query = Picture(picture(sample.data['query'][index]), title)
    return Section(
        'What is the task?',
        'No model was trained on these classes; each has only its support images. '
        f'Which of them is the query? This page follows query {index}, {why}. '
        f'{note}'.rstrip(),
        [Row([query, *supports])],
    )


def _said(sample: EpisodeSample, views: Mapping[str, RuleView], index: int) -> Section:
    own = [
        [name, *(f'{float(view.scores[index, k]):.3f}' for view in views.values())]
        for k, name in enumerate(sample.class_names)
    ]
    tables: list[Figure] = [Table(['class', *views], own, f'scores of query {index}')]
    if (labels := sample.labels) is not None:
        right = [
            [name, f'{float((view.scores.argmax(1) == labels).float().mean()):.1%}']
            for name, view in views.items()
        ]
        tables.append(Table(['model', f'right, of {len(labels)} queries'], right))
    return Section(
        'What does each model say?',
        'Scores of different models are not on one scale: compare them within a '
        'column. One episode says little about which model is better.',
        tables,
    )


def _positions(
    sample: EpisodeSample, views: Mapping[str, RuleView], index: int, truth: int
) -> Section:
    image = picture(sample.data['query'][index])
    support = picture(sample.data['support'][firsts(sample)[truth]])
    maps: list[Figure] = []
    for name, view in views.items():
        values = view.positions[index, truth].numpy()
        maps.append(HeatMap(values, f'{name}: the query', over=image))
        if view.of_class is not None:
            values = view.of_class[index, truth].numpy()
            maps.append(HeatMap(values, f'{name}: the class', over=support))
    return Section(
        'Which positions count?',
        'How much each position of the query, compared with '
        f'{"what it is said to be" if sample.labels is None else "its own class"} '
        f'({sample.class_names[truth]}), counts in relation to the mean of all. CAN '
        'multiplies a position by one plus its attention, DMF by the factor by which '
        'positive features grow, here the mean of all channels. A rule that compares '
        'mean features has 1 everywhere.',
        [Row(maps)],
    )


def channels(views: Mapping[str, RuleView], index: int, truth: int) -> Section:
    """Return one table of all models, which may have other numbers of channels."""
    least = min(view.channels.size(2) for view in views.values())
    parts = min(CHANNELS, least)
    weights = [
        adaptive_avg_pool1d(view.channels[index, truth][None], parts)[0]
        for view in views.values()
    ]
    figure = Matrix(
        torch.stack(weights).numpy(),
        list(views),
        [str(part) for part in range(parts)],
        f'relative weights of the channels, in {parts} parts',
    )
    return Section(
        'Which channels count?',
        'The same for channels, the mean of all positions. Attention that is one '
        'number for a position weighs all channels alike; a filter for each group of '
        'channels does not.',
        [figure],
    )


def cost(views: Mapping[str, RuleView]) -> Section:
    rows = []
    for name, view in views.items():
        weights = view.positions if view.of_class is None else view.of_class
        steps = view.evaluations
        rows.append(
            [
                name,
                f'{positions_used(weights):.1f} of {weights.shape[-2:].numel()}',
                f'{float(view.channels.std(-1, correction=0).mean()):.3f}',
                '-' if not steps else f'{min(steps)} to {max(steps)}',
            ]
        )
    columns = ['model', 'positions', 'channels', 'evaluations']
    return Section(
        'How selective is each model?',
        'Positions: as how many equal ones they count, the mean of all pairs of query '
        'and class. Channels: the standard deviation of their relative weights. '
        'Evaluations: how often an adaptive solver asked for the flow; fixed steps '
        'need no count.',
        [Table(columns, rows)],
    )


def _taken(name: str, taken: Tensor, names: Sequence[str]) -> Section:
    return Section(
        f'What do the prototypes of {name} take from each other?',
        'Rows are the prototypes that ask, columns those that answer; a row adds to 1. '
        'What is taken, after a projection, is added to the prototype.',
        [Matrix(taken.numpy(), names, names, 'share of attention')],
        source='feat "Embedding Adaptation via Set-to-set Functions"',
    )

"""How a few-shot classifier settles: one episode at the checkpoints of a training."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from paperzoo.explain.dmf.page import EpisodeSample, firsts, picture
from paperzoo.explain.few_shot.page import channels, cost, task, telling
from paperzoo.explain.few_shot.trace import RuleView, view_episode
from paperzoo.explain.html.report import Figure, HeatMap, Matrix, Section, Table
from paperzoo.explain.recording import record, redefined
from paperzoo.explain.side_by_side import inside, together

GROUPS = 4


@dataclass(frozen=True)
class Seen:
    """One model and the episode.

    Attributes:
        sample: The episode.
        rule: How the model compares.
        filters: Of the meta-filter, from 0 to 1, (queries or 1, classes, height, width,
            groups, taps); None without.
        redefined: A sentence on methods that subclasses redefine, or nothing.
    """

    sample: EpisodeSample
    rule: RuleView
    filters: Tensor | None
    redefined: str


def look(model: Any, sample: EpisodeSample) -> Seen:
    """Return how a model compares the queries of an episode with its classes.

    Args:
        model: A classifier of episodes, in evaluation mode.
        sample: The episode.
    """
    keys = ('support', 'support_label', 'query')
    batch = model.data_preprocessor({key: sample.data[key][None] for key in keys})
    own = getattr(model, 'meta_filter', None)
    with record(model, *(['meta_filter.forward'] if own is not None else [])) as calls:
        rule = view_episode(model, *(batch[key][0] for key in keys))
    filters = None
    if calls.get('meta_filter.forward'):
        # Without dynamic sampling all queries of a block share one row.
        filters = torch.cat([call.result for call in calls['meta_filter.forward']])
        filters = filters.cpu()
    return Seen(sample, rule, filters, redefined(model, own))


def sections(views: Mapping[str, Seen], unit: str) -> list[Section]:
    """Return the page.

    Args:
        views: By the numbers of checkpoints.
        unit: What a slider through them is called.
    """
    last = list(views.values())[-1]
    sample, labels = last.sample, last.sample.data['query_label']
    named = {f'{unit} {name}'.strip(): seen.rule for name, seen in views.items()}
    index = telling(list(named.values()), labels)
    truth = int(labels[index])
    found = [
        task(sample, named, index, last.redefined),
        _scores(sample, named, index, truth),
        _positions(views, unit, index, truth),
        channels(named, index, truth),
        cost(named),
    ]
    if all(seen.filters is not None for seen in views.values()):
        found.insert(3, _filters(views, unit, index, truth))
    if all(seen.rule.taken is not None for seen in views.values()):
        found.append(_taken(views, unit))
    return found


def _scores(
    sample: EpisodeSample, named: Mapping[str, RuleView], index: int, truth: int
) -> Section:
    labels = sample.data['query_label']
    values = torch.stack([rule.scores[index] for rule in named.values()])
    best = [(row, int(column)) for row, column in enumerate(values.argmax(1))]
    right = [
        [name, f'{float((rule.scores.argmax(1) == labels).float().mean()):.1%}']
        for name, rule in named.items()
    ]
    return Section(
        'What does the model say?',
        f'The scores of query {index}, which is of {sample.class_names[truth]}; framed '
        'is the class that the model says. Scores of two checkpoints are not on one '
        'scale: compare them within a row.',
        [
            Matrix(
                values.numpy(),
                list(named),
                sample.class_names,
                f'scores of query {index}',
                best,
            ),
            Table(['', f'right, of {len(labels)} queries'], right),
        ],
    )


def _positions(views: Mapping[str, Seen], unit: str, index: int, truth: int) -> Section:
    shown = [seen.rule.positions[index, truth] for seen in views.values()]
    of_class = [seen.rule.of_class for seen in views.values()]
    shown += [one[index, truth] for one in of_class if one is not None]
    low, high = (float(getattr(torch.stack(shown), way)()) for way in ('min', 'max'))

    def draw(seen: Seen) -> list[Figure]:
        image = picture(seen.sample.data['query'][index])
        support = picture(seen.sample.data['support'][firsts(seen.sample)[truth]])
        values = seen.rule.positions[index, truth].numpy()
        maps: list[Figure] = [HeatMap(values, 'the query', image, low, high)]
        if seen.rule.of_class is not None:
            values = seen.rule.of_class[index, truth].numpy()
            maps.append(HeatMap(values, 'the class', support, low, high))
        return maps

    sample = next(iter(views.values())).sample
    return Section(
        'Which positions count?',
        'How much each position of the query, compared with its own class '
        f'({sample.class_names[truth]}), counts in relation to the mean of all; 1 '
        'everywhere where a rule compares mean features.',
        together(unit, views, draw),
    )


def _filters(views: Mapping[str, Seen], unit: str, index: int, truth: int) -> Section:
    """Return the filters of the groups that differ most between positions."""

    def filters(seen: Seen) -> Tensor:
        """Return the filters of the query to its class, (height, width, groups)."""
        assert seen.filters is not None  # there is no section without
        return seen.filters[min(index, len(seen.filters) - 1), truth].mean(-1)

    last = filters(list(views.values())[-1])
    spread = last.flatten(0, 1).std(0, correction=0)
    groups = spread.argsort(descending=True)[:GROUPS].tolist()
    sample = next(iter(views.values())).sample
    support = picture(sample.data['support'][firsts(sample)[truth]])

    def draw(seen: Seen, group: int) -> list[Figure]:
        values = filters(seen)[..., group].numpy()
        return [HeatMap(values, f'filter of group {group}', support, 0.0, 1.0)]

    parts = [together(unit, views, partial(draw, group=group)) for group in groups]
    means = torch.stack([filters(seen).mean((0, 1)) for seen in views.values()])
    rows = [f'{unit} {name}'.strip() for name in views]
    columns = [str(group) for group in range(means.size(1))]
    return Section(
        'How do the dynamic filters settle?',
        'A filter for each position and group of channels, predicted from the query '
        f'and its own class ({sample.class_names[truth]}): 0 leaves the query as it '
        'is. The maps are of the groups that differ most between positions in the '
        'end; the table has the mean of each group.',
        [
            *inside('group', [str(group) for group in groups], parts),
            Matrix(means.numpy(), rows, columns, 'mean filter of each group'),
        ],
        r'W_g = \sigma(w_g * s_\Delta)',
        'dmf "Dynamic Meta-filter"',
    )


def _taken(views: Mapping[str, Seen], unit: str) -> Section:
    def draw(seen: Seen) -> list[Figure]:
        assert seen.rule.taken is not None  # there is no section without
        names = seen.sample.class_names
        return [Matrix(seen.rule.taken.numpy(), names, names, 'share of attention')]

    return Section(
        'What do the prototypes take from each other?',
        'Rows are the prototypes that ask, columns those that answer; a row adds to 1.',
        together(unit, views, draw),
        source='feat "Embedding Adaptation via Set-to-set Functions"',
    )

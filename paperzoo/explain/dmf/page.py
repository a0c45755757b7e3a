"""DMF's page: one episode, and the way of one of its queries to every class."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from mmengine.registry import DATASETS
from numpy.typing import NDArray
from torch import Tensor

from paperzoo.errors import UserError
from paperzoo.explain.dmf.page_query import QueryPage
from paperzoo.explain.dmf.trace import EpisodeView, explain_episode, explain_query
from paperzoo.explain.html.report import Figure, Picture, Row, Section, Table
from paperzoo.explain.recording import redefined

if TYPE_CHECKING:
    from mmengine.config import Config

# Images of few-shot sets are small; pictures are at least this wide.
WIDTH = 196


@dataclass(frozen=True)
class EpisodeSample:
    """One episode, as its data set gives it.

    Attributes:
        data: `support` and `query` images (uint8, RGB), `support_label` and, where the
            truth is known, `query_label`.
        class_names: Names of its classes.
        name: What it is called on the page.
    """

    data: dict[str, Tensor]
    class_names: tuple[str, ...]
    name: str

    @property
    def labels(self) -> Tensor | None:
        """The classes of the queries, or None if nobody knows them."""
        return self.data.get('query_label')


def item(cfg: 'Config', number: int = 0) -> EpisodeSample:
    """Return an episode of the config's test set.

    Args:
        cfg: The config.
        number: Which episode, counted from 0.

    Raises:
        UserError: If the config's test set is no set of episodes, or has no item of
            this number.
    """
    data = DATASETS.build(cfg.test_dataloader.dataset)
    if not hasattr(data, 'draw'):
        raise UserError(
            f'{cfg.filename}: test_dataloader.dataset is a {type(data).__name__}; an '
            'episode to explain comes from an EpisodeDataset'
        )
    if not 0 <= number < len(data):
        raise UserError(
            f'episode {number}: the test set has the episodes 0 to {len(data) - 1}'
        )
    known = data.metainfo['classes']
    names = tuple(str(known[index]) for index in data.draw(number).classes)
    return EpisodeSample(data[number], names, f'episode {number}')


def sections(model: Any, sample: EpisodeSample) -> list[Section]:
    """Return the page of one episode.

    Args:
        model: A `DMFClassifier`, or a baseline, which aligns nothing, in evaluation
            mode.
        sample: The episode.
    """
    keys = ('support', 'support_label', 'query', 'query_label')
    known = [key for key in keys if key in sample.data]
    batch = model.data_preprocessor({key: sample.data[key][None] for key in known})
    view = explain_episode(model, *(batch[key][0] for key in known))
    index, why = _telling_query(view, sample.labels)
    pictures = [picture(sample.data['support'][k]) for k in firsts(sample)]
    query = picture(sample.data['query'][index])
    best = view.scores[index].argsort(descending=True)[:2].tolist()
    scores = view.scores[index]
    page = QueryPage(sample.class_names, query, pictures, scores, best[0], best[1])
    note = redefined(
        model, getattr(model, 'meta_filter', None), getattr(model, 'alignment', None)
    )
    why = f'{why}. {note}'.rstrip()
    found = [_task(sample, page, index, why, _losses(model, view))]
    if view.calls:
        flow = explain_query(model, view, index)
        if flow.offsets is not None:
            found.append(page.sampling(flow))
        found += [page.groups(flow), page.flow(flow, model.alignment)]
        found.append(page.score_maps(flow))
    return [*found, _compared(sample, view, index, type(model).__name__)]


def _telling_query(view: EpisodeView, labels: Tensor | None) -> tuple[int, str]:
    """Return the query to follow, and why it was chosen."""
    if labels is None:
        return 0, 'whose class nobody has said'
    right = view.scores.argmax(1) == labels
    rescued = right & (view.nearest.argmax(1) != labels)
    if rescued.any():
        why = 'which the model puts right and the nearest prototype does not'
        return int(rescued.int().argmax()), why
    if right.any():
        return int(right.int().argmax()), 'which the model puts right'
    return 0, 'as the model puts none right'


def firsts(sample: EpisodeSample) -> list[int]:
    """Return the first support of each class."""
    labels = sample.data['support_label']
    ways = range(len(sample.class_names))
    return [int((labels == label).int().argmax()) for label in ways]


def _task(
    sample: EpisodeSample, page: QueryPage, index: int, why: str, losses: Table
) -> Section:
    said = f'The model says {page.names[page.winner]}'
    if sample.labels is not None:
        said += f', the truth is {sample.class_names[int(sample.labels[index])]}'
    shots = len(sample.data['support']) // len(sample.class_names)
    more = f', of which the first of {shots} is shown' if shots > 1 else ''
    named = zip(page.supports, page.names, strict=True)
    supports = [Picture(image, name) for image, name in named]
    return Section(
        'What is the task?',
        'The model was never trained on these classes; each has only its support '
        f'images{more}. Which of them is the query? This page follows query {index}, '
        f'{why} {said}.',
        [Row([Picture(page.query, 'the query'), *supports])]
        + ([losses] if losses.rows else []),
    )


def _compared(
    sample: EpisodeSample, view: EpisodeView, index: int, model: str
) -> Section:
    labels = sample.labels
    rules = {
        model: view.scores,
        'without alignment': view.unaligned,
        'nearest prototype (cosine)': view.nearest,
    }
    own = [
        [name, *(f'{float(scores[index, k]):.3f}' for scores in rules.values())]
        for k, name in enumerate(sample.class_names)
    ]
    tables: list[Figure] = [Table(['class', *rules], own, f'scores of query {index}')]
    if labels is not None:
        right = [
            [name, f'{float((scores.argmax(1) == labels).float().mean()):.1%}']
            for name, scores in rules.items()
        ]
        tables.append(Table(['rule', f'right, of {len(labels)} queries'], right))
    return Section(
        'What would the nearest prototype have said?',
        'The same features of the same episode, compared by three rules. The '
        'backbone was trained for the first of them, and one episode says little '
        'about which rule is better.',
        tables,
    )


def _losses(model: Any, view: EpisodeView) -> Table:
    """Return the model's own loss, its parts and what is logged beside them."""
    caption = "What the model's loss says of all queries, in evaluation mode."
    if getattr(model, 'global_classifier', None) is not None:
        # They would be of other classes than those it was trained on.
        caption += ' No query counts for the global classifier.'
    return Table(['', 'mean'], list(view.losses.items()), caption)


def picture(image: Tensor) -> NDArray:
    """Return an image (3, H, W) as (H, W, 3), its pixels repeated if it is small."""
    factor = max(1, -(-WIDTH // image.size(2)))
    pixels = image.permute(1, 2, 0).cpu().numpy()
    return np.ascontiguousarray(pixels.repeat(factor, 0).repeat(factor, 1))

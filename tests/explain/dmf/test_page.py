"""DMF's page: an episode of the config's test set, and the way of one query."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from few_shot_toys import write_set
from mmengine.config import Config
from references.dmf import TINY
from torch.utils.data import Dataset

from paperzoo.data.episodes import EpisodeDataset
from paperzoo.dmf import (
    AdaptiveAlignment,
    DMFClassifier,
    DynamicMetaFilter,
    EpisodeDataPreprocessor,
    ProtoNet,
)
from paperzoo.errors import UserError
from paperzoo.explain.dmf.page import EpisodeSample, _telling_query, item, sections
from paperzoo.explain.dmf.trace import EpisodeView, explain_episode, explain_query
from paperzoo.explain.html.render import render
from paperzoo.explain.html.report import (
    Bars,
    HeatMap,
    Matrix,
    Picture,
    Row,
    Slider,
    Table,
)

FLOW = 'How does the query flow towards a class, and why is that an ODE?'


def config(root: Path) -> Config:
    data = dict(
        type=EpisodeDataset,
        data_root=str(write_set(root)),
        split='test',
        layout='pickle',
        ways=3,
        shots=2,
        queries=2,
        episodes=4,
    )
    return Config(dict(test_dataloader=dict(dataset=data)))


def model(kind: type = DMFClassifier, solver: str = 'rk4', **options: Any) -> Any:
    torch.manual_seed(0)
    if kind is DMFClassifier:
        meta_filter = dict(type=DynamicMetaFilter, groups=2) | options
        alignment = dict(type=AdaptiveAlignment, solver=solver)
        options = dict(meta_filter=meta_filter, alignment=alignment)
    preprocessor = dict(type=EpisodeDataPreprocessor, mean=[128.0], std=[60.0])
    shared = dict(feat_channels=4, data_preprocessor=preprocessor)
    return kind(backbone=TINY, **shared, **options).eval()


def test_an_episode_of_the_test_set(tmp_path: Path) -> None:
    cfg = config(tmp_path)
    found = item(cfg, 2)
    data = EpisodeDataset(**{k: v for k, v in _options(cfg).items() if k != 'type'})
    for key, value in data[2].items():
        assert torch.equal(found.data[key], value), key
    # The set's own names, in the order of the labels.
    number = data.draw(2).classes[1]
    assert found.class_names[1] == data.metainfo['classes'][number]
    with pytest.raises(UserError, match=r'episode 4: .* 0 to 3'):
        item(cfg, 4)
    cfg.test_dataloader.dataset = dict(type=Dataset)
    with pytest.raises(UserError, match='is a Dataset'):
        item(cfg)


def _options(cfg: Config) -> dict:
    return cfg.test_dataloader.dataset


def test_the_page_shows_what_was_explained(tmp_path: Path) -> None:
    classifier, sample = model(), item(config(tmp_path))
    found = {section.title: section for section in sections(classifier, sample)}
    assert len(found) == 6
    images = classifier.data_preprocessor(
        {key: sample.data[key][None] for key in ('support', 'support_label', 'query')}
    )
    view = explain_episode(
        classifier,
        images['support'][0],
        sample.data['support_label'],
        images['query'][0],
    )
    index, _ = _telling_query(view, sample.data['query_label'])
    flow = explain_query(classifier, view, index)

    section = found[FLOW]
    assert 'rk4 with fixed steps evaluates the right-hand side 4 times' in section.text
    slider, matrix = section.figures
    assert isinstance(slider, Slider)
    assert isinstance(matrix, Matrix)
    assert slider.labels[0] == 't = 0.00'
    assert slider.labels[-1] == 't = 1.00'
    np.testing.assert_allclose(matrix.values[-1], view.scores[index].numpy(), rtol=1e-5)
    winner = int(view.scores[index].argmax())
    last = slider.frames[-1]
    assert isinstance(last, Row)
    length = flow.states[-1, winner].norm(dim=0).numpy()
    assert isinstance(last.figures[0], HeatMap)
    np.testing.assert_allclose(last.figures[0].values, length, rtol=1e-5)

    bars = found['What does the dynamic filter select?'].figures[0]
    assert isinstance(bars, Bars)
    by_class = (flow.by_group[-1] - flow.by_group[0]).sum(-1)
    second = int(view.scores[index].argsort(descending=True)[1])
    moved = float(by_class[winner] - by_class[second])
    assert float(bars.values.sum()) == pytest.approx(moved, abs=1e-5)
    assert np.all(np.diff(np.abs(bars.values)) <= 0), 'the most important come first'

    table = found['What would the nearest prototype have said?'].figures[0]
    assert isinstance(table, Table)
    assert table.columns[1] == 'DMFClassifier'
    assert [row[1] for row in table.rows] == [f'{x:.3f}' for x in view.scores[index]]


def test_marks_lie_on_the_picture_where_the_samples_are(tmp_path: Path) -> None:
    classifier, sample = model(), item(config(tmp_path))
    classifier.meta_filter.offset_conv.weight.data.zero_()
    found = sections(classifier, sample)[1]
    slider = found.figures[0]
    assert isinstance(slider, Slider)
    frame = slider.frames[0]
    assert isinstance(frame, Row)
    query, support = frame.figures[:2]
    assert isinstance(query, Picture)
    assert isinstance(support, Picture)
    height, width = support.image.shape[:2]
    assert width >= 196
    points = [mark for mark in support.marks if mark.kind == 'point']
    assert len(points) == 18
    for mark in support.marks:
        assert all(0 <= x <= width for x in mark.xy[::2])
        assert all(0 <= y <= height for y in mark.xy[1::2])
    # Nothing was moved: the middle tap lies at the position itself.
    assert points[8].xy == points[9].xy == query.marks[0].xy
    # Maps have 2x2 positions here, the middle of the first one is at a quarter.
    places = {(width * x / 4, height * y / 4) for x in (1, 3) for y in (1, 3)}
    assert query.marks[0].xy in places


@pytest.mark.parametrize(
    ('options', 'count'),
    [
        (dict(solver='none'), 6),
        (dict(kernel=3), 6),
        (dict(dynamic_sampling=False), 5),
        (dict(kind=ProtoNet), 2),
    ],
)
def test_variants(tmp_path: Path, options: dict, count: int) -> None:
    found = sections(model(**options), item(config(tmp_path)))
    assert len(found) == count
    text = ' '.join(section.text for section in found)
    assert ('This model has no flow' in text) == ('solver' in options)


def test_a_name_cannot_become_html(tmp_path: Path) -> None:
    sample = item(config(tmp_path))
    names = tuple(f'<blink>{k}' for k in range(3))
    evil = EpisodeSample(sample.data, names, sample.name)
    assert '<blink>' not in render('DMF', sections(model(), evil))


def test_the_query_that_tells_most() -> None:
    labels = torch.tensor([0, 1, 1])
    one, two = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    none = torch.zeros(0)

    def chosen(scores: list[torch.Tensor], nearest: list[torch.Tensor]) -> int:
        pair = torch.stack(scores), torch.stack(nearest)
        view = EpisodeView(pair[0], pair[0], pair[1], none, none, none)
        return _telling_query(view, labels)[0]

    assert chosen([one, two, two], [one, two, one]) == 2  # only the model is right
    assert chosen([two, two, two], [two, two, two]) == 1  # the first that is right
    assert chosen([two, one, one], [one, two, two]) == 0  # all wrong


class Sharper(DMFClassifier):
    """Scores that are multiplied, and one more loss."""

    def score_episode(self, *args: Any, **kwargs: Any) -> Any:
        scores, maps = super().score_episode(*args, **kwargs)
        return 3 * scores, maps

    def loss_by_feat(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        losses = super().loss_by_feat(*args, **kwargs)
        return {**losses, 'loss_extra': torch.tensor(0.25)}


class Constant(DMFClassifier):
    """Scores without a meta-filter, whatever is configured."""

    def score_episode(self, *args: Any, **kwargs: Any) -> Any:
        query, ways = args[2], args[3]
        return query.new_ones(len(query), ways, *query.shape[2:]), query


class HalfFilter(DynamicMetaFilter):
    def forward(self, query: Any, support: Any) -> Any:
        return super().forward(query, support) / 2


@pytest.mark.parametrize('options', [{}, dict(kernel=3), dict(solver='dopri5')])
def test_a_subclass_is_shown_and_named(tmp_path: Path, options: dict) -> None:
    sample = item(config(tmp_path))
    plain = model(**options)
    own = model(**options)
    own.__class__ = Sharper
    task, *_, compared = sections(own, sample)
    flow = {section.title: section for section in sections(own, sample)}[FLOW]
    named = 'Sharper redefines score_episode, loss_by_feat of DMFClassifier.'
    assert named in task.text
    losses = dict(task.figures[1].rows)
    assert losses['loss_extra'] == 0.25
    with torch.no_grad():
        batch = own.data_preprocessor({k: v[None] for k, v in sample.data.items()})
        scores = own(**batch)[0]
        expected = own.parse_losses(own(**batch, mode='loss'))[1]
    assert losses == {name: float(value) for name, value in expected.items()}
    columns = [float(row[1]) for row in compared.figures[0].rows]
    assert any(np.allclose(columns, one, atol=6e-4) for one in scores.tolist())
    assert 'are not these means' in flow.text
    before = {section.title: section for section in sections(plain, sample)}[FLOW]
    assert 'are not these means' not in before.text
    np.testing.assert_array_equal(flow.figures[1].values, before.figures[1].values)


def test_what_scores_in_another_way_has_no_flow_to_show(tmp_path: Path) -> None:
    own = model()
    own.__class__ = Constant
    task, compared = sections(own, item(config(tmp_path)))
    assert 'Constant redefines score_episode of DMFClassifier.' in task.text
    assert [row[1] for row in compared.figures[0].rows] == ['1.000'] * 3


def test_the_filters_shown_are_those_of_a_subclass(tmp_path: Path) -> None:
    sample, own = item(config(tmp_path)), model()

    def filters() -> dict[str, np.ndarray]:
        slider = sections(own, sample)[2].figures[1]
        frames = zip(slider.labels, slider.frames, strict=True)
        return {label: frame.figures[0].values for label, frame in frames}

    plain = filters()
    own.meta_filter.__class__ = HalfFilter
    task = sections(own, sample)[0]
    assert 'HalfFilter redefines forward of DynamicMetaFilter.' in task.text
    for label, values in filters().items():
        np.testing.assert_allclose(values, plain[label] / 2)


def test_the_border_of_zeros_is_told(tmp_path: Path) -> None:
    own = model()
    own.zero_pad_score = True
    found = {
        section.title: section for section in sections(own, item(config(tmp_path)))
    }
    assert 'Its scores in the end are not these means but' in found[FLOW].text

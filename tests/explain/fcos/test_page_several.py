"""FCOS's page of several models: every number is what that model itself returns."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from torch.testing import assert_close

from paperzoo.apis.build import build_model
from paperzoo.data.paths import ensure_generated
from paperzoo.explain.fcos.page_several import Seen, look, sections
from paperzoo.explain.html.render import render
from paperzoo.explain.html.report import (
    Figure,
    HeatMap,
    Picture,
    Row,
    Section,
    Slider,
    Table,
)
from paperzoo.explain.sample import SampleLoader

CONFIGS = Path(__file__).parents[3] / 'configs'
POINTS = 'Which points learn which box?'


def figures(found: Sequence[Figure]) -> Iterator[Figure]:
    for figure in found:
        yield figure
        yield from figures(getattr(figure, 'figures', ()))
        yield from figures(getattr(figure, 'frames', ()))


def seen(seed: int, **head: Any) -> tuple[Any, Seen]:
    cfg = Config.fromfile(str(CONFIGS / 'fcos' / 'fcos_tiny_shapes.py'))
    cfg.model.backbone.base_channels = 8
    cfg.model.neck.in_channels = [8, 16, 32, 64]
    cfg.model.bbox_head.update(head)
    cfg.model.test_cfg.score_thr = 0.0
    torch.manual_seed(seed)
    model = build_model(cfg, 'cpu')
    file = Path(ensure_generated('data/shapes/val/000004.jpg'))
    sample = SampleLoader(cfg, model, tuple('abcdefg'), score_thr=0.0)(file)
    return model, look(model, sample)


@pytest.fixture(scope='module')
def models() -> dict[str, tuple[Any, Seen]]:
    return {'1': seen(0), '2': seen(1)}


@pytest.fixture
def views(models: dict[str, tuple[Any, Seen]]) -> dict[str, Seen]:
    return {name: view for name, (_, view) in models.items()}


def titled(found: list[Section], title: str) -> Section:
    return next(section for section in found if section.title.startswith(title))


def test_boxes_and_maps_are_those_of_each_checkpoint(
    models: dict[str, tuple[Any, Seen]], views: dict[str, Seen]
) -> None:
    found = sections(views, 'epoch')
    (row, table) = titled(found, 'What is found').figures
    assert isinstance(row, Row)
    assert isinstance(table, Table)
    slider, truth = row.figures
    assert isinstance(slider, Slider)
    assert isinstance(truth, Picture)
    assert slider.labels == ['1', '2']
    (levels,) = titled(found, 'Where does it expect').figures
    assert isinstance(levels, Slider)
    for place, (name, (model, view)) in enumerate(models.items()):
        data = view.sample.data_sample.clone()
        (own,) = model.predict(view.sample.inputs, [data], rescale=False)
        picture = slider.frames[place]
        assert isinstance(picture, Picture)
        order = own.pred_instances.scores.argsort(descending=True, stable=True)
        drawn = torch.tensor([mark.xy for mark in picture.marks])
        assert_close(drawn, own.pred_instances.bboxes[order])
        assert table.rows[place][:2] == [name, len(drawn)]
        outs = model.bbox_head(model.extract_feat(view.sample.inputs))
        for level, frame in enumerate(levels.frames):
            assert isinstance(frame, Slider)
            maps = list(figures([frame.frames[place]]))[1:]
            wanted = outs[2][level][0, 0].sigmoid(), outs[0][level][0].sigmoid().amax(0)
            for one, expected in zip(maps, wanted, strict=True):
                assert isinstance(one, HeatMap)
                assert_close(torch.tensor(one.values), expected.detach())


def test_losses_are_those_of_each_model(
    models: dict[str, tuple[Any, Seen]], views: dict[str, Seen]
) -> None:
    (table,) = titled(sections(views, ''), 'What does the image lose').figures
    assert isinstance(table, Table)
    assert table.columns[0] == 'model'
    for row, view in zip(table.rows, views.values(), strict=True):
        truth = view.found.truth
        assert truth is not None
        terms = [float(value) for value in row[1:-1]]
        assert sum(terms) == pytest.approx(float(row[-1]), rel=1e-4)
        assert row[-1] == truth.losses.total


def test_what_a_point_learns_is_shown_once_unless_it_differs(
    views: dict[str, Seen],
) -> None:
    same = titled(sections(views, 'epoch'), POINTS)
    assert 'at every checkpoint: the boxes' in same.text
    assert [type(one) for one in same.figures] == [Picture]
    _, other = seen(0, center_sample_radius=0.5)
    found = sections({'plain': views['1'], 'centres': other}, '')
    differs = titled(found, POINTS)
    assert 'not the same in every model' in differs.text
    (row,) = differs.figures
    assert isinstance(row, Row)
    captions = [one.caption for one in row.figures if isinstance(one, Picture)]
    assert captions[0].startswith('plain: ')
    assert captions[1].startswith('centres: ')
    assert captions[0].partition(': ')[2] != captions[1].partition(': ')[2]
    assert 'plain: predicted centre-ness' in render('page', found)

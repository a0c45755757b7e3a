"""K-Net's page of several models: masks and matching are those of each model."""

import copy
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from small_models import images, samples, small_model

from paperzoo.explain.html.render import render
from paperzoo.explain.html.report import Figure, Matrix, Picture, Slider, Table
from paperzoo.explain.knet.page_several import Seen, look, sections
from paperzoo.explain.sample import Sample

CONFIGS = Path(__file__).parents[3] / 'configs' / 'knet'
NAMES = tuple(f'class <{k}>' for k in range(10))
MATCHED = 'Which kernel learns which object?'


@cache
def read(task: str) -> Config:
    return Config.fromfile(str(CONFIGS / f'knet_tiny_shapes_{task}.py'))


def cases(task: str, objects: int = 3) -> dict[str, Seen]:
    """Return the same image in three models, as if they were of one training."""
    cfg = copy.deepcopy(read(task))
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    sample = samples(cfg, 1, objects)[0]
    classes = NAMES[:7] if task == 'instance' else NAMES
    given = np.full((64, 64, 3), 120, np.uint8), images(cfg, 1)
    views = {}
    for epoch in range(1, 4):
        torch.manual_seed(epoch)
        model = small_model(copy.deepcopy(cfg))
        for parameter in model.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
        views[str(epoch)] = look(model.eval(), Sample(*given, sample, classes, 'a.png'))
    return views


def figures(found: Any) -> Iterator[Figure]:
    for figure in found:
        yield figure
        yield from figures(getattr(figure, 'figures', ()))
        yield from figures(getattr(figure, 'frames', ()))


@pytest.mark.parametrize('unit', ['epoch', ''])
@pytest.mark.parametrize('task', ['instance', 'panoptic', 'semantic'])
def test_every_task_has_its_page(task: str, unit: str) -> None:
    found = sections(cases(task), unit)
    titles = [section.title for section in found]
    assert (MATCHED in titles) == (task != 'semantic')
    assert ('What is the answer?' in titles) == (task == 'panoptic')
    assert ('Which class kernel wins each pixel?' in titles) == (task == 'semantic')
    assert titles[-1] == 'What does the image lose?'
    page = render('K-Net', found)
    assert 'class <' not in page, 'a name got into the page as HTML'
    sliders = [one for one in figures(found[0].figures) if isinstance(one, Slider)]
    assert ('epoch' in {one.name for one in sliders}) == bool(unit)


@pytest.mark.parametrize('unit', ['epoch', ''])
def test_the_matching_is_that_of_each_model(unit: str) -> None:
    views = cases('instance')
    section = next(one for one in sections(views, unit) if one.title == MATCHED)
    boxes, table, costs = section.figures
    assert isinstance(boxes, Picture)
    assert isinstance(table, Table)
    assert isinstance(costs, Matrix)
    assert len(boxes.marks) == 3
    assert costs.values.shape == (3, 3)
    held = []
    for column, seen in enumerate(views.values()):
        made = seen.view.assignments[-1]
        gt_inds = made.gt_inds
        kernels = [int((gt_inds == item + 1).nonzero()) for item in range(3)]
        held.append(kernels)
        for item, kernel in enumerate(kernels):
            assert table.rows[item][column + 1] == f'kernel {kernel}'
            assert costs.values[item, column] == float(made.cost[kernel, item])
    if unit:
        moved = [
            sum(a != b for a, b in zip(one, other, strict=True))
            for one, other in pairwise(held)
        ]
        assert table.rows[-1] == ['other kernel than before', '', *moved]
    else:
        assert len(table.rows) == 3


def test_kernels_of_one_training_keep_their_places() -> None:
    views = cases('instance')
    first, *_ = sections(views, 'epoch')
    slider = first.figures[0]
    assert isinstance(slider, Slider)
    shown = [one for one in figures([slider.frames[0]]) if isinstance(one, Picture)]
    numbers = [
        [mark.text.partition(':')[0] for mark in picture.marks] for picture in shown
    ]
    assert len(numbers) == 3
    assert numbers[0] == numbers[1] == numbers[2]
    classes = next(one for one in sections(views, '') if 'class' in one.title)
    for seen, matrix in zip(
        views.values(),
        [one for one in figures(classes.figures) if isinstance(one, Matrix)],
        strict=True,
    ):
        score = seen.view.stages[-1].cls_score
        assert score is not None
        order = [int(row.removeprefix('kernel ')) for row in matrix.rows]
        own = score[order].double().sigmoid().numpy()
        np.testing.assert_allclose(matrix.values, own, atol=5e-4)


def test_no_objects_no_matching() -> None:
    found = sections(cases('instance', objects=0), 'epoch')
    assert MATCHED not in {section.title for section in found}

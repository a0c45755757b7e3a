"""K-Net's page: what its figures show is what was explained, for every task."""

import copy
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from small_models import images, samples, small_model

from paperzoo.explain.html.render import render
from paperzoo.explain.html.report import (
    Bars,
    Figure,
    Matrix,
    Picture,
    Row,
    Section,
    Slider,
)
from paperzoo.explain.knet.figures import cropped, losses_table, mosaic, painted
from paperzoo.explain.knet.page import sections
from paperzoo.explain.knet.page_matching import matching_sections
from paperzoo.explain.knet.trace import KNetView, explain_detector
from paperzoo.explain.sample import Sample

CONFIGS = Path(__file__).parents[3] / 'configs' / 'knet'
NAMES = tuple(f'class <{k}>' for k in range(10))
MATCHED = 'What is matched with what?'


@cache
def read(task: str) -> Config:
    return Config.fromfile(str(CONFIGS / f'knet_tiny_shapes_{task}.py'))


def case(task: str, objects: int = 3) -> tuple[Any, Sample]:
    cfg = copy.deepcopy(read(task))
    init_default_scope(cfg.default_scope)
    model = small_model(cfg).eval()
    classes = NAMES[:7] if task == 'instance' else NAMES
    image = np.full((64, 64, 3), 120, np.uint8)
    sample = samples(cfg, 1, objects)[0]
    return model, Sample(image, images(cfg, 1), sample, classes, 'a.png')


def figures(found: Any) -> Iterator[Figure]:
    """All figures, those in rows and sliders, too."""
    for figure in found:
        yield figure
        if isinstance(figure, Row):
            yield from figures(figure.figures)
        if isinstance(figure, Slider):
            assert len(figure.labels) == len(figure.frames) > 0
            yield from figures(figure.frames)


def check(found: list[Section]) -> None:
    for section in found:
        for figure in figures(section.figures):
            if isinstance(figure, Matrix):
                rows, columns = figure.values.shape
                assert (rows, columns) == (len(figure.rows), len(figure.columns))
                assert all(r < rows and c < columns for r, c in figure.marked)
            if isinstance(figure, Bars):
                assert figure.values.shape == (len(figure.labels),)
            if isinstance(figure, Picture):
                assert figure.image.dtype == np.uint8
                height, width = figure.image.shape[:2]
                for mark in figure.marks:
                    assert all(0 <= x <= width for x in mark.xy[::2])
                    assert all(0 <= y <= height for y in mark.xy[1::2])


@pytest.mark.parametrize('task', ['instance', 'panoptic', 'semantic'])
def test_every_task_has_its_page(task: str) -> None:
    found = sections(*case(task))
    check(found)
    titles = {section.title for section in found}
    assert 'Which kernels look at each other?' in titles
    assert (MATCHED in titles) == (task != 'semantic')
    assert ('Which kernel won which pixel?' in titles) == (task == 'panoptic')
    if task == 'panoptic':  # it has all kinds of figures
        page = render('K-Net', found)
        assert 'class <' not in page, 'a name got into the page as HTML'


@pytest.mark.parametrize('task', ['instance', 'panoptic'])
def test_a_page_without_annotations_or_objects(task: str) -> None:
    model, sample = case(task, objects=0)
    check(sections(model, sample))
    del sample.data_sample.gt_instances
    found = sections(model, sample)
    check(found)
    assert not {'What does each stage lose?', MATCHED} & {each.title for each in found}


def matched() -> tuple[KNetView, list[Section]]:
    model, sample = case('instance')
    view = explain_detector(model, sample.inputs, sample.data_sample)
    return view, matching_sections(view, sample)


def test_framed_costs_are_the_chosen_pairs() -> None:
    view, found = matched()
    slider = found[0].figures[1]
    assert isinstance(slider, Slider)
    frames = dict(zip(slider.labels, slider.frames, strict=True))
    assert len(frames) == 2 * 3 + 2 * 4  # no classes before the first stage
    for place, match in zip(
        ['the initial kernels', 'stage 1', 'stage 2', 'stage 3'],
        view.matches,
        strict=True,
    ):
        total, *terms = (
            frame
            for label, frame in frames.items()
            if label.startswith(f'teaches {place}: ') and isinstance(frame, Matrix)
        )
        framed = [total.values[cell] for cell in total.marked]
        cost = match.cost.numpy()
        assert framed == [cost[pair.kernel, pair.item] for pair in match.pairs]
        # Matched kernels stand first, in the order of their objects.
        assert total.marked == [(k, k) for k in range(3)]
        names = [f'kernel {pair.kernel}' for pair in match.pairs]
        assert list(total.rows[:3]) == names
        parts = np.sum([term.values for term in terms], axis=0)
        np.testing.assert_allclose(parts, total.values, rtol=1e-5, atol=1e-6)


def test_reasons_name_the_next_best() -> None:
    view, found = matched()
    slider = found[1].figures[0]
    assert isinstance(slider, Slider)
    match, table = view.matches[-1], slider.frames[-1]
    pair, row = match.pairs[0], table.rows[0]
    assert row[1] == f'kernel {pair.kernel}'
    assert str(row[3]).startswith(f'kernel {pair.rival}')
    assert row[6] == f'{pair.extra:.3f}'


def test_padding_is_cut_off() -> None:
    image = np.zeros((30, 60, 3), np.uint8)
    sample = Sample(image, torch.zeros(1, 3, 32, 64), None, NAMES, 'a.png')
    masks = torch.arange(16 * 32).view(1, 16, 32)
    assert cropped(masks, sample).shape == (1, 15, 30)
    assert cropped(masks, sample)[0, -1, -1] == 14 * 32 + 29


def test_tiles_are_bright_inside_the_mask() -> None:
    image = np.full((8, 16, 3), 200, np.uint8)
    masks = np.stack([np.zeros((8, 16)), np.ones((8, 16))])
    picture = mosaic(image, masks, [4, 2], ['dark', 'bright'])
    assert [mark.text for mark in picture.marks] == ['dark', 'bright']
    middles = []
    for mark in picture.marks:
        left, top, right, bottom = map(int, mark.xy)
        middles.append(picture.image[(top + bottom) // 2, (left + right) // 2, 0])
    assert middles == [30, 200]


def test_paint_has_a_name_for_each_number() -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    ids = np.array([[0, 0], [1, -1]])
    picture = painted(image, ids, ['left', 'below'])
    assert [mark.text for mark in picture.marks] == ['left', 'below']
    assert not picture.image[2:, 2:].any(), 'what has no name stays as it is'
    colors = {tuple(color) for color in picture.image.reshape(-1, 3).tolist()}
    assert len(colors) == 3


def test_losses_become_a_table() -> None:
    losses = {'loss_rpn_mask': 1.0, 's0_loss_mask': 2.0, 's0_pos_acc': 50.0}
    table = losses_table(losses)
    assert table.columns == ['stage', 'mask', 'classes right, %']
    assert table.rows == [['as learnt', 1.0, ''], ['stage 1', 2.0, 50.0]]
    semantic = losses_table({'loss_ce.s0': 3.0, 'acc_seg.s0': 25.0, 'loss_ce.s1': 1.0})
    assert semantic.columns == ['stage', 'ce', 'pixels right, %']
    assert semantic.rows == [['as learnt', 3.0, 25.0], ['stage 1', 1.0, '']]

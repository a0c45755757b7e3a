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
from mmengine.structures import InstanceData
from small_models import images, samples, small_model
from torch import Tensor
from torch.testing import assert_close

from paperzoo.explain.html.render import render
from paperzoo.explain.html.report import (
    Bars,
    Figure,
    Matrix,
    Picture,
    Row,
    Section,
    Slider,
    Table,
)
from paperzoo.explain.knet.figures import cropped, losses_table, mosaic, painted
from paperzoo.explain.knet.page import sections
from paperzoo.explain.knet.trace import KNetView, explain_detector
from paperzoo.explain.sample import Sample
from paperzoo.knet import (
    KNet,
    KNetKernelUpdateHead,
    KNetSemanticHead,
    MaskHungarianAssigner,
)
from paperzoo.knet.panoptic import PanopticSegments
from paperzoo.utils.masks import INSTANCE_OFFSET

CONFIGS = Path(__file__).parents[3] / 'configs' / 'knet'
NAMES = tuple(f'class <{k}>' for k in range(10))
MATCHED = 'What is matched with what?'
REASONS = 'Why did this kernel get this object?'
LOSSES = 'What does each stage lose?'
PIXELS = 'Which kernel won which pixel?'


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
    found = {section.title: section for section in sections(model, sample)}
    return view, [found[MATCHED], found[REASONS]]


def test_framed_costs_are_the_chosen_pairs() -> None:
    view, found = matched()
    slider = found[0].figures[1]
    assert isinstance(slider, Slider)
    frames = dict(zip(slider.labels, slider.frames, strict=True))
    assert len(frames) == 2 * 3 + 2 * 4  # no classes before the first stage
    for place, made, pairs in zip(
        ['the initial kernels', 'stage 1', 'stage 2', 'stage 3'],
        view.assignments,
        view.pairs,
        strict=True,
    ):
        total, *terms = (
            frame
            for label, frame in frames.items()
            if label.startswith(f'teaches {place}: ') and isinstance(frame, Matrix)
        )
        framed = [total.values[cell] for cell in total.marked]
        cost = made.cost.numpy()
        assert framed == [cost[pair.kernel, pair.item] for pair in pairs]
        # Matched kernels stand first, in the order of their objects.
        assert total.marked == [(k, k) for k in range(3)]
        names = [f'kernel {pair.kernel}' for pair in pairs]
        assert list(total.rows[:3]) == names
        parts = np.sum([term.values for term in terms], axis=0)
        np.testing.assert_allclose(parts, total.values, rtol=1e-5, atol=1e-6)


def test_reasons_name_the_next_best() -> None:
    view, found = matched()
    slider = found[1].figures[0]
    assert isinstance(slider, Slider)
    table = slider.frames[-1]
    assert isinstance(table, Table)
    pair, row = view.pairs[-1][0], table.rows[0]
    assert row[1] == f'kernel {pair.kernel}'
    assert str(row[3]).startswith(f'kernel {pair.next_best}')
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


def section(model: Any, sample: Sample, title: str) -> Section:
    return next(each for each in sections(model, sample) if each.title == title)


def numbers(table: Table) -> dict[tuple[str, str], float]:
    """The numbers of a table by row and column."""
    return {
        (str(row[0]), column): value
        for row in table.rows
        for column, value in zip(table.columns[1:], row[1:], strict=True)
        if not isinstance(value, str)
    }


def table_of(found: Section) -> Table:
    return next(f for f in figures(found.figures) if isinstance(f, Table))


class DoubledMasks(KNetKernelUpdateHead):
    """Its masks count twice."""

    def loss_by_feat(self, *args: Any) -> dict[str, Tensor]:
        losses = super().loss_by_feat(*args)
        return losses | {'loss_mask': 2 * losses['loss_mask']}


class WithFurtherLoss(KNet):
    """It has losses of its own, of no stage."""

    def loss(self, *args: Any) -> dict[str, Any]:
        further = torch.tensor(3.0)
        return super().loss(*args) | {'loss_smooth': further, 'loss_s': [further] * 2}


def test_a_subclasss_losses_are_on_the_page() -> None:
    model, sample = case('instance')
    before = numbers(table_of(section(model, sample, LOSSES)))
    for stage in model.kernel_iter_head.stages:
        stage.__class__ = DoubledMasks
    model.__class__ = WithFurtherLoss
    found = numbers(table_of(section(model, sample, LOSSES)))
    said = sections(model, sample)[0].text
    assert 'WithFurtherLoss redefines loss of KNet.' in said
    assert 'DoubledMasks redefines loss_by_feat of KNetKernelUpdateHead.' in said
    assert found.keys() - before.keys() == {
        ('loss_smooth', 'value'),
        ('loss_s', 'value'),
    }
    assert found['loss_smooth', 'value'] == 3
    assert found['loss_s', 'value'] == 6
    added = 9.0
    for stage in ('stage 1', 'stage 2', 'stage 3'):
        assert found[stage, 'mask'] == pytest.approx(2 * before[stage, 'mask'])
        assert found[stage, 'dice'] == before[stage, 'dice']
        added += before[stage, 'mask']
    sums = 'all losses together', 'value'
    assert found[sums] == pytest.approx(before[sums] + added)
    with torch.no_grad():
        losses = model.loss(sample.inputs, [sample.data_sample])
        own = model.parse_losses(losses)[0]
    assert found[sums] == pytest.approx(float(own))
    shown = [v for (row, column), v in found.items() if 'right' not in column]
    assert sum(shown) - found[sums] == pytest.approx(found[sums], rel=1e-5)


class WeightedSemantic(KNetSemanticHead):
    """Its last stage counts ten times, and it has a loss of its own."""

    def loss_by_feat(self, *args: Any) -> dict[str, Tensor]:
        losses = super().loss_by_feat(*args)
        tenfold = {'loss_ce.s3': 10 * losses['loss_ce.s3']}
        return losses | tenfold | {'loss_edge': torch.tensor(2.0)}


def test_a_semantic_subclasss_losses_are_on_the_page() -> None:
    model, sample = case('semantic')
    before = numbers(table_of(section(model, sample, LOSSES)))
    model.decode_head.__class__ = WeightedSemantic
    found = numbers(table_of(section(model, sample, LOSSES)))
    assert found.keys() - before.keys() == {('decode.loss_edge', 'value')}
    last, sums = ('stage 3', 'ce'), ('all losses together', 'value')
    assert found[last] == pytest.approx(10 * before[last])
    added = 9 * before[last] + 2
    assert found[sums] == pytest.approx(before[sums] + added)
    assert not any(module.training for module in model.modules())


class FromTheLast(MaskHungarianAssigner):
    """It likes kernels of high numbers: a further cost, and one that counts less."""

    def terms(self, preds: InstanceData, gt: InstanceData) -> dict[str, Tensor]:
        terms = super().terms(preds, gt)
        number = torch.arange(len(preds), dtype=torch.float32)
        terms['mask_cost'] = terms['mask_cost'] / 2
        return terms | {'number_cost': -10 * number[:, None].expand(-1, len(gt))}


def test_a_subclasss_costs_and_matching_are_on_the_page() -> None:
    model, sample = case('instance')
    model.assigner.__class__ = FromTheLast
    for assigner in model.kernel_iter_head.assigners:
        assigner.__class__ = FromTheLast
    chosen: list[Any] = []
    assign = model.assign

    def spy(*args: Any) -> Any:
        chosen.extend(image for stage in assign(*args) for image in stage)
        return assign(*args)

    model.assign = spy
    with torch.no_grad():
        model.loss(sample.inputs, [sample.data_sample])
    del model.assign
    slider = section(model, sample, MATCHED).figures[1]
    assert isinstance(slider, Slider)
    frames = dict(zip(slider.labels, slider.frames, strict=True))
    matrices = [f for label, f in frames.items() if label.endswith(': the sum')]
    assert len(matrices) == len(chosen) == 4
    for matrix, made in zip(matrices, chosen, strict=True):
        assert isinstance(matrix, Matrix)
        kernels = [int(row.removeprefix('kernel ')) for row in matrix.rows]
        assert_close(torch.from_numpy(matrix.values), made.cost[kernels].double())
        held = {kernels[row]: column + 1 for row, column in matrix.marked}
        assert held == {k: int(i) for k, i in enumerate(made.gt_inds) if i}
        # The cost of a kernel's number outweighs all others.
        assert sorted(held) == [17, 18, 19]
    assert 'teaches stage 3: number_cost' in frames
    plain, own = frames['teaches stage 1: mask, per pixel'], chosen[1].terms
    assert isinstance(plain, Matrix)
    assert plain.values.min() == pytest.approx(float(own['mask_cost'].min()))


class OneSegment(KNet):
    """Only the kernel that wins most pixels is a segment, for a reason of its own."""

    def panoptic_postprocess(self, *args: Any) -> PanopticSegments:
        found = super().panoptic_postprocess(*args)
        best = int(found.won.argmax())
        ids = found.labels[best].where(found.winner == best, len(NAMES))
        removed = ['smaller'] * len(found.removed)
        removed[best] = ''
        return found._replace(ids=ids, removed=tuple(removed))


class Shifted(KNet):
    """It changes its answer after all."""

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        found = super().predict(*args, **kwargs)
        for sample in found:
            sample.pred_panoptic_seg.sem_seg[..., :20] = len(NAMES)
        return found


def panoptic() -> Iterator[tuple[Any, Sample]]:
    for kind in (KNet, OneSegment, Shifted):
        model, sample = case('panoptic')
        merge = {'instance_score_thr': 0.0, 'overlap_thr': 0.1}
        model.kernel_iter_head.test_cfg = {'merge_stuff_thing': merge}
        model.__class__ = kind
        yield model, sample


def test_a_subclasss_segments_are_on_the_page() -> None:
    answers = []
    for model, sample in panoptic():
        data = sample.data_sample.clone()
        with torch.no_grad():
            result = model.predict(sample.inputs, [data], rescale=False)[0]
        own = result.pred_panoptic_seg.sem_seg[0]
        answers.append(own)
        view = explain_detector(model, sample.inputs, sample.data_sample)
        assert_close(view.panoptic, own)
        found = section(model, sample, PIXELS)
        row = found.figures[0]
        assert isinstance(row, Row)
        _, answer = row.figures
        painted = np.any(answer.image != sample.image, axis=2)
        assert_close(torch.from_numpy(painted), own != len(NAMES))
        ids = [i for i in own.unique().tolist() if i != len(NAMES)]
        called = [f'{NAMES[i % INSTANCE_OFFSET]} #{i // INSTANCE_OFFSET}' for i in ids]
        assert [mark.text for mark in answer.marks] == called
        said = 'This model does more than that' in found.text
        assert said == isinstance(model, Shifted)
        reasons = {row[-1] for row in table_of(found).rows}
        assert ('smaller' in reasons) == isinstance(model, OneSegment)
    assert not torch.equal(answers[0], answers[1])
    assert not torch.equal(answers[0], answers[2])

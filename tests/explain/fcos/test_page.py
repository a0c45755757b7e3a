"""FCOS's page from an image file: the sample, its truth, the sections, the hook."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from mmengine.visualization import LocalVisBackend, Visualizer
from torch import nn
from torch.testing import assert_close

from paperzoo.apis.build import build_model
from paperzoo.data.paths import ensure_generated
from paperzoo.errors import UserError
from paperzoo.explain import PAGES, page_of, sections
from paperzoo.explain.fcos.page import box_marks
from paperzoo.explain.hook import ExplainHook
from paperzoo.explain.html.raster import pixels_of
from paperzoo.explain.html.render import render
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
    Table,
)
from paperzoo.explain.marks import padded, plot_marks
from paperzoo.explain.sample import Sample, SampleLoader
from paperzoo.fcos import FCOSHead
from projects.smooth_targets.head import SmoothFCOSHead

CONFIGS = Path(__file__).parents[3] / 'configs'
NAMES = ('<b>circle</b>', *'bcdefg')


def config(name: str = 'fcos_tiny_shapes') -> Config:
    cfg = Config.fromfile(str(CONFIGS / 'fcos' / f'{name}.py'))
    cfg.model.backbone.base_channels = 8
    cfg.model.neck.in_channels = [8, 16, 32, 64]
    return cfg


@pytest.fixture(scope='module')
def cfg() -> Config:
    return config()


@pytest.fixture(scope='module')
def model(cfg: Config) -> nn.Module:
    torch.manual_seed(0)
    return build_model(cfg, 'cpu')


@pytest.fixture(scope='module')
def file() -> Path:
    return Path(ensure_generated('data/shapes/val/000004.jpg'))


@pytest.fixture
def sample(cfg: Config, model: nn.Module, file: Path) -> Sample:
    return SampleLoader(cfg, model, NAMES, score_thr=0.3)(file)


def figures(found: Sequence[Figure]) -> Iterator[Figure]:
    for figure in found:
        yield figure
        if isinstance(figure, Row):
            yield from figures(figure.figures)
        if isinstance(figure, Slider):
            yield from figures(figure.frames)


def marks(section: Section, kind: str) -> list[list[Mark]]:
    pictures = [one for one in figures(section.figures) if isinstance(one, Picture)]
    return [[mark for mark in one.marks if mark.kind == kind] for one in pictures]


def test_the_truth_lies_in_the_pixels_of_the_network(
    sample: Sample, cfg: Config, file: Path
) -> None:
    assert sample.annotated
    assert sample.image.shape == (192, 256, 3)
    assert sample.inputs.shape == (1, 3, 192, 256)
    import json

    annotations = json.loads(
        (file.parents[1] / 'annotations/instances_val.json').read_text()
    )
    (image,) = [one for one in annotations['images'] if one['file_name'] == file.name]
    boxes = torch.tensor(
        [
            one['bbox']
            for one in annotations['annotations']
            if one['image_id'] == image['id']
        ]
    )
    boxes[:, 2:] += boxes[:, :2]
    # The image is 320 wide, the network sees 256.
    assert_close(sample.data_sample.gt_instances.bboxes, boxes * 0.8)


def test_the_picture_is_what_the_network_sees_unnormalised(sample: Sample) -> None:
    mean = torch.tensor([123.675, 116.28, 103.53])
    std = torch.tensor([58.395, 57.12, 57.375])
    expected = (torch.from_numpy(sample.image.copy()) - mean) / std
    assert_close(sample.inputs[0].permute(1, 2, 0), expected)


def test_a_foreign_image_has_no_truth(
    cfg: Config, model: nn.Module, file: Path, tmp_path: Path
) -> None:
    copy = tmp_path / '<img src=x>.jpg'
    copy.write_bytes(file.read_bytes())
    foreign = SampleLoader(cfg, model, NAMES)(copy)
    assert not foreign.annotated
    page = sections(model, foreign)
    titles = ' '.join(section.title for section in page)
    assert 'Whose loss' not in titles
    assert 'suppression' in titles
    assert '<img src' not in render('page', page)


def test_a_damaged_image_is_one_message(
    cfg: Config, model: nn.Module, tmp_path: Path
) -> None:
    (tmp_path / 'a.jpg').write_bytes(b'no image')
    with pytest.raises(UserError, match=r"a\.jpg': empty, cut off or no image"):
        SampleLoader(cfg, model, NAMES)(tmp_path / 'a.jpg')


@pytest.mark.data
def test_a_photo_comes_with_its_annotations(real_data: Path) -> None:
    cfg = config('fcos_r18_fpn_bccd')
    cfg.model.neck.out_channels = cfg.model.bbox_head.in_channels = 16
    cfg.model.bbox_head.feat_channels = 16
    model = build_model(cfg, 'cpu')
    photo = min((real_data / 'bccd' / 'images').glob('*.jpg'))
    sample = SampleLoader(cfg, model, ('RBC', 'WBC', 'Platelets'))(photo)
    assert sample.annotated
    boxes = sample.data_sample.gt_instances.bboxes
    assert len(boxes) > 0
    assert (boxes[:, 2] <= 320).all()
    page = sections(model, sample)
    # Cells overlap: each point that learns one has its colour.
    drawn = marks(page[1], 'point')[0]
    assert len({mark.color for mark in drawn}) > 1


def test_what_the_page_says_of_the_truth(model: nn.Module, sample: Sample) -> None:
    from paperzoo.explain.fcos.trace import explain

    found = explain(model, sample)
    truth = found.truth
    page = {section.title: section for section in sections(model, sample)}
    learns = page['Which points learn which box?']
    every, *levels = marks(learns, 'point')
    assert len(every) == int((truth.assignment.gt_inds > 0).sum())
    assert [len(level) for level in levels] == [h * w for h, w in found.maps.sizes]
    ambiguous = page['Which points are ambiguous, and who wins them?']
    count = int(truth.assignment.ambiguous.sum())
    assert len(marks(ambiguous, 'point')[0]) == count
    assert ambiguous.text.startswith(f'{count} points')
    (table,) = [
        figure
        for figure in figures(page['Whose loss is it?'].figures)
        if isinstance(figure, Table)
    ]
    assert table.rows[-1][2] == pytest.approx(
        float(truth.losses.terms['loss_cls'].sum())
    )
    assert table.rows[-1][5] == truth.losses.total
    assert len(table.rows) == len(truth.boxes) + 2
    for section in page.values():
        for figure in figures(section.figures):
            if isinstance(figure, HeatMap):
                assert figure.over.shape == (192, 256, 3)
    assert '<b>circle' not in render('page', list(page.values()))


def test_the_page_of_a_subclass_shows_the_models_numbers(
    cfg: Config, file: Path
) -> None:
    """Its loss is named, its boxes are drawn where its voting moves them."""
    cfg = cfg.copy()
    options = dict(type=SmoothFCOSHead, smooth_weight=1.0, voting=0.6)
    cfg.model.bbox_head.update(options)
    torch.manual_seed(0)
    model = build_model(cfg, 'cpu')
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.bbox_head.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    sample = SampleLoader(cfg, model, NAMES, score_thr=0.0)(file)
    page = {section.title: section for section in sections(model, sample)}
    model.bbox_head.training = True
    with torch.no_grad():
        losses = model.loss(sample.inputs, [sample.data_sample])
        model.bbox_head.training = False
        (expected,) = model.predict(
            sample.inputs, [sample.data_sample.clone()], rescale=False
        )
    (table,) = [
        figure
        for figure in figures(page['Whose loss is it?'].figures)
        if isinstance(figure, Table)
    ]
    total = float(sum(losses.values()))
    values: list[Any] = [row[-2] for row in table.rows]
    assert values[-1] == pytest.approx(total, rel=1e-6)
    assert sum(values[:-1]) == pytest.approx(total, rel=1e-5)
    assert table.rows[-2][0] == 'loss_smooth, added by SmoothFCOSHead'
    assert table.rows[-2][-2] == pytest.approx(float(losses['loss_smooth']))
    found = page['What is found in 000004.jpg']
    drawn = torch.tensor([mark.xy for mark in marks(found, 'box')[0]])
    assert len(drawn) == 100
    assert_close(drawn, expected.pred_instances.bboxes, rtol=0, atol=0)
    assert 'SmoothFCOSHead redefines' in found.text
    suppression = page['Which boxes does the suppression remove?']
    assert 'Afterwards the model moves the detections by up to' in suppression.text


class OwnWay(FCOSHead):
    """A head that shares nothing with its base but the network."""

    def loss_by_feat(self, cls_scores: Any, *args: Any, **kwargs: Any) -> dict:
        return {'loss_mine': cls_scores[0].square().mean()}

    def _predict_by_feat_single(self, *args: Any, **kwargs: Any) -> InstanceData:
        boxes, scores = torch.tensor([[1.0, 2, 3, 4]]), torch.tensor([0.7])
        return InstanceData(bboxes=boxes, scores=scores, labels=torch.tensor([2]))


class ElsewhereFound(FCOSHead):
    """A head whose targets are no box's, and that predicts one box less."""

    def get_targets(self, points: list, batch_gt_instances: list) -> tuple:
        labels, targets = super().get_targets(points, batch_gt_instances)
        targets = [torch.full_like(level, 8.0) for level in targets]
        return [(level + 1) % 8 for level in labels], targets

    def predict_by_feat(self, *args: Any, **kwargs: Any) -> list:
        return [found[1:] for found in super().predict_by_feat(*args, **kwargs)]


def test_the_page_says_what_it_cannot_take_apart(cfg: Config, sample: Sample) -> None:
    torch.manual_seed(0)
    model = build_model(cfg, 'cpu')
    model.bbox_head.__class__ = OwnWay
    page = {section.title: section for section in sections(model, sample)}
    assert (
        'in a way of its own, which is not shown'
        in page['What is found in 000004.jpg'].text
    )
    assert not any('suppression' in title for title in page)
    bars, table = list(figures(page['Whose loss is it?'].figures))[-2:]
    assert isinstance(bars, Bars)
    assert isinstance(table, Table)
    assert [row[0] for row in table.rows] == ['loss_mine, added by OwnWay', 'all']
    assert table.rows[0][2] == pytest.approx(table.rows[1][2])
    assert all(len(row) == len(table.columns) for row in table.rows)
    model.bbox_head.__class__ = ElsewhereFound
    page = {section.title: section for section in sections(model, sample)}
    suppression = page['Which boxes does the suppression remove?'].text
    assert 'The model changes them afterwards: it predicts 99 boxes' in suppression
    points = page['Which points learn which box?']
    assert 'points learn something else than the assigner says' in points.text
    (table,) = [
        figure
        for figure in figures(page['Whose loss is it?'].figures)
        if isinstance(figure, Table)
    ]
    assert table.rows[-2][0] == 'what no box says'
    assert all(len(row) == len(table.columns) for row in table.rows)


def test_equal_scores_stay_in_the_models_order(sample: Sample) -> None:
    boxes = torch.arange(80.0).view(20, 4)
    scores = torch.tensor([0.5, 0.9] * 10)
    labels = torch.zeros(20, dtype=torch.long)
    drawn = box_marks(sample, boxes, scores, labels, [''] * 20)
    expected = torch.cat((boxes[1::2], boxes[0::2]))
    assert_close(torch.tensor([mark.xy for mark in drawn]), expected)


def test_maps_that_reach_beyond_the_image_lie_on_grey() -> None:
    image = np.full((5, 7, 3), 9, np.uint8)
    ground = padded(image, 8, 4)
    assert ground.shape == (8, 4, 3)
    assert (ground[:5] == 9).all()
    assert (ground[5:] == 128).all()


def test_a_plot_has_its_origin_below_on_the_left() -> None:
    ground, drawn = plot_marks([0.0, 1.0], [0.0, 0.5], ['#000000'] * 2, ['a', 'b'])
    (low, high) = [mark.xy for mark in drawn if mark.kind == 'point']
    assert low == (20, ground.shape[0] - 20)
    assert high == (ground.shape[1] - 20, ground.shape[0] / 2)


def test_the_outermost_part_with_a_page_counts() -> None:
    head = FCOSHead(2, 4, feat_channels=4, norm_cfg=None, stacked_convs=1)
    assert page_of(nn.Sequential(nn.Identity(), head)) == 'paperzoo.explain.fcos.page'

    class Mine(FCOSHead):
        pass

    mine = Mine(2, 4, feat_channels=4, norm_cfg=None, stacked_convs=1)
    assert page_of(mine) == 'paperzoo.explain.fcos.page'
    with pytest.raises(UserError, match=r'Linear has no page.*FCOSHead, KNet,'):
        page_of(nn.Linear(1, 1))


@pytest.mark.parametrize('place', PAGES)
def test_every_page_is_there(place: str) -> None:
    from importlib import import_module

    module, _, name = place.rpartition('.')
    assert isinstance(getattr(import_module(module), name), type)
    assert callable(import_module(PAGES[place]).sections)


def test_figures_become_pixels() -> None:
    image = np.zeros((24, 48, 3), np.uint8)
    box = Mark('box', (12.0, 6.0, 36.0, 18.0), '#ff0000', label='a')
    matrix = Matrix(np.eye(2), ['a', 'b'], ['c', 'd'], marked=[(0, 1)])
    heat = HeatMap(np.array([[0.0, np.nan]]), over=np.full((24, 48, 3), 200, np.uint8))
    drawn = pixels_of(Section('', '', [Picture(image, marks=[box])]))
    assert drawn.shape == (248, 480, 3)  # enlarged, and a white gap
    assert (drawn[60:180, 120] == (255, 0, 0)).all()
    drawn = pixels_of(Section('', '', [heat]))
    assert (drawn[100, 400] == 200).all()  # no number: the image shows
    assert (drawn[100, 100] != 200).any()
    drawn = pixels_of(Section('', '', [matrix]))
    assert (drawn[0, 240:480] == (255, 47, 208)).all()
    row = pixels_of(Section('', '', [Row([matrix, matrix, Bars(np.ones(1), ['a'])])]))
    assert row.shape[1] == 2 * (480 + 8)
    assert pixels_of(Section('', '', [Bars(np.ones(1), ['a'])])) is None


class SmallRunner(Runner):
    """As much of a runner as the hook asks for."""

    epoch = iter = 0

    def __init__(self, cfg: Config, model: nn.Module, folder: Path) -> None:
        self.cfg = cfg
        self.model = model
        self.visualizer = Visualizer(
            vis_backends=[LocalVisBackend(str(folder))], save_dir=str(folder)
        )


def test_the_hook_shows_the_same_images_every_few_epochs(
    cfg: Config, model: nn.Module, tmp_path: Path
) -> None:
    hook = ExplainHook(['data/shapes/val/000004.jpg'], interval=2)
    runner: Any = SmallRunner(cfg, model, tmp_path)
    model.train()
    model.backbone.bn1.eval()
    modes = [part.training for part in model.modules()]
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    hook.before_train(runner)
    for epoch in range(4):
        runner.epoch = epoch
        hook.after_train_iter(runner, 0)
        hook.after_train_epoch(runner)
    assert modes == [part.training for part in model.modules()]
    for key, value in model.state_dict().items():
        assert_close(value, weights[key], rtol=0, atol=0)
    model.eval()
    written = sorted(tmp_path.glob('vis_image/*.png'))
    first = [file.name for file in written if file.stem.endswith('_2')]
    assert len(first) == 8
    assert sorted(name.replace('_2.png', '_4.png') for name in first) == sorted(
        file.name for file in written if file.stem.endswith('_4')
    )
    assert len(written) == 16
    drawn = cv2.imread(str(tmp_path / 'vis_image' / first[0]))
    assert drawn.std() > 10


def test_the_hook_counts_iterations(
    cfg: Config, model: nn.Module, tmp_path: Path
) -> None:
    hook = ExplainHook(['data/shapes/val/000004.jpg'], interval=3, by_epoch=False)
    steps: list[int] = []
    hook._draw = lambda runner, step: steps.append(step)
    runner: Any = SmallRunner(cfg, model, tmp_path)
    for number in range(7):
        runner.epoch = runner.iter = number
        hook.after_train_iter(runner, 0)
        hook.after_train_epoch(runner)
    assert steps == [3, 6]


@pytest.mark.parametrize('arguments', [{}, {'images': ['a'], 'items': [1]}])
def test_the_hook_wants_images_or_items(arguments: dict) -> None:
    with pytest.raises(UserError, match='give one of the two'):
        ExplainHook(**arguments)


def test_the_hook_refuses_the_other_kind(
    cfg: Config, model: nn.Module, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match='explained on images'):
        ExplainHook(items=[0]).before_train(SmallRunner(cfg, model, tmp_path))


def test_long_and_equal_names_keep_their_pictures_apart(
    cfg: Config, model: nn.Module, tmp_path: Path
) -> None:
    runner: Any = SmallRunner(cfg, model, tmp_path)
    hook = ExplainHook(['data/shapes/val/000004.jpg'])
    hook.before_train(runner)
    (sample,) = hook._samples
    hook._samples = [replace(sample, name=f'{"long" * 30}.jpg')] * 2
    hook.after_train_epoch(runner)
    assert len(list(tmp_path.glob('vis_image/*.png'))) == 16

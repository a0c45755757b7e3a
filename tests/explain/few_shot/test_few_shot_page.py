"""The page of one or of several models: what its figures show, and the command."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from few_shot_toys import write_set
from mmengine.config import Config
from mmengine.registry import DefaultScope
from PIL import Image
from references.dmf import TINY
from torch.testing import assert_close

from paperzoo.apis.build import build_model
from paperzoo.apis.config import load_config
from paperzoo.apis.inference import predictor_of
from paperzoo.errors import UserError
from paperzoo.explain import explain, explain_beside, page_of
from paperzoo.explain.few_shot.page import beside, item, sections
from paperzoo.explain.few_shot.page_several import Seen, look
from paperzoo.explain.few_shot.page_several import sections as sections_of_several
from paperzoo.explain.html.report import HeatMap, Matrix, Row, Slider, Table

CHANNELS = 4
MODELS: dict[str, dict[str, Any]] = {
    'can': dict(type='paperzoo.CANClassifier', positions=4, reduction=2),
    'feat': dict(type='paperzoo.FEATClassifier'),
    'dmf': dict(
        type='paperzoo.DMFClassifier',
        meta_filter=dict(type='paperzoo.DynamicMetaFilter', groups=2),
    ),
    'protonet': dict(type='paperzoo.ProtoNet'),
}

OWN: dict[str, Any] = dict(
    backbone=TINY | {'type': 'paperzoo.ResNet12', 'widths': (CHANNELS,)},
    feat_channels=CHANNELS,
    data_preprocessor=dict(
        type='paperzoo.EpisodeDataPreprocessor', mean=[128.0] * 3, std=[60.0] * 3
    ),
)


def config(tmp_path: Path, name: str) -> Config:
    if not (tmp_path / 'set').exists():
        (tmp_path / 'set').mkdir()
        write_set(tmp_path / 'set')
    dataset = dict(
        type='paperzoo.EpisodeDataset',
        data_root=str(tmp_path / 'set'),
        split='test',
        layout='pickle',
        queries=2,
        episodes=3,
        test_mode=True,
    )
    cfg = Config(
        dict(
            default_scope='mmengine',
            model={**MODELS[name], **OWN},
            test_dataloader=dict(dataset=dataset),
        )
    )
    cfg.dump(str(tmp_path / f'{name}.py'))
    return Config.fromfile(str(tmp_path / f'{name}.py'))


@pytest.fixture
def models() -> dict[str, Any]:
    from paperzoo.registry import MODELS as REGISTRY

    torch.manual_seed(0)
    return {name: REGISTRY.build({**cfg, **OWN}).eval() for name, cfg in MODELS.items()}


def test_all_are_in_every_figure(tmp_path: Path, models: dict[str, Any]) -> None:
    sample = item(config(tmp_path, 'can'), 1)
    found = beside(models, sample)
    said = found[1].figures
    assert isinstance(said[0], Table)
    assert list(said[0].columns) == ['class', *models]
    (row,) = found[2].figures
    assert isinstance(row, Row)
    maps = [one for one in row.figures if isinstance(one, HeatMap)]
    assert len(maps) == len(models) + 1  # of CAN the class, too
    (weights,) = found[3].figures
    assert isinstance(weights, Matrix)
    assert weights.rows == list(models)
    assert weights.values.shape == (len(models), CHANNELS)
    assert (weights.values == 1).all(axis=1).tolist() == [True, True, False, True]
    cost = found[4].figures[0]
    assert isinstance(cost, Table)
    spread = {str(name): float(channels) for name, _, channels, _ in cost.rows}
    assert spread['can'] == spread['feat'] == spread['protonet'] == 0
    assert spread['dmf'] > 0
    assert 'prototypes of feat' in found[5].title
    assert len(found) == 6


@pytest.mark.parametrize('name', ['can', 'feat'])
def test_a_model_alone_has_the_page(
    name: str, tmp_path: Path, models: dict[str, Any]
) -> None:
    assert page_of(models[name]) == 'paperzoo.explain.few_shot.page'
    found = sections(models[name], item(config(tmp_path, name), 0))
    assert found[0].title == 'What is the task?'
    assert len(found) == (6 if name == 'feat' else 5)


def test_the_command_writes_one_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from paperzoo.apis.build import build_model
    from paperzoo.tools import explain

    files = []
    for name in MODELS:
        model = build_model(config(tmp_path, name), 'cpu')
        # A work dir stands for its best checkpoint.
        work_dir = tmp_path / name
        work_dir.mkdir()
        torch.save(model.state_dict(), work_dir / 'best_accuracy_epoch_1.pth')
        files.append([str(tmp_path / f'{name}.py'), str(work_dir)])
    others = [word for pair in files[1:] for word in ('--beside', *pair)]
    command = ['explain', *files[0], *others, '--item', '0', '2', '--device', 'cpu']
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', command)
    explain.main()
    page = (tmp_path / 'report.html').read_text()
    assert 'can, feat, dmf, protonet on episode 0, 2' in page
    monkeypatch.setattr(sys, 'argv', [*command, '--beside', *files[0]])
    explain.main()
    monkeypatch.setattr(sys, 'argv', ['explain', *files[0], 'a.jpg', *others])
    with pytest.raises(UserError, match='on items of the config'):
        explain.main()


def test_two_of_one_name_are_told_apart(tmp_path: Path) -> None:
    cfg = config(tmp_path, 'can')
    report = explain_beside([(cfg, None), (cfg, None)], device='cpu')
    assert report.title == 'can, can, 2 on episode 0'


def coloured(folder: Path, *names: str) -> Path:
    """Write two pictures of one colour for each name."""
    rng = np.random.default_rng(0)
    for name in names:
        (folder / name).mkdir(parents=True)
        colour = rng.integers(0, 256, 3)
        for number in range(2):
            pixels = np.broadcast_to(colour, (4, 4, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f'{number}.png')
    return folder


@pytest.mark.parametrize('name', MODELS)
def test_queries_of_the_users_own_images(name: str, tmp_path: Path) -> None:
    cfg = config(tmp_path, name)
    cfg.test_dataloader.dataset.pipeline = []
    model = build_model(cfg, 'cpu')
    support = coloured(tmp_path / 'mine', 'moss', 'rust', 'sky')
    query = support / 'rust' / '1.png'
    scope = dict(DefaultScope._instance_dict)
    report = explain(model, query, support=support, cfg=cfg)
    assert dict(DefaultScope._instance_dict) == scope
    assert report.title.endswith('on 1.png')
    task, *others = report.sections
    assert task.title == 'What is the task?'
    assert 'whose class nobody has said' in task.text
    said = predictor_of(model, cfg, {}).fit(support)(query)
    (scores,) = [
        figure
        for section in others
        for figure in section.figures
        if isinstance(figure, Table) and figure.columns[0] == 'class'
    ]
    assert [row[0] for row in scores.rows] == ['moss', 'rust', 'sky']
    found = torch.tensor([float(row[1]) for row in scores.rows])
    assert int(found.argmax()) == said.labels[0]
    # Nothing is counted as right: there is no truth.
    html = report.save(tmp_path / 'page.html').read_text('utf-8')
    assert 'right, of' not in html
    assert 'the truth is' not in html


def test_what_is_no_support(tmp_path: Path) -> None:
    cfg = config(tmp_path, 'protonet')
    cfg.test_dataloader.dataset.pipeline = []
    model = build_model(cfg, 'cpu')
    support = coloured(tmp_path / 'mine', 'moss', 'rust')
    image = support / 'moss' / '0.png'
    with pytest.raises(UserError, match='give one or more files'):
        explain(model, support=support, cfg=cfg)
    with pytest.raises(UserError, match='no items of the test set'):
        explain(model, image, items=[0], support=support, cfg=cfg)
    with pytest.raises(UserError, match='or --support FOLDER'):
        explain(model, image, cfg=cfg)
    tagger = load_config('attention_tagging')
    with pytest.raises(UserError, match='is for few-shot classifiers'):
        explain(build_model(tagger, 'cpu'), image, support=support, cfg=tagger)


def trained(tmp_path: Path, name: str) -> tuple[list[Any], dict[str, Seen]]:
    from paperzoo.registry import MODELS as REGISTRY

    sample = item(config(tmp_path, name), 1)
    models = []
    for seed in range(3):
        torch.manual_seed(seed)
        models.append(REGISTRY.build({**MODELS[name], **OWN}).eval())
    views = {str(k): look(model, sample) for k, model in enumerate(models, 1)}
    return models, views


@pytest.mark.parametrize('name', MODELS)
def test_scores_are_those_of_each_checkpoint(name: str, tmp_path: Path) -> None:
    models, views = trained(tmp_path, name)
    found = sections_of_several(views, 'epoch')
    titles = [section.title for section in found]
    assert ('How do the dynamic filters settle?' in titles) == (name == 'dmf')
    assert ('prototypes take' in titles[-1]) == (name == 'feat')
    scores, right = found[1].figures
    assert isinstance(scores, Matrix)
    assert isinstance(right, Table)
    assert scores.rows == ['epoch 1', 'epoch 2', 'epoch 3']
    data = next(iter(views.values())).sample.data
    number = int(scores.caption.removeprefix('scores of query '))
    for row, model in enumerate(models):
        keys = ('support', 'support_label', 'query')
        batch = model.data_preprocessor({key: data[key][None] for key in keys})
        with torch.no_grad():
            own = model(*(batch[key] for key in keys))[0]
        assert_close(torch.tensor(scores.values[row]), own[number])
        assert scores.marked[row] == (row, int(own[number].argmax()))
        hits = (own.argmax(1) == data['query_label']).float().mean()
        assert right.rows[row][1] == f'{float(hits):.1%}'


def test_filters_are_those_of_each_checkpoint(tmp_path: Path) -> None:
    _, views = trained(tmp_path, 'dmf')
    _, said, _, section, *_ = sections_of_several(views, 'epoch')
    groups, means = section.figures
    assert isinstance(groups, Slider)
    assert isinstance(means, Matrix)
    sample = next(iter(views.values())).sample
    number = int(said.text.partition('query ')[2].partition(',')[0])
    truth = int(sample.data['query_label'][number])
    for place, seen in enumerate(views.values()):
        assert seen.filters is not None
        own = seen.filters[number, truth].mean(-1)
        assert_close(torch.tensor(means.values[place]), own.mean((0, 1)))
        for label, frame in zip(groups.labels, groups.frames, strict=True):
            assert isinstance(frame, Slider)
            heat = frame.frames[place]
            assert isinstance(heat, HeatMap)
            group = int(label)
            assert_close(torch.tensor(heat.values), own[..., group])
            assert (heat.low, heat.high) == (0.0, 1.0)

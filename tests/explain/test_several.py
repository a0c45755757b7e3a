"""Histories and models side by side: checkpoints, configs, what is refused."""

import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config

from paperzoo.apis.build import build_model
from paperzoo.apis.config import load_config
from paperzoo.data.paths import ensure_generated
from paperzoo.errors import UserError
from paperzoo.explain import config_in, explain_beside, explain_history
from paperzoo.explain.html.report import Matrix, Picture, Row

IMAGE = 'data/shapes/val/000004.jpg'


def small_fcos(**head: Any) -> Config:
    cfg = load_config('fcos_tiny_shapes')
    cfg.model.backbone.base_channels = 8
    cfg.model.neck.in_channels = [8, 16, 32, 64]
    cfg.model.bbox_head.update(head)
    return cfg


def small_protonet() -> Config:
    cfg = load_config('protonet_tiny_glyphs')
    cfg.model.backbone.widths = (4, 4, 8, 8)
    cfg.model.feat_channels = 8
    cfg.test_dataloader.dataset.queries = 2
    return cfg


def train(work_dir: Path, cfg: Config, epochs: list[int]) -> Path:
    """Leave what a training leaves: its config and checkpoints."""
    work_dir.mkdir(exist_ok=True)
    name = Path(str(cfg.filename)).stem
    cfg.dump(str(work_dir / f'{name}.py'))
    for epoch in epochs:
        torch.manual_seed(epoch)
        model = build_model(cfg, 'cpu')
        meta = {'epoch': epoch, 'experiment_name': f'{name}_20260101_120000'}
        weights = {'state_dict': model.state_dict(), 'meta': meta}
        torch.save(weights, work_dir / f'epoch_{epoch}.pth')
    return work_dir


def test_a_history_goes_through_the_checkpoints(tmp_path: Path) -> None:
    work = train(tmp_path / 'work', small_protonet(), [2, 10, 3])
    (work / 'other.py').write_text('')  # not the training's
    report = explain_history(work, items=[1], device='cpu')
    assert report.title == 'protonet_tiny_glyphs on episode 1, 3 epochs'
    scores = report.sections[1].figures[0]
    assert isinstance(scores, Matrix)
    assert scores.rows == ['epoch 2', 'epoch 3', 'epoch 10']
    # Each row is of its own checkpoint's weights.
    assert len({tuple(row) for row in scores.values.tolist()}) == 3
    both = explain_history(work, items=[0, 1], device='cpu')
    titles = [section.title for section in both.sections]
    assert titles[0] == 'episode 0: What is the task?'
    assert sum(title.startswith('episode 1: ') for title in titles) == len(titles) / 2


def test_of_many_checkpoints_some_are_shown(tmp_path: Path) -> None:
    work = train(tmp_path / 'work', small_protonet(), list(range(1, 31)))
    seen: list[int] = []

    def watch(numbers: Any, kind: str) -> Any:
        assert kind == 'checkpoints'
        seen.extend(numbers)
        return numbers

    report = explain_history(work, items=[0], device='cpu', progress=watch)
    assert report.title.endswith(', 12 of 30 epochs')
    assert (seen[0], seen[-1], len(seen)) == (1, 30, 12)
    assert max(b - a for a, b in pairwise(seen)) <= 3


def test_the_config_is_that_of_the_training(tmp_path: Path) -> None:
    work = train(tmp_path / 'work', small_protonet(), [1, 2])
    assert config_in(work).name == 'protonet_tiny_glyphs.py'
    (work / 'protonet_tiny_glyphs.py').rename(work / 'mine.py')
    assert config_in(work).name == 'mine.py'
    (work / 'yours.py').write_text('')
    with pytest.raises(UserError, match=r'holds 2 configs.*give it'):
        config_in(work)
    assert explain_history(work, cfg=small_protonet(), device='cpu').sections


def test_a_checkpoint_names_no_config_elsewhere(tmp_path: Path) -> None:
    """It is data, and the config is run."""
    work = tmp_path / 'work'
    work.mkdir()
    for name in ('mine', 'yours'):
        (work / f'{name}.py').touch()
    (tmp_path / 'other.py').touch()
    for name in ('../other', str(tmp_path / 'other')):
        for epoch in (1, 2):
            meta = {'experiment_name': f'{name}_20260101_120000'}
            weights = {'state_dict': {'w': torch.ones(1)}, 'meta': meta}
            torch.save(weights, work / f'epoch_{epoch}.pth')
        with pytest.raises(UserError, match='holds 2 configs'):
            config_in(work)


def test_what_has_no_history_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'is no folder'):
        explain_history(tmp_path / 'none', 'a.jpg')
    torch.save({}, tmp_path / 'best_mIoU_epoch_3.pth')
    torch.save({}, tmp_path / 'epoch_3.pth')
    with pytest.raises(UserError, match=r'holds 1 numbered.*max_keep_ckpts=-1'):
        explain_history(tmp_path, 'a.jpg')
    cfg = load_config('attention_tagging')
    cfg.test_dataloader.dataset.num = 2
    work = train(tmp_path / 'tagger', cfg, [1, 2])
    with pytest.raises(UserError, match=r'SequenceTagger cannot be shown beside'):
        explain_history(work, items=[0], device='cpu')
    other = train(tmp_path / 'other', small_protonet(), [1, 2])
    with pytest.raises(UserError, match=r"epoch_2\.pth' belongs to another model"):
        explain_history(other, 'a.jpg', cfg=small_fcos(), device='cpu')


def test_two_configs_on_one_image(tmp_path: Path) -> None:
    configs = [small_fcos(), small_fcos(center_sample_radius=0.5)]
    files = []
    for k, cfg in enumerate(configs):
        work = train(tmp_path / f'work{k}', cfg, [1])
        files.append(str(work / 'epoch_1.pth'))
    models = list(zip(configs, files, strict=True))
    report = explain_beside(models, IMAGE, device='cpu', score_thr=0.0)
    first, second = 'fcos_tiny_shapes, epoch_1', 'fcos_tiny_shapes, epoch_1, 2'
    assert report.title == f'{first}, {second} on 000004.jpg'
    found = report.sections[0].figures[0]
    assert isinstance(found, Row)
    captions = [one.caption for one in found.figures if isinstance(one, Picture)]
    assert [one.partition(': ')[0] for one in captions] == [first, second]
    protonet = small_protonet(), None
    with pytest.raises(UserError, match=r'protonet_tiny_glyphs have no page in'):
        explain_beside([models[0], protonet], IMAGE, device='cpu')
    with pytest.raises(UserError, match=r'FCOS is explained on images'):
        explain_beside(models, items=[0], device='cpu')


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from paperzoo.tools import explain

    image = ensure_generated(IMAGE)
    work = train(tmp_path / 'work', small_fcos(), [1, 2])
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> str:
        monkeypatch.setattr(sys, 'argv', ['explain', *words, '--device', 'cpu'])
        explain.main()
        file = max(tmp_path.glob('*.html'), key=lambda one: one.stat().st_mtime_ns)
        return file.read_text(encoding='utf-8')

    assert 'on 000004.jpg, 2 epochs' in run('--history', str(work), image)
    config, checkpoint = str(work / 'fcos_tiny_shapes.py'), str(work / 'epoch_1.pth')
    other = str(work / 'epoch_2.pth')
    page = run(config, checkpoint, image, '--beside', config, other)
    assert 'fcos_tiny_shapes, epoch_2: ' in page
    # Options may stand between config and checkpoint.
    assert '<h1>fcos_tiny_shapes on 000004.jpg' in run(
        config, '--score-thr', '0.1', checkpoint, image
    )
    with pytest.raises(UserError, match='choose one'):
        run('--history', str(work), image, '--beside', config, other)
    with pytest.raises(SystemExit):
        run(config)

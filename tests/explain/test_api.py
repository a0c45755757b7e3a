"""explain as a function: what it takes, what it returns, what it leaves as it was."""

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from mmengine.config import Config
from torch import nn

import paperzoo.explain
from paperzoo.apis.config import load_config
from paperzoo.errors import UserError
from paperzoo.registry import MODELS

NAME = 'attention_tagging'


@pytest.fixture
def cfg() -> Config:
    cfg = load_config(NAME)
    cfg.test_dataloader.dataset.num = 4
    return cfg


@pytest.fixture
def model(cfg: Config) -> Any:
    torch.manual_seed(0)
    return MODELS.build(cfg.model)


def test_a_model_and_items(cfg: Config, model: Any, tmp_path: Path) -> None:
    model.encoder.layers[0].eval()
    modes = [part.training for part in model.modules()]
    report = paperzoo.explain(model, items=[1, 3], cfg=cfg)
    assert [part.training for part in model.modules()] == modes
    assert report.title == f'{NAME} on sequence 1, sequence 3'
    titles = [section.title for section in report.sections]
    half = len(titles) // 2
    assert all(title.startswith('sequence 1: ') for title in titles[:half])
    assert all(title.startswith('sequence 3: ') for title in titles[half:])
    alone = cast(Any, paperzoo.explain).explain(model, items=[3], cfg=cfg)
    # Without dropout: the model was explained in evaluation mode.
    assert [f'sequence 3: {one.title}' for one in alone.sections] == titles[half:]
    page = report.save(tmp_path / 'new' / 'page.html')
    assert report.title in page.read_text(encoding='utf-8')


def test_the_config_may_lie_on_the_model(cfg: Config, model: Any) -> None:
    with pytest.raises(UserError, match=r'does not know its config.*cfg='):
        paperzoo.explain(model)
    model.cfg = cfg
    assert paperzoo.explain(model).title == f'{NAME} on sequence 0'


def test_a_config_and_a_checkpoint(cfg: Config, model: Any, tmp_path: Path) -> None:
    nn.init.constant_(model.classifier.bias, 0.5)
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'w.pth')
    report = paperzoo.explain(cfg, checkpoint=str(tmp_path / 'w.pth'), device='cpu')
    own = paperzoo.explain(model, cfg=cfg)
    rows = [list(one.sections[0].figures[0].rows) for one in (report, own)]
    assert rows[0] == rows[1]


def test_images_for_a_model_of_sequences_are_refused(cfg: Config, model: Any) -> None:
    with pytest.raises(UserError, match=r"'a\.jpg': a SequenceTagger is explained on"):
        paperzoo.explain(model, 'a.jpg', cfg=cfg)

"""A real browser opens the pages of models: quiet, complete, without the network."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from paperzoo.apis.build import build_model
from paperzoo.apis.config import load_config
from paperzoo.explain import explain_history
from paperzoo.explain.api import Report, explain


def tagging(tmp_path: Path) -> Report:
    return explain('attention_tagging', items=[0], device='cpu')


def history(tmp_path: Path) -> Report:
    cfg = load_config('dmf_tiny_glyphs')
    cfg.test_dataloader.dataset.queries = 2
    for epoch in (1, 2, 3):
        torch.manual_seed(epoch)
        weights = build_model(cfg, 'cpu').state_dict()
        torch.save({'state_dict': weights}, tmp_path / f'epoch_{epoch}.pth')
    return explain_history(tmp_path, items=[0], cfg=cfg, device='cpu')


@pytest.mark.parametrize('make', [tagging, history])
@pytest.mark.parametrize('width', [390, 1440])
def test_a_page_of_a_model_opens(
    browser: Any, tmp_path: Path, width: int, make: Callable[[Path], Report]
) -> None:
    report = make(tmp_path)
    file = report.save(tmp_path / 'report.html')
    page = browser.new_page(viewport={'width': width, 'height': 900})
    said: list[str] = []
    asked: list[str] = []
    page.on('console', lambda message: said.append(message.text))
    page.on('pageerror', lambda error: said.append(str(error)))
    page.on('request', lambda request: asked.append(request.url))
    page.goto(file.as_uri())
    assert page.title() == report.title
    text = page.locator('body').inner_text()
    for section in report.sections:
        assert section.title in text
    assert page.evaluate('document.documentElement.scrollWidth') == width
    assert said == []
    assert [url for url in asked if not url.startswith('data:')] == [file.as_uri()]
    for slider in page.locator('.slider:has(> label:text-matches("^epoch"))').all():
        if not slider.is_visible():
            continue
        slider.locator(':scope > input').press('End')
        assert slider.locator(':scope > label > output').inner_text() == '3'
        frames = slider.locator(':scope > .frame')
        assert [frame.is_visible() for frame in frames.all()] == [False, False, True]
    page.close()

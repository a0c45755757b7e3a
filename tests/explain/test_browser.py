"""A real browser opens the pages of models: quiet, complete, without the network."""

from pathlib import Path
from typing import Any

import pytest

from paperzoo.explain.api import explain


@pytest.mark.parametrize('width', [390, 1440])
def test_a_page_of_a_model_opens(browser: Any, tmp_path: Path, width: int) -> None:
    report = explain('attention_tagging', items=[0], device='cpu')
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
    page.close()

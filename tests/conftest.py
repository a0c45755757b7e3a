"""A browser for the tests of pages; they skip where there is none."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

CHROMIUM = shutil.which('chromium') or shutil.which('google-chrome')


@pytest.fixture(scope='module')
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip('there is no chromium here')
    sync = pytest.importorskip('playwright.sync_api', reason='no playwright here')
    with sync.sync_playwright() as driver:
        shown = driver.chromium.launch(
            executable_path=CHROMIUM, args=['--no-sandbox', '--disable-gpu']
        )
        yield shown
        shown.close()

"""The site: built without a warning, with everything public in it."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from site_pages import TOO_WIDE, UNREADABLE, opened, served

import paperzoo
from paperzoo import registry

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope='module')
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site. A dead link, or a page that is not in the navigation, fails."""
    pytest.importorskip('mkdocs')
    folder = tmp_path_factory.mktemp('site')
    done = subprocess.run(
        [sys.executable, '-m', 'mkdocs', 'build', '--strict', '-d', str(folder)],
        cwd=ROOT,
        env={**os.environ, 'NO_MKDOCS_2_WARNING': '1'},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    'room', ['', 'fcos', 'knet', 'dmf', 'can', 'feat', 'attention']
)
def test_the_api_has_every_public_name_with_its_example(site: Path, room: str) -> None:
    parent = import_module(f'paperzoo.{room}' if room else 'paperzoo')
    stub = (ROOT / 'paperzoo' / room / '__init__.pyi').read_text()
    names = re.findall(r'^from \.\w\S* import (\w+) as', stub, re.MULTILINE)
    assert names
    for name in names:
        # A room may pass on names of another one.
        assert_in_the_api(site, f'{getattr(parent, name).__module__}.{name}')


def assert_in_the_api(site: Path, path: str) -> None:
    """Find a name by where it is defined, and an example beside it."""
    page = (site / 'api' / path.split('.')[1] / 'index.html').read_text()
    _, found, own = page.partition(f'id="{path}"')
    assert found, path
    # A prompt as in a session, not as in the source that is shown, too.
    assert 'class="gp"' in own.partition('class="doc doc-object doc-')[0], path


@pytest.mark.slow
def test_the_api_has_every_registered_class(site: Path) -> None:
    registries = [
        one for one in vars(registry).values() if isinstance(one, registry.RoomRegistry)
    ]
    assert len(registries) > 5
    for one in registries:
        one.import_from_location()
        own = [cls for cls in one.module_dict.values() if 'paperzoo' in cls.__module__]
        for cls in own:
            assert_in_the_api(site, f'{cls.__module__}.{cls.__name__}')


@pytest.mark.slow
def test_the_api_has_what_the_package_offers(site: Path) -> None:
    page = (site / 'api' / 'index.html').read_text()
    for name in vars(paperzoo)['__all__']:
        value = getattr(paperzoo, name)
        if callable(value):
            where = value.__module__
            # A room that is called like the function in it.
            path = 'paperzoo.explain.api.explain' if name == 'explain' else ''
            assert f'id="{path or f"{where}.{name}"}"' in page


@pytest.mark.slow
def test_the_tables_have_every_config_and_every_result(site: Path) -> None:
    configs = (site / 'tables' / 'configs' / 'index.html').read_text()
    for config in ('fcos_r50_fpn', 'knet_tiny_shapes_instance', 'dmf_tiny_glyphs'):
        assert f'<code>{config}</code>' in configs
    results = (site / 'tables' / 'results' / 'index.html').read_text()
    for file in (ROOT / 'benchmarks' / 'results').glob('*.json'):
        assert f'/{file.name}"' in results


@pytest.mark.slow
def test_no_space_stands_within_chinese_sentences(site: Path) -> None:
    pages = [*site.glob('*.zh-CN/*.html'), *site.glob('papers/*.zh-CN/*.html')]
    assert len(pages) >= 8
    for page in pages:
        for paragraph in re.findall(r'<(?:p|li)>([^<]+)', page.read_text()):
            # Of a character or mark of Chinese to another.
            assert not re.search(r'[\u3001-\uff5e]\s+[\u3001-\uff5e]', paragraph), page


# In a browser: a page of each kind.
PAGES = [
    '',
    'index.zh-CN/',
    'quick_start/',
    'errors.zh-CN/',
    'papers/fcos/',
    'papers/knet.zh-CN/',
    'tools/',
    'tables/configs/',
    'tables/results/',
    'results/stock_configs/',
    'reliability/',
    'ops/',
    'api/',
    'api/fcos/',
]


@pytest.fixture(scope='module')
def address(site: Path) -> Iterator[str]:
    with served(site) as base:
        yield base


@pytest.mark.slow
@pytest.mark.parametrize(
    ('width', 'scheme'), [(390, 'light'), (390, 'dark'), (1440, 'light')]
)
def test_pages_fit_and_can_be_read(
    address: str, browser: Any, width: int, scheme: str
) -> None:
    with opened(browser, width, scheme) as (page, wrong):
        for name in PAGES:
            page.goto(f'{address}/{name}')
            page.wait_for_load_state('networkidle')
            assert page.evaluate('document.documentElement.scrollWidth') <= width, name
            assert page.evaluate(TOO_WIDE) == [], name
            assert page.evaluate(UNREADABLE) == {}, name
            # Nothing is asked of another machine, no script stumbles.
            assert wrong == [], name


@pytest.mark.slow
def test_a_keyboard_is_enough(address: str, browser: Any) -> None:
    with opened(browser, 1440) as (page, wrong):
        page.goto(f'{address}/quick_start/')
        page.keyboard.press('Tab')
        focus = 'document.activeElement'
        assert 'md-skip' in page.evaluate(f'{focus}.className')
        page.wait_for_function(
            f"getComputedStyle({focus}).opacity == '1'"
        )  # it fades in
        page.keyboard.press('Enter')
        assert '#' in page.url
        seen = set()
        for _ in range(12):
            page.keyboard.press('Tab')
            where = page.evaluate(f'{focus}.outerHTML')
            style = f'getComputedStyle({focus}).outlineStyle'
            assert page.evaluate(style) != 'none', where
            seen.add(where)
        assert len(seen) == 12
        assert wrong == []

"""The site: built without a warning, with everything public in it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

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
    stub = (ROOT / 'paperzoo' / room / '__init__.pyi').read_text()
    names = re.findall(r'^from \.(\w\S*) import (\w+) as', stub, re.MULTILINE)
    page = (site / 'api' / room / 'index.html').read_text()
    assert names
    if room == 'attention':
        # No function and not registered: it has no example (tests/test_house.py).
        names.remove(('windows', 'Window'))
    for where, name in names:
        path = '.'.join(filter(None, ('paperzoo', room, where, name)))
        _, found, own = page.partition(f'id="{path}"')
        assert found, path
        # A prompt as in a session, not as in the source that is shown, too.
        assert 'class="gp"' in own.partition('class="doc doc-object doc-')[0], path


@pytest.mark.slow
def test_the_tables_have_every_config_and_every_result(site: Path) -> None:
    configs = (site / 'tables' / 'configs' / 'index.html').read_text()
    for config in ('fcos_r50_fpn', 'knet_tiny_shapes_instance', 'dmf_tiny_glyphs'):
        assert f'<code>{config}</code>' in configs
    results = (site / 'tables' / 'results' / 'index.html').read_text()
    for file in (ROOT / 'benchmarks' / 'results').glob('*.json'):
        assert f'/{file.name}"' in results

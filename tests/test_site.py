"""The site: built without a warning, with everything public in it."""

import os
import re
import subprocess
import sys
from importlib import import_module
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
    parent = import_module(f'paperzoo.{room}' if room else 'paperzoo')
    stub = (ROOT / 'paperzoo' / room / '__init__.pyi').read_text()
    names = re.findall(r'^from \.\w\S* import (\w+) as', stub, re.MULTILINE)
    assert names
    for name in names:
        # Where it is defined: a room may pass on names of another one.
        path = f'{getattr(parent, name).__module__}.{name}'
        page = (site / 'api' / path.split('.')[1] / 'index.html').read_text()
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

"""What a release says of itself is the same everywhere."""

import runpy
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
import yaml

import paperzoo

ROOT = Path(__file__).parents[1]


def test_the_version_is_the_same_everywhere() -> None:
    citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text())
    assert citation['version'] == paperzoo.__version__
    changes = (ROOT / 'CHANGELOG.md').read_text()
    heading = next(line for line in changes.splitlines() if line.startswith('## '))
    assert heading.split()[1] == paperzoo.__version__


def test_the_templates_can_be_read() -> None:
    for file in (ROOT / '.github' / 'ISSUE_TEMPLATE').glob('*.yml'):
        form = yaml.safe_load(file.read_text())
        assert form['name']
        assert all(part['type'] for part in form['body'])


def test_the_readme_is_short() -> None:
    assert len((ROOT / 'README.md').read_text().splitlines()) < 150


def test_each_paper_is_cited() -> None:
    cited = {
        one['url']
        for one in yaml.safe_load((ROOT / 'CITATION.cff').read_text())['references']
    }
    files = [*(ROOT / 'configs').rglob('metafile.yml')]
    assert files
    for file in files:
        for collection in yaml.safe_load(file.read_text())['Collections']:
            assert collection['Paper']['URL'] in cited, file


@pytest.fixture(scope='module')
def check() -> dict[str, Any]:
    """The functions of the script that looks at what is built."""
    return runpy.run_path(str(ROOT / '.ci' / 'release.py'))


def test_a_file_of_somebody_else_is_found(check: dict[str, Any]) -> None:
    own = {'paperzoo/__init__.py', 'configs/a.py', 'README.md', 'LICENSE'}
    wheel = ['paperzoo/__init__.py', 'paperzoo/configs/a.py', 'x.dist-info/METADATA']
    sdist = ['x-1/README.md', 'x-1/PKG-INFO', 'x-1/paperzoo.egg-info/SOURCES.txt']
    assert check['foreign'](wheel, sdist, own) == []
    assert check['foreign']([*wheel, 'paperzoo/b.bin'], sdist, own) == [
        'paperzoo/b.bin'
    ]
    assert check['foreign'](wheel, [*sdist, 'x-1/notes.txt'], own) == ['notes.txt']


def test_metadata_without_a_licence_are_refused(check: dict[str, Any]) -> None:
    said = Message()
    for key in ('Name', 'Version', 'Summary', 'Requires-Python'):
        said[key] = 'x'
    said['Description-Content-Type'] = 'text/markdown'
    assert list(check['faults'](said, [])) == [
        'metadata: no License-Expression',
        'wheel: LICENSE is not in it',
    ]
    said['License-Expression'] = 'Apache-2.0'
    assert list(check['faults'](said, ['a.dist-info/licenses/LICENSE'])) == []


@pytest.mark.parametrize(
    ('text', 'fits'),
    [
        ('MIT License', True),
        ('Apache-2.0 AND CNRI-Python', True),
        ('FreeBSD', True),
        ('LGPL-2.1', True),
        ('GPL-3.0-only', False),
        ('AGPL-3.0', False),
        ('GNU General Public License v2', False),
        ('MIT AND GPL-2.0', False),
        ('', False),
    ],
)
def test_licences(check: dict[str, Any], text: str, fits: bool) -> None:
    assert (check['unfit']({'one': text}) == []) == fits


def test_what_an_installation_brings(check: dict[str, Any]) -> None:
    need = ['torch>=2', 'nothing-of-this-name', 'onnx; extra == "export"']
    assert 'sympy' in check['installed_with'](need, set())  # through torch
    assert 'onnx' not in check['installed_with'](need, set())
    assert 'onnx' in check['installed_with'](need, {'export'})

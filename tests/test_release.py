"""What a release says of itself is the same everywhere."""

from pathlib import Path

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

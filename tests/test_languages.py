"""A Chinese page has the headings, commands, numbers and links of its English twin."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CHINESE = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [*ROOT.glob('*.zh-CN.md'), *(ROOT / 'docs').rglob('*.zh-CN.md')]
)
BLOCK = re.compile(r'^```.*?^```', re.MULTILINE | re.DOTALL)
FORMULA = re.compile(r'\$\$.+?\$\$', re.DOTALL)
# Not of words: what stands in a link or in code is compared by itself.
NUMBER = re.compile(r'(?<![\w.])\d+(?:[.,]\d+)*(?![\w])', re.ASCII)


def twin(name: str) -> tuple[str, str]:
    """Return the texts of an English page and of its Chinese one."""
    english = ROOT / name.replace('.zh-CN', '')
    return english.read_text('utf-8'), (ROOT / name).read_text('utf-8')


def links(text: str) -> list[str]:
    """Return where the links lead, the switch to the other language left out."""
    found = re.findall(r'\]\(([^)]+)\)', BLOCK.sub('', text))
    own = [link for link in found if '/' in link or '"' in link]
    return sorted(link.replace('.zh-CN', '') for link in own)


def levels(text: str) -> list[str]:
    """Return the levels of the headings."""
    return re.findall(r'^(#+) ', BLOCK.sub('', text), re.MULTILINE)


def numbers(text: str) -> list[str]:
    """Return the numbers of the prose, sorted: languages order words differently."""
    prose = FORMULA.sub('', BLOCK.sub('', text))
    prose = re.sub(r'\]\([^)]*\)', '', prose)
    return sorted(NUMBER.findall(prose))


def test_there_are_pages() -> None:
    assert {'docs/own_data.zh-CN.md', 'docs/papers/knet.zh-CN.md'} <= {*CHINESE}


@pytest.mark.parametrize('name', CHINESE)
def test_the_two_languages_agree(name: str) -> None:
    english, chinese = twin(name)
    for what in (levels, BLOCK.findall, FORMULA.findall, links, numbers):
        assert what(english) == what(chinese)

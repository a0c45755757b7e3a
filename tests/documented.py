"""The code blocks of the pages, with the note that stands before each.

A note is a comment of HTML, which no reader sees:

- `<!-- not run: REASON -->`: the block needs what is not here.
- `<!-- shows: FILE -->`: the block is a part of a file that a block before it wrote.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(
    r'(?:^[ ]*<!-- (?P<kind>[a-z ]+): (?P<value>[^>]*?) -->\n)?'
    r'^(?P<indent>[ ]*)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$',
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        page: Its file, from the root of the repository.
        line: Where its text begins.
        language: What stands behind the fence.
        text: Without the indent of a list that it is in.
        note: What kind of note stands before it, and what it says.
    """

    page: str
    line: int
    language: str
    text: str
    note: tuple[str, str]

    def __str__(self) -> str:
        return f'{self.page}:{self.line}'


def pages() -> list[str]:
    """Return the English pages; the Chinese ones have the same blocks."""
    files = [
        *ROOT.glob('*.md'),
        *(ROOT / 'docs').rglob('*.md'),
        *ROOT.glob('configs/*/README.md'),
    ]
    names = sorted(file.relative_to(ROOT).as_posix() for file in files)
    return [name for name in names if not name.endswith('.zh-CN.md')]


def blocks(page: str, *languages: str) -> list[Block]:
    """Return the blocks of a page, of all languages or of some."""
    text = (ROOT / page).read_text('utf-8')
    return [
        Block(
            page,
            text.count('\n', 0, match.start('text')) + 1,
            match['language'],
            dedent(match['text']),
            (match['kind'] or '', ' '.join((match['value'] or '').split())),
        )
        for match in BLOCK.finditer(text)
        if not languages or match['language'] in languages
    ]

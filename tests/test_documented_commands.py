"""Every `paperzoo` command in README and docs is one that its parser takes."""

import re
import shlex
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r'^```(?:bash|console|text)\n(.*?)^```', re.MULTILINE | re.DOTALL)


def documented() -> dict[str, tuple[str, list[str]]]:
    """Return the commands by a name for the test: what runs, and its arguments."""
    found = {}
    for file in [ROOT / 'README.md', *sorted((ROOT / 'docs').rglob('*.md'))]:
        for block in BLOCK.findall(file.read_text('utf-8')):
            for line in block.replace('\\\n', ' ').splitlines():
                match = re.match(r'(?:\$ )?paperzoo ([a-z][a-z-]*)(?= |$)(.*)', line)
                if match:
                    found[f'{file.stem}: {line.strip()}'] = (
                        match[1].replace('-', '_'),
                        shlex.split(match[2], comments=True),
                    )
    return found


COMMANDS = documented()


def test_there_are_many() -> None:
    assert len(COMMANDS) > 40


@pytest.mark.parametrize('name', COMMANDS)
def test_its_parser_takes_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tool, arguments = COMMANDS[name]
    monkeypatch.setattr(sys, 'argv', ['paperzoo', *arguments])
    module = import_module(f'paperzoo.tools.{tool}')
    if tool == 'doctor':
        assert not arguments  # it has no options
    else:
        module.parse_args()

"""The `paperzoo` command: forwards to the scripts in `paperzoo/tools`, as mim does."""

import difflib
import runpy
import sys
from pathlib import Path

from paperzoo import __version__
from paperzoo.utils.messages import one_message

_TOOLS = Path(__file__).parent / 'tools'


def commands() -> dict[str, Path]:
    """Return the scripts by command name (`print-config` is `print_config.py`)."""
    return {
        script.stem.replace('_', '-'): script
        for script in sorted(_TOOLS.glob('*.py'))
        if not script.stem.startswith('_')
    }


def summary(script: Path) -> str:
    """Return the first line of a script's docstring, without importing it."""
    with script.open(encoding='utf-8') as lines:
        return lines.readline().strip().strip('"')


def usage() -> str:
    """Return the help text: every command with its one line."""
    rows = [f'  {name:14}{summary(script)}' for name, script in commands().items()]
    return '\n'.join(
        [
            f'paperzoo {__version__}: papers as MMEngine components',
            '',
            'usage: paperzoo COMMAND ...      (paperzoo COMMAND --help tells the rest)',
            '',
            *rows,
            '',
            'The same scripts run through mim: mim train paperzoo CONFIG, mim test',
            'paperzoo CONFIG -C CHECKPOINT, mim run paperzoo COMMAND. A config is a',
            'path or a bare name of one of paperzoo, mmdet or mmseg. To begin with:',
            'paperzoo train fcos_tiny_shapes',
        ]
    )


def main() -> None:
    """Run the command that the first argument names."""
    # Not only the command itself: what it imports may fail, too.
    one_message(_run)


def _run() -> None:
    if len(sys.argv) < 2 or sys.argv[1] in ('-h', '--help', 'help'):
        print(usage())
        return
    if sys.argv[1] in ('-V', '--version'):
        print(f'paperzoo {__version__}')
        return
    script = commands().get(sys.argv[1].replace('_', '-'))
    if script is None:
        near = difflib.get_close_matches(sys.argv[1], commands(), n=1)
        hint = f'. Did you mean {near[0]}?' if near else ''
        sys.exit(f"paperzoo: no command '{sys.argv[1]}'{hint}\n\n{usage()}")
    sys.argv = [f'paperzoo {sys.argv[1]}', *sys.argv[2:]]
    runpy.run_path(str(script), run_name='__main__')


if __name__ == '__main__':
    main()

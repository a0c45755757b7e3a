"""Show what this machine has for paperzoo, and the commands that repair it."""

import argparse
import json
import sys
import textwrap
import warnings

from paperzoo.apis.diagnostics import Report, examine
from paperzoo.tools._shared import one_message, parse


def text_of(report: Report) -> str:
    """Return the table and, under it, the commands."""
    rows = dict(report.rows)
    for source in sorted(set(report.ops.values())):
        names = [name for name, origin in report.ops.items() if origin == source]
        rows[f'ops: {source}'] = f'{len(names)}: {", ".join(names)}'
    width = max(map(len, rows)) + 2
    lines = []
    for name, value in rows.items():
        wrapped = textwrap.wrap(value, 100 - width, break_on_hyphens=False) or ['']
        lines.append(f'{name:{width}}{wrapped[0]}')
        lines += [' ' * width + line for line in wrapped[1:]]
    lines.append('')
    for trouble in sorted(report.troubles, key=lambda x: not x.stops_work):
        mark = 'WRONG' if trouble.stops_work else 'note'
        lines += [f'{mark}: {trouble.what}', f'    {trouble.command}']
    if not report.stops_work:
        lines.append('Nothing is wrong that stops work.')
    return '\n'.join(lines)


def main() -> None:
    """Print the report; exit with 1 if something is wrong that stops work."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--json', action='store_true', help='print JSON, for programs')
    args = parse(parser)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        report = examine()
    if args.json:
        troubles = [trouble._asdict() for trouble in report.troubles]
        found = {'rows': report.rows, 'ops': report.ops, 'troubles': troubles}
        print(json.dumps(found, indent=2))
    else:
        print(text_of(report))
    sys.exit(report.stops_work)


if __name__ == '__main__':
    one_message(main)

"""Look for what is wrong with a config and its data; exit code 1 on errors."""

import argparse
import sys

from paperzoo.apis.check import check, draw_examples
from paperzoo.tools._shared import add_config_arguments, config_of, one_message, parse


def parse_args() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    parser.add_argument(
        '--out',
        default='check',
        metavar='DIR',
        help='a new folder for pictures of what is wrong, if there are any',
    )
    return parse(parser)


def main() -> None:
    """Check."""
    args = parse_args()
    issues = check(config_of(args))
    errors = sum(one.stops for one in issues)
    for one in issues:
        print(f'{"error" if one.stops else "warning"}: {one.text}\n')
    if page := draw_examples(issues, args.out):
        print(f'pictures of it: {page.absolute()}')
    print(f'{errors} errors, {len(issues) - errors} warnings')
    sys.exit(1 if errors else 0)


if __name__ == '__main__':
    one_message(main)

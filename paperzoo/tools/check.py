"""Look for what is wrong with a config and its data; exit code 1 on errors."""

import argparse
import sys

from paperzoo.apis.check import check
from paperzoo.tools._shared import add_config_arguments, config_of, one_message


def parse_args() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    return parser.parse_args()


def main() -> None:
    """Check."""
    issues = check(config_of(parse_args()))
    errors = sum(one.stops for one in issues)
    for one in issues:
        print(f'{"error" if one.stops else "warning"}: {one.text}\n')
    print(f'{errors} errors, {len(issues) - errors} warnings')
    sys.exit(1 if errors else 0)


if __name__ == '__main__':
    one_message(main)

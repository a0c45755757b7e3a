"""Print a config with everything it inherits, or write it as a file to inherit from."""

import argparse

from paperzoo.apis.config import dump_config
from paperzoo.apis.config_errors import refuse_objects
from paperzoo.tools._shared import add_config_arguments, config_of, one_message, parse


def parse_args() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    parser.add_argument(
        '-o',
        '--output',
        metavar='FILE.py',
        help='write a text config that others can name in `_base_`',
    )
    return parse(parser)


def main() -> None:
    """Print or write."""
    args = parse_args()
    named_work_dir = args.work_dir
    cfg = config_of(args)
    if not named_work_dir:
        cfg.pop('work_dir')
    cfg.pop('launcher')
    if args.output is None:
        refuse_objects(cfg)
        print(cfg.pretty_text)
        return
    print(f'Written: {dump_config(cfg, args.output)}')


if __name__ == '__main__':
    one_message(main)

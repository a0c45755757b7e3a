"""Draw what a config's pipeline feeds the model: images after augmentation, truth."""

import argparse

from paperzoo.apis.browse import browse
from paperzoo.tools._shared import add_config_arguments, config_of, one_message, parse


def parse_args() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    parser.add_argument('--split', choices=['train', 'val', 'test'], default='train')
    parser.add_argument('--number', type=int, default=12, help='images to draw')
    parser.add_argument('--out', default='browse', metavar='DIR', help='a new folder')
    parser.add_argument('--seed', type=int, default=0, help='of choice, augmentation')
    parser.add_argument('--columns', type=int, default=4, help='of the page')
    return parse(parser)


def main() -> None:
    """Draw."""
    args = parse_args()
    page = browse(
        config_of(args),
        split=args.split,
        number=args.number,
        out=args.out,
        seed=args.seed,
        columns=args.columns,
    )
    print(f'{args.split} images as the model gets them: {page.absolute()}')


if __name__ == '__main__':
    one_message(main)

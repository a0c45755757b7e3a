"""Test a checkpoint: metrics, also as a JSON file, and pictures on request."""

import argparse

from paperzoo.apis.testing import evaluate_checkpoint
from paperzoo.tools._shared import (
    add_config_arguments,
    add_precision,
    bounded,
    config_of,
    one_message,
    parse,
)


def parse_args() -> argparse.Namespace:
    """Return the command line, with mmdet's option names."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    parser.add_argument('checkpoint', help='checkpoint file, work dir or URL')
    parser.add_argument(
        '--out',
        metavar='FILE.json',
        help='also write predictions and truth, for analyze; a name in .pkl '
        "gives mmengine's pickle of the raw predictions",
    )
    parser.add_argument(
        '--show-dir',
        metavar='DIR',
        help='write pictures and one page of them: ground truth beside prediction',
    )
    parser.add_argument('--show-images', type=bounded(int, 1), default=24, metavar='N')
    parser.add_argument(
        '--show-score', type=bounded(float, 0, 1), default=0.3, metavar='SCORE'
    )
    add_precision(parser, None)
    parser.add_argument(
        '--no-preflight',
        action='store_true',
        help='do not look at config and data before the test',
    )
    return parse(parser)


def main() -> None:
    """Test."""
    args = parse_args()
    metrics, file = evaluate_checkpoint(
        config_of(args),
        args.checkpoint,
        out=args.out,
        show_dir=args.show_dir,
        show_images=args.show_images,
        show_score=args.show_score,
        precision=args.precision,
        preflight=not args.no_preflight,
        recorded={'config': args.config, 'cfg_options': args.cfg_options or {}},
    )
    if file is not None:
        for name, value in metrics.items():
            print(f'{name}: {value}')
        print(f'Metrics, versions and checkpoint hash: {file.absolute()}')


if __name__ == '__main__':
    one_message(main)

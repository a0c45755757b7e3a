"""Show on your images what a model does, as one HTML page: targets, scores, losses."""

import argparse
from pathlib import Path

from paperzoo.errors import UserError
from paperzoo.tools._shared import add_config_arguments, config_of, one_message, track
from paperzoo.utils.files import free_path, refuse_unwritable


def parse_args() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    parser.add_argument('checkpoint', help='checkpoint file, work dir or URL')
    parser.add_argument(
        'images',
        nargs='*',
        help='files, folders or globs; those of the config come with their annotations',
    )
    parser.add_argument(
        '--item',
        type=int,
        nargs='+',
        metavar='N',
        help='models of episodes or sequences: which of the test set, not images',
    )
    parser.add_argument(
        '--support',
        metavar='DIR',
        help='few-shot classifiers: a folder of images for each class; the images are '
        'queries',
    )
    parser.add_argument(
        '--beside',
        nargs=2,
        action='append',
        default=[],
        metavar=('CONFIG', 'CHECKPOINT'),
        help='few-shot classifiers: the same episodes in this model, too',
    )
    parser.add_argument('--out', default='report.html', metavar='FILE.html')
    parser.add_argument(
        '--score-thr', type=float, default=0.3, help='leave out what scores lower'
    )
    parser.add_argument('--device', help="'cpu', 'cuda'; the GPU if there is one")
    return parser.parse_args()


def main() -> None:
    """Explain."""
    args = parse_args()
    if Path(args.out).suffix not in ('.html', '.htm'):
        raise UserError(f"--out '{args.out}' must end in .html")
    refuse_unwritable(Path(args.out))
    cfg = config_of(args)

    from paperzoo.explain.api import explain, explain_beside

    if args.beside:
        if args.support:
            raise UserError(
                'models are put --beside each other on episodes of the test set: '
                'without --support'
            )
        if args.images:
            raise UserError(
                'models are put --beside each other on episodes, not on '
                f"'{args.images[0]}'; give their numbers (--item 0)"
            )
        report = explain_beside(
            [(cfg, args.checkpoint), *map(tuple, args.beside)],
            items=args.item or (),
            device=args.device,
        )
    else:
        report = explain(
            cfg,
            args.images,
            items=args.item or (),
            support=args.support,
            checkpoint=args.checkpoint,
            device=args.device,
            score_thr=args.score_thr,
            progress=track,
        )
    file = report.save(free_path(Path(args.out)))
    print(f'Open in a browser: {file.absolute()}')


if __name__ == '__main__':
    one_message(main)

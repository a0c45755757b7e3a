"""Show on your images what a model does, as one HTML page: targets, scores, losses."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from paperzoo.errors import UserError
from paperzoo.tools._shared import (
    add_config_arguments,
    bounded,
    config_of,
    one_message,
    parse,
    track,
)
from paperzoo.utils.files import free_path, refuse_unwritable

if TYPE_CHECKING:
    from paperzoo.explain import Report


def parse_args() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser, needed=False)
    parser.add_argument(
        'checkpoint', nargs='?', help='checkpoint file, work dir or URL'
    )
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
        help='the same images or episodes in this model, too, side by side',
    )
    parser.add_argument(
        '--history',
        metavar='WORK_DIR',
        help='how a training settled: all its checkpoints, in the place of CONFIG and '
        'CHECKPOINT',
    )
    parser.add_argument('--out', default='report.html', metavar='FILE.html')
    parser.add_argument(
        '--score-thr',
        type=bounded(float, 0),
        default=0.3,
        help='leave out what scores lower',
    )
    parser.add_argument('--device', help="'cpu', 'cuda'; the GPU if there is one")
    args = parse(parser)
    if args.history:
        args.images = [one for one in (args.config, args.checkpoint) if one] + (
            args.images
        )
    elif not args.checkpoint:
        parser.error('the following arguments are required: config, checkpoint')
    return args


def explained(args: argparse.Namespace) -> 'Report':
    """Return the report that the command line asks for.

    Args:
        args: Of `parse_args`.
    """
    if args.history:
        from paperzoo.explain.several import config_in

        args.config = str(config_in(args.history))
    cfg = config_of(args)
    from paperzoo.explain import explain, explain_beside, explain_history

    shown = {
        'items': args.item or (),
        'device': args.device,
        'score_thr': args.score_thr,
    }
    if args.history:
        return explain_history(
            args.history, args.images, cfg=cfg, progress=track, **shown
        )
    if args.beside:
        models = [(cfg, args.checkpoint), *map(tuple, args.beside)]
        return explain_beside(models, args.images, **shown)
    return explain(
        cfg,
        args.images,
        support=args.support,
        checkpoint=args.checkpoint,
        progress=track,
        **shown,
    )


def main() -> None:
    """Explain."""
    args = parse_args()
    if Path(args.out).suffix not in ('.html', '.htm'):
        raise UserError(f"--out '{args.out}' must end in .html")
    refuse_unwritable(Path(args.out))
    if args.history and args.beside:
        raise UserError('--history and --beside do not go together: choose one')
    if args.support and (args.history or args.beside):
        raise UserError(
            '--history and --beside take episodes of the test set: without --support'
        )
    report = explained(args)
    file = report.save(free_path(Path(args.out)))
    print(f'Open in a browser: {file.absolute()}')


if __name__ == '__main__':
    one_message(main)

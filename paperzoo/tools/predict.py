"""Find objects or segments in images of yours: overlays and one JSON file."""

import argparse

from paperzoo.errors import UserError
from paperzoo.runtime.card import is_exported
from paperzoo.tools._shared import (
    add_config_arguments,
    add_precision,
    add_support,
    bounded,
    config_of,
    fit,
    one_message,
    parse,
)


def parse_args() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    parser.add_argument(
        'checkpoint',
        help='checkpoint file, work dir or URL; none behind a file of paperzoo '
        'export, which stands in the place of the config',
    )
    parser.add_argument(
        'images', nargs='*', help='files, folders, globs, addresses (URLs), videos'
    )
    add_support(parser)
    parser.add_argument(
        '--out', default='predictions', metavar='DIR', help='a new folder'
    )
    parser.add_argument(
        '--score',
        type=bounded(float, 0),
        default=0.3,
        help='leave out what scores lower',
    )
    parser.add_argument('--device', help="'cpu', 'cuda'; the GPU if there is one")
    parser.add_argument('--no-overlays', action='store_true', help='only the JSON')
    parser.add_argument(
        '--batch-size',
        type=bounded(int, 1),
        default=1,
        metavar='N',
        help='how many images of one size go through the model at once',
    )
    parser.add_argument(
        '--tile',
        type=int,
        nargs=2,
        metavar=('WIDTH', 'HEIGHT'),
        help='look at large images in pieces of this size',
    )
    parser.add_argument(
        '--overlap',
        type=float,
        default=0.2,
        metavar='SHARE',
        help='of a tile that the next one repeats',
    )
    add_precision(parser, 'float32')
    parser.add_argument(
        '--no-fuse',
        action='store_true',
        help='keep batch norms and the memory layout as they were trained',
    )
    args = parse(parser)
    if is_exported(args.config):
        args.images.insert(0, args.checkpoint)
        args.checkpoint = args.config
    if not args.images:
        parser.error('the following arguments are required: images')
    return args


def main() -> None:
    """Predict."""
    args = parse_args()
    from paperzoo.apis.images import find_inputs
    from paperzoo.apis.inference import load
    from paperzoo.apis.prediction import predict_files
    from paperzoo.apis.tiling import windows
    from paperzoo.utils.run_info import checkpoint_info

    files = find_inputs(args.images)
    if args.tile:
        windows(1, 1, tuple(args.tile), args.overlap)  # refuses what is no tile
    model = load(
        args.checkpoint,
        None if is_exported(args.config) else config_of(args),
        cfg_options=args.cfg_options if is_exported(args.config) else None,
        device=args.device,
        score=args.score,
        precision=args.precision,
        fuse=not args.no_fuse,
    )
    fit(model, args.support)
    found, file = predict_files(
        model,
        files,
        out=args.out,
        overlays=not args.no_overlays,
        batch_size=args.batch_size,
        tile=tuple(args.tile) if args.tile else None,
        overlap=args.overlap,
        recorded={'config': args.config, **checkpoint_info(args.checkpoint)},
    )
    print(
        f'{len(found["annotations"])} results in {len(found["images"])} images, '
        f'{len(found["failed"])} images left out: {file.absolute()}'
    )
    if not found['images']:
        raise UserError(f'none of {len(files)} images gave a result: see {file}')


if __name__ == '__main__':
    one_message(main)

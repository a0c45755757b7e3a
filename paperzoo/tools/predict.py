"""Find objects or segments in images of yours: overlays and one JSON file."""

import argparse

from paperzoo.apis.inference import find_images, load
from paperzoo.apis.prediction import predict_files
from paperzoo.errors import UserError
from paperzoo.runtime.sessions import is_exported
from paperzoo.tools._shared import add_config_arguments, config_of, one_message
from paperzoo.utils.run_info import checkpoint_info


def parse_args() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    parser.add_argument(
        'checkpoint',
        help='checkpoint file or URL; none behind a file of paperzoo export, which '
        'stands in the place of the config',
    )
    parser.add_argument('images', nargs='*', help='files, folders or globs')
    parser.add_argument(
        '--out', default='predictions', metavar='DIR', help='a new folder'
    )
    parser.add_argument(
        '--score', type=float, default=0.3, help='leave out what scores lower'
    )
    parser.add_argument('--device', help="'cpu', 'cuda'; the GPU if there is one")
    parser.add_argument('--no-overlays', action='store_true', help='only the JSON')
    args = parser.parse_args()
    if is_exported(args.config):
        args.images.insert(0, args.checkpoint)
        args.checkpoint = args.config
    if not args.images:
        parser.error('the following arguments are required: images')
    return args


def main() -> None:
    """Predict."""
    args = parse_args()
    files = find_images(args.images)
    cfg = None if is_exported(args.config) else config_of(args)
    options = {'device': args.device, 'score': args.score}
    model = load(args.checkpoint, cfg, **options)
    found, file = predict_files(
        model,
        files,
        out=args.out,
        overlays=not args.no_overlays,
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

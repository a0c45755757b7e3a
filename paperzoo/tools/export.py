"""Write a checkpoint as one file that runs without the training stack."""

import argparse
from pathlib import Path

from paperzoo.tools._shared import add_config_arguments, config_of, one_message, parse


def parse_args() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    parser.add_argument('checkpoint', help='checkpoint file, work dir or URL')
    parser.add_argument('-o', '--out', required=True, metavar='FILE')
    parser.add_argument(
        '--format',
        choices=['onnx', 'torch', 'openvino'],
        help='by default as FILE ends: .onnx, .pt2 (torch.export), .xml (OpenVINO)',
    )
    parser.add_argument(
        '--size',
        type=int,
        nargs=2,
        metavar=('WIDTH', 'HEIGHT'),
        help='into which images are resized; by default as the test pipeline does it',
    )
    parser.add_argument(
        '--dynamic', action='store_true', help='number and size of images stay free'
    )
    parser.add_argument(
        '--compile',
        action='store_true',
        help='of format torch: machine code for this processor (AOTInductor)',
    )
    parser.add_argument(
        '--images',
        nargs='+',
        default=[],
        metavar='FILE',
        help='to compare file and model with; by default some of the test set',
    )
    return parse(parser)


def main() -> None:
    """Export, compare and tell."""
    args = parse_args()
    from paperzoo.apis.export import export

    found = export(
        args.checkpoint,
        args.out,
        config_of(args),
        format=args.format,
        size=tuple(args.size) if args.size else None,
        dynamic=args.dynamic,
        compiled=args.compile,
        images=args.images,
    )
    size = Path(args.out).stat().st_size
    print(f'Compared with the model: {found}')
    print(f'Written: {Path(args.out).absolute()}, {size / 1e6:.1f} MB')


if __name__ == '__main__':
    one_message(main)

"""Show a test's confusion matrix and its best and worst images, from its JSON file."""

import argparse

from paperzoo.tools._shared import bounded, one_message, parse


def parse_args() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'results', help='what `paperzoo test ... --out FILE.json` wrote'
    )
    parser.add_argument('--out', default='analysis', metavar='DIR', help='a new folder')
    parser.add_argument(
        '--score',
        type=bounded(float, 0, 1),
        default=0.3,
        help='leave out what scores lower',
    )
    parser.add_argument(
        '--iou', type=bounded(float, 0, 1), default=0.5, help='smallest of a pair'
    )
    parser.add_argument(
        '--number', type=bounded(int, 1), default=8, help='of best and of worst images'
    )
    return parse(parser)


def main() -> None:
    """Analyze."""
    args = parse_args()
    from paperzoo.apis.analysis import analyze

    record, written = analyze(
        args.results, out=args.out, score=args.score, iou=args.iou, number=args.number
    )
    if record['exchanged']:
        pairs = ', '.join(f'{one} as {other}' for one, other in record['exchanged'])
        print(
            f'warning: classes are found as each other ({pairs}): are the classes of '
            'the data set in the order of the training? See metainfo.classes'
        )
    images = len(record['quality'])
    print(f'{images} images, mean quality {record["mean_quality"]:.3f}')
    for what, file in written.items():
        print(f'{what}: {file.absolute() if file else "none of them can be read"}')


if __name__ == '__main__':
    one_message(main)

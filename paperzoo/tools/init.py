"""Write a config that trains a model on a folder of labelled images."""

import argparse
from typing import TYPE_CHECKING

from paperzoo.tools._shared import one_message, parse

if TYPE_CHECKING:
    from paperzoo.apis.init_config import Written

# Written out: what reads data is not imported to show the help.
TASKS = ('detection', 'instance', 'panoptic', 'semantic', 'few-shot')
FORMATS = ('coco', 'yolo', 'voc', 'labelme', 'cvat', 'masks', 'class_folders')


def parse_args() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='Read are COCO, YOLO, Pascal VOC, LabelMe, CVAT for images, images with '
        'label maps, and a folder for each class, as Roboflow and others write them.',
    )
    parser.add_argument('folder', help='of images and annotations')
    parser.add_argument(
        '-o', '--output', required=True, metavar='FILE.py', help='the config to write'
    )
    parser.add_argument('--task', choices=TASKS, help='by default what is labelled')
    parser.add_argument(
        '--model',
        metavar='NAME',
        help='fcos, fcos_imprv, knet, dmf, protonet, can, feat, or a config',
    )
    parser.add_argument(
        '--format', choices=FORMATS, help='where the folder holds several'
    )
    parser.add_argument(
        '--val',
        type=float,
        metavar='SHARE',
        help='of the training images for validation, if the folder has none (0.2); few-'
        'shot: of the classes, by default ten at most if the folder has some to test',
    )
    parser.add_argument('--seed', type=int, default=0, help='of that choice')
    parser.add_argument(
        '--from-scratch',
        action='store_true',
        help='begin at random weights: nothing is downloaded, nothing frozen',
    )
    parser.add_argument(
        '--fine-tune',
        action='store_true',
        help='begin at a whole model trained on COCO (ADE20K for label maps)',
    )
    return parse(parser)


def report(written: 'Written') -> str:
    """Return what to tell: the data, what is left out, what to run next."""
    left_out = [f'  left out: {one}' for one in written.left_out[:5]]
    if (rest := len(written.left_out) - 5) > 0:
        left_out.append(f'  left out: {rest} more')
    return '\n'.join(
        [
            written.summary,
            *left_out,
            *(f'  note: {one}' for one in written.notes),
            *(f'  {one}' for one in written.weights),
            f'Written: {", ".join(map(str, (written.config, *written.files)))}',
            'Next:',
            *(f'  {one}' for one in written.commands),
        ]
    )


def main() -> None:
    """Look at the folder, write, tell."""
    args = parse_args()
    from paperzoo.apis.init_config import init_config

    written = init_config(
        args.folder,
        args.output,
        task=args.task,
        model=args.model,
        data_format=args.format,
        val=args.val,
        seed=args.seed,
        scratch=args.from_scratch,
        fine_tune=args.fine_tune,
    )
    print(report(written))


if __name__ == '__main__':
    one_message(main)

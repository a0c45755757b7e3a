"""Count what FCOS's locations learn from a data set: recall, ambiguity, levels.

For the four combinations of the pyramid's ranges and centre sampling it prints

- the best possible recall: the share of boxes that at least one location learns. A
  location in several boxes learns the smallest, so a box can go without;
- the share of positive locations that are ambiguous, that is, lie in more than one
  box; and in boxes of more than one class, which alone can cost a class error;
- how many positive locations each level has.

Images are not read. The boxes come from the annotations and are resized and clipped as
the test pipeline's `Resize` does; each image is padded to the model's divisor, not to
its batch. Random flips, crops and scales of the training are left out.

Paper: fcos "Multi-level Prediction with FPN"
"""

import argparse
import inspect
from collections.abc import Iterable, Iterator
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from paperzoo.apis.build import build_dataset
from paperzoo.apis.config import test_scale
from paperzoo.errors import UserError
from paperzoo.tools._shared import (
    add_config_arguments,
    config_of,
    one_message,
    parse,
    track,
)
from paperzoo.utils.files import refuse_unwritable, write_json, write_safely

if TYPE_CHECKING:
    from mmengine.config import Config

    from paperzoo.fcos.target_counts import BoxesOfImage, Counts


def parse_args() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    add_config_arguments(parser)
    parser.add_argument('--split', choices=['train', 'val'], default='train')
    parser.add_argument('--max-images', type=int, metavar='N', help='the first N only')
    parser.add_argument('--out', metavar='FILE.json', help='also write the numbers')
    parser.add_argument('--picture', metavar='FILE.png', help='also draw the levels')
    return parse(parser)


class Pyramid(NamedTuple):
    """What a head's config says about its locations."""

    strides: list[tuple[float, float]]
    ranges: list[tuple[float, float]]
    radius: float


def pyramid_of(cfg: 'Config') -> Pyramid:
    """Return strides, ranges and radius of a config's head, with its class's defaults.

    Raises:
        UserError: If the config has no head with the ranges and strides of FCOS's.
    """
    from mmengine.utils import to_2tuple

    from paperzoo.registry import MODELS

    head = cfg.get('model', {}).get('bbox_head')
    if not isinstance(head, dict) or 'type' not in head:
        raise UserError(
            f'{cfg.filename}: model.bbox_head is missing: this needs a detector with '
            "a head like FCOS's, such as fcos_r50_fpn"
        )
    kind = head['type']
    found = kind
    if isinstance(kind, str):
        scope = cfg.get('default_scope', 'mmdet')
        found = MODELS.get(kind) or MODELS.get(f'{scope}.{kind}')
    values = {}
    for name in ('strides', 'regress_ranges', 'center_sample_radius'):
        values[name] = head.get(name, _default(found, name))
        if values[name] is None:
            raise UserError(
                f'{cfg.filename}: model.bbox_head of type {kind} has no {name}: this '
                "needs a head like FCOS's, with strides, regress_ranges and "
                'center_sample_radius'
            )
    return Pyramid(
        strides=[to_2tuple(stride) for stride in values['strides']],
        ranges=[tuple(limits) for limits in values['regress_ranges']],
        radius=values['center_sample_radius'],
    )


def _default(kind: Any, name: str) -> Any:
    """Return the default of an argument, which a base class may have; None if none."""
    for base in getattr(kind, '__mro__', ()):
        parameter = inspect.signature(base.__init__).parameters.get(name)
        if parameter is not None and parameter.default is not inspect.Parameter.empty:
            return parameter.default
    return None


class Annotations:
    """The boxes of a data set, resized, clipped and padded, without the images.

    They are resized and clipped as the test pipeline's `Resize` does; an image is
    padded to the model's divisor, not to its batch.

    Args:
        cfg: The config.
        split: `'train'` or `'val'`.
        max_images: How many, the first ones.

    Raises:
        UserError: If the config has no such data set or several joined, its files are
            missing, or its test pipeline resizes in a way that is not understood.
    """

    def __init__(
        self, cfg: 'Config', split: str, max_images: int | None = None
    ) -> None:
        self.place = f'{cfg.filename}: {split}_dataloader.dataset'
        self.dataset = self._build(cfg, split)
        self.scale, self.keep_ratio = test_scale(cfg)
        preprocessor = cfg.model.get('data_preprocessor') or {}
        self.divisor = preprocessor.get('pad_size_divisor', 1)
        total = len(self.dataset)
        self.images = total if max_images is None else min(max_images, total)

    def __len__(self) -> int:
        return self.images

    def __iter__(self) -> Iterator['BoxesOfImage']:
        for index in range(self.images):
            yield self._image(self.dataset.get_data_info(index))

    def describe_size(self) -> str:
        """Return one line on the size of the images."""
        if self.scale is None:
            return 'images in their own size: the test pipeline has no Resize'
        ratio = 'ratio kept' if self.keep_ratio else 'ratio not kept'
        return f'images resized to {self.scale[0]} x {self.scale[1]}, {ratio}'

    def _build(self, cfg: 'Config', split: str) -> Any:
        spec = (cfg.get(f'{split}_dataloader') or {}).get('dataset')
        while isinstance(spec, dict) and isinstance(spec.get('dataset'), dict):
            spec = spec['dataset']  # wrappers that repeat or mix
        if not isinstance(spec, dict) or 'datasets' in spec:
            found = 'several data sets' if spec else 'missing'
            raise UserError(f'{self.place} is {found}: this needs a single one')
        return build_dataset(cfg, split, {**spec, 'pipeline': []})

    def _image(self, info: dict) -> 'BoxesOfImage':
        import torch

        from paperzoo.fcos.target_counts import BoxesOfImage

        if 'height' not in info or 'width' not in info:
            raise UserError(
                f'{self.place}: the annotations do not say how large the images are '
                "(COCO: 'height' and 'width' of each image); add it"
            )
        kept = [one for one in info.get('instances', []) if not one['ignore_flag']]
        rows = [one['bbox'] for one in kept]
        boxes = torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)
        width, height = self._size(info['width'], info['height'])
        factors = (width / info['width'], height / info['height'])
        boxes = boxes * boxes.new_tensor(factors * 2)
        boxes = torch.minimum(boxes.clamp(min=0), boxes.new_tensor((width, height) * 2))
        padded = [ceil(side / self.divisor) * self.divisor for side in (height, width)]
        labels = torch.tensor([one['bbox_label'] for one in kept], dtype=torch.long)
        return BoxesOfImage(boxes, labels, (padded[0], padded[1]))

    def _size(self, width: int, height: int) -> tuple[int, int]:
        """Return the width and height of an image after `Resize`."""
        from mmcv.image import rescale_size

        if self.scale is None:
            return width, height
        return (
            rescale_size((width, height), self.scale) if self.keep_ratio else self.scale
        )


def count(pyramid: Pyramid, images: Iterable['BoxesOfImage']) -> list['Counts']:
    """Return the counts for the four combinations of ranges and centre sampling."""
    from paperzoo.fcos.assigner import FCOSRangeAssigner
    from paperzoo.fcos.target_counts import count_targets

    assigner = FCOSRangeAssigner(pyramid.ranges, center_sample_radius=pyramid.radius)
    return count_targets(assigner, pyramid.strides, images)


def table(counts: list['Counts']) -> str:
    """Return the numbers as text, one row per combination."""
    strides = [f'{across:g}' for across, _ in counts[0].strides]
    head = f'{"ranges":8}{"sampling":10}{"recall":>8}{"ambiguous":>11}{"classes":>9}'
    rows = [head + f'{"positives":>11}' + ''.join(f'{"/" + s:>16}' for s in strides)]
    for one in counts:
        numbers = one.summary()
        levels = zip(one.per_level, numbers['level_shares'], strict=True)
        rows.append(
            f'{_yes(one.ranges):8}{_yes(one.center_sampling):10}'
            f'{numbers["best_possible_recall"]:8.2%}{numbers["ambiguous_share"]:11.2%}'
            f'{numbers["ambiguous_classes_share"]:9.2%}{numbers["positives"]:11}'
            + ''.join(f'{count:9}{share:7.1%}' for count, share in levels)
        )
    return '\n'.join(rows)


def _yes(value: bool) -> str:
    return 'yes' if value else 'no'


def draw(counts: list['Counts'], file: Path) -> None:
    """Draw the share of positive locations of each level."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout='constrained')
    axes = figure.add_subplot()
    strides = [f'{across:g}' for across, _ in counts[0].strides]
    width = 0.8 / len(counts)
    for number, one in enumerate(counts):
        shares = one.summary()['level_shares']
        name = (
            f'{"with" if one.ranges else "without"} ranges, '
            f'{"with" if one.center_sampling else "without"} centre sampling'
        )
        left = [level + number * width for level in range(len(shares))]
        axes.bar(left, shares, width, label=name)
    axes.set_xticks([level + 0.4 - width / 2 for level in range(len(strides))], strides)
    axes.set_xlabel('stride of the level, in pixels')
    axes.set_ylabel('share of the positive locations')
    axes.legend()
    kind = file.suffix[1:]
    write_safely(file, lambda stream: figure.savefig(stream, format=kind))


def main() -> None:
    """Count and print."""
    args = parse_args()
    if args.max_images is not None and args.max_images < 1:
        raise UserError(f'--max-images {args.max_images}: give at least 1')
    if args.picture and Path(args.picture).suffix not in ('.png', '.jpg', '.svg'):
        raise UserError(f"--picture '{args.picture}' must end in .png, .jpg or .svg")
    for given in filter(None, (args.picture, args.out)):
        refuse_unwritable(Path(given))
    cfg = config_of(args)
    pyramid = pyramid_of(cfg)
    images = Annotations(cfg, args.split, args.max_images)
    counts = count(pyramid, track(images, 'images'))
    if not counts[0].boxes:
        raise UserError(f'{images.place} has no boxes in {len(images)} images')
    print(f'{args.config}, {args.split}: {len(images)} images, {counts[0].boxes} boxes')
    print(images.describe_size())
    print(table(counts))
    if args.picture:
        draw(counts, Path(args.picture))
        print(f'Written: {args.picture}')
    if args.out:
        from paperzoo.utils.run_info import run_info

        record = {
            'config': args.config,
            'split': args.split,
            'images': len(images),
            'rows': [one.summary() for one in counts],
            **run_info(),
        }
        print(f'Written: {write_json(Path(args.out), record)}')


if __name__ == '__main__':
    one_message(main)

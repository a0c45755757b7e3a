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
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paperzoo.tools._annotations import Annotations, Image
from paperzoo.tools._shared import add_config_arguments, config_of, one_message
from paperzoo.utils.errors import UserError

if TYPE_CHECKING:
    from mmengine.config import Config
    from torch import Tensor

    from paperzoo.fcos import FCOSRangeAssigner


def parse_args() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    add_config_arguments(parser)
    parser.add_argument('--split', choices=['train', 'val'], default='train')
    parser.add_argument('--max-images', type=int, metavar='N', help='the first N only')
    parser.add_argument('--out', metavar='FILE.json', help='also write the numbers')
    parser.add_argument('--picture', metavar='FILE.png', help='also draw the levels')
    return parser.parse_args()


@dataclass
class Pyramid:
    """What a head's config says about its locations."""

    strides: list[tuple[float, float]]
    ranges: list[tuple[float, float]]
    radius: float

    def assigners(self) -> dict[tuple[bool, bool], 'FCOSRangeAssigner']:
        """Return the assigners, by (with ranges, with centre sampling)."""
        from paperzoo.fcos.assigner import INF, FCOSRangeAssigner

        every_size = [(-1, INF)] * len(self.ranges)
        return {
            (with_ranges, sampling): FCOSRangeAssigner(
                self.ranges if with_ranges else every_size,
                center_sampling=sampling,
                center_sample_radius=self.radius,
            )
            for with_ranges in (True, False)
            for sampling in (False, True)
        }


@dataclass
class Counts:
    """What one assigner makes of all images."""

    ranges: bool
    center_sampling: bool
    strides: list[tuple[float, float]]
    boxes: int = 0
    learnt: int = 0
    ambiguous: int = 0
    ambiguous_classes: int = 0
    per_level: list[int] = field(default_factory=list)

    def add(
        self,
        candidates: 'Tensor',
        assigned: 'Tensor',
        labels: 'Tensor',
        sizes: list[int],
    ) -> None:
        """Count one image.

        Args:
            candidates: Which boxes each point could learn, (points, boxes).
            assigned: What each point learns: 0 for none, k for box k - 1.
            labels: Classes of the boxes.
            sizes: Number of points of each level.
        """
        import torch

        self.boxes += len(labels)
        if not len(labels):
            return
        self.learnt += len(assigned[assigned > 0].unique())
        per_point = candidates.sum(dim=1)
        self.ambiguous += int((per_point > 1).sum())
        none = labels.max() + 1
        lowest = torch.where(candidates, labels, none).amin(dim=1)
        highest = torch.where(candidates, labels, -1).amax(dim=1)
        self.ambiguous_classes += int((lowest < highest).sum())
        levels = [int((level > 0).sum()) for level in per_point.split(sizes)]
        before = self.per_level or [0] * len(sizes)
        self.per_level = [a + b for a, b in zip(before, levels, strict=True)]

    def summary(self) -> dict[str, Any]:
        """Return the counts and their shares."""
        positives = sum(self.per_level)
        share = lambda part, whole: part / whole if whole else 0.0
        return {
            **asdict(self),
            'positives': positives,
            'best_possible_recall': share(self.learnt, self.boxes),
            'ambiguous_share': share(self.ambiguous, positives),
            'ambiguous_classes_share': share(self.ambiguous_classes, positives),
            'level_shares': [share(level, positives) for level in self.per_level],
        }


def pyramid_of(cfg: 'Config') -> Pyramid:
    """Return strides, ranges and radius of a config's head, with its class's defaults.

    Raises:
        UserError: If the config has no head like that of FCOS.
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


def count(pyramid: Pyramid, images: Iterable[Image]) -> list[Counts]:
    """Return the counts for the four combinations of ranges and centre sampling."""
    from paperzoo.fcos import level_points

    assigners = pyramid.assigners()
    counts = {key: Counts(*key, pyramid.strides) for key in assigners}
    for image in images:
        sizes = [
            (ceil(image.size[0] / down), ceil(image.size[1] / across))
            for across, down in pyramid.strides
        ]
        levels = zip(sizes, pyramid.strides, strict=True)
        points = [level_points(size, stride) for size, stride in levels]
        for key, assigner in assigners.items():
            given = (points, pyramid.strides, image.boxes, sizes)
            counts[key].add(
                assigner.candidates(*given),
                assigner.assign(*given),
                image.labels,
                [len(level) for level in points],
            )
    return list(counts.values())


def table(counts: list[Counts]) -> str:
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


def draw(counts: list[Counts], file: Path) -> None:
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
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)


def main() -> None:
    """Count and print."""
    args = parse_args()
    if args.max_images is not None and args.max_images < 1:
        raise UserError(f'--max-images {args.max_images}: give at least 1')
    if args.picture and Path(args.picture).suffix not in ('.png', '.jpg', '.svg'):
        raise UserError(f"--picture '{args.picture}' must end in .png, .jpg or .svg")
    cfg = config_of(args)
    pyramid = pyramid_of(cfg)
    images = Annotations(cfg, args.split, args.max_images)
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    shown = track(images, 'Counting', console=console, disable=not console.is_terminal)
    counts = count(pyramid, shown)
    if not counts[0].boxes:
        raise UserError(f'{images.place} has no boxes in {len(images)} images')
    print(f'{args.config}, {args.split}: {len(images)} images, {counts[0].boxes} boxes')
    print(images.describe_size())
    print(table(counts))
    if args.picture:
        draw(counts, Path(args.picture))
        print(f'Written: {args.picture}')
    if args.out:
        from paperzoo.utils.files import write_json
        from paperzoo.utils.run_info import run_record

        record = {
            'config': args.config,
            'split': args.split,
            'images': len(images),
            'rows': [one.summary() for one in counts],
            **run_record(),
        }
        print(f'Written: {write_json(Path(args.out), record)}')


if __name__ == '__main__':
    one_message(main)

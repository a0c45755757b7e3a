"""A page of pictures: ground truth beside prediction, written while testing."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import mmcv
import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement, InstanceData

from paperzoo.registry import HOOKS


@HOOKS.register_module()
class PicturePageHook(Hook):
    """Write the first test images as pictures and together as one page.

    Args:
        out_dir: Folder of the pictures; created. Existing pictures are replaced.
        max_images: How many images to draw.
        score_thr: Predictions below this score are not drawn.
        columns: Pairs of pictures per row of the page.
        pair_width: Width of a pair on the page, in pixels.
    """

    def __init__(
        self,
        out_dir: str,
        *,
        max_images: int = 24,
        score_thr: float = 0.3,
        columns: int = 3,
        pair_width: int = 640,
    ) -> None:
        self.out_dir = Path(out_dir)
        self.max_images = max_images
        self.score_thr = score_thr
        self.columns = columns
        self.pair_width = pair_width
        self.files: list[Path] = []

    def before_test(self, runner: Runner) -> None:
        """Start an empty page."""
        self.files = []
        self.out_dir.mkdir(parents=True, exist_ok=True)

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | tuple | list | None = None,
        outputs: Sequence | None = None,
    ) -> None:
        """Draw the samples of a batch until `max_images` are there."""
        for sample in outputs or ():
            if len(self.files) >= self.max_images:
                return
            # The visualizers of mmdet and mmseg draw in RGB.
            image = mmcv.imread(sample.img_path, channel_order='rgb')
            # Numbered, because the images of two folders may have one name.
            file = (
                self.out_dir / f'{len(self.files):03d}_{Path(sample.img_path).stem}.jpg'
            )
            options = (
                {} if 'gt_sem_seg' in sample else {'pred_score_thr': self.score_thr}
            )
            classes = runner.visualizer.dataset_meta['classes']
            shown = drawable(sample, self.score_thr, len(classes))
            runner.visualizer.add_datasample(
                file.stem, image, shown, draw_gt=True, out_file=str(file), **options
            )
            self.files.append(file)

    def after_test_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        """Write `page.png` and say where it is."""
        if not self.files:
            return
        page = self.out_dir / 'page.png'
        pairs = [self._thumbnail(file) for file in self.files]
        cv2.imwrite(str(page), make_grid(pairs, self.columns))
        runner.logger.info(
            f'Pictures (left: ground truth, right: prediction): {page.absolute()}'
        )

    def _thumbnail(self, file: Path) -> np.ndarray:
        picture = mmcv.imread(str(file))
        height = max(1, round(picture.shape[0] * self.pair_width / picture.shape[1]))
        small = cv2.resize(
            picture, (self.pair_width, height), interpolation=cv2.INTER_AREA
        )
        title = np.full((22, self.pair_width, 3), 255, np.uint8)
        for x, text in (
            (6, f'{file.stem}: truth'),
            (self.pair_width // 2, 'prediction'),
        ):
            cv2.putText(
                title,
                text,
                (x, 16),
                cv2.FONT_HERSHEY_SIMPLEX,
                0.5,
                (0, 0, 0),
                1,
                cv2.LINE_AA,
            )
        return np.concatenate([title, small])


def drawable(
    sample: BaseDataElement, score_thr: float, num_classes: int
) -> BaseDataElement:
    """Return a sample without what mmdet cannot draw: empty predictions, run lengths.

    Early in a training masks are empty and panoptic maps all void. Masks that are
    COCO's run-length codes are decoded.

    Args:
        sample: With its predictions.
        score_thr: Instances of a lower score are not drawn.
        num_classes: Number of classes, which is the id of void in a panoptic map.
    """
    shown = sample.new()
    instances = shown.get('pred_instances')
    if instances is not None and isinstance(instances.get('masks'), list):
        instances = decoded(instances[instances.scores > score_thr])
    if instances is not None and isinstance(instances.get('masks'), torch.Tensor):
        there = instances.masks.flatten(1).any(dim=1) & (instances.scores > score_thr)
        shown.pred_instances = instances[there]
        if not there.any():
            del shown.pred_instances
    panoptic = shown.get('pred_panoptic_seg')
    if panoptic is not None and (panoptic.sem_seg == num_classes).all():
        del shown.pred_panoptic_seg
    return shown


def decoded(instances: InstanceData) -> InstanceData:
    """Return instances whose masks are COCO's run-length codes, with a tensor of them.

    Args:
        instances: At least their `masks`, a list of codes.
    """
    from pycocotools import mask as coco_mask  # heavy, and not needed by most runs

    made = instances.new()
    planes = [coco_mask.decode(code) for code in instances.masks]
    masks = np.stack(planes) if planes else np.zeros((0, 1, 1))
    made.masks = torch.from_numpy(masks).bool()
    return made


def make_grid(pictures: list[np.ndarray], columns: int, gap: int = 8) -> np.ndarray:
    """Return one picture with the given ones in rows, on white.

    Args:
        pictures: BGR images of one width, each (H_i, W, 3), uint8.
        columns: Pictures per row.
        gap: White pixels around each.
    """
    width = pictures[0].shape[1]
    rows = []
    for start in range(0, len(pictures), columns):
        row = pictures[start : start + columns]
        height = max(picture.shape[0] for picture in row)
        canvas = np.full(
            (height + gap, columns * (width + gap) + gap, 3), 255, np.uint8
        )
        for column, picture in enumerate(row):
            left = gap + column * (width + gap)
            canvas[gap : gap + picture.shape[0], left : left + width] = picture
        rows.append(canvas)
    return np.concatenate(rows)

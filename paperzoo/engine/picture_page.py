"""A page of pictures: ground truth beside prediction, written while testing."""

from collections.abc import Sequence
from pathlib import Path

import mmcv
import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import Runner

from paperzoo.registry import HOOKS
from paperzoo.visualization.drawable import drawable
from paperzoo.visualization.overlays import make_grid, titled, write_picture


@HOOKS.register_module()
class PicturePageHook(Hook):
    """Write the first test images as pictures and together as one page.

    Args:
        out_dir: Folder of the pictures; created. Existing pictures are replaced.
        max_images: How many images to draw.
        score_thr: Predictions below this score are not drawn.
        columns: Pairs of pictures per row of the page.
        pair_width: Width of a pair on the page, in pixels.

    Example:
        >>> PicturePageHook('work_dirs/pages', max_images=12).max_images
        12
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
        meta = runner.visualizer.dataset_meta
        palette = meta.get('palette')
        # Classes of one's own on a data set that has colours for its own classes:
        # without a palette mmdet chooses one, with a short one it stops.
        if isinstance(palette, list | tuple) and len(palette) < len(meta['classes']):
            runner.visualizer.dataset_meta = {**meta, 'palette': None}

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
        write_picture(page, make_grid(pairs, self.columns))
        runner.logger.info(
            f'Pictures (left: ground truth, right: prediction): {page.absolute()}'
        )

    def _thumbnail(self, file: Path) -> np.ndarray:
        picture = mmcv.imread(str(file))
        return titled(picture, (f'{file.stem}: truth', 'prediction'), self.pair_width)

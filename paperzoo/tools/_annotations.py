"""The boxes of a config's data set as a detector would see them, without the images."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

from paperzoo.apis.config import test_scale
from paperzoo.utils.errors import UserError

if TYPE_CHECKING:
    from mmengine.config import Config
    from torch import Tensor


@dataclass
class Image:
    """What the head would see of one image."""

    boxes: 'Tensor'
    labels: 'Tensor'
    size: tuple[int, int]  # height and width, padded


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

    def __iter__(self) -> Iterator[Image]:
        for index in range(self.images):
            yield self._image(self.dataset.get_data_info(index))

    def describe_size(self) -> str:
        """Return one line on the size of the images."""
        if self.scale is None:
            return 'images in their own size: the test pipeline has no Resize'
        ratio = 'ratio kept' if self.keep_ratio else 'ratio not kept'
        return f'images resized to {self.scale[0]} x {self.scale[1]}, {ratio}'

    def _build(self, cfg: 'Config', split: str) -> Any:
        from mmengine.registry import init_default_scope

        from paperzoo.registry import DATASETS

        init_default_scope(cfg.get('default_scope', 'mmdet'))
        spec = (cfg.get(f'{split}_dataloader') or {}).get('dataset')
        while isinstance(spec, dict) and isinstance(spec.get('dataset'), dict):
            spec = spec['dataset']  # wrappers that repeat or mix
        if not isinstance(spec, dict) or 'datasets' in spec:
            found = 'several data sets' if spec else 'missing'
            raise UserError(f'{self.place} is {found}: this needs a single one')
        try:
            return DATASETS.build({**spec, 'pipeline': []})
        except FileNotFoundError as error:
            raise UserError(
                f'{self.place}: {error}. Put the data set there, or give another '
                f'place: --cfg-options {split}_dataloader.dataset.data_root=PATH'
            ) from error

    def _image(self, info: dict) -> Image:
        import torch

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
        return Image(boxes, labels, (padded[0], padded[1]))

    def _size(self, width: int, height: int) -> tuple[int, int]:
        """Return the width and height of an image after `Resize`."""
        from mmcv.image import rescale_size

        if self.scale is None:
            return width, height
        return (
            rescale_size((width, height), self.scale) if self.keep_ratio else self.scale
        )

"""What a model found in an image."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from paperzoo.errors import UserError
from paperzoo.evaluation.results import found_records
from paperzoo.utils.colours import Colour
from paperzoo.utils.masks import INSTANCE_OFFSET, Record, decode

if TYPE_CHECKING:
    from PIL.Image import Image


class Result:
    """What a model found in an image, as NumPy arrays, in the pixels of that image.

    What the model's task does not have is None: a detector has boxes, an instance
    segmentor boxes and masks, a panoptic model `panoptic_seg` with its `segments`, a
    semantic one `sem_seg`. Its length is the number of objects, segments or classes.

    Args:
        sample: mmdet's or mmseg's data sample with the prediction.
        classes: Names of all classes that the model knows.
        image: The image: its file, or an array (H, W, 3) in BGR.
        score: Objects that score lower are left out; those in `sample` stay.
        palette: Colours of the classes, RGB, where it is drawn.

    Raises:
        UserError: If the score is no number.

    Example:
        >>> import numpy as np, torch
        >>> from mmdet.structures import DetDataSample
        >>> from mmengine.structures import InstanceData
        >>> from paperzoo.apis.results import Result
        >>> found = InstanceData(
        ...     bboxes=torch.tensor([[2.0, 3, 8, 9], [0, 0, 5, 5]]),
        ...     labels=torch.tensor([1, 0]), scores=torch.tensor([0.9, 0.1]))
        >>> sample = DetDataSample(
        ...     pred_instances=found, metainfo=dict(ori_shape=(10, 20)))
        >>> result = Result(sample, ('cat', 'dog'), np.zeros((10, 20, 3), np.uint8))
        >>> result
        Result(20 x 10 pixels: 1 dog)
        >>> result.boxes, result.names
        (array([[2., 3., 8., 9.]], dtype=float32), ['dog'])
    """

    def __init__(
        self,
        sample: Any,
        classes: Sequence[str],
        image: Path | NDArray[np.uint8],
        score: float = 0.3,
        *,
        palette: Sequence[Colour] | None = None,
    ) -> None:
        self.palette = palette
        self.sample = sample
        self.classes = tuple(classes)
        self.image = image
        if not isinstance(score, int | float | np.number) or not score == score:
            raise UserError(f'score={score!r}: a number, at most 1, is the threshold')
        self.score = float(score)
        self.height, self.width = map(int, sample.ori_shape[:2])

    @property
    def boxes(self) -> NDArray[np.float32] | None:
        """Corners of the objects' boxes (N, 4): left, top, right, bottom, in pixels."""
        return self._of_objects('bboxes')

    @property
    def scores(self) -> NDArray[np.float32] | None:
        """How sure the model is of each object (N,), from 0 to 1."""
        return self._of_objects('scores')

    @property
    def labels(self) -> NDArray[np.int64] | None:
        """Index of each object's class (N,), in `classes`."""
        return self._of_objects('labels')

    @property
    def names(self) -> list[str] | None:
        """Name of each object's class."""
        labels = self.labels
        if labels is None:
            return None
        return [self._name(label) for label in labels.tolist()]

    @property
    def probabilities(self) -> NDArray[np.float32] | None:
        """How likely each class of a few-shot model is (K,)."""
        return None

    @property
    def masks(self) -> NDArray[np.bool_] | None:
        """The objects' masks (N, H, W), of the size of the image."""
        found = self.sample.get('pred_instances')
        if found is None or 'masks' not in found:
            return None
        if isinstance(found.masks, list):  # COCO's run lengths
            decoded = [decode({'segmentation': one}) for one in found.masks]
            planes = np.array(decoded, bool)
        else:
            planes = as_numpy(found.masks)
        kept = self._kept()
        shape = (int(kept.sum()), self.height, self.width)
        return planes[kept].astype(bool).reshape(shape)

    @property
    def panoptic_seg(self) -> NDArray[np.int32] | None:
        """The number of each pixel's segment (H, W), 0 where there is none."""
        numbered = self._panoptic()
        return None if numbered is None else numbered[0]

    @property
    def segments(self) -> list[dict[str, Any]] | None:
        """One dict for each segment of `panoptic_seg`.

        Its keys: `id` (the number in the map, from 1), `label`, `name`, `is_thing`
        (whether it is one object, not all of a kind of background) and `area` (in
        pixels). Panoptic models of mmdet give no score for a segment.
        """
        numbered = self._panoptic()
        return None if numbered is None else numbered[1]

    @property
    def sem_seg(self) -> NDArray[np.int64] | None:
        """Index of each pixel's class (H, W), in `classes`."""
        found = self.sample.get('pred_sem_seg')
        return None if found is None else _plane(found)

    def draw(self) -> 'Image':
        """Return the image with everything found drawn over it.

        Raises:
            UserError: If the image's file is gone or damaged.
        """
        from PIL import Image

        return Image.fromarray(np.ascontiguousarray(self.drawn_bgr()[..., ::-1]))

    def drawn_bgr(self) -> NDArray[np.uint8]:
        """Return the same picture as an array (H, W, 3) in BGR, as OpenCV writes it.

        Raises:
            UserError: If the image's file is gone or damaged.
        """
        from paperzoo.visualization.overlays import draw

        return draw(self._pixels(), self.to_coco(), palette=self.palette)

    def to_coco(self) -> list[Record]:
        """Return one record for each object, segment or class, as COCO writes them.

        A record has `category_id` (the index in `classes`), `category`, `bbox` (x, y,
        width, height), `area`, `iscrowd` and, as the task has them, `score` and
        `segmentation` (run lengths): what `paperzoo predict` writes.
        """
        sample = self.sample.to_dict()
        # Before their masks are encoded, which takes the time.
        if (found := sample.get('pred_instances')) is not None:
            kept = self._kept()
            sample['pred_instances'] = {
                key: [one for one, keep in zip(value, kept, strict=True) if keep]
                if isinstance(value, list)
                else value[kept]
                for key, value in found.items()
            }
        records = found_records(sample, self.classes)
        return [{**one, **_for_training(one)} for one in records]

    def to_supervision(self) -> Any:
        """Return `supervision.Detections`: boxes, masks, labels, scores and names.

        Segments of a panoptic model and classes of a semantic one have masks.

        Raises:
            UserError: If supervision is not installed.
        """
        try:
            import supervision
        except ImportError as error:
            raise UserError(
                'supervision is not installed: pip install supervision'
            ) from error
        records = self.to_coco()
        corners = [[x, y, x + w, y + h] for x, y, w, h in (r['bbox'] for r in records)]
        masks = [decode(one) for one in records if 'segmentation' in one]
        scores = [one['score'] for one in records if 'score' in one]
        return supervision.Detections(
            xyxy=np.array(corners, np.float32).reshape(-1, 4),
            mask=np.stack(masks) if masks else None,
            confidence=np.array(scores, np.float32) if scores else None,
            class_id=np.array([one['category_id'] for one in records], int),
            data={'class_name': np.array([one['category'] for one in records], str)},
        )

    def __len__(self) -> int:
        """Return the number of objects, segments or classes."""
        return sum(self._counts().values())

    def __repr__(self) -> str:
        """Return file, size and how many of what were found."""
        counts = self._counts().most_common()
        found = ', '.join(f'{count} {name}' for name, count in counts) or 'nothing'
        file = f'{self.image}, ' if isinstance(self.image, Path) else ''
        return f'Result({file}{self.width} x {self.height} pixels: {found})'

    def _repr_png_(self) -> bytes:
        """Return the drawn image, which Jupyter shows."""
        import cv2

        return cv2.imencode('.png', self.drawn_bgr())[1].tobytes()

    def _counts(self) -> Counter[str]:
        if (segments := self.segments) is not None:
            return Counter(segment['name'] for segment in segments)
        if (plane := self.sem_seg) is not None and self.labels is None:
            return Counter(self._name(label) for label in np.unique(plane).tolist())
        return Counter(self.names or ())

    def _kept(self) -> NDArray[np.bool_]:
        found = self.sample.pred_instances
        if 'scores' not in found:
            return np.ones(len(found), bool)
        return as_numpy(found.scores) >= self.score

    def _of_objects(self, key: str) -> NDArray | None:
        found = self.sample.get('pred_instances')
        if found is None or key not in found:
            return None
        return as_numpy(found[key])[self._kept()]

    def _panoptic(self) -> tuple[NDArray[np.int32], list[dict[str, Any]]] | None:
        found = self.sample.get('pred_panoptic_seg')
        if found is None:
            return None
        plane = _plane(found)
        numbers = np.zeros(plane.shape, np.int32)
        segments: list[dict[str, Any]] = []
        for code in np.unique(plane).tolist():
            instance, label = divmod(code, INSTANCE_OFFSET)
            if label >= len(self.classes):
                continue  # void
            own = plane == code
            numbers[own] = len(segments) + 1
            segments.append(
                {
                    'id': len(segments) + 1,
                    'label': label,
                    'name': self._name(label),
                    # mmdet counts the objects of an image from 1; stuff has 0.
                    'is_thing': instance > 0,
                    'area': int(own.sum()),
                }
            )
        return numbers, segments

    def _name(self, label: int) -> str:
        known = 0 <= label < len(self.classes)
        return self.classes[label] if known else f'class {label}'

    def _pixels(self) -> NDArray[np.uint8]:
        if isinstance(self.image, np.ndarray):
            return np.ascontiguousarray(self.image)
        import cv2

        try:
            data = np.fromfile(self.image, np.uint8)
            pixels = cv2.imdecode(data, cv2.IMREAD_COLOR)
        except (OSError, cv2.error) as error:
            raise UserError(f"'{self.image}' cannot be drawn on: {error}") from error
        if pixels is None or pixels.shape[:2] != (self.height, self.width):
            raise UserError(
                f"'{self.image}' cannot be drawn on: it is no longer the image of "
                f'{self.width} x {self.height} pixels that the model has seen'
            )
        return pixels.astype(np.uint8, copy=False)


def as_numpy(value: Any) -> NDArray:
    """Return a tensor, boxes of mmdet or an array as an array.

    Args:
        value: One of these.

    Example:
        >>> import torch
        >>> from paperzoo.apis.results import as_numpy
        >>> as_numpy(torch.ones(2))
        array([1., 1.], dtype=float32)
    """
    value = getattr(value, 'tensor', value)  # mmdet's boxes
    return value.detach().cpu().numpy() if hasattr(value, 'detach') else value


def _plane(pixels: Any) -> NDArray:
    # mmdet names it `sem_seg`, mmseg `data`; one channel.
    plane = as_numpy(pixels.sem_seg if 'sem_seg' in pixels else pixels.data)[0]
    # mmseg's binary heads, of one channel, give floats.
    return plane.astype(np.int64, copy=False)


def _for_training(record: Record) -> dict[str, Any]:
    """Return what COCO's readers want of an annotation besides."""
    if 'segmentation' in record:
        from pycocotools import mask as coco_mask

        return {'area': float(coco_mask.area(record['segmentation'])), 'iscrowd': 0}
    if 'bbox' in record:
        return {'area': round(record['bbox'][2] * record['bbox'][3], 2), 'iscrowd': 0}
    return {}

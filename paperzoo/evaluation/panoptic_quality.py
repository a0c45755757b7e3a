"""Panoptic quality (PQ) by COCO's rules, counted image by image."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from paperzoo.data.coco_files import (
    categories_by_name,
    check_segments,
    read_annotation_file,
)
from paperzoo.data.paths import ensure_generated
from paperzoo.errors import UserError
from paperzoo.registry import METRICS
from paperzoo.utils.masks import INSTANCE_OFFSET

IdMap = Int[np.ndarray, 'height width']
VOID = 0  # the id of unlabelled pixels in a ground-truth PNG


class Segments(NamedTuple):
    """The segments of one map; a crowd is a region of instances not told apart."""

    ids: Int[np.ndarray, ' segments']
    labels: Int[np.ndarray, ' segments']
    crowd: Bool[np.ndarray, ' segments']


def count_overlaps(pred_map: IdMap, gt_map: IdMap) -> Int[np.ndarray, '3 pairs']:
    """Return each pair of predicted and true id that shares pixels, and how many.

    Args:
        pred_map: Id of the predicted segment of each pixel, in [0, 2^32).
        gt_map: Id of the true segment of each pixel, in [0, 2^31).

    Example:
        >>> import numpy as np
        >>> count_overlaps(np.array([[1, 1], [2, 2]]), np.array([[7, 7], [7, 0]]))
        array([[2, 1, 2],
               [0, 7, 7],
               [1, 2, 1]])
    """
    joint = (gt_map.astype(np.int64) << 32) | pred_map.astype(np.int64)
    pairs, pixels = np.unique(joint, return_counts=True)
    return np.stack([pairs & 0xFFFFFFFF, pairs >> 32, pixels])


def match_segments(
    overlaps: Int[np.ndarray, '3 pairs'], pred: Segments, gt: Segments, num_classes: int
) -> Float[np.ndarray, 'num_classes 4']:
    """Count one image: per class the sum of matched IoUs, and TP, FP, FN.

    A pair matches if its classes agree and its IoU exceeds 1/2, which at most one pair
    per segment can. Void leaves the union; a crowd is neither matched nor missed; a
    prediction that lies by more than half on void or a crowd of its class is no FP.

    Args:
        overlaps: Predicted id, true id and pixels of each pair, by `count_overlaps`.
        pred: The predicted segments (their `crowd` is not looked at).
        gt: The true segments.
        num_classes: Number of classes.

    Example:
        >>> import numpy as np
        >>> one = Segments(np.array([5]), np.array([0]), np.array([False]))
        >>> overlaps = count_overlaps(np.full((2, 2), 5), np.full((2, 2), 5))
        >>> match_segments(overlaps, one, one, num_classes=1)  # IoU, TP, FP, FN
        array([[1., 1., 0., 0.]])
    """
    # Row 0 is void, row i + 1 true segment i; the last row and column hold the rest.
    pred_ids, gt_ids, pixels = overlaps
    rows = _index(gt_ids, np.concatenate([[VOID], gt.ids]))
    columns = _index(pred_ids, pred.ids)
    table = np.zeros((len(gt.ids) + 2, len(pred.ids) + 1), dtype=np.int64)
    np.add.at(table, (rows, columns), pixels)
    shared, on_void = table[1:-1, :-1], table[0, :-1]
    gt_area, pred_area = table.sum(1)[1:-1], table.sum(0)[:-1]

    union = gt_area[:, None] + pred_area - shared - on_void
    same_class = gt.labels[:, None] == pred.labels
    matched = same_class & ~gt.crowd[:, None] & (2 * shared > union)
    iou = (matched * shared / np.maximum(union, 1)).sum(1)

    on_crowd = (shared * (same_class & gt.crowd[:, None])).sum(0)
    excused = 2 * (on_void + on_crowd) > pred_area
    counts = (
        np.bincount(gt.labels, iou, num_classes),
        np.bincount(gt.labels, matched.any(1), num_classes),
        np.bincount(pred.labels, ~matched.any(0) & ~excused, num_classes),
        np.bincount(gt.labels, ~matched.any(1) & ~gt.crowd, num_classes),
    )
    return np.stack(counts, axis=1).astype(np.float64)


def qualities(
    stats: Float[np.ndarray, 'num_classes 4'],
) -> Float[np.ndarray, 'num_classes 3']:
    """Return PQ, SQ, RQ per class; NaN for a class neither there nor predicted.

    PQ is the sum of matched IoUs over TP + FP/2 + FN/2, SQ their mean, RQ the F1 score.

    Args:
        stats: Per class the sum of matched IoUs, TP, FP and FN, of all images.

    Example:
        >>> import numpy as np
        >>> qualities(np.array([[1.5, 2.0, 1.0, 1.0]]))  # PQ, SQ, RQ
        array([[0.5       , 0.75      , 0.66666667]])
    """
    iou, tp, fp, fn = stats.T
    total = np.where(tp + fp + fn > 0, tp + (fp + fn) / 2, np.nan)
    sq = iou / np.maximum(tp, 1) + 0 * total
    return np.stack([iou / total, sq, tp / total], axis=1)


def predicted_segments(
    ids: Int[np.ndarray, ' ids'], num_classes: int, ignore_index: int
) -> Segments:
    """Decode mmdet's ids; the label `num_classes` and `ignore_index` are no segment.

    Args:
        ids: Values of a predicted map, label + 1000 * instance; may repeat.
        num_classes: Number of classes.
        ignore_index: A further label without segment.

    Example:
        >>> import numpy as np
        >>> ids = np.array([0, 1000, 2])  # two of class 0, and void
        >>> predicted_segments(ids, num_classes=2, ignore_index=255).ids.tolist()
        [0, 1000]
    """
    ids = np.unique(ids)
    labels = ids % INSTANCE_OFFSET
    kept = (labels != num_classes) & (labels != ignore_index)
    ids, labels = ids[kept], labels[kept]
    if (labels >= num_classes).any():
        raise UserError(
            f'pred_panoptic_seg has label {labels.max()}, the data set {num_classes} '
            'classes. Correct num_things_classes and num_stuff_classes of the model'
        )
    return Segments(ids, labels, np.zeros(len(ids), dtype=bool))


def read_id_map(path: str | Path) -> IdMap:
    """Read a panoptic PNG: the id of a pixel is R + 256 G + 256^2 B.

    Args:
        path: The PNG file.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     file = str(Path(folder, 'a.png'))
        ...     _ = cv2.imwrite(file, np.array([[[0, 1, 3]]], np.uint8))  # B, G, R
        ...     read_id_map(file)
        array([[259]])
    """
    picture = None
    with suppress(cv2.error):  # more pixels than OpenCV takes
        if Path(path).is_file():
            picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if picture is None:
        raise UserError(
            f'panoptic ground truth not found, or no picture: {path}. The folder '
            'seg_prefix must hold one PNG per image, named as file_name in ann_file'
        )
    if picture.dtype != np.uint8 or picture.ndim != 3:
        raise UserError(
            f'{path}: a panoptic PNG holds ids as colours, R + 256 G + 65536 B, of 8 '
            f'bit each; this is an array of {picture.dtype} and shape {picture.shape}. '
            'Write the ids as RGB'
        )
    blue, green, red = (
        channel.astype(np.int64) for channel in cv2.split(picture[..., :3])
    )
    return red | green << 8 | blue << 16


class PanopticFile:
    """A COCO panoptic annotation file; a label is a category's place among the classes.

    Args:
        path: The JSON file.
        classes: Their order; None is the file's own.

    Raises:
        UserError: If an id, a name or a segment is ambiguous.
    """

    def __init__(self, path: Path, classes: Sequence[str] | None = None) -> None:
        content = read_annotation_file(path)
        check_segments(content, path)
        known, _ = categories_by_name(content, str(path))
        kept = set(known.values())
        categories = [one for one in content['categories'] if one['id'] in kept]
        if classes is not None:
            categories = sorted(categories, key=lambda one: classes.index(one['name']))
        self.path = path
        self.label_of = {entry['id']: label for label, entry in enumerate(categories)}
        self.classes = tuple(entry['name'] for entry in categories)
        self.is_thing = np.array([entry['isthing'] for entry in categories], dtype=bool)
        self.images = {
            entry['image_id']: (entry['file_name'], self._segments(entry))
            for entry in content.get('annotations', [])
        }

    def _segments(self, entry: Mapping[str, Any]) -> Segments:
        infos = entry['segments_info']
        return Segments(
            np.array([info['id'] for info in infos], dtype=np.int64),
            np.array([self.label_of[info['category_id']] for info in infos], np.int64),
            np.array([info.get('iscrowd', 0) for info in infos], dtype=bool),
        )


@METRICS.register_module()
class PanopticQuality(BaseMetric):
    """PQ, SQ and RQ in percent, over all classes, things (`_th`) and stuff (`_st`).

    The numbers of mmdet's `CocoPanopticMetric`. Averages are over the classes that
    occur; a group in which none occurs is NaN.

    Args:
        ann_file: COCO panoptic JSON; `data/...` follows `$PAPERZOO_DATA`. It is needed:
            mmdet's pipelines pack no panoptic map.
        seg_prefix: Folder of its PNGs, resolved likewise.
        classwise: Also log every class.
        collect_device: Where the results of all ranks are gathered, 'cpu' or 'gpu'.
        prefix: Put before the names of the numbers instead of 'coco_panoptic'.

    Raises:
        UserError: If a file is missing or does not fit the data set or the prediction.

    Example:
        >>> try:
        ...     PanopticQuality('/nowhere/val.json', '/nowhere/val')
        ... except UserError as error:
        ...     print(str(error).partition(',')[0])
        ann_file='/nowhere/val.json' of PanopticQuality not found
    """

    default_prefix = 'coco_panoptic'

    def __init__(
        self,
        ann_file: str,
        seg_prefix: str,
        classwise: bool = False,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.classwise = classwise
        found = {}
        for key, written in (('ann_file', ann_file), ('seg_prefix', seg_prefix)):
            found[key] = Path(ensure_generated(written))
            if not found[key].exists():
                raise UserError(
                    f"{key}='{written}' of PanopticQuality not found, looked for at "
                    f'{found[key].absolute()}. Set PAPERZOO_DATA, or --cfg-options '
                    f'val_evaluator.{key}=PATH test_evaluator.{key}=PATH'
                )
        self.seg_folder = found['seg_prefix']
        self.truth = PanopticFile(found['ann_file'])

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Count a batch.

        Args:
            data_batch: Not used.
            data_samples: mmdet's data samples as dicts, with `pred_panoptic_seg`.
        """
        self._check_classes()
        num_classes = len(self.truth.classes)
        for sample in data_samples:
            img_id = sample['img_id']
            if img_id not in self.truth.images:
                where = f'image {img_id!r} is not in {self.truth.path}'
                raise UserError(
                    f'{where}. Give data set and evaluator the same ann_file'
                )
            file_name, gt = self.truth.images[img_id]
            gt_map = read_id_map(self.seg_folder / file_name)
            pixel_data = sample['pred_panoptic_seg']
            pred_map = pixel_data['sem_seg'].squeeze(0).cpu().numpy()
            if pred_map.shape != gt_map.shape:
                raise UserError(
                    f'image {img_id!r}: prediction {pred_map.shape}, {file_name} '
                    f'{gt_map.shape}. Predict at the original size (rescale=True)'
                )
            overlaps = count_overlaps(pred_map, gt_map)
            ignore_index = pixel_data.get('ignore_index', num_classes)
            pred = predicted_segments(overlaps[0], num_classes, ignore_index)
            self.results.append(match_segments(overlaps, pred, gt, num_classes))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Return PQ, SQ, RQ, PQ_th, ..., RQ_st in percent, and log them.

        Args:
            results: The counts of all images.
        """
        classes, is_thing = self.truth.classes, self.truth.is_thing
        per_class = 100 * qualities(sum(results, np.zeros((len(classes), 4))))
        groups = {'': is_thing | True, '_th': is_thing, '_st': ~is_thing}
        means = {end: _average(per_class[chosen]) for end, chosen in groups.items()}
        rows = list(zip(('all', 'things', 'stuff'), means.values(), strict=True))
        if self.classwise:
            rows += zip(classes, per_class, strict=True)
        lines = [f'{"Panoptic quality":24}       PQ       SQ       RQ']
        lines += [f'{n:24}{pq:9.3f}{sq:9.3f}{rq:9.3f}' for n, (pq, sq, rq) in rows]
        print_log('\n'.join(lines), logger='current')
        return {
            name + end: float(value)
            for end, mean in means.items()
            for name, value in zip(('PQ', 'SQ', 'RQ'), mean, strict=True)
        }

    def _check_classes(self) -> None:
        classes = np.array(self.truth.classes)
        in_file = {'classes': classes, 'thing_classes': classes[self.truth.is_thing]}
        meta = self.dataset_meta or {}
        for key, names in in_file.items():
            ours = meta.get(key)
            if ours is not None and sorted(ours) != sorted(names):
                raise UserError(
                    f"metainfo['{key}'] of the data set is {list(ours)}, but "
                    f'{self.truth.path} has {names.tolist()}. Make them the same'
                )
        wanted = meta.get('classes')
        if wanted is not None and tuple(wanted) != self.truth.classes:
            self.truth = PanopticFile(self.truth.path, tuple(wanted))


def _index(
    values: Int[np.ndarray, ' n'], ids: Int[np.ndarray, ' ids']
) -> Int[np.ndarray, ' n']:
    """Return where each value stands in `ids`, and len(ids) where it does not."""
    hits = np.ones((len(values), len(ids) + 1), dtype=bool)
    hits[:, :-1] = values[:, None] == ids
    return hits.argmax(1)


def _average(per_class: Float[np.ndarray, 'chosen 3']) -> Float[np.ndarray, ' 3']:
    """Return the mean over the classes that occur, NaN if none does."""
    rows = per_class[~np.isnan(per_class[:, 0])]
    return rows.mean(0) if len(rows) else np.full(3, np.nan)

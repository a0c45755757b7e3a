"""What a model found, and the truth, as plain records in COCO's format.

A record is `{'category_id', 'category', 'bbox', 'score', 'segmentation'}`: `bbox` is
x, y, width, height; `segmentation` run lengths; what a model does not give is left out.
`category_id` is the index of the class. Boxes and masks become one record each, a
panoptic map one per segment, a semantic map one per class.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from paperzoo.utils.masks import INSTANCE_OFFSET, Record, encode


def found_records(sample: dict, classes: Sequence[str]) -> list[Record]:
    """Return what a model found in an image.

    Args:
        sample: A data sample with predictions, as `to_dict()` gives it.
        classes: Names of the classes.

    Example:
        >>> import numpy as np
        >>> boxes = {'bboxes': np.array([[0, 0, 4, 2]]), 'labels': np.array([0])}
        >>> found_records({'pred_instances': boxes}, ['cat'])
        [{'category_id': 0, 'category': 'cat', 'bbox': [0.0, 0.0, 4.0, 2.0]}]
    """
    if 'pred_panoptic_seg' in sample:
        return _panoptic(_plane(sample['pred_panoptic_seg']), classes)
    if 'pred_instances' in sample:
        return _instances(sample['pred_instances'], classes)
    if 'pred_sem_seg' in sample:
        return _semantic(_plane(sample['pred_sem_seg']), classes)
    return []


def truth_records(sample: dict, classes: Sequence[str]) -> list[Record]:
    """Return the truth of an image, as far as the pipeline has loaded it.

    Objects that do not count have `'ignored': True`. Of a semantic map beside objects
    only the classes without objects are taken.

    Args:
        sample: A data sample with ground truth, as `to_dict()` gives it.
        classes: Names of the classes.

    Example:
        >>> import numpy as np
        >>> boxes = {'bboxes': np.array([[0, 0, 4, 2]]), 'labels': np.array([0])}
        >>> truth_records({'ignored_instances': boxes}, ['cat'])[0]['ignored']
        True
    """
    records = _instances(sample.get('gt_instances') or {}, classes)
    for record in _instances(sample.get('ignored_instances') or {}, classes):
        records.append({**record, 'ignored': True})
    if 'gt_sem_seg' in sample:
        own = {record['category_id'] for record in records}
        ground = _semantic(_plane(sample['gt_sem_seg']), classes)
        records += [one for one in ground if one['category_id'] not in own]
    return records


def has_truth(sample: dict) -> bool:
    """Return whether the pipeline has loaded the truth of an image.

    Example:
        >>> has_truth({'gt_instances': {'labels': [0]}})
        True
    """
    return 'gt_sem_seg' in sample or 'labels' in (sample.get('gt_instances') or {})


def kind_of(sample: dict) -> str:
    """Return `'panoptic'`, `'instances'`, `'semantic'` or `'unknown'`.

    Example:
        >>> kind_of({'pred_instances': {}})
        'instances'
    """
    for key, kind in (
        ('pred_panoptic_seg', 'panoptic'),
        ('pred_instances', 'instances'),
        ('pred_sem_seg', 'semantic'),
    ):
        if key in sample:
            return kind
    return 'unknown'


def categories(classes: Sequence[str]) -> list[Record]:
    """Return the classes as COCO's `categories`.

    Example:
        >>> categories(['cat', 'dog'])
        [{'id': 0, 'name': 'cat'}, {'id': 1, 'name': 'dog'}]
    """
    return [{'id': label, 'name': name} for label, name in enumerate(classes)]


def _instances(instances: dict, classes: Sequence[str]) -> list[Record]:
    if 'labels' not in instances:
        return []
    labels = _array(instances['labels']).astype(int)
    scores = _array(instances['scores']) if 'scores' in instances else None
    corners = _array(instances['bboxes']) if 'bboxes' in instances else None
    masks = instances.get('masks')
    records = []
    for index, label in enumerate(labels.tolist()):
        record = _named(label, classes)
        mask = None if masks is None else _mask(masks, index)
        if corners is not None:
            x0, y0, x1, y1 = np.round(corners[index].astype(float), 3).tolist()
            record['bbox'] = [x0, y0, round(x1 - x0, 3), round(y1 - y0, 3)]
        elif mask is not None:
            record['bbox'] = coco_mask.toBbox(mask).tolist()
        if scores is not None:
            record['score'] = round(float(scores[index]), 5)
        if mask is not None:
            record['segmentation'] = mask
        records.append(record)
    return records


def _mask(masks: Any, index: int) -> Record:
    if isinstance(masks, list):  # run lengths already
        counts = masks[index]['counts']
        text = counts.decode('ascii') if isinstance(counts, bytes) else counts
        return {'size': list(masks[index]['size']), 'counts': text}
    if hasattr(masks, 'to_ndarray'):  # mmdet's bitmaps and polygons
        return encode(masks[index].to_ndarray()[0])
    return encode(_array(masks[index]))


def _panoptic(plane: NDArray[np.integer], classes: Sequence[str]) -> list[Record]:
    records = []
    for segment in np.unique(plane).tolist():
        label = segment % INSTANCE_OFFSET
        if label < len(classes):  # the rest is void
            records.append(_segment(plane == segment, label, classes))
    return records


def _semantic(plane: NDArray[np.integer], classes: Sequence[str]) -> list[Record]:
    return [
        _segment(plane == label, label, classes)
        for label in np.unique(plane).tolist()
        if 0 <= label < len(classes)  # the rest is ignored
    ]


def _segment(mask: NDArray[np.bool_], label: int, classes: Sequence[str]) -> Record:
    rle = encode(mask)
    box = coco_mask.toBbox(rle).tolist()
    return {**_named(label, classes), 'bbox': box, 'segmentation': rle}


def _named(label: int, classes: Sequence[str]) -> Record:
    return {'category_id': int(label), 'category': classes[int(label)]}


def _plane(pixels: dict) -> NDArray[np.integer]:
    # mmdet names it `sem_seg`, mmseg `data`; one channel.
    return _array(pixels['sem_seg' if 'sem_seg' in pixels else 'data'])[0]


def _array(value: Any) -> NDArray:
    value = getattr(value, 'tensor', value)  # mmdet's boxes
    if hasattr(value, 'detach'):
        value = value.detach().cpu().numpy()
    return np.asarray(value)

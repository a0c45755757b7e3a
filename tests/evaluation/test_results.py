"""Records of what was found and of the truth, from every kind of sample."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from mmengine.structures import InstanceData, PixelData

from paperzoo.evaluation import results
from paperzoo.utils.masks import decode, encode

CLASSES = ('cat', 'dog', 'grass')
MASK = np.zeros((4, 6), bool)
MASK[1:3, 2:5] = True


def instances(**fields: object) -> dict:
    return DetDataSample(pred_instances=InstanceData(**fields)).to_dict()


def test_boxes_and_scores() -> None:
    sample = instances(
        bboxes=torch.tensor([[1.0, 2.0, 4.0, 8.0]]),
        scores=torch.tensor([0.25]),
        labels=torch.tensor([1]),
    )
    assert results.found_records(sample, CLASSES) == [
        {'category_id': 1, 'category': 'dog', 'bbox': [1, 2, 3, 6], 'score': 0.25}
    ]
    assert results.kind_of(sample) == 'instances'
    assert not results.has_truth(sample)


def test_thousandths_of_a_pixel_and_five_digits_of_a_score() -> None:
    sample = instances(
        bboxes=torch.tensor([[0.1234567, 0.0, 1.2, 2.5]]),
        scores=torch.tensor([0.1234567]),
        labels=torch.tensor([0]),
    )
    (record,) = results.found_records(sample, CLASSES)
    assert record['bbox'] == [0.123, 0.0, 1.077, 2.5]
    assert record['score'] == 0.12346


@pytest.mark.parametrize('kind', ['tensor', 'bitmap', 'polygon', 'run lengths'])
def test_masks_of_every_kind(kind: str) -> None:
    masks = {
        'tensor': torch.tensor(MASK[None]),
        'bitmap': BitmapMasks(MASK[None].astype(np.uint8), 4, 6),
        'polygon': PolygonMasks([[np.array([2.0, 1, 5, 1, 5, 3, 2, 3])]], 4, 6),
        'run lengths': [encode(MASK)],
    }[kind]
    sample = instances(labels=torch.tensor([0]), masks=masks)
    (record,) = results.found_records(sample, CLASSES)
    np.testing.assert_array_equal(decode(record), MASK)
    assert record['bbox'] == [2, 1, 3, 2]


def test_panoptic_map_is_one_record_per_segment() -> None:
    plane = np.full((4, 6), 2)  # grass
    plane[0] = 3  # void: as many as there are classes
    plane[2:, :2] = 1000  # the first cat
    plane[2:, 4:] = 2000  # the second
    sample = DetDataSample(pred_panoptic_seg=PixelData(sem_seg=plane[None])).to_dict()
    records = results.found_records(sample, CLASSES)
    assert [one['category'] for one in records] == ['grass', 'cat', 'cat']
    for record, value in zip(records, (2, 1000, 2000), strict=True):
        np.testing.assert_array_equal(decode(record), plane == value)
    assert results.kind_of(sample) == 'panoptic'


@pytest.mark.parametrize('key', ['sem_seg', 'data'])
def test_semantic_map_is_one_record_per_class(key: str) -> None:
    plane = np.array([[0, 0, 2], [255, 2, 2]])
    sample = {'pred_sem_seg': {key: torch.tensor(plane)[None]}}
    records = results.found_records(sample, CLASSES)
    assert [one['category_id'] for one in records] == [0, 2]
    np.testing.assert_array_equal(decode(records[1]), plane == 2)


def test_truth_has_objects_ignored_ones_and_the_ground() -> None:
    box = HorizontalBoxes(torch.tensor([[0.0, 0, 2, 2]]))
    ground = torch.tensor([[0, 2], [255, 2]])
    sample = DetDataSample(
        gt_instances=InstanceData(bboxes=box, labels=torch.tensor([0])),
        ignored_instances=InstanceData(bboxes=box, labels=torch.tensor([1])),
        gt_sem_seg=PixelData(sem_seg=ground[None]),
    ).to_dict()
    cat, crowd, grass = results.truth_records(sample, CLASSES)
    assert (cat['category'], cat['bbox']) == ('cat', [0, 0, 2, 2])
    assert crowd['ignored']
    assert crowd['category'] == 'dog'
    # The cat's pixels are the object's already.
    np.testing.assert_array_equal(decode(grass), ground == 2)
    assert results.has_truth(sample)


@given(st.lists(st.booleans(), min_size=20, max_size=20))
def test_run_lengths_are_the_mask(bits: list[bool]) -> None:
    mask = np.array(bits).reshape(4, 5)
    record = json.loads(json.dumps({'segmentation': encode(mask)}))
    np.testing.assert_array_equal(decode(record), mask)

"""The result object: arrays by hand, drawing, and what is not there."""

import io
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample
from PIL import Image

from paperzoo.apis.results import Result
from paperzoo.errors import UserError
from paperzoo.utils.masks import encode

CLASSES = ('cat', 'dog', 'sky')
GREY = np.full((40, 60, 3), 100, np.uint8)
SHAPE = dict(ori_shape=(40, 60))


def objects(masks: object = None, **more: object) -> Result:
    found = InstanceData(
        bboxes=torch.tensor([[4.0, 20, 24, 36], [30, 20, 50, 36], [0, 0, 9, 9]]),
        labels=torch.tensor([1, 0, 1]),
        scores=torch.tensor([0.9, 0.6, 0.1]),
    )
    if masks is not None:
        found.masks = masks
    sample = DetDataSample(pred_instances=found, metainfo=SHAPE)
    return Result(sample, CLASSES, GREY, **more)


def panoptic() -> Result:
    plane = torch.full((1, 40, 60), 3)  # void: the number of classes
    plane[:, :10] = 2
    plane[:, 20:30, :20] = 1 + 1000
    plane[:, 20:30, 30:50] = 1 + 2000
    sample = DetDataSample(metainfo=SHAPE)
    sample.pred_panoptic_seg = PixelData(sem_seg=plane)
    return Result(sample, CLASSES, GREY)


def semantic() -> Result:
    plane = torch.zeros(1, 40, 60, dtype=torch.long)
    plane[:, :10] = 2
    sample = SegDataSample(metainfo=SHAPE)
    sample.pred_sem_seg = PixelData(data=plane)
    return Result(sample, CLASSES, GREY)


def test_objects() -> None:
    result = objects()
    assert result.boxes.dtype == np.float32
    np.testing.assert_array_equal(result.boxes[1], [30, 20, 50, 36])
    np.testing.assert_allclose(result.scores, [0.9, 0.6])
    assert result.labels.tolist() == [1, 0]
    assert result.names == ['dog', 'cat']
    assert result.masks is None
    assert result.segments is result.panoptic_seg is result.sem_seg is None
    assert len(result) == 2
    assert repr(result) == 'Result(60 x 40 pixels: 1 dog, 1 cat)'
    assert len(objects(score=0.0)) == 3


@pytest.mark.parametrize('as_codes', [False, True])
def test_masks(as_codes: bool) -> None:
    planes = np.zeros((3, 40, 60), bool)
    planes[0, 20:36, 4:24] = planes[1, 20:36, 30:50] = planes[2, :9, :9] = True
    given = [encode(plane) for plane in planes] if as_codes else torch.tensor(planes)
    result = objects(given)
    assert result.masks.dtype == np.bool_
    np.testing.assert_array_equal(result.masks, planes[:2])
    assert objects(given, score=1.0).masks.shape == (0, 40, 60)


def test_no_masks_at_all_keep_the_size() -> None:
    empty: tuple[Any, ...] = ([], torch.zeros(0, 40, 60))
    for masks in empty:
        found = InstanceData(
            bboxes=torch.zeros(0, 4),
            labels=torch.zeros(0, dtype=torch.long),
            scores=torch.zeros(0),
        )
        found.masks = masks
        sample = DetDataSample(pred_instances=found, metainfo=SHAPE)
        result = Result(sample, CLASSES, GREY)
        assert result.masks.shape == (0, 40, 60)
        assert result.boxes.shape == (0, 4)
        assert repr(result) == 'Result(60 x 40 pixels: nothing)'
        np.testing.assert_array_equal(result.drawn_bgr(), GREY)


def test_segments() -> None:
    result = panoptic()
    keys = ('id', 'label', 'name', 'is_thing', 'area')
    assert [tuple(one[key] for key in keys) for one in result.segments] == [
        (1, 2, 'sky', False, 600),
        (2, 1, 'dog', True, 200),
        (3, 1, 'dog', True, 200),
    ]
    assert result.panoptic_seg[0, 0] == 1
    assert result.panoptic_seg[25, 40] == 3
    assert result.panoptic_seg[39, 59] == 0
    for segment in result.segments:
        assert (result.panoptic_seg == segment['id']).sum() == segment['area']
    assert result.boxes is result.labels is result.names is result.masks is None
    assert repr(result) == 'Result(60 x 40 pixels: 2 dog, 1 sky)'
    assert len(result) == len(result.to_coco()) == 3


def test_a_semantic_map() -> None:
    result = semantic()
    assert result.sem_seg.shape == (40, 60)
    assert np.unique(result.sem_seg).tolist() == [0, 2]
    assert result.boxes is result.segments is result.masks is None
    assert len(result) == len(result.to_coco()) == 2
    assert repr(result) == 'Result(60 x 40 pixels: 1 cat, 1 sky)'


def test_a_semantic_map_of_a_binary_head() -> None:
    """Mmseg's heads of one channel give 0.0 and 1.0."""
    sample = SegDataSample(metainfo={'ori_shape': (2, 3)})
    sample.pred_sem_seg = PixelData(data=torch.tensor([[[0.0, 1, 1], [0, 0, 1]]]))
    result = Result(sample, ('ground', 'crack'), np.zeros((2, 3, 3), np.uint8))
    assert result.sem_seg is not None
    assert result.sem_seg.dtype == np.int64
    assert len(result) == 2
    assert 'crack' in repr(result)


def test_a_score_that_is_no_number() -> None:
    sample, nan = SegDataSample(metainfo={'ori_shape': (2, 3)}), float('nan')
    with pytest.raises(UserError, match='score=nan'):
        Result(sample, (), Path('a'), nan)


def test_a_class_without_a_name_is_no_crash() -> None:
    found = InstanceData(
        bboxes=torch.zeros(1, 4), labels=torch.tensor([7]), scores=torch.ones(1)
    )
    sample = DetDataSample(pred_instances=found, metainfo=SHAPE)
    assert Result(sample, CLASSES, GREY).names == ['class 7']


@pytest.mark.parametrize('make', [objects, panoptic, semantic])
def test_drawing(make) -> None:
    result = make()
    picture = result.draw()
    assert picture.size == (60, 40)
    # OpenCV's pictures are BGR, pillow's RGB.
    np.testing.assert_array_equal(np.asarray(picture)[..., ::-1], result.drawn_bgr())
    assert (np.asarray(picture) != 100).any()
    shown = Image.open(io.BytesIO(result._repr_png_()))
    np.testing.assert_array_equal(np.asarray(shown), np.asarray(picture))
    assert (GREY == 100).all()


def test_drawing_on_a_file_that_has_changed_is_one_message(tmp_path: Path) -> None:
    file = tmp_path / 'a.png'
    result = objects()
    result.image = file
    cv2.imwrite(str(file), GREY)
    assert 'a.png, 60 x 40' in repr(result)
    result.draw()
    cv2.imwrite(str(file), GREY[:20])
    with pytest.raises(UserError, match='no longer the image'):
        result.draw()
    file.unlink()
    with pytest.raises(UserError, match='cannot be drawn on'):
        result.draw()


def test_supervision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its constructor gets corners, scores, labels, names and, if there are, masks."""
    masks = torch.zeros(2, 10, 20, dtype=torch.bool)
    masks[0, 2:6, 3:9] = True
    masks[1, :3, :3] = True
    found = InstanceData(
        bboxes=torch.tensor([[3.0, 2, 9, 6], [0, 0, 3, 3]]),
        labels=torch.tensor([1, 0]),
        scores=torch.tensor([0.75, 0.1]),
        masks=masks,
    )
    sample = DetDataSample(pred_instances=found, metainfo={'ori_shape': (10, 20)})
    result = Result(sample, ('cat', '狗'), np.zeros((10, 20, 3), np.uint8))
    monkeypatch.setitem(sys.modules, 'supervision', None)
    with pytest.raises(UserError, match='pip install supervision'):
        result.to_supervision()
    fake = SimpleNamespace(Detections=lambda **given: given)
    monkeypatch.setitem(sys.modules, 'supervision', fake)
    given = result.to_supervision()
    assert given['xyxy'].tolist() == [[3, 2, 9, 6]]
    assert given['confidence'].tolist() == [0.75]
    assert given['class_id'].tolist() == [1]
    assert given['data']['class_name'].tolist() == ['狗']
    assert (given['mask'][0] == masks[0].numpy()).all()
    assert len(given['mask']) == 1
    nothing = Result(sample, ('cat', '狗'), np.zeros((10, 20, 3), np.uint8), 0.9)
    assert nothing.to_supervision()['xyxy'].shape == (0, 4)

"""Large images in pieces: what lies at the edges is found once, and whole."""

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample

from paperzoo.apis.predictor import Predictor
from paperzoo.apis.results import Result
from paperzoo.apis.tiling import predict_tiled, windows
from paperzoo.errors import UserError

SIZES = st.integers(1, 300)


@given(SIZES, SIZES, st.integers(1, 90), st.integers(1, 90), st.floats(0, 0.9))
def test_tiles_cover_the_image(
    width: int, height: int, across: int, down: int, overlap: float
) -> None:
    found = windows(width, height, (across, down), overlap)
    assert {(right - left, bottom - top) for left, top, right, bottom in found} == {
        (min(across, width), min(down, height))
    }
    columns = sorted({(left, right) for left, _, right, _ in found})
    assert columns[0][0] == 0
    assert columns[-1][1] == width
    for (_, end), (start, _) in pairwise(columns):
        # Half a pixel is lost where starts are rounded.
        assert end - start >= int(min(across, width) * overlap) - 1
        assert start <= end


def test_what_is_no_tile() -> None:
    for tile, overlap in (((0, 5), 0.2), ((5, 5), 1.0), ((5, 5), -0.1)):
        with pytest.raises(UserError, match='give a size of at least 1'):
            windows(9, 9, tile, overlap)


class Finder(Predictor):
    """Finds every white patch, and calls it a class by the sign of its height."""

    def __init__(self, kind: str, nms: dict | None = None) -> None:
        self.kind = kind
        self.classes = ('patch', 'ground')
        self.palette = None
        self.score = 0.3
        test_cfg = {'nms': nms} if nms else {}
        self.cfg = Config({'model': {'test_cfg': test_cfg}})
        self.slip = 0
        self.seen: list[tuple[int, ...]] = []

    def __call__(self, image: Any, **_: Any) -> Any:
        return [self.one(part) for part in image]

    def __repr__(self) -> str:
        return f'Finder({self.kind})'

    def one(self, part: Any) -> Result:
        self.seen.append(part.shape)
        shape = part.shape[:2]
        white = (part[..., 0] > 127).astype(np.uint8)
        if self.kind == 'semantic':
            logits = torch.from_numpy(np.stack([white, 1 - white]) * 9.0)
            sample: Any = SegDataSample(
                seg_logits=PixelData(data=logits),
                pred_sem_seg=PixelData(data=logits.argmax(0, keepdim=True)),
            )
        else:
            count, numbers, stats, _ = cv2.connectedComponentsWithStats(white)
            left, top, width, height, area = stats[1:].T
            width = width - self.slip * (len(self.seen) % 2)
            corners = np.stack([left, top, left + width, top + height], 1)
            found = InstanceData(
                bboxes=torch.from_numpy(corners).float(),
                labels=torch.zeros(count - 1, dtype=torch.long),
                scores=torch.from_numpy(0.5 + area / 1e6).float(),
            )
            if self.kind == 'masks':
                planes = [numbers == number for number in range(1, count)]
                made = np.stack(planes) if planes else np.zeros((0, *shape), bool)
                found.masks = torch.from_numpy(made)
            sample = DetDataSample(pred_instances=found)
        if self.kind == 'panoptic':
            _, numbers = cv2.connectedComponents(white)
            # Patches are things of class 0, all the rest is stuff of class 1.
            plane = torch.from_numpy(np.where(white, 1000 * numbers, 1)).long()[None]
            sample = DetDataSample(pred_panoptic_seg=PixelData(sem_seg=plane))
        sample.set_metainfo({'ori_shape': shape})
        return Result(sample, self.classes, part, self.score)


class WithoutScores(Finder):
    """Gives semantic maps as exported files do."""

    def one(self, part: Any) -> Result:
        result = super().one(part)
        del result.sample.seg_logits
        return result


class OneChannel(Finder):
    """Gives semantic maps as mmseg does of two classes in one channel."""

    def one(self, part: Any) -> Result:
        result = super().one(part)
        white = torch.from_numpy(part[None, ..., 0] > 127)
        result.sample.seg_logits = PixelData(data=torch.where(white, 0.5, 0.1))
        return result


BOXES = [(10, 10, 30, 40), (90, 20, 125, 50), (60, 85, 75, 110), (180, 130, 199, 149)]


def picture() -> Any:
    image = np.zeros((150, 200, 3), np.uint8)
    for left, top, right, bottom in BOXES:
        image[top:bottom, left:right] = 255
    return image


@pytest.mark.parametrize('tile', [(100, 80), (70, 70), (500, 500)])
@pytest.mark.parametrize('kind', ['boxes', 'masks'])
def test_objects_are_found_once_and_whole(kind: str, tile: tuple[int, int]) -> None:
    model = Finder(kind)
    result = predict_tiled(model, picture(), tile, overlap=0.55)
    assert result.boxes is not None
    assert sorted(map(tuple, result.boxes.astype(int).tolist())) == sorted(BOXES)
    assert all(shape[0] <= tile[1] and shape[1] <= tile[0] for shape in model.seen)
    if kind == 'masks':
        assert result.masks is not None
        assert result.masks.shape == (4, 150, 200)
        assert (result.masks.any(0) == (picture()[..., 0] > 0)).all()
        for mask, box in zip(result.masks, result.boxes.astype(int), strict=True):
            assert mask.sum() == (box[2] - box[0]) * (box[3] - box[1])
    assert result.draw().size == (200, 150)


def test_the_models_own_suppression_merges() -> None:
    def found(nms: dict | None) -> int:
        model = Finder('boxes', nms)
        model.slip = 2  # the tiles disagree by some pixels
        return len(predict_tiled(model, picture(), (100, 80), overlap=0.55))

    assert found(None) == len(BOXES)
    assert found({'type': 'nms', 'iou_threshold': 0.6}) == len(BOXES)
    assert found({'type': 'nms', 'iou_threshold': 0.99}) > len(BOXES)


def test_maps() -> None:
    result = predict_tiled(Finder('semantic'), picture(), (70, 70))
    assert result.sem_seg is not None
    assert ((result.sem_seg == 0) == (picture()[..., 0] > 0)).all()


@pytest.mark.parametrize('threshold', [0.3, 0.6])
def test_maps_of_one_channel_have_a_threshold(threshold: float) -> None:
    model: Any = OneChannel('semantic')
    model.model = SimpleNamespace(decode_head=SimpleNamespace(threshold=threshold))
    result = predict_tiled(model, picture(), (70, 70))
    white = picture()[..., 0] > 0
    np.testing.assert_array_equal(result.sem_seg, white & (threshold < 0.5))


def test_nothing_found() -> None:
    empty = np.zeros((150, 200, 3), np.uint8)
    assert len(predict_tiled(Finder('masks'), empty, (70, 70))) == 0


def test_without_a_config_merging_is_plain() -> None:
    model = Finder('masks')
    model.slip = 2
    del model.cfg
    result = predict_tiled(model, picture(), (100, 80), overlap=0.55)
    assert result.masks is not None
    assert len(result) == len(result.masks) == len(BOXES)


@pytest.mark.parametrize('tile', [(100, 80), (70, 70), (500, 500)])
def test_segments_are_found_once_and_whole(tile: tuple[int, int]) -> None:
    result = predict_tiled(Finder('panoptic'), picture(), tile, overlap=0.55)
    plane, segments = result.panoptic_seg, result.segments
    assert plane is not None
    assert segments is not None
    things = [one for one in segments if one['is_thing']]
    areas = sorted((right - left) * (down - up) for left, up, right, down in BOXES)
    assert sorted(one['area'] for one in things) == areas
    assert {one['name'] for one in things} == {'patch'}
    (ground,) = (one for one in segments if not one['is_thing'])
    assert ground['name'] == 'ground'
    np.testing.assert_array_equal(plane == ground['id'], picture()[..., 0] == 0)


def test_a_thing_longer_than_a_tile_is_one() -> None:
    image = np.zeros((60, 300, 3), np.uint8)
    image[20:40, 10:290] = 255
    result = predict_tiled(Finder('panoptic'), image, (80, 60), overlap=0.3)
    things = [one for one in result.segments or () if one['is_thing']]
    assert [one['area'] for one in things] == [20 * 280]


def test_neighbours_stay_two() -> None:
    image = np.zeros((60, 200, 3), np.uint8)
    image[5:25, 10:190] = image[30:55, 10:190] = 255
    result = predict_tiled(Finder('panoptic'), image, (80, 60), overlap=0.3)
    areas = [one['area'] for one in result.segments or () if one['is_thing']]
    assert sorted(areas) == [20 * 180, 25 * 180]


def test_what_cannot_be_merged_is_refused() -> None:
    with pytest.raises(UserError, match='no scores that could be'):
        predict_tiled(WithoutScores('semantic'), picture(), (70, 70))
    other: Any = Finder('nothing')

    def nothing(part: Any) -> Result:
        sample = DetDataSample(metainfo={'ori_shape': part.shape[:2]})
        return Result(sample, other.classes, part)

    other.one = nothing
    with pytest.raises(UserError, match='tiles are for boxes, masks and maps'):
        predict_tiled(other, picture(), (70, 70))

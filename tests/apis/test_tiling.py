"""Large images in pieces: what lies at the edges is found once, and whole."""

from itertools import pairwise
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
            plane = torch.zeros(1, *shape, dtype=torch.long)
            sample.pred_panoptic_seg = PixelData(sem_seg=plane)
        sample.set_metainfo({'ori_shape': shape})
        return Result(sample, self.classes, part, self.score)


class WithoutScores(Finder):
    """Gives semantic maps as exported files do."""

    def __repr__(self) -> str:
        return 'ExportedModel(a.onnx)'

    def one(self, part: Any) -> Result:
        result = super().one(part)
        del result.sample.seg_logits
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


def test_nothing_found() -> None:
    empty = np.zeros((150, 200, 3), np.uint8)
    assert len(predict_tiled(Finder('masks'), empty, (70, 70))) == 0


def test_segments_are_refused() -> None:
    with pytest.raises(UserError, match='panoptic maps cannot be put together'):
        predict_tiled(Finder('panoptic'), picture(), (70, 70))
    with pytest.raises(UserError, match='no scores that could be'):
        predict_tiled(WithoutScores('semantic'), picture(), (70, 70))

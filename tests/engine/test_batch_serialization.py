"""A batch comes back from plain containers as it was, and nothing else does."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from mmengine.structures import InstanceData, PixelData

from paperzoo.engine.batch_serialization import from_plain, to_plain


def batch() -> dict:
    sample = DetDataSample(
        metainfo={'img_path': 'a.jpg', 'scale_factor': (0.5, 0.5), 'flip': None}
    )
    boxes = HorizontalBoxes(torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    sample.gt_instances = InstanceData(
        bboxes=boxes,
        labels=torch.tensor([3]),
        masks=BitmapMasks(np.eye(4, dtype=np.uint8)[None], 4, 4),
    )
    sample.ignored_instances = InstanceData(
        bboxes=torch.zeros(1, 4),
        masks=PolygonMasks([[np.array([0.0, 0, 4, 0, 4, 4])]], 4, 4),
    )
    sample.gt_sem_seg = PixelData(sem_seg=torch.ones(1, 4, 4, dtype=torch.long))
    return {'inputs': [torch.rand(3, 4, 4)], 'data_samples': [sample]}


def test_a_batch_survives_the_checking_loader(tmp_path: Path) -> None:
    given = batch()
    torch.save(to_plain(given), tmp_path / 'batch.pth')
    again = from_plain(torch.load(tmp_path / 'batch.pth', weights_only=True))
    torch.testing.assert_close(again['inputs'], given['inputs'])
    old, new = given['data_samples'][0], again['data_samples'][0]
    assert type(new) is DetDataSample
    assert new.metainfo == old.metainfo
    assert isinstance(new.gt_instances.bboxes, HorizontalBoxes)
    torch.testing.assert_close(
        new.gt_instances.bboxes.tensor, old.gt_instances.bboxes.tensor
    )
    torch.testing.assert_close(new.gt_instances.labels, old.gt_instances.labels)
    np.testing.assert_array_equal(
        new.gt_instances.masks.masks, old.gt_instances.masks.masks
    )
    np.testing.assert_array_equal(
        new.ignored_instances.masks.to_ndarray(),
        old.ignored_instances.masks.to_ndarray(),
    )
    torch.testing.assert_close(new.gt_sem_seg.sem_seg, old.gt_sem_seg.sem_seg)


def test_random_states_come_back_usable() -> None:
    state = np.random.RandomState(3).get_state()
    other = np.random.RandomState()
    other.set_state(from_plain(to_plain(state)))
    np.testing.assert_array_equal(other.rand(5), np.random.RandomState(3).rand(5))


@pytest.mark.parametrize(
    'path',
    [
        'os.system',
        'subprocess.Popen',
        'mmengine.runner.Runner',
        'mmengine.testing.runner_test_case.RunnerTestCase',
    ],
)
def test_no_other_class_is_made(path: str) -> None:
    element = {'__kind__': 'element', 'class': path, 'meta': {}, 'data': {}}
    with pytest.raises(ValueError, match=path):
        from_plain(element)
    assert 'mmengine.testing.runner_test_case' not in sys.modules

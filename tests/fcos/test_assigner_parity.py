"""The assigner beside mmdet's targets, and beside stored ones of three code bases."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.models.dense_heads import FCOSHead as MMDetHead
from mmengine.structures import InstanceData
from torch import Tensor
from torch.testing import assert_close

from paperzoo.fcos import FCOSRangeAssigner, centerness, encode_ltrb, level_points

GOLDEN = Path(__file__).parents[1] / 'data' / 'golden'
TARGETS = sorted(path.stem for path in GOLDEN.glob('fcos_targets_*.npz'))
RANGES = [(-1, 32), (32, 64), (64, 1e8)]


@pytest.mark.parametrize('center_sampling', [False, True])
@pytest.mark.parametrize('count', [0, 1, 62, 63, 64, 126, 500])
def test_equals_mmdet(center_sampling: bool, count: int) -> None:
    strides = [(8, 8), (16, 16), (32, 32)]
    sizes = [(12, 16), (6, 8), (3, 4)]
    points = [level_points(*level) for level in zip(sizes, strides, strict=True)]
    generator = torch.Generator().manual_seed(count)
    middle = torch.rand(count, 2, generator=generator) * 128
    half = torch.rand(count, 2, generator=generator) * 40
    # Rounded: some areas are equal, some edges go through points.
    boxes = torch.cat((middle - half, middle + half), dim=1).round()
    head = MMDetHead(
        num_classes=count + 1,
        in_channels=1,
        feat_channels=1,
        stacked_convs=0,
        strides=[8, 16, 32],
        regress_ranges=RANGES,
        center_sampling=center_sampling,
        norm_cfg=None,
        init_cfg=None,
    )
    gt = InstanceData(bboxes=boxes, labels=torch.arange(count))
    labels = torch.cat(head.get_targets(points, [gt])[0])
    for known in (None, sizes):
        ours = FCOSRangeAssigner(RANGES, center_sampling=center_sampling)
        found = ours.assign(points, strides, boxes, known)
        expected = torch.where(labels == count + 1, 0, labels + 1)
        assert_close(found, expected, rtol=0, atol=0)


class Golden:
    """One stored case, and what our assigner says about it."""

    def __init__(self, name: str, convention: str) -> None:
        self.arrays = np.load(GOLDEN / f'{name}.npz')
        self.hyper = json.loads(str(self.arrays['meta']))['hyper']
        self.points = self['in:points']
        sizes = self.arrays['in:num_points_per_level'].tolist()
        self.images = len(self['out:mmdet.labels'])
        self.strides = [(stride, stride) for stride in self.hyper['strides']]
        self.per_point = torch.cat(
            [torch.full((n,), s) for n, (s, _) in zip(sizes, self.strides, strict=True)]
        )
        self.background = torch.tensor([self.hyper['num_classes']])
        ours = FCOSRangeAssigner(
            self.hyper['regress_ranges'],
            center_sampling=self.hyper['center_sampling'],
            center_sample_radius=self.hyper['radius'],
            area_convention=convention,
        )
        levels = list(self.points.split(sizes))
        self.gt_inds = [
            ours.assign(levels, self.strides, self[f'in:gt_bboxes.{image}'])
            for image in range(self.images)
        ]

    def __getitem__(self, key: str) -> Tensor:
        return torch.from_numpy(self.arrays[key])

    def labels(self, image: int) -> Tensor:
        every = torch.cat((self.background, self[f'in:gt_labels.{image}']))
        return every[self.gt_inds[image]]

    def ltrb(self, image: int) -> tuple[Tensor, Tensor]:
        """Which points are positive, and their distances."""
        positive = self.gt_inds[image] > 0
        boxes = self[f'in:gt_bboxes.{image}'][self.gt_inds[image][positive] - 1]
        return positive, encode_ltrb(self.points[positive], boxes)


@pytest.mark.parametrize('source', ['mmdet', 'official'])
@pytest.mark.parametrize('name', TARGETS)
def test_golden(name: str, source: str) -> None:
    golden = Golden(name, 'mmdet' if source == 'mmdet' else 'authors')
    if f'out:{source}.labels' not in golden.arrays:
        # The authors' code raises an IndexError on an image without boxes.
        assert name.endswith('_empty')
        return
    for image in range(golden.images):
        expected = golden[f'out:{source}.labels'][image]
        assert_close(golden.labels(image), expected, rtol=0, atol=0)
        positive, ltrb = golden.ltrb(image)
        # A root may be rounded differently by another build of torch.
        for value, key, rtol in (
            (ltrb, 'ltrb', 0.0),
            (centerness(ltrb), 'centerness', 3e-7),
        ):
            stored = golden[f'out:{source}.{key}'][image]
            assert_close(value, stored[positive], rtol=rtol, atol=0)
            assert not stored[~positive].any()


@pytest.mark.parametrize('name', TARGETS)
def test_golden_of_adelaidet(name: str) -> None:
    # Its area is w h, as mmdet's.
    golden = Golden(name, 'mmdet')
    counts = [len(golden[f'in:gt_bboxes.{image}']) for image in range(golden.images)]
    starts = np.cumsum([0, *counts])
    for image in range(golden.images):
        gt_inds = golden.gt_inds[image]
        expected = torch.where(gt_inds > 0, gt_inds - 1 + int(starts[image]), -1)
        stored = golden['out:adet.target_inds'][image]
        assert_close(expected, stored, rtol=0, atol=0)
        labels = golden['out:adet.labels'][image]
        assert_close(golden.labels(image), labels, rtol=0, atol=0)
        positive, ltrb = golden.ltrb(image)
        in_strides = ltrb / golden.per_point[positive, None]
        stored = golden['out:adet.ltrb_over_stride'][image][positive]
        assert_close(in_strides, stored, rtol=0, atol=0)

"""The registered data sets give mmdet what its own CocoDataset gives."""

from pathlib import Path
from typing import Any

import labelled_folders as made
import numpy as np
import pytest
import torch
from labelled_folders import CLASSES
from mmdet.structures import DetDataSample
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

from paperzoo.data.formats.splitting import chosen_by_seed, part_of
from paperzoo.errors import UserError
from paperzoo.evaluation.coco import FastCocoMetric
from paperzoo.registry import DATASETS

TYPES = {
    'coco-cvat': 'CocoFolderDataset',
    'yolo': 'YOLODataset',
    'voc': 'VOCDataset',
    'labelme': 'LabelMeDataset',
    'cvat': 'CVATDataset',
}


def pipeline(masks: bool) -> list[dict]:
    return [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True, with_mask=masks),
        dict(
            type='PackDetInputs',
            meta_keys=('img_id', 'img_path', 'ori_shape', 'instances'),
        ),
    ]


def build(kind: str, root: Path, masks: bool = False, **more: Any) -> Any:
    init_default_scope('mmdet')
    more.setdefault('metainfo', dict(classes=CLASSES))
    return DATASETS.build(
        dict(
            type=f'paperzoo.{kind}',
            data_root=str(root),
            pipeline=pipeline(masks),
            **more,
        )
    )


def stock(root: Path, some: list, masks: bool) -> Any:
    made.write_coco(root, some, masks=masks)
    return build(
        'CocoDataset',
        root,
        masks,
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='train/'),
    )


@pytest.mark.parametrize('masks', [False, True])
@pytest.mark.parametrize('name', TYPES)
def test_items_are_those_of_mmdets_coco(name: str, masks: bool, tmp_path: Path) -> None:
    some = made.scenes(4)
    wanted = stock(tmp_path / 'coco', some, masks)
    if masks and name == 'voc':
        pytest.skip('VOC has boxes only')
    extra = {'masks': True} if masks else {}
    made.BOXES[name](tmp_path / 'own', some, **extra)
    data = build(TYPES[name], tmp_path / 'own', masks)
    assert data.metainfo['classes'] == CLASSES
    assert len(data) == len(wanted) == 4
    for ours, theirs in zip(data, wanted, strict=True):
        torch.testing.assert_close(ours['inputs'], theirs['inputs'], rtol=0, atol=0)
        own, other = (one['data_samples'].gt_instances for one in (ours, theirs))
        torch.testing.assert_close(own.labels, other.labels)
        torch.testing.assert_close(
            own.bboxes.tensor, other.bboxes.tensor, rtol=0, atol=1e-4
        )
        if masks:
            agree = own.masks.masks == other.masks.masks
            assert agree.mean() > 0.999  # YOLO rounds corners


def test_classes_come_from_the_folder_where_none_are_named(tmp_path: Path) -> None:
    made.write_labelme(tmp_path, made.scenes(3))
    data = build('LabelMeDataset', tmp_path, metainfo=None)
    assert data.metainfo['classes'] == tuple(sorted(CLASSES))


def test_classes_that_are_not_named_are_passed_over(tmp_path: Path) -> None:
    some = made.scenes(3)
    made.write_yolo(tmp_path, some)
    data = build('YOLODataset', tmp_path, metainfo=dict(classes=CLASSES[1:]))
    labels = [label for number in range(3) for label in data.get_cat_ids(number)]
    kept = [CLASSES.index(t.name) - 1 for one in some for t in one.things]
    assert labels == [label for label in kept if label >= 0]


def test_a_box_alone_is_its_own_mask(tmp_path: Path) -> None:
    some = made.scenes(2)
    made.write_voc(tmp_path, some)
    data = build('VOCDataset', tmp_path, masks=True)
    gt = data[0]['data_samples'].gt_instances
    for mask, box in zip(gt.masks.masks, gt.bboxes.tensor.int().tolist(), strict=True):
        left, top, right, bottom = box
        assert mask.sum() == (right - left) * (bottom - top)
        assert mask[top:bottom, left:right].all()


def test_parts_by_seed_are_complete_and_apart(tmp_path: Path) -> None:
    made.write_yolo_labelimg(tmp_path, made.scenes(10))
    names: dict[str, set[str]] = {}
    for split in ('train', 'val'):
        data = build('YOLODataset', tmp_path, split=split, val=0.3, seed=1)
        infos = [data.get_data_info(number) for number in range(len(data))]
        names[split] = {Path(one['img_path']).name for one in infos}
    assert (len(names['train']), len(names['val'])) == (7, 3)
    assert not names['train'] & names['val']


def test_an_own_split_stays(tmp_path: Path) -> None:
    some = made.scenes(6, splits=('train', 'val', 'test'))
    made.write_voc(tmp_path, some)
    for split in ('train', 'val', 'test'):
        data = build('VOCDataset', tmp_path, split=split)
        infos = [data.get_data_info(number) for number in range(len(data))]
        wanted = {one.name for one in some if one.split == split}
        assert {Path(one['img_path']).name for one in infos} == wanted


def test_a_split_that_is_not_there(tmp_path: Path) -> None:
    made.write_labelme(tmp_path, made.scenes(3))
    with pytest.raises(UserError, match="no image for split='test'"):
        build('LabelMeDataset', tmp_path, split='test')


def test_nothing_left_to_train_on(tmp_path: Path) -> None:
    made.write_voc(tmp_path, made.scenes(3))
    with pytest.raises(UserError, match='no image of 3 is left to train on'):
        build(
            'VOCDataset',
            tmp_path,
            metainfo=dict(classes=('unicorn',)),
            filter_cfg=dict(filter_empty_gt=True),
        )


def test_copies_of_one_picture_stay_together() -> None:
    names = [f'{stem}.rf.{copy}.jpg' for stem in 'abcdef' for copy in range(3)]
    chosen = chosen_by_seed(names, 0.33, seed=3)
    assert len(chosen) == 6
    assert len({name[0] for name in chosen}) == 2


@pytest.mark.parametrize('seed', range(4))
def test_the_choice_knows_no_order(seed: int) -> None:
    names = [f'{number}.jpg' for number in range(40)]
    chosen = chosen_by_seed(names, 0.2, seed)
    assert len(chosen) == 8
    assert chosen == chosen_by_seed(reversed(names), 0.2, seed)
    assert chosen != chosen_by_seed(names, 0.2, seed + 1)
    none = [''] * 40
    train, val = (
        part_of(names, names, none, one, 0.2, seed) for one in ('train', 'val')
    )
    assert sorted(train + val) == sorted(names)


def predictions(data: Any, seed: int) -> list[dict]:
    """Return the truth, shaken, with some labels wrong, as a model's predictions."""
    rng = np.random.default_rng(seed)
    samples = []
    for item in data:
        sample = item['data_samples']
        boxes = sample.gt_instances.bboxes.tensor
        shake = torch.from_numpy(rng.normal(0, 3, boxes.shape)).float()
        labels = sample.gt_instances.labels.clone()
        if len(labels):
            labels[0] = int(rng.integers(len(CLASSES)))
        found = InstanceData(
            bboxes=boxes + shake,
            labels=labels,
            scores=torch.from_numpy(rng.random(len(labels))).float(),
        )
        one = DetDataSample(metainfo=sample.metainfo, pred_instances=found)
        samples.append(one.to_dict())
    return samples


@pytest.mark.parametrize('name', TYPES)
def test_the_metric_without_a_file_gives_that_of_the_file(
    name: str, tmp_path: Path
) -> None:
    some = made.scenes(8)
    wanted = stock(tmp_path / 'coco', some, masks=False)
    made.BOXES[name](tmp_path / 'own', some)
    data = build(TYPES[name], tmp_path / 'own', test_mode=True)
    numbers = []
    for one, file in (
        (data, None),
        (wanted, str(tmp_path / 'coco/annotations/instances_train.json')),
    ):
        metric = FastCocoMetric(ann_file=file, metric='bbox')
        metric.dataset_meta = one.metainfo
        metric.process({}, predictions(one, seed=5))
        numbers.append(metric.evaluate(len(one)))
    ours, theirs = numbers
    assert 0.2 < ours['coco/bbox_mAP'] < 0.9
    assert ours == pytest.approx(theirs, abs=2e-3)


def test_the_metric_of_images_without_an_object(tmp_path: Path) -> None:
    some = made.scenes(3)
    made.write_yolo(tmp_path, some)
    for file in tmp_path.rglob('*/train/*.txt'):
        file.write_text('')
    data = build('YOLODataset', tmp_path, test_mode=True)
    metric = FastCocoMetric(metric='bbox')
    metric.dataset_meta = data.metainfo
    samples = predictions(data, seed=0)
    samples[0]['pred_instances'] = InstanceData(
        bboxes=torch.tensor([[3.0, 4, 20, 30]]),
        labels=torch.tensor([0]),
        scores=torch.tensor([0.5]),
    )
    metric.process({}, samples)
    # Nothing to find: COCO's code for no number, no crash.
    assert metric.evaluate(len(data))['coco/bbox_mAP'] == -1

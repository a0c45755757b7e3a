"""FastCocoMetric's digits depend on no id or order: they are mmdet's."""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.evaluation import CocoMetric

from paperzoo.errors import UserError
from paperzoo.evaluation.coco import FastCocoMetric

NAMES = ('cat', 'dog', 'bird')


def truth(seed: int, images: int, objects: int) -> dict:
    """Objects and crowds on images of 100 by 100, with ids from 1."""
    rng = np.random.default_rng(seed)
    annotations = []
    for number in range(1, objects + 1):
        box = [*rng.uniform(0, 50, 2), *rng.uniform(2, 50, 2)]
        annotations.append(
            {
                'id': number,
                'image_id': int(rng.integers(1, images + 1)),
                'category_id': int(rng.integers(1, len(NAMES))),  # no birds
                'bbox': box,
                'area': box[2] * box[3],
                'iscrowd': int(rng.random() < 0.2),
            }
        )
    return {
        'images': [
            {'id': number, 'file_name': f'{number}.png', 'width': 100, 'height': 100}
            for number in range(1, images + 1)
        ],
        'annotations': annotations,
        'categories': [
            {'id': number, 'name': name} for number, name in enumerate(NAMES, 1)
        ],
    }


def found(content: dict, seed: int) -> list[dict]:
    """Near every object and beside them; many scores are equal."""
    rng = np.random.default_rng(seed)
    samples = []
    for image in content['images']:
        own = [a for a in content['annotations'] if a['image_id'] == image['id']]
        boxes = [np.array(one['bbox']) + rng.normal(0, 2, 4) for one in own]
        labels = [one['category_id'] - 1 for one in own]
        boxes += [np.array([5.0, 5, 30, 30])] * 2
        labels += [0, 2]
        corners = np.stack(boxes)
        corners[:, 2:] = corners[:, :2] + corners[:, 2:].clip(1)
        samples.append(
            {
                'img_id': image['id'],
                'ori_shape': (100, 100),
                'pred_instances': {
                    'bboxes': torch.tensor(corners, dtype=torch.float32),
                    'scores': torch.tensor(rng.random(len(boxes)).round(1)),
                    'labels': torch.tensor(labels),
                },
            }
        )
    return samples


def numbers(kind: type, content: dict, samples: list[dict], **options: Any) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, 'a.json')
        file.write_text(json.dumps(content))
        metric = kind(ann_file=str(file), classwise=True, **options)
    metric.dataset_meta = {'classes': NAMES}
    metric.process({}, samples)
    return metric.evaluate(len(samples))


def renamed(content: dict, samples: list[dict], ids: dict, seed: int) -> tuple:
    """The same file with other ids and categories in another order."""
    rng = np.random.default_rng(seed)
    # Between equal scores the order of images decides: it must stay.
    images = dict(zip(range(1, 99), sorted(ids['images']), strict=False))
    categories = dict(zip(range(1, 99), ids['categories'], strict=False))
    other = {
        'images': [{**one, 'id': images[one['id']]} for one in content['images']],
        'categories': [
            {**content['categories'][int(k)], 'id': categories[int(k) + 1]}
            for k in rng.permutation(len(NAMES))
        ],
        'annotations': [
            {
                **one,
                'id': number,
                'image_id': images[one['image_id']],
                'category_id': categories[one['category_id']],
            }
            for one, number in zip(
                content['annotations'], ids['annotations'], strict=False
            )
        ],
    }
    rng.shuffle(other['images'])
    moved = [{**one, 'img_id': images[one['img_id']]} for one in samples]
    return other, moved


def several(least: int) -> st.SearchStrategy:
    kinds = (
        st.integers(-3, 2**40),
        st.floats(-1e6, 1e6),
        st.text(st.characters(codec='utf-8', exclude_characters='\0'), max_size=4),
    )
    return st.one_of(
        *(st.lists(kind, min_size=least, max_size=least, unique=True) for kind in kinds)
    )


@settings(max_examples=25, deadline=None)
@given(
    ids=st.fixed_dictionaries(
        {'images': several(4), 'annotations': several(12), 'categories': several(3)}
    ),
    seed=st.integers(0, 1000),
    images=st.integers(1, 4),
    objects=st.integers(0, 12),
)
def test_digits_are_those_of_numbers_from_one(
    ids: dict, seed: int, images: int, objects: int
) -> None:
    content = truth(seed, images, objects)
    samples = found(content, seed)
    want = numbers(CocoMetric, content, samples)
    got = numbers(FastCocoMetric, *renamed(content, samples, ids, seed))
    assert got.keys() == want.keys()
    np.testing.assert_array_equal(list(got.values()), list(want.values()))


def test_an_object_of_id_0_is_found() -> None:
    content = truth(0, 1, 1)
    (only,) = content['annotations']
    only.update(id=0, iscrowd=0)
    x, y, w, h = only['bbox']
    perfect = {
        'bboxes': torch.tensor([[x, y, x + w, y + h]]),
        'scores': torch.ones(1),
        'labels': torch.tensor([only['category_id'] - 1]),
    }
    samples = [{'img_id': 1, 'ori_shape': (100, 100), 'pred_instances': perfect}]
    assert numbers(FastCocoMetric, content, samples)['coco/bbox_mAP'] == 1
    # What is mended.
    assert numbers(CocoMetric, content, samples)['coco/bbox_mAP'] == 0


def test_no_detection_at_all() -> None:
    content = truth(0, 2, 3)
    nothing = {
        'bboxes': torch.zeros(0, 4),
        'scores': torch.zeros(0),
        'labels': torch.zeros(0, dtype=torch.long),
    }
    samples = [
        {'img_id': number, 'ori_shape': (100, 100), 'pred_instances': nothing}
        for number in (1, 2)
    ]
    assert numbers(FastCocoMetric, content, samples) == (
        numbers(CocoMetric, content, samples)
    )


def test_results_for_a_server_keep_the_files_ids(tmp_path: Path) -> None:
    content = truth(3, 2, 4)
    for one in content['categories']:
        one['id'] *= 10
    content['categories'].reverse()
    samples = found(truth(3, 2, 4), 3)
    numbers(
        FastCocoMetric,
        content,
        samples,
        format_only=True,
        outfile_prefix=str(tmp_path / 'out'),
    )
    written = json.loads((tmp_path / 'out.bbox.json').read_text())
    first = samples[0]['pred_instances']['labels']
    assert [one['category_id'] for one in written][: len(first)] == [
        10 * (label + 1) for label in first.tolist()
    ]


def test_ambiguous_ids_are_refused() -> None:
    content = truth(0, 2, 3)
    content['annotations'][1]['id'] = 1
    with pytest.raises(UserError, match='2 annotations have the id 1'):
        numbers(FastCocoMetric, content, [])

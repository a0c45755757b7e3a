"""Annotation files are read without their polygons, and otherwise unchanged."""

import json
from pathlib import Path
from typing import Any

import pytest

from paperzoo.preflight.coco_files import check_coco, read_annotations
from paperzoo.preflight.datasets import DataSpec


@pytest.mark.parametrize('indent', [None, 1])
@pytest.mark.parametrize(
    ('segmentation', 'read'),
    [
        ([[1.5, 2e-05, -3, 4]], 0),
        ([[1, 2], [3, 4]], 0),
        ([], 0),
        ({'counts': [1, 2], 'size': [3, 4]}, {'counts': [1, 2], 'size': [3, 4]}),
        ('[1]', '[1]'),
    ],
)
def test_polygons_are_passed_over(
    tmp_path: Path, indent: int | None, segmentation: object, read: object
) -> None:
    def content(value: object) -> dict:
        first = {'id': 1, 'segmentation': value, 'bbox': [1, 2, 3, 4]}
        last = {'bbox': [5, 6, 7, 8], 'segmentation': value}
        return {
            'annotations': [first, last],
            'images': [{'file_name': 'a [1], "b".jpg'}],
            'categories': [],
        }

    file = tmp_path / 'file.json'
    file.write_text(json.dumps(content(segmentation), indent=indent))
    assert read_annotations(file) == content(read)


def test_a_test_may_have_no_truth(tmp_path: Path) -> None:
    file = tmp_path / 'file.json'
    file.write_text('{"images": [], "categories": []}')
    assert "has no 'annotations'" in str(read_annotations(file))
    assert read_annotations(file, hidden=True) == {
        'images': [],
        'categories': [],
        'annotations': [],
    }


def test_a_text_as_iscrowd_is_named(tmp_path: Path) -> None:
    from PIL import Image

    from paperzoo.data.coco import CocoDataset

    Image.new('RGB', (20, 10)).save(tmp_path / 'a.png')
    box = dict(id=4, image_id=1, category_id=1, bbox=[2, 2, 5, 5], area=25, iscrowd='0')
    content = dict(
        images=[dict(id=1, file_name='a.png', width=20, height=10)],
        annotations=[box],
        categories=[dict(id=1, name='cat')],
    )
    (tmp_path / 'a.json').write_text(json.dumps(content))
    spec: dict[str, Any] = dict(data_root=str(tmp_path), ann_file='a.json')
    spec |= dict(metainfo=dict(classes=('cat',)))
    issues, _ = check_coco(DataSpec('train', spec, CocoDataset), 'a.py')
    said = [one.text for one in issues if 'text as iscrowd' in one.text]
    assert len(said) == 1
    assert '1 boxes have a text as iscrowd' in said[0]
    assert '(annotation ids 4)' in said[0]

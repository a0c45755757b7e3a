"""Annotation files are read without their polygons, and otherwise unchanged."""

import json
from pathlib import Path

import pytest

from paperzoo.preflight.coco_files import read_annotations


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

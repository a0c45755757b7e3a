"""The check prints errors, then warnings, and ends with a code that says which."""

import json
from pathlib import Path
from typing import Any

import cv2
import labelled_folders as made
import pytest

from paperzoo.apis.check import draw_examples
from paperzoo.apis.init_config import init_config
from paperzoo.preflight.issues import Example, Issue
from paperzoo.tools import check


def run(monkeypatch: pytest.MonkeyPatch, work_dir: Path, *options: str) -> int:
    command = ['check', 'fcos_tiny_shapes', '--work-dir', str(work_dir / 'work')]
    if options:
        command += ['--cfg-options', *options]
    monkeypatch.setattr('sys.argv', command)
    with pytest.raises(SystemExit) as end:
        check.main()
    return int(end.value.code or 0)


def test_nothing_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    assert run(monkeypatch, tmp_path) == 0
    assert '0 errors, 0 warnings' in capsys.readouterr().out
    assert not (tmp_path / 'work').exists()  # nothing is left behind


def test_errors_come_first_and_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    wrong = 'test_dataloader.dataset.ann_file=none.json'
    heads = 'model.bbox_head.num_classes=8'
    assert run(monkeypatch, tmp_path, heads, wrong) == 1
    out = capsys.readouterr().out
    assert 'error: model.bbox_head.num_classes = 8, but' in out
    assert 'error: test_dataloader.dataset: data set not found' in out
    assert out.rstrip().endswith('2 errors, 0 warnings')


def test_a_misspelt_name_is_all_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    assert run(monkeypatch, tmp_path, 'optim_wrapper.optimizer.type=AdmW') == 1
    assert 'AdmW' in capsys.readouterr().out


def test_wrong_boxes_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    made.write_coco(tmp_path / 'data', made.scenes(12, splits=('train', 'val')))
    file = tmp_path / 'data/annotations/instances_train.json'
    content = json.loads(file.read_text('utf-8'))
    sizes = {one['id']: one for one in content['images']}
    first, *others = content['annotations']
    for number, one in enumerate(others[:5]):
        image = sizes[one['image_id']]
        one['bbox'] = [image['width'] - 10 - number, 5, 30, 20]  # reaches out
    file.write_text(json.dumps(content), encoding='utf-8')
    init_config(tmp_path / 'data', tmp_path / 'a.py', scratch=True)
    # What init has read is not what the stock reader of a split reads.
    first['bbox'] = [-60, 0, 20, 20]  # outside
    file.write_text(json.dumps(content), encoding='utf-8')
    monkeypatch.chdir(tmp_path)
    for page in ('check', 'check_2'):  # an earlier page stays
        monkeypatch.setattr('sys.argv', ['check', 'a.py'])
        with pytest.raises(SystemExit, match=r'^0$'):
            check.main()
        out = capsys.readouterr().out
        assert '5 boxes reach out of their image' in out
        assert f'pictures of it: {tmp_path / page / "page.jpg"}' in out
        assert out.rstrip().endswith('0 errors, 2 warnings')
    drawn: Any = cv2.imread(str(tmp_path / 'check/page.jpg'))
    red = (drawn[..., 2] > 200) & (drawn[..., 1] < 70) & (drawn[..., 0] < 70)
    # One picture of the box outside, three of the five that reach out.
    assert drawn.shape[1] == 3 * 428 + 8
    assert red.sum() > 4 * 100


def test_without_a_picture_there_is_no_page(tmp_path: Path) -> None:
    gone = Example(tmp_path / 'gone.jpg', (0, 0, 5, 5), 'a')
    endless = Example(tmp_path / 'gone.jpg', (0, 0, float('nan'), 5), 'a')
    issue = Issue('2 boxes', stops=False, examples=(gone, endless))
    assert draw_examples([issue], tmp_path / 'page') is None
    assert not (tmp_path / 'page').exists()

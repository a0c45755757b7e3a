"""The check prints errors, then warnings, and ends with a code that says which."""

from pathlib import Path

import pytest

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

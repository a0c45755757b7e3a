"""The pickle of raw predictions: what MMEngine writes, but whole or not there."""

from pathlib import Path

import pytest
import torch
from mmengine.evaluator import DumpResults

from paperzoo.errors import UserError
from paperzoo.evaluation import dump
from paperzoo.evaluation.dump import DumpPickle

PREDICTIONS = [{'img_id': 1, 'pred': {'scores': torch.tensor([0.5])}}]


def test_the_same_bytes_as_mmengine(tmp_path: Path) -> None:
    for kind, name in ((DumpResults, 'theirs.pkl'), (DumpPickle, 'ours.pkl')):
        metric = kind(str(tmp_path / name))
        metric.process(None, PREDICTIONS)
        assert metric.evaluate(1) == {}
    ours = (tmp_path / 'ours.pkl').read_bytes()
    assert ours == (tmp_path / 'theirs.pkl').read_bytes()


def test_a_full_disk_leaves_the_earlier_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'r.pkl').write_text('old')

    def half(results: object, stream: object, **options: object) -> None:
        stream.write(b'half')  # type: ignore[attr-defined]
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(dump, 'dump', half)
    with pytest.raises(UserError, match=r'r\.pkl.*No space left'):
        DumpPickle(str(tmp_path / 'r.pkl')).compute_metrics([])
    assert [one.read_text() for one in tmp_path.iterdir()] == ['old']

"""A test of episodes, written down and analyzed: which image was taken for what."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate

from paperzoo.apis.analysis import analyze
from paperzoo.data.episodes import EpisodeDataset
from paperzoo.errors import UserError
from paperzoo.evaluation.dump import DumpRecords

CLASSES = ('cat', 'cow', 'dog', '鸟')


@pytest.fixture
def data(tmp_path: Path) -> EpisodeDataset:
    """Four images of each class, whose grey tells the class."""
    for label, name in enumerate(CLASSES):
        (tmp_path / 'set' / 'test' / name).mkdir(parents=True)
        for number in range(4):
            pixels = np.full((12, 12, 3), 60 * label, np.uint8)
            _, content = cv2.imencode('.png', pixels)
            file = tmp_path / 'set' / 'test' / name / f'{number}.png'
            file.write_bytes(content.tobytes())
    return EpisodeDataset(
        str(tmp_path / 'set'), 'test', ways=3, queries=2, episodes=30, test_mode=True
    )


def answers_of(data: EpisodeDataset, file: Path, never: str) -> dict[str, Any]:
    """Write a test of a model that sees all but one class, whose images it mistakes."""
    metric = DumpRecords(str(file))
    metric.dataset_meta = data.metainfo
    batch = default_collate([data[number] for number in range(len(data))])
    samples = []
    for classes, labels in zip(
        batch['episode_class'], batch['query_label'], strict=True
    ):
        wrong = torch.tensor([CLASSES[k] == never for k in classes[labels].tolist()])
        found = torch.where(wrong, (labels + 1) % 3, labels)
        samples.append({'pred_label': found, 'gt_label': labels})
    metric.process(batch, samples)
    assert metric.evaluate(len(samples)) == {}
    return json.loads(file.read_text(encoding='utf-8'))


def test_written_and_analyzed(data: EpisodeDataset, tmp_path: Path) -> None:
    written = answers_of(data, tmp_path / 'r.json', never='dog')
    assert [one['name'] for one in written['categories']] == list(CLASSES)
    assert len(written['annotations']) == len(written['truth']) == 30 * 6
    files = {one['id']: one['file_name'] for one in written['images']}
    for row in written['truth']:
        # The truth is the folder that the image lies in.
        assert Path(files[row['image_id']]).parent.name == CLASSES[row['category_id']]
    record, pictures = analyze(str(tmp_path / 'r.json'), out=tmp_path / 'out')
    confusion = np.array(record['confusion'])
    assert confusion.sum() == 180
    assert confusion[2, 2] == 0
    assert confusion[2].sum() > 0
    kept = [0, 1, 3]
    assert (confusion[kept][:, kept] == np.diag(confusion[kept, kept])).all()
    assert record['unit'] == 'queries'
    worst = record['quality'][0]
    assert worst['quality'] == 0
    assert 'dog' in worst['file_name']
    assert all(one is not None and one.is_file() for one in pictures.values())


def test_the_loop_of_episodes_gives_them_undrawn(
    data: EpisodeDataset, tmp_path: Path
) -> None:
    metric = DumpRecords(str(tmp_path / 'r.json'))
    metric.dataset_meta = data.metainfo
    episode = data.draw(0)
    labels = torch.from_numpy(episode.query_label)
    metric.process([episode], [{'pred_label': labels, 'gt_label': labels}])
    metric.evaluate(1)
    written = json.loads((tmp_path / 'r.json').read_text())
    assert [row['image_id'] for row in written['truth']] == episode.query.tolist()
    files = {one['id']: one['file_name'] for one in written['images']}
    for row in written['truth']:
        assert Path(files[row['image_id']]).parent.name == CLASSES[row['category_id']]


def test_a_set_that_does_not_say_its_images(tmp_path: Path) -> None:
    metric = DumpRecords(str(tmp_path / 'r.json'))
    labels = torch.zeros(1, dtype=torch.long)
    with pytest.raises(UserError, match='test_mode=True'):
        metric.process({}, [{'pred_label': labels, 'gt_label': labels}])

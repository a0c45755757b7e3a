"""Videos: as many frames as there are, records and pictures of each."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import paperzoo
from paperzoo.apis.images import ImageError
from paperzoo.apis.inference import predictor_of
from paperzoo.apis.prediction import predict_files
from paperzoo.apis.predictor import Predictor
from paperzoo.apis.video import Video, video_file


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Six frames, each brighter than the one before."""
    file = tmp_path / 'film.mp4'
    with video_file(file, 12.5) as video:
        for number in range(6):
            video.add(np.full((96, 128, 3), 40 * number, np.uint8))
    return file


@pytest.fixture(scope='module')
def model() -> Predictor:
    cfg = paperzoo.load_config('fcos_tiny_shapes')
    return predictor_of(paperzoo.build_model(cfg, 'cpu'), cfg, {}, score=0.0)


def test_frames(film: Path) -> None:
    video = Video(film)
    assert (video.rate, video.count) == (12.5, 6)
    means = [frame.mean() for frame in video]
    np.testing.assert_allclose(means, np.arange(6) * 40, atol=6)


def test_records_and_a_drawn_video(
    film: Path, model: Predictor, tmp_path: Path
) -> None:
    found, file = predict_files(model, [film], out=tmp_path / 'out', batch_size=4)
    assert [one['frame'] for one in found['images']] == list(range(6))
    assert {one['file_name'] for one in found['images']} == {str(film)}
    assert {one['image_id'] for one in found['annotations']} == set(range(1, 7))
    assert json.loads(file.read_text())['images'] == found['images']
    (drawn,) = (tmp_path / 'out' / 'overlays').iterdir()
    frames = list(Video(drawn))
    assert len(frames) == 6
    assert frames[0].shape == (96, 128, 3)
    assert frames[0].max() > 100, 'nothing is drawn over the black frame'


def test_without_overlays_there_is_no_video(
    film: Path, model: Predictor, tmp_path: Path
) -> None:
    predict_files(model, [film], out=tmp_path / 'out', overlays=False)
    assert [one.name for one in (tmp_path / 'out').rglob('*') if one.is_file()] == [
        'predictions.json'
    ]


def test_a_video_that_is_none(tmp_path: Path, model: Any, capsys: Any) -> None:
    (tmp_path / 'a.mp4').write_text('no video')
    found, _ = predict_files(model, [tmp_path / 'a.mp4'], out=tmp_path / 'out')
    assert found['failed'][0]['error'] == 'OpenCV cannot read this video'
    assert 'a.mp4 is left out' in capsys.readouterr().err
    with pytest.raises(ImageError, match='no such file'):
        Video(tmp_path / 'b.mp4')


def test_a_video_that_is_cut_off_leaves_no_file(tmp_path: Path) -> None:
    frame = np.zeros((48, 64, 3), np.uint8)

    def interrupted() -> None:
        with video_file(tmp_path / 'a.mp4', 25) as video:
            video.add(frame)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert cv2.imwrite(str(tmp_path / 'b.png'), frame)
    assert [one.name for one in tmp_path.iterdir()] == ['b.png']

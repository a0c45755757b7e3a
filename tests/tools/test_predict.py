"""predict: which images, what is written, and what a damaged image does."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from paperzoo.apis import prediction
from paperzoo.apis.build import build_dataset, build_model
from paperzoo.apis.config import find_config, load_config
from paperzoo.apis.images import find_images
from paperzoo.apis.inference import predictor_of
from paperzoo.apis.init_config import init_config
from paperzoo.apis.prediction import predict_files
from paperzoo.data.paths import ensure_generated
from paperzoo.errors import UserError
from paperzoo.tools import predict
from paperzoo.utils.masks import decode

NARROW = [
    'model.backbone.base_channels=8',
    'model.neck.in_channels=[8,16,32,64]',
    'model.test_cfg.score_thr=0.0',
]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / 'images'
    (folder / 'deeper').mkdir(parents=True)
    source = sorted(Path(ensure_generated('data/shapes/val')).glob('*.jpg'))[:3]
    for file, name in zip(source, ('a.jpg', 'b.JPG', 'deeper/a.jpg'), strict=True):
        (folder / name).write_bytes(file.read_bytes())
    whole = (folder / 'a.jpg').read_bytes()
    (folder / 'cut.jpg').write_bytes(whole[: len(whole) // 2])
    (folder / 'notes.txt').write_text('no image')
    return folder


def checkpoint(name: str, options: list[str], file: Path, **meta: object) -> Path:
    """Save the weights of a config's model as they are at the start."""
    cfg = Config.fromfile(str(find_config(name)))
    for option in options:
        key, _, value = option.partition('=')
        cfg.merge_from_dict({key: json.loads(value)})
    torch.manual_seed(0)
    weights = build_model(cfg, 'cpu').state_dict()
    torch.save({'state_dict': weights, 'meta': meta}, file)
    return file


def run(
    monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: object
) -> dict[str, Any]:
    command = ['predict', *map(str, arguments), '--device', 'cpu']
    monkeypatch.setattr(sys, 'argv', command)
    monkeypatch.chdir(folder)
    predict.main()
    newest = max(folder.glob('predictions*/predictions.json'), key=str)
    return json.loads(newest.read_text())


def test_boxes_overlays_and_a_damaged_image(
    images: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    names = tuple('abcdefg')
    file = checkpoint(
        'fcos_tiny_shapes',
        NARROW,
        tmp_path / 'w.pth',
        dataset_meta={'classes': names},
    )
    options = ('--cfg-options', *NARROW, '--score', '0')
    found = run(monkeypatch, tmp_path, 'fcos_tiny_shapes', file, images, *options)
    done = [Path(image['file_name']).name for image in found['images']]
    assert sorted(done) == ['a.jpg', 'a.jpg', 'b.JPG']
    assert [image['width'] for image in found['images']] == [320] * 3
    (failed,) = found['failed']
    assert failed['file_name'].endswith('cut.jpg')
    said = capsys.readouterr().err
    assert said.count('cut.jpg is left out') == 1
    assert 'empty, cut off or no image' in said
    # Classes are the checkpoint's; boxes lie in the image that was given.
    assert [one['name'] for one in found['categories']] == list(names)
    boxes = np.array([one['bbox'] for one in found['annotations']])
    assert len(boxes) > 0
    assert {one['image_id'] for one in found['annotations']} <= {1, 2, 3}
    assert boxes[:, :2].min() >= 0
    assert (boxes[:, 0] + boxes[:, 2]).max() <= 320.01
    assert boxes[:, 0].max() > 256 * 0.9  # not in the resized one
    for image in found['images']:
        overlay = cv2.imread(str(tmp_path / 'predictions' / image['overlay']))
        own = cv2.imread(image['file_name'])
        assert overlay.shape == own.shape
        assert not np.array_equal(overlay, own)
    assert len({image['overlay'] for image in found['images']}) == 3
    assert len(found['info']['checkpoint_sha256']) == 64


def test_a_second_run_replaces_nothing(
    images: Path, tmp_path: Path, monkeypatch
) -> None:
    file = checkpoint('fcos_tiny_shapes', NARROW, tmp_path / 'w.pth')
    (tmp_path / 'predictions').mkdir()
    found = run(
        monkeypatch,
        tmp_path,
        *('fcos_tiny_shapes', file, images / 'a.jpg', '--no-overlays'),
        *('--cfg-options', *NARROW, '--score', '1.1'),
    )
    assert [file.name for file in (tmp_path / 'predictions_2').iterdir()] == [
        'predictions.json'
    ]
    assert found['annotations'] == []
    assert len(found['images']) == 1
    # The checkpoint does not say the classes, the config's data set does.
    assert found['categories'][0] == {'id': 0, 'name': 'circle'}


@pytest.mark.parametrize('kind', ['panoptic', 'semantic'])
def test_segments(kind: str, images: Path, tmp_path: Path, monkeypatch) -> None:
    name = f'knet_tiny_shapes_{kind}'
    file = checkpoint(name, [], tmp_path / 'w.pth')
    found = run(monkeypatch, tmp_path, name, file, images / 'a.jpg', '--score', '0')
    (image,) = found['images']
    records = found['annotations']
    assert len(found['categories']) == 10
    total = np.zeros((image['height'], image['width']), int)
    for record in records:
        total += decode(record)
    if kind == 'semantic':
        np.testing.assert_array_equal(total, 1)  # every pixel has one class
    else:
        assert total.max(initial=0) <= 1


def test_checkpoint_of_another_model_is_one_message(
    images: Path, tmp_path: Path, monkeypatch
) -> None:
    file = tmp_path / 'w.pth'
    torch.save({'state_dict': {'other': torch.zeros(1)}}, file)
    with pytest.raises(UserError, match='belongs to another model'):
        run(monkeypatch, tmp_path, 'fcos_tiny_shapes', file, images)
    assert not (tmp_path / 'predictions').exists()


def test_whatever_one_image_raises_the_others_go_on(
    images: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    file = checkpoint('fcos_tiny_shapes', NARROW, tmp_path / 'w.pth')
    cv2.imwrite(str(images / 'flat.png'), np.zeros((1, 3000, 3), np.uint8))
    os.mkfifo(images / 'pipe.jpg')
    (images / 'link.jpg').symlink_to('nowhere')
    options = ('--cfg-options', *NARROW)
    found = run(monkeypatch, tmp_path, 'fcos_tiny_shapes', file, images, *options)
    reasons = {
        Path(one['file_name']).name: one['error'].partition(':')[0]
        for one in found['failed']
    }
    assert reasons == {
        'cut.jpg': 'empty, cut off or no image',
        'flat.png': 'error',  # OpenCV's
        'link.jpg': 'it is no regular file',
        'pipe.jpg': 'it is no regular file',
    }
    assert len(found['images']) == 3
    assert capsys.readouterr().err.count(' is left out: ') == 4
    for name in ('a.jpg', 'b.JPG', 'deeper/a.jpg'):
        (images / name).write_text('')
    with pytest.raises(UserError, match='none of 7 images gave a result'):
        run(monkeypatch, tmp_path, 'fcos_tiny_shapes', file, images, *options)


def test_files_folders_and_globs(images: Path) -> None:
    def names(*given: object) -> list[str]:
        found = find_images([str(one) for one in given])
        return [file.relative_to(images).as_posix() for file in found]

    assert names(images) == ['a.jpg', 'b.JPG', 'cut.jpg', 'deeper/a.jpg']
    assert names(images / '*.jpg', images / 'a.jpg') == ['a.jpg', 'cut.jpg']
    assert names(images / '**' / 'a.jpg') == ['a.jpg', 'deeper/a.jpg']
    for nothing in (images / 'deeper' / '*.png', images / 'missing.jpg'):
        with pytest.raises(UserError, match=nothing.name.replace('*', r'\*')):
            names(nothing)


def test_an_interrupt_loses_nothing_that_is_done(
    images: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    file = checkpoint('fcos_tiny_shapes', NARROW, tmp_path / 'w.pth')
    theirs = prediction._overlay
    drawn: list[Path] = []

    def interrupted(*args: Any) -> Path:
        if drawn:
            raise KeyboardInterrupt
        drawn.append(theirs(*args))
        return drawn[0]

    monkeypatch.setattr(prediction, '_overlay', interrupted)
    with pytest.raises(KeyboardInterrupt, match='1 images of 4 files are in '):
        run(
            monkeypatch,
            tmp_path,
            'fcos_tiny_shapes',
            file,
            images,
            '--cfg-options',
            *NARROW,
        )
    found = json.loads((tmp_path / 'predictions' / 'predictions.json').read_text())
    assert [one['overlay'] for one in found['images']] == ['overlays/a.jpg']


def test_what_is_written_trains_again(images: Path, tmp_path: Path) -> None:
    """The JSON beside the images is a COCO set: init takes it, and a model learns."""
    cfg = load_config('knet_tiny_shapes_instance')
    torch.manual_seed(0)
    model = predictor_of(build_model(cfg, 'cpu'), cfg, {}, score=0.0)
    (images / 'cut.jpg').unlink()
    (images / 'notes.txt').unlink()
    files = sorted(images.glob('*.*'))
    found, file = predict_files(model, files, out=tmp_path / 'out', overlays=False)
    assert len(found['annotations']) > 0
    for record in found['annotations']:
        assert record['iscrowd'] == 0
        assert record['area'] == decode(record).sum()
    (images / 'deeper' / 'a.jpg').unlink()
    (images / 'predictions.json').write_bytes(file.read_bytes())
    model_name = 'knet_tiny_shapes_instance'
    written = init_config(
        images, tmp_path / 'own.py', task='instance', model=model_name, val=0.5
    )
    own = load_config(written.config)
    data = build_dataset(own, 'train', own.train_dataloader.dataset)
    data = getattr(data, 'dataset', data)
    assert len(data) > 0
    assert sum(len(data.get_data_info(n)['instances']) for n in range(len(data))) > 0
    item = data[0]
    assert len(item['data_samples'].gt_instances.masks) > 0


def test_few_shot_with_a_folder(tmp_path: Path, monkeypatch) -> None:
    file = checkpoint('protonet_tiny_glyphs', [], tmp_path / 'w.pth')
    for name, value in (('black', 0), ('white', 255)):
        (tmp_path / 'support' / name).mkdir(parents=True)
        pixels = np.full((32, 32, 3), value, np.uint8)
        cv2.imwrite(str(tmp_path / 'support' / name / 'a.png'), pixels)
    image = tmp_path / 'support' / 'white' / 'a.png'
    given = ('protonet_tiny_glyphs', file, image)
    with pytest.raises(UserError, match='--support FOLDER'):
        run(monkeypatch, tmp_path, *given)
    found = run(monkeypatch, tmp_path, *given, '--support', tmp_path / 'support')
    assert [one['name'] for one in found['categories']] == ['black', 'white']
    (record,) = found['annotations']
    assert record['category'] == 'white'
    assert 'bbox' not in record
    assert (tmp_path / 'predictions' / found['images'][0]['overlay']).is_file()


def test_tiles_and_batches(images: Path, tmp_path: Path, monkeypatch) -> None:
    file = checkpoint('fcos_tiny_shapes', NARROW, tmp_path / 'w.pth')
    given = ('fcos_tiny_shapes', file, images / 'a.jpg', images / 'b.JPG')
    options = ('--score', '0', '--cfg-options', *NARROW)
    for number in range(3):
        (tmp_path / str(number)).mkdir()
    alone, together, tiled = (
        run(monkeypatch, tmp_path / str(number), *given, *more, *options)
        for number, more in enumerate(
            ((), ('--batch-size', 2), ('--tile', 200, 160, '--overlap', 0.3))
        )
    )
    for one, other in zip(alone['annotations'], together['annotations'], strict=True):
        np.testing.assert_allclose(one['bbox'], other['bbox'], atol=0.01)
    assert len(tiled['images']) == 2
    assert tiled['annotations'] != alone['annotations']
    boxes = np.array([one['bbox'] for one in tiled['annotations']])
    assert (boxes[:, 0] + boxes[:, 2]).max() > 300
    with pytest.raises(UserError, match='overlap'):
        run(monkeypatch, tmp_path, *given, '--tile', 9, 9, '--overlap', 2)


def test_options_stand_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    command = 'predict cfg --score 0.5 w.pth --out X a.jpg b.jpg --no-overlays'
    monkeypatch.setattr(sys, 'argv', command.split())
    args = predict.parse_args()
    assert (args.config, args.checkpoint) == ('cfg', 'w.pth')
    assert (args.images, args.out) == (['a.jpg', 'b.jpg'], 'X')


@pytest.mark.parametrize(
    ('given', 'named'),
    [
        (['', 'w.pth', 'a.jpg'], 'config'),
        (['cfg', '', 'a.jpg'], 'checkpoint'),
        (['cfg', 'w.pth', ''], 'images'),
        (['cfg', 'w.pth', 'a.jpg', '--out', ''], '--out'),
        (['cfg', 'w.pth', 'a.jpg', '--work-dir='], '--work-dir'),
    ],
)
def test_an_empty_argument_is_named(
    given: list[str], named: str, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(sys, 'argv', ['predict', *given])
    with pytest.raises(SystemExit):
        predict.parse_args()
    assert f'argument {named}: it is empty' in capsys.readouterr().err

"""load: one model for every task, from a checkpoint alone; nothing else changes."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from bombs import write_bomb
from checkpoints import write_checkpoint
from exported_files import write_detector
from global_state import random_states, settings
from mmengine.registry import DefaultScope
from numpy.typing import NDArray
from PIL import Image
from torch import nn

import paperzoo
from paperzoo.apis.build import build_runner
from paperzoo.apis.config import class_names, load_config
from paperzoo.apis.inference import Predictor, load
from paperzoo.apis.prediction import predict_files
from paperzoo.data.paths import ensure_generated
from paperzoo.errors import UserError
from paperzoo.utils.masks import decode

NAMES = [
    'fcos_tiny_shapes',
    'knet_tiny_shapes_instance',
    'knet_tiny_shapes_panoptic',
    'knet_tiny_shapes_semantic',
]


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Write a checkpoint as a training does: random weights, the config as text."""
    folder = tmp_path_factory.mktemp('checkpoints')

    def write(name: str) -> Path:
        file = folder / f'{name}.pth'
        if not file.exists():
            more: dict[str, Any] = {}
            if name in NAMES:
                count = len(class_names(paperzoo.load_config(name), {}))
                more['dataset_meta'] = {'classes': tuple(f'c{n}' for n in range(count))}
            write_checkpoint(name, file, **more)
        return file

    return write


@pytest.fixture(scope='module')
def file() -> Path:
    return sorted(Path(ensure_generated('data/shapes/val')).glob('*.jpg'))[0]


def arrays(result: Any) -> dict[str, NDArray | None]:
    keys = ('boxes', 'scores', 'labels', 'masks', 'panoptic_seg', 'sem_seg')
    return {key: getattr(result, key) for key in keys}


def assert_same(one: Any, other: Any) -> None:
    for key, value in arrays(one).items():
        np.testing.assert_array_equal(value, arrays(other)[key])


@pytest.mark.parametrize('name', NAMES)
def test_a_checkpoint_alone_is_enough(name: str, checkpoint, file: Path) -> None:
    weights = checkpoint(name)
    alone = paperzoo.load(weights, device='cpu', score=0.0)
    with_config = paperzoo.load(str(weights), name, device='cpu', score=0.0)
    assert alone.classes == with_config.classes
    assert alone.classes[0] == 'c0'
    result = alone(file)
    assert_same(result, with_config(str(file)))
    # The array that OpenCV reads is the same image.
    array: Any = cv2.imread(str(file))
    assert_same(result, alone(array))
    (first, second) = alone([file, array])
    assert_same(first, second)
    task = name.rpartition('_')[2]
    there = {key for key, value in arrays(result).items() if value is not None}
    assert (
        there
        == {
            'shapes': {'boxes', 'scores', 'labels'},
            'instance': {'boxes', 'scores', 'labels', 'masks'},
            'panoptic': {'panoptic_seg'},
            'semantic': {'sem_seg'},
        }[task]
    )
    if task == 'panoptic':
        assert result.segments is not None
    assert result.sample.ori_shape == (240, 320)


def test_results_are_those_of_the_records(checkpoint, file: Path) -> None:
    model = load(checkpoint('knet_tiny_shapes_instance'), device='cpu', score=0.0)
    result = model(file)
    records = result.to_coco()
    assert len(result) == len(records) > 0
    for index, record in enumerate(records):
        x, y, width, height = record['bbox']
        box = result.boxes[index]
        np.testing.assert_allclose(box, [x, y, x + width, y + height], atol=2e-3)
        assert record['score'] == pytest.approx(result.scores[index], abs=1e-5)
        assert record['category_id'] == result.labels[index]
        assert record['category'] == result.names[index]
        np.testing.assert_array_equal(decode(record), result.masks[index])


def test_a_score_leaves_out_what_scores_lower(checkpoint, file: Path) -> None:
    model = load(checkpoint('fcos_tiny_shapes'), device='cpu')
    everything = model(file, score=0.0)
    middle = float(np.median(everything.scores))
    kept = model(file, score=middle)
    assert 0 < len(kept) == (everything.scores >= middle).sum() < len(everything)
    assert len(kept.to_coco()) == len(kept.boxes) == len(kept.names) == len(kept)
    assert len(kept.sample.pred_instances) == len(everything)
    assert len(model(file)) == (everything.scores >= 0.3).sum()


def test_what_is_written_is_what_is_found(checkpoint, file: Path, tmp_path) -> None:
    model = load(checkpoint('fcos_tiny_shapes'), device='cpu', score=0.0)
    found, written = predict_files(model, [file], out=tmp_path / 'p')
    result = model(file)
    rows = json.loads(written.read_text())['annotations']
    own = [
        {key: value for key, value in row.items() if key not in ('id', 'image_id')}
        for row in rows
    ]
    assert own == result.to_coco()
    overlay = cv2.imread(str(written.parent / found['images'][0]['overlay']))
    drawn = cv2.imdecode(cv2.imencode('.jpg', result.drawn_bgr())[1], -1)
    np.testing.assert_array_equal(overlay, drawn)


@pytest.mark.parametrize(
    ('image', 'said'),
    [
        (np.zeros((4, 4), np.uint8), 'COLOR_GRAY2BGR'),
        (np.zeros((3, 8, 8), np.uint8), r'transpose\(1, 2, 0\)'),
        (np.zeros((8, 8, 4), np.uint8), r'image\[\.\.\., :3\]'),
        (np.zeros((0, 8, 3), np.uint8), r'\(0, 8, 3\)'),
        (np.zeros((8, 8, 3), np.float32), 'float32, not uint8'),
        (torch.zeros(8, 8, 3), 'Tensor'),
        (None, 'NoneType'),
        ('missing.jpg', r'missing\.jpg.*no such file'),
    ],
)
def test_what_is_no_image_is_one_message(image: Any, said: str, checkpoint) -> None:
    model = load(checkpoint('fcos_tiny_shapes'), device='cpu')
    with pytest.raises(UserError, match=said):
        model(image)
    with pytest.raises(UserError, match=said):
        model([np.zeros((64, 64, 3), np.uint8), image])


def test_a_damaged_image_is_one_message(checkpoint, file: Path, tmp_path) -> None:
    model = load(checkpoint('fcos_tiny_shapes'), device='cpu')
    whole = file.read_bytes()
    damaged = {'cut.jpg': whole[:999], 'empty.png': b'', 'text.jpg': b'x'}
    for name, content in damaged.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=f'{name}.*empty, cut off or no image'):
            model(tmp_path / name)


def test_an_image_that_would_fill_the_memory_is_one_message(
    checkpoint, tmp_path: Path
) -> None:
    model = load(checkpoint('fcos_tiny_shapes'), device='cpu')
    with pytest.raises(UserError, match=r'a\.png.*3600000000 pixels.* exceeds limit'):
        model(write_bomb(tmp_path / 'a.png', 60_000))


def test_any_layout_of_an_array_is_taken_and_stays(checkpoint, file: Path) -> None:
    model = load(checkpoint('fcos_tiny_shapes'), device='cpu', score=0.0)
    image = cv2.imread(str(file))
    before = image.copy()
    mirrored = model(image[:, ::-1])
    assert_same(mirrored, model(np.ascontiguousarray(image[:, ::-1])))
    mirrored.draw()
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(
    'name', [*NAMES, 'dmf_tiny_glyphs', 'attention_tagging', 'a.onnx']
)
def test_nothing_outside_changes(
    name: str, checkpoint, file: Path, tmp_path: Path
) -> None:
    if name.endswith('.onnx'):
        weights = write_detector(tmp_path / name)
    else:
        weights = checkpoint(name)
    paperzoo.load(weights)  # what is imported may set up its own loggers
    DefaultScope.get_instance('somebody', scope_name='mmseg')
    before, random = settings(), random_states()
    model: Any = load(weights)
    if name.startswith('dmf'):
        model.fit({'a': [file], 'b': [file]})
    if name.startswith('attention'):
        model([1, 2, 3])
    else:
        model(file).draw()
        with pytest.raises(UserError):
            model('no_such.jpg')
    assert settings() == before
    assert random_states() == random
    assert DefaultScope.get_current_instance().scope_name == 'mmseg'


def test_the_scope_comes_back_after_an_error(checkpoint) -> None:
    DefaultScope.get_instance('somebody', scope_name='mmseg')
    cfg = paperzoo.load_config('fcos_tiny_shapes', {'model.type': 'FCSO'})
    with pytest.raises(UserError, match='FCSO'):
        load(checkpoint('fcos_tiny_shapes'), cfg, device='cpu')
    assert DefaultScope.get_current_instance().scope_name == 'mmseg'


def test_several_threads_get_the_same(checkpoint) -> None:
    model = load(checkpoint('knet_tiny_shapes_instance'), device='cpu', score=0.0)
    files = sorted(Path(ensure_generated('data/shapes/val')).glob('*.jpg'))[:6]
    expected = model(files)
    with ThreadPoolExecutor(3) as pool:
        for one, other in zip(expected, pool.map(model, files), strict=True):
            assert_same(one, other)


def test_options_change_a_stored_config(checkpoint, file: Path) -> None:
    options = {'model.test_cfg.max_per_img': 3}
    model = load(
        checkpoint('fcos_tiny_shapes'), cfg_options=options, device='cpu', score=0.0
    )
    assert len(model(file)) == 3
    cfg = paperzoo.load_config('fcos_tiny_shapes')
    model = load(
        checkpoint('fcos_tiny_shapes'),
        cfg,
        cfg_options=options,
        device='cpu',
        score=0.0,
    )
    assert len(model(file)) == 3
    assert cfg.model.test_cfg.max_per_img == 100  # the given one stays


@pytest.mark.parametrize('config', [None, 'fcos_tiny_shapes', 'loaded'])
@pytest.mark.parametrize(
    'options', [{'model.backbone.depth.x': 1}, {'test_dataloader.batch_size': 0}]
)
def test_options_that_do_not_fit_are_one_message(
    checkpoint, config: str | None, options: dict
) -> None:
    cfg = paperzoo.load_config('fcos_tiny_shapes') if config == 'loaded' else config
    with pytest.raises(UserError, match=next(iter(options))):
        load(checkpoint('fcos_tiny_shapes'), cfg, cfg_options=options, device='cpu')


STEP = 'test_dataloader.dataset.pipeline.1'


@pytest.mark.parametrize(
    ('config', 'options', 'said'),
    [
        ('fcos_tiny_shapes', {f'{STEP}.type': 'Resizze'}, 'Did you mean Resize'),
        ('fcos_tiny_shapes', {f'{STEP}.kep_ratio': True}, "argument 'kep_ratio'"),
        (None, {f'{STEP}.kep_ratio': True}, "a pipeline: .*'kep_ratio'.*config=FILE"),
    ],
)
def test_a_pipeline_that_does_not_build_is_one_message(
    checkpoint, config: str | None, options: dict, said: str
) -> None:
    weights = checkpoint('fcos_tiny_shapes')
    with pytest.raises(UserError, match=said):
        load(weights, config, cfg_options=options, device='cpu')


@pytest.mark.parametrize(
    ('content', 'said'),
    [
        ([1], 'holds no weights'),
        ({}, 'holds no weights'),
        ({'state_dict': {}}, 'holds no weights'),
        ({'state_dict': [1]}, 'holds no weights'),
        ({'state_dict': {'a': 1}}, 'holds no weights'),
        ({'state_dict': {'a': torch.ones(1)}, 'meta': [1]}, "'meta' is no dict"),
        ({'state_dict': {'a': torch.ones(1)}}, 'belongs to another model'),
    ],
)
def test_a_checkpoint_of_something_else(content: Any, said: str, tmp_path) -> None:
    torch.save(content, tmp_path / 'a.pth')
    with pytest.raises(UserError, match=said):
        load(tmp_path / 'a.pth', 'fcos_tiny_shapes', device='cpu')


def test_a_size_that_differs_is_the_same_message(checkpoint) -> None:
    weights = checkpoint('fcos_tiny_shapes')
    with pytest.raises(UserError, match='belongs to another model'):
        load(weights, cfg_options={'model.bbox_head.num_classes': 3}, device='cpu')


def test_a_pipeline_that_reads_otherwise_takes_files_only(checkpoint) -> None:
    model = load(checkpoint('fcos_tiny_shapes'), device='cpu')
    assert isinstance(model, Predictor)
    del model.pipeline.transforms[0]
    with pytest.raises(UserError, match='begins with Resize'):
        model(np.zeros((64, 64, 3), np.uint8))


def test_lists_generators_and_batches(checkpoint, file: Path) -> None:
    model = load(checkpoint('fcos_tiny_shapes'), device='cpu', score=0.0)
    array: Any = cv2.imread(str(file))
    images = [file, array[:200], array[::-1], Image.open(file)]
    alone = [model(image) for image in images]
    assert_same(alone[0], alone[3])
    given = model(iter(images))
    assert iter(given) is given, 'a generator gives a generator'
    for one, other in zip(given, alone, strict=True):
        assert_same(one, other)
    together = model(images, batch_size=3)
    assert len(together) == 4
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one.boxes, other.boxes, rtol=1e-4, atol=1e-3)


def test_one_wrong_image_costs_no_other(checkpoint, file: Path) -> None:
    model = load(checkpoint('fcos_tiny_shapes'), device='cpu')
    good, bad, again = model.attempt([file, Path('no_such.jpg'), file])
    assert_same(good, again)
    assert isinstance(bad, UserError)
    with pytest.raises(UserError, match='no_such'):
        model([file, 'no_such.jpg'])


def test_half_precision(checkpoint, file: Path, monkeypatch) -> None:
    monkeypatch.setattr('paperzoo.utils.precision.native_bfloat16', lambda kind: True)
    weights = checkpoint('knet_tiny_shapes_semantic')
    exact = load(weights, device='cpu')(file).sem_seg
    model: Any = load(weights, device='cpu', precision='bfloat16')
    convolution = next(m for m in model.model.modules() if isinstance(m, nn.Conv2d))
    kinds = set()
    convolution.register_forward_hook(lambda _, __, out: kinds.add(out.dtype))
    rough = model(file).sem_seg
    assert kinds == {torch.bfloat16}
    assert exact is not None
    assert rough is not None
    assert (exact == rough).mean() > 0.8
    with pytest.raises(UserError, match='precision'):
        load(weights, precision='int4')
    with pytest.raises(UserError, match="'float16' needs a GPU"):
        load(weights, device='cpu', precision='float16')
    auto: Any = load(weights, device='cpu', precision='auto')
    assert auto.precision == 'bfloat16'


def test_half_precision_that_would_be_slow(checkpoint, monkeypatch) -> None:
    monkeypatch.setattr('paperzoo.utils.precision.native_bfloat16', lambda kind: False)
    weights = checkpoint('fcos_tiny_shapes')
    auto: Any = load(weights, device='cpu', precision='auto')
    assert auto.precision == 'float32'
    with pytest.raises(UserError, match=r"this cpu does not compute in it.*'auto'"):
        load(weights, device='cpu', precision='bfloat16')


@pytest.mark.parametrize('alone', [True, False])
def test_the_config_says_where_channels_lie(alone: bool, checkpoint) -> None:
    name = 'fcos_tiny_shapes'
    loaded: Any = load(checkpoint(name), None if alone else name, device='cpu')
    weight = loaded.model.backbone.layer2[0].conv2.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not weight.is_contiguous()


@pytest.mark.parametrize('number', [float('nan'), float('inf')])
def test_weights_that_are_not_finite(number: float, checkpoint, tmp_path) -> None:
    content = torch.load(checkpoint('fcos_tiny_shapes'))
    content['state_dict']['bbox_head.conv_reg.bias'][2] = number
    torch.save(content, tmp_path / 'a.pth')
    with pytest.raises(UserError, match=r"a\.pth': bbox_head\.conv_reg\.bias holds"):
        load(tmp_path / 'a.pth', 'fcos_tiny_shapes', device='cpu')
    runner = build_runner(
        load_config('fcos_tiny_shapes', work_dir=tmp_path / 'work'), strict=True
    )
    with pytest.raises(UserError, match=r'conv_reg\.bias holds'):
        runner.load_checkpoint(str(tmp_path / 'a.pth'))
    # A sum that is too large for its type is none of these.
    content['state_dict']['bbox_head.conv_reg.bias'][:] = 3e38
    torch.save(content, tmp_path / 'a.pth')
    load(tmp_path / 'a.pth', 'fcos_tiny_shapes', device='cpu')

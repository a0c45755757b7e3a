"""Few-shot models in Python: fit to a few images, then call."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from checkpoints import write_checkpoint
from exported_files import write_few_shot
from PIL import Image
from torch.testing import assert_close

import paperzoo
from paperzoo.apis.few_shot import support_images, support_of
from paperzoo.apis.prediction import predict_files
from paperzoo.apis.predictor import Predictor
from paperzoo.errors import UserError

NAMES = ['dmf_tiny_glyphs', 'protonet_tiny_glyphs']


@pytest.fixture(scope='module')
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Checkpoints as a training writes them."""
    folder = tmp_path_factory.mktemp('few_shot')
    found = {}
    for name in NAMES:
        more = {'dataset_meta': {'classes': ('old',)}}
        found[name] = str(write_checkpoint(name, folder / f'{name}.pth', **more))
    return found


@pytest.fixture(scope='module')
def support(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two images of each of three classes that differ a lot."""
    root = tmp_path_factory.mktemp('support')
    rng = np.random.default_rng(0)
    for name, colour in (
        ('blue', (255, 0, 0)),
        ('grey', (128,) * 3),
        ('红', (0, 0, 255)),
    ):
        (root / name).mkdir()
        for number in range(2):
            pixels = np.full((40, 36, 3), colour, np.float64)
            pixels += rng.normal(0, 8, pixels.shape)
            _, data = cv2.imencode('.png', pixels.clip(0, 255).astype(np.uint8))
            (root / name / f'{number}.png').write_bytes(data.tobytes())
    return root


def fitted(checkpoint: str, support: Any) -> Any:
    return paperzoo.load(checkpoint, device='cpu').fit(support)


@pytest.mark.parametrize('name', NAMES)
def test_a_folder_then_images(
    name: str, checkpoints: dict[str, str], support: Path
) -> None:
    model = fitted(checkpoints[name], support)
    assert model.classes == ('blue', 'grey', '红')
    for label, own in enumerate(model.classes):
        result = model(support / own / '1.png')
        assert result.names == [own]
        assert result.labels.tolist() == [label]
        assert result.probabilities.shape == (3,)
        assert result.probabilities.sum() == pytest.approx(1)
        assert result.scores[0] == result.probabilities.max()
        assert result.boxes is result.masks is result.sem_seg is None
        assert result.draw().size[1] > 40


@pytest.mark.parametrize('name', NAMES)
def test_what_the_model_itself_says(
    name: str, checkpoints: dict[str, str], support: Path
) -> None:
    predictor = fitted(checkpoints[name], support)
    query = support / 'grey' / '0.png'

    def inputs(file: Path) -> torch.Tensor:
        content = np.frombuffer(file.read_bytes(), np.uint8)
        rgb = cv2.imdecode(content, cv2.IMREAD_COLOR)[..., ::-1]
        small = cv2.resize(rgb, (28, 31), interpolation=cv2.INTER_AREA)
        return torch.from_numpy(small.copy()).permute(2, 0, 1)

    files = [file for images in support_images(support).values() for file in images]
    batch = {
        'support': torch.stack([inputs(file) for file in files])[None],
        'support_label': torch.tensor([[0, 0, 1, 1, 2, 2]]),
        'query': inputs(query)[None, None],
    }
    with torch.no_grad():
        model = predictor.model
        scores = model(**model.data_preprocessor(batch), mode='tensor')
    found = predictor(query).probabilities
    assert_close(torch.from_numpy(found), scores[0, 0].softmax(0))


def test_images_however_they_are_given(
    checkpoints: dict[str, str], support: Path
) -> None:
    by_folder = fitted(checkpoints['dmf_tiny_glyphs'], support)
    arrays = {}
    for name, files in support_images(support).items():
        pictures = [Image.open(file).convert('RGB') for file in files]
        arrays[name] = [np.asarray(one)[..., ::-1] for one in pictures]
    by_arrays = fitted(checkpoints['dmf_tiny_glyphs'], arrays)
    file = support / '红' / '0.png'
    expected = by_folder(file).probabilities
    for model in (by_folder, by_arrays):
        for image in (str(file), Image.open(file), arrays['红'][0]):
            assert_close(model(image).probabilities, expected)
    several = by_folder([file, file], batch_size=2)
    assert_close(several[1].probabilities, expected, rtol=1e-4, atol=1e-6)


def test_a_table(checkpoints: dict[str, str], support: Path, tmp_path: Path) -> None:
    rows = []
    for number, file in enumerate(sorted(support.rglob('*.png'))):
        (tmp_path / f'{number}.png').write_bytes(file.read_bytes())
        rows.append(f'{number}.png,{file.parent.name}')
    table = 'filename,label\n' + '\n'.join(rows)
    (tmp_path / 'support.csv').write_text(table, encoding='utf-8')
    model = fitted(checkpoints['protonet_tiny_glyphs'], tmp_path)
    assert model(support / 'blue' / '0.png').names == ['blue']


@pytest.mark.parametrize(
    ('given', 'said'),
    [
        ('/nowhere', 'is no folder'),
        ({'cat': ['a.png']}, '1 class: cat'),
        ({'cat': [], 'dog': ['a.png']}, "'cat' has no image"),
        ({'cat': 'no_such.png', 'dog': 'a.png'}, 'there is no such file'),
        ({}, 'none'),
    ],
)
def test_what_cannot_be_learnt_is_one_message(
    given: Any, said: str, checkpoints: dict[str, str]
) -> None:
    model = paperzoo.load(checkpoints['protonet_tiny_glyphs'], device='cpu')
    with pytest.raises(UserError, match=said):
        model.fit(given)
    with pytest.raises(UserError, match=r'knows no classes yet: model\.fit'):
        model(np.zeros((28, 28, 3), np.uint8))


def test_a_fit_during_a_call_mixes_no_classes(
    checkpoints: dict[str, str], tmp_path: Path
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3), np.uint8)
    support = dict(zip('abc', images, strict=True))
    exported: Any = paperzoo.load(write_few_shot(tmp_path / 'a.onnx'))
    for model in (paperzoo.load(checkpoints[NAMES[1]], device='cpu'), exported):
        expected = model.fit(support)(images[2])
        embedded = model._embedded

        def late(given: Any, model: Any = model, embedded: Any = embedded) -> Any:
            """Embed a query while another thread fits the model."""
            model._embedded = embedded
            model.fit({'one': images[0], 'two': images[1]})
            return embedded(given)

        model._embedded = late
        found = model(images[2])
        assert found.classes == expected.classes == ('a', 'b', 'c')
        np.testing.assert_array_equal(found.probabilities, expected.probabilities)
        assert model.classes == ('one', 'two')


def test_another_model_is_not_fitted() -> None:
    cfg = paperzoo.load_config('fcos_tiny_shapes')
    model = Predictor(paperzoo.build_model(cfg, 'cpu'), cfg, {})
    with pytest.raises(UserError, match='learns its classes in a training'):
        model.fit('folder')


def test_images_of_different_shapes_are_one_message(
    checkpoints: dict[str, str], support: Path
) -> None:
    model = fitted(checkpoints['protonet_tiny_glyphs'], support)
    with pytest.raises(UserError, match=r'different shapes.*ImageCenterCrop'):
        model(np.zeros((40, 90, 3), np.uint8))
    square, wide = np.zeros((2, 40, 40, 3), np.uint8), np.zeros((40, 90, 3), np.uint8)
    with pytest.raises(UserError, match='different shapes'):
        model.fit({'a': list(square), 'b': [wide]})


def test_an_empty_pipeline_is_one(tmp_path: Path) -> None:
    cfg = paperzoo.load_config('protonet_tiny_glyphs_cluttered')
    write_checkpoint(cfg, tmp_path / 'a.pth')
    for config in (None, cfg):
        model: Any = paperzoo.load(tmp_path / 'a.pth', config, device='cpu')
        assert model.pipeline.transforms == []


@pytest.mark.parametrize('name', ['can_resnet12', 'dmf_resnet12', 'feat_resnet12'])
def test_the_headline_configs(name: str, tmp_path: Path) -> None:
    cfg = paperzoo.load_config(name)
    write_checkpoint(cfg, tmp_path / 'a.pth')
    dark, light = np.random.default_rng(0).integers(0, 99, (2, 90, 120, 3), np.uint8)
    support = {'dark': [dark], 'light': [light + 150]}
    found = [
        paperzoo.load(tmp_path / 'a.pth', config, device='cpu').fit(support)(light)
        for config in (None, cfg, name)
    ]
    for one in found[1:]:
        assert_close(one.probabilities, found[0].probabilities)
    with_file = predict_files(
        paperzoo.load(tmp_path / 'a.pth', device='cpu').fit(support),
        [_png(tmp_path / 'q.png', light)],
        out=tmp_path / 'out',
    )[0]['annotations']
    assert with_file[0]['category'] == found[0].names[0]


def _png(file: Path, pixels: Any) -> Path:
    cv2.imwrite(str(file), pixels)
    return file


@pytest.mark.parametrize('support', [None, [np.zeros((4, 4, 3), np.uint8)], 3])
def test_what_is_no_support(support: Any) -> None:
    with pytest.raises(UserError, match='neither a folder nor a dict'):
        support_of(support)


def test_two_classes_of_one_name() -> None:
    with pytest.raises(UserError, match="two classes have the name '1'"):
        support_of({1: 'a.png', '1': 'b.png'})

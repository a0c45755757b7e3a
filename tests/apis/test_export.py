"""export: one file from pixels to results, the model's own results, or no file."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import write_checkpoint

import paperzoo
from paperzoo.apis import export_check
from paperzoo.apis.config import image_pipeline
from paperzoo.apis.export import _with_scale, image_card
from paperzoo.apis.export_arrays import _items
from paperzoo.apis.export_check import Comparison, dataset_images, real_images
from paperzoo.apis.inference import Predictor
from paperzoo.errors import UserError
from paperzoo.runtime.sessions import open_session

IMAGES = [
    'fcos_tiny_shapes',
    'knet_tiny_shapes_instance',
    'knet_tiny_shapes_panoptic',
    'knet_tiny_shapes_semantic',
]


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Write a checkpoint with random weights, and the config in it."""
    folder = tmp_path_factory.mktemp('checkpoints')

    def write(name: str) -> Path:
        return write_checkpoint(name, folder / f'{name}.pth')

    return write


@pytest.mark.slow
def test_a_tagger_is_exported_and_compared(tmp_path: Path, checkpoint: Any) -> None:
    file = tmp_path / 'tagger.onnx'
    weights = checkpoint('attention_tagging')
    found = paperzoo.export(weights, file, 'attention_tagging', dynamic=True)
    assert found.images == 8
    assert found.objects == found.others > 50
    assert (found.unmatched, found.score < 1e-5) == (0, True)
    session = open_session(file)
    assert (session.card.task, session.card.model) == ('sequence', 'SequenceTagger')
    assert session.card.versions['torch'] == str(torch.__version__)
    tokens = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    none = np.zeros(tokens.shape, bool)
    scores = session.run({'inputs': tokens, 'padding': none})['scores']
    assert scores.shape == (3, 3, 2)
    eager: Any = paperzoo.load(weights, 'attention_tagging', device='cpu')
    written: Any = paperzoo.load(file)
    for one, other in zip(written(tokens), eager(tokens), strict=True):
        np.testing.assert_array_equal(one.labels, other.labels)
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-5)


def test_a_file_with_other_results_is_not_kept(
    tmp_path: Path, checkpoint: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_check, 'SCORE', -1.0)
    weights, file = checkpoint('attention_tagging'), tmp_path / 'a.onnx'
    with pytest.raises(UserError, match="does not give the model's results"):
        paperzoo.export(weights, file, 'attention_tagging')
    assert not file.exists()


@pytest.mark.parametrize(
    ('changes', 'fits'),
    [
        ({}, True),
        ({'box': 0.09, 'score': 9e-4, 'unmatched': 1, 'wrong_pixels': 9}, True),
        ({'box': 0.2}, False),
        ({'score': 2e-3}, False),
        ({'unmatched': 2}, False),
        ({'others': 990}, False),
        ({'wrong_pixels': 11}, False),
    ],
)
def test_the_limits_of_a_comparison(changes: dict[str, Any], fits: bool) -> None:
    values = dict(images=8, objects=1000, others=1000, pixels=10_000)
    found = Comparison('images', **{**values, **changes})
    if fits:
        found.check('a.onnx')
        return
    with pytest.raises(UserError, match=r"'a\.onnx' .* was not kept: 8 images; 1000"):
        found.check('a.onnx')


def test_names_and_formats_must_fit(tmp_path: Path) -> None:
    with pytest.raises(UserError, match='must end in'):
        paperzoo.export('a.pth', tmp_path / 'a.txt')
    with pytest.raises(UserError, match=r'format torch must end in \.pt2'):
        paperzoo.export('a.pth', tmp_path / 'a.onnx', format='torch')
    with pytest.raises(UserError, match="format='tflite'"):
        paperzoo.export('a.pth', tmp_path / 'a.onnx', format='tflite')


def test_the_card_tells_the_pipeline() -> None:
    cfg = paperzoo.load_config('fcos_tiny_shapes')
    model = Predictor(paperzoo.build_model(cfg, 'cpu'), cfg, {})
    card = image_card(model, None, dynamic=False)
    assert (card.scale, card.size, card.divisor) == ((256, 192), (256, 192), 32)
    assert card.mean == tuple(np.float32(cfg.model.data_preprocessor.mean).tolist())
    assert len(card.palette) == len(card.classes) == 7
    assert card.palette == tuple(model.palette or ())
    steps = model.pipeline.transforms
    steps.insert(1, steps[1])
    with pytest.raises(UserError, match='Resize, Resize, PackDetInputs; what can'):
        image_card(model, None, dynamic=False)
    del steps[1:3]
    with pytest.raises(UserError, match='--size WIDTH HEIGHT, or --dynamic'):
        image_card(model, None, dynamic=False)
    assert image_card(model, None, dynamic=True).scale is None


def test_a_size_is_not_written_into_the_config_given() -> None:
    cfg = paperzoo.load_config('fcos_tiny_shapes')
    before = cfg.pretty_text
    assert image_pipeline(_with_scale(cfg, (64, 32)))[1]['scale'] == (64, 32)
    assert cfg.pretty_text == before


def test_without_a_test_set_there_is_one_message() -> None:
    cfg = paperzoo.load_config('attention_tagging')
    cfg.test_dataloader = cfg.val_dataloader = None
    with pytest.raises(UserError, match='test_dataloader missing: the comparison'):
        _items(cfg)


def test_a_work_dir_stands_for_its_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match='holds no checkpoint'):
        paperzoo.export(tmp_path, tmp_path / 'a.onnx', 'fcos_tiny_shapes')


def test_a_translator_is_refused(tmp_path: Path, checkpoint: Any) -> None:
    weights = checkpoint('attention_translation')
    with pytest.raises(UserError, match='token by token'):
        paperzoo.export(weights, tmp_path / 'a.onnx', 'attention_translation')


def test_arrays_need_a_config(tmp_path: Path, checkpoint: Any) -> None:
    weights = checkpoint('protonet_tiny_glyphs')
    with pytest.raises(UserError, match=r'a ProtoNet is compared .* give config='):
        paperzoo.export(weights, tmp_path / 'a.onnx')


@pytest.mark.slow
@pytest.mark.parametrize('ending', ['.onnx', '.xml', '.pt2'])
@pytest.mark.parametrize('name', IMAGES)
def test_images_in_every_format(
    name: str, ending: str, tmp_path: Path, checkpoint: Any
) -> None:
    file = tmp_path / f'model{ending}'
    found = paperzoo.export(checkpoint(name), file, name, dynamic=True)
    assert found.images == 8
    assert found.source == 'images of the test set'
    if ending == '.pt2':
        return
    model = paperzoo.load(file, score=0.0)
    eager = paperzoo.load(checkpoint(name), name, device='cpu', score=0.0)
    cfg = paperzoo.load_config(name)
    # Upright, and of another size than any example.
    (image, *_), _ = real_images(cfg, dataset_images(cfg, 1), (110, 150))
    export_check.compare(eager, model, [image]).check(str(file))


@pytest.mark.slow
def test_a_fixed_size_takes_other_images(tmp_path: Path, checkpoint: Any) -> None:
    file = tmp_path / 'model.onnx'
    weights = checkpoint('fcos_tiny_shapes')
    paperzoo.export(weights, file, size=(160, 96))
    assert open_session(file).inputs[0].shape == (1, 3, 96, 160)
    model = paperzoo.load(file)
    assert model(np.zeros((300, 100, 3), np.uint8)).height == 300


@pytest.mark.slow
@pytest.mark.parametrize(
    'name', ['dmf_tiny_glyphs', 'can_tiny_glyphs', 'attention_set_classification']
)
def test_arrays_in_onnx_and_torch(name: str, tmp_path: Path, checkpoint: Any) -> None:
    for ending in ('.onnx', '.pt2'):
        file = tmp_path / f'model{ending}'
        paperzoo.export(checkpoint(name), file, name, dynamic=True)
        if ending == '.onnx' and 'glyphs' in name:
            _assert_fitted_alike(file, checkpoint(name))


def _assert_fitted_alike(file: Path, weights: Path) -> None:
    """Fit a file and its model to the same images, of 2 and of 7 classes."""
    eager, exported = paperzoo.load(weights, device='cpu'), paperzoo.load(file)
    rng = np.random.default_rng(0)
    for ways, shots in ((2, 3), (7, 1)):
        images = rng.integers(0, 256, (ways, shots + 1, 40, 40, 3), np.uint8)
        support = {f'c{n}': list(own[:-1]) for n, own in enumerate(images)}
        eager.fit(support)
        exported.fit(support)
        for query in images[:, -1]:
            np.testing.assert_allclose(
                exported(query).probabilities, eager(query).probabilities, atol=1e-5
            )


def test_what_cannot_be_compiled_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r'only format torch \(\.pt2\) is compiled'):
        paperzoo.export('a.pth', tmp_path / 'a.onnx', compiled=True)
    monkeypatch.setenv('PATH', str(tmp_path))
    monkeypatch.delenv('CXX', raising=False)
    # torch asks for no other, whatever there is.
    (tmp_path / 'clang++').touch(0o755)
    with pytest.raises(UserError, match=r"C\+\+ compiler 'g\+\+' is not here"):
        paperzoo.export('a.pth', tmp_path / 'a.pt2', compiled=True)
    monkeypatch.setenv('CXX', 'no_such_c++')
    with pytest.raises(UserError, match=r"'no_such_c\+\+' is not here"):
        paperzoo.export('a.pth', tmp_path / 'a.pt2', compiled=True)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which('g++'), reason='there is no g++ here')
@pytest.mark.parametrize('name', ['attention_tagging', 'fcos_tiny_shapes'])
def test_machine_code(name: str, tmp_path: Path, checkpoint: Any) -> None:
    file = tmp_path / 'model.pt2'
    found = paperzoo.export(checkpoint(name), file, name, dynamic=True, compiled=True)
    assert found.images == 8
    assert found.unmatched == 0
    # Who loads it runs it; so paperzoo does not.
    with pytest.raises(UserError, match='it is not opened'):
        paperzoo.load(file)
    if name == 'attention_tagging':
        model = torch._inductor.aoti_load_package(str(file))
        assert '"SequenceTagger"' in model.get_metadata()['paperzoo']
        scores = model(torch.tensor([[1, 2, 3]]), torch.zeros(1, 3).bool())['scores']
        eager: Any = paperzoo.load(checkpoint(name), name, device='cpu')
        expected = eager([1, 2, 3]).probabilities
        torch.testing.assert_close(scores.softmax(-1)[0], torch.from_numpy(expected))

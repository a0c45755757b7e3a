"""Models of sequences in Python: called with tokens or vectors."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import write_checkpoint
from torch.testing import assert_close

import paperzoo
from paperzoo.apis.prediction import predict_files
from paperzoo.errors import UserError

GIVEN: dict[str, Any] = {
    'attention_tagging': [3, 1, 3, 15],
    'attention_set_classification': np.random.default_rng(0).normal(size=(5, 13)),
    'attention_translation': [1, 5, 0, 7],
}


@pytest.fixture(scope='module')
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """Load a checkpoint of random weights, with the config in it."""
    folder = tmp_path_factory.mktemp('sequences')

    def loaded(name: str) -> Any:
        file = folder / f'{name}.pth'
        if not file.exists():
            write_checkpoint(name, file)
        return paperzoo.load(file, device='cpu')

    return loaded


@pytest.mark.parametrize('name', GIVEN)
def test_what_the_model_itself_says(name: str, load: Any) -> None:
    predictor = load(name)
    model, given = predictor.model, GIVEN[name]
    inputs = torch.as_tensor(given)[None]
    inputs = inputs.float() if inputs.is_floating_point() else inputs
    with torch.no_grad():
        (expected,) = model(inputs, mode='predict')
        target = None
        if name == 'attention_translation':
            target = expected['pred_label'][None]
        scores = model(inputs, target=target).softmax(-1)[0]
    result = predictor(given)
    assert result.labels.tolist() == expected['pred_label'].tolist()
    shares = torch.from_numpy(result.probabilities)
    assert_close(shares, scores.reshape(shares.shape))
    # Of all labels it is the likeliest.
    np.testing.assert_array_equal(result.probabilities.argmax(1), result.labels)
    np.testing.assert_array_equal(result.probabilities.max(1), result.scores)
    assert len(result) == len(result.labels)
    assert result.boxes is result.masks is result.sem_seg is result.segments is None
    assert result.names is None


@pytest.mark.parametrize('name', GIVEN)
def test_several_however_they_are_given(name: str, load: Any) -> None:
    model, one = load(name), GIVEN[name]
    first = model(one).labels.tolist()
    short = one[:2]
    assert model(np.asarray(one)).labels.tolist() == first
    assert model(torch.as_tensor(one)).labels.tolist() == first
    many = model([one, short, one], batch_size=3)
    assert [found.labels.tolist() for found in many[::2]] == [first, first]
    assert many[1].labels.tolist() == model(short).labels.tolist()
    given = model(each for each in (one, short))
    assert next(given).labels.tolist() == first
    assert len(model(np.asarray([one, one]))) == 2


@pytest.mark.parametrize(
    ('name', 'given', 'said'),
    [
        ('attention_tagging', [3, 16], 'from 3 to 16: give .* from 0 to 15'),
        ('attention_tagging', [-1], 'from -1 to -1'),
        ('attention_tagging', [0.5], 'float64 array of shape'),
        ('attention_tagging', [], 'no sequence'),
        ('attention_tagging', 'abc', 'a str is no sequence'),
        ('attention_tagging', None, 'a NoneType is no sequence'),
        ('attention_set_classification', np.zeros((3, 12)), r'give vectors \(N, 13\)'),
        ('attention_set_classification', np.full((3, 13), np.inf), 'not finite'),
    ],
)
def test_what_is_no_sequence_is_one_message(
    name: str, given: Any, said: str, load: Any
) -> None:
    with pytest.raises(UserError, match=said):
        load(name)(given)


def test_a_sequence_is_no_image(load: Any, tmp_path: Path) -> None:
    model = load('attention_tagging')
    result = model([1, 2])
    assert repr(result).startswith('SequenceResult(2 inputs: labels ')
    assert result._repr_png_() is None
    with pytest.raises(UserError, match='no image'):
        result.draw()
    with pytest.raises(UserError, match='no records'):
        result.to_coco()
    with pytest.raises(UserError, match='takes sequences, not images'):
        predict_files(model, ['a.jpg'], out=tmp_path / 'out')
    assert not (tmp_path / 'out').exists()

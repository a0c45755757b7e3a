"""The page of models of sequences: the words, and the weights that are shown."""

from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch.testing import assert_close
from torch.utils.data import Dataset

from paperzoo.apis.config import find_config
from paperzoo.data.sequences import GeneratedSequences
from paperzoo.errors import UserError
from paperzoo.explain import page_of, sections
from paperzoo.explain.attention.page_sequences import item
from paperzoo.explain.attention.trace import attention_views
from paperzoo.explain.html.report import Matrix
from paperzoo.registry import MODELS

NAMES = ['attention_tagging', 'attention_set_classification', 'attention_translation']


def config(name: str) -> Config:
    cfg = Config.fromfile(str(find_config(name)))
    cfg.test_dataloader.dataset.num = 4
    return cfg


def model_of(cfg: Config) -> Any:
    torch.manual_seed(0)
    return MODELS.build(cfg.model).eval()


@pytest.mark.parametrize('name', NAMES)
def test_the_matrices_are_the_layers_weights(name: str) -> None:
    cfg = config(name)
    model, sample = model_of(cfg), item(cfg, 2)
    assert page_of(model) == 'paperzoo.explain.attention.page_sequences'
    answer, *shown = sections(model, sample)
    inputs = sample.inputs[None]
    (said,) = model(inputs, mode='predict')
    views = attention_views(
        model,
        lambda: model(inputs, target=said['pred_label'][None], mode='tensor'),
    )
    assert len(shown) == len(views) > 0
    for section, view in zip(shown, views, strict=True):
        assert section.title.endswith(view.layer)
        (slider,) = section.figures
        for frame, weights in zip(slider.frames, view.weights[0], strict=True):
            assert isinstance(frame, Matrix)
            assert_close(torch.from_numpy(frame.values), weights)
            assert frame.values.shape == (len(frame.rows), len(frame.columns))
    (table,) = answer.figures
    words = sample.label_words(said['pred_label'])
    last = [str(row[-1]) for row in table.rows]
    assert last == words if name == 'attention_tagging' else last[-1] == ' '.join(words)


def test_a_decoder_is_watched_over_its_own_answer() -> None:
    cfg = config('attention_translation')
    model, sample = model_of(cfg), item(cfg, 1)
    inputs = sample.inputs[None]
    (said,) = model(inputs, mode='predict')
    answer = said['pred_label']
    # Why one pass is enough: given its answer it would say the same again.
    scores = model(inputs, target=answer[None], mode='tensor')
    assert torch.equal(scores.argmax(-1)[0], answer)
    words = sample.label_words(answer)
    for section in sections(model, sample)[1:]:
        frame = section.figures[0].frames[0]
        decoder, crossing = (part in section.title for part in ('decoder', 'cross'))
        rows = ['(start)', *words[:-1]] if decoder else sample.words
        assert frame.rows == rows
        assert frame.columns == (sample.words if crossing else rows)
        if decoder and not crossing:
            assert (np.triu(frame.values, 1) == 0).all()


def test_words_of_each_data_set() -> None:
    tagged = item(config('attention_tagging'))
    tokens = tagged.inputs.tolist()
    assert tagged.words == [chr(ord('a') + token) for token in tokens]
    assert tagged.label_words(torch.tensor([1, 0])) == ['seen before', 'new']
    looked_up = item(config('attention_set_classification'))
    answer = looked_up.label_words(looked_up.target.view(1))
    assert sorted(looked_up.words)[-1] == 'question'
    assert f'key of {answer[0]}' in looked_up.words
    decoded = item(config('attention_translation'))
    pairs = zip(decoded.words[::2], decoded.words[1::2], strict=True)
    whole = [letter for count, letter in pairs for _ in range(int(count))]
    assert decoded.label_words(decoded.target) == [*whole, '(end)']


class OtherDataset(GeneratedSequences):
    """A data set that the page knows nothing of."""

    def draw(self, rng: np.random.Generator, length: int) -> tuple:
        return rng.integers(5, size=length), np.array(2)


def test_other_sequences_are_written_as_numbers() -> None:
    data = dict(type=OtherDataset, split='test', num=1, min_length=3, max_length=3)
    sample = item(Config(dict(test_dataloader=dict(dataset=data))))
    assert sample.words == [str(token) for token in sample.inputs.tolist()]
    assert sample.label_words(torch.tensor([3])) == ['3']


def test_what_is_no_item() -> None:
    cfg = config('attention_tagging')
    with pytest.raises(UserError, match=r'sequence 4: the test set has .* 0 to 3'):
        item(cfg, 4)
    cfg.test_dataloader.dataset = dict(type=Dataset)
    with pytest.raises(UserError, match='is a Dataset'):
        item(cfg)

"""The page of models of sequences: what they say of one, and who attended to whom."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from mmengine.registry import DATASETS
from torch import Tensor

from paperzoo.attention.sequence_models import SequenceTagger
from paperzoo.attention.translator import SequenceTranslator
from paperzoo.data.sequences import (
    END,
    GeneratedSequences,
    LookUpDataset,
    RunLengthDataset,
    SeenBeforeDataset,
)
from paperzoo.errors import UserError
from paperzoo.explain.attention.trace import GlobalView, attention_views
from paperzoo.explain.html.report import Matrix, Section, Slider, Table

if TYPE_CHECKING:
    from mmengine.config import Config

Writer = Callable[[Any, np.ndarray], list[str]]


@dataclass(frozen=True)
class SequenceSample:
    """One sequence of a test set, and how its numbers are written.

    Attributes:
        inputs: Token numbers (N) or vectors (N, D).
        target: Its labels, () or (T).
        words: One word for each input.
        label_words: Turns labels, (T), into words.
        name: What it is called on the page.
    """

    inputs: Tensor
    target: Tensor
    words: list[str]
    label_words: Callable[[Tensor], list[str]]
    name: str


def item(cfg: 'Config', number: int = 0) -> SequenceSample:
    """Return a sequence of the config's test set.

    Args:
        cfg: The config.
        number: Which one, counted from 0.

    Raises:
        UserError: If the config's test set is no set of sequences, or has no item of
            this number.
    """
    data = DATASETS.build(cfg.test_dataloader.dataset)
    if not isinstance(data, GeneratedSequences):
        raise UserError(
            f'{cfg.filename}: test_dataloader.dataset is a {type(data).__name__}; a '
            'sequence to explain comes from one of paperzoo.data.sequences'
        )
    if not 0 <= number < len(data):
        raise UserError(
            f'sequence {number}: the test set has the sequences 0 to {len(data) - 1}'
        )
    write, write_labels = _WRITERS.get(type(data), (_numbers, _numbers))
    one = data[number]
    return SequenceSample(
        one['inputs'],
        one['target'],
        write(data, one['inputs'].numpy()),
        lambda labels: write_labels(data, labels.cpu().numpy()),
        f'sequence {number}',
    )


def sections(model: Any, sample: SequenceSample) -> list[Section]:
    """Return what a model says of a sequence, then one section per attention.

    Args:
        model: A `SequenceTagger`, `SetClassifier` or `SequenceTranslator`, in
            evaluation mode.
        sample: The sequence.
    """
    batch = model.data_preprocessor({'inputs': sample.inputs[None]})
    (found,) = model(**batch, mode='predict')
    answer = found['pred_label']
    if isinstance(model, SequenceTranslator):
        # One pass over its own answer attends as all steps of the decoding did.
        batch['target'] = answer[None]
    views = attention_views(model, lambda: model(**batch, mode='tensor'))
    said = sample.label_words(answer)
    tagged = isinstance(model, SequenceTagger)
    return [_answer(sample, said, tagged)] + [
        _attention(view, sample.words, said)
        for view in views
        if isinstance(view, GlobalView)
    ]


def _answer(sample: SequenceSample, said: list[str], tagged: bool) -> Section:
    truth = sample.label_words(sample.target.reshape(-1))
    if tagged:
        columns = ['place', 'input', 'should be', 'is said to be']
        rows: Sequence[Sequence[str]] = [
            (str(place), *words)
            for place, words in enumerate(zip(sample.words, truth, said, strict=True))
        ]
    else:
        columns = ['', 'sequence']
        rows = [
            ('input', ' '.join(sample.words)),
            ('should be', ' '.join(truth)),
            ('answer', ' '.join(said)),
        ]
    right = 'right' if said == truth else 'not right'
    text = f'The answer is {right}. Below is whom each token attended to for it.'
    return Section('What does the model say?', text, [Table(columns, rows)])


def _attention(view: GlobalView, words: list[str], said: list[str]) -> Section:
    """Return one matrix per head, queries from top to bottom."""
    weights = view.weights[0].cpu().numpy()
    heads = [str(head) for head in range(1, len(weights) + 1)]
    given = ['(start)', *said[:-1]]
    part, _, rest = view.layer.partition('.')
    rows = given if part == 'decoder' else words
    crossing = view.layer.endswith('cross_attn')
    columns = rows if part == 'encoder' or not crossing else words
    where = rest.split('.')[1] if rest.count('.') > 1 else rest
    what = 'the input' if part == 'encoder' or crossing else 'the answer so far'
    text = (
        f'Layer {where} of the {part}: every line is a token that asks, every column '
        f'one of {what} that it may look at, and a line adds up to 1. The slider goes '
        'through the heads: each looks for something else.'
    )
    return Section(
        f'Whom does a token attend to? {view.layer}',
        f'{text} {view.note}'.rstrip(),
        [Slider('head', heads, [Matrix(head, rows, columns) for head in weights])],
        r'\mathrm{softmax}\left(\frac{Q K^T}{\sqrt{d_k}}\right)',
        'attention Eq. 1',
    )


def _letter(number: int) -> str:
    return chr(ord('a') + number) if 0 <= number < 26 else str(number)


def _numbers(_: Any, values: np.ndarray) -> list[str]:
    """Write what no writer knows."""
    return [str(value) if np.ndim(value) == 0 else 'vector' for value in values]


def _each(write: Callable[[Any, int], str]) -> Writer:
    return lambda data, values: [write(data, value) for value in values.tolist()]


def _pairs(data: LookUpDataset, vectors: np.ndarray) -> list[str]:
    values = vectors[:, 1 + data.dims :]
    return [
        'question' if asks else f'key of value {value}'
        for asks, value in zip(vectors[:, 0] > 0, values.argmax(axis=1), strict=True)
    ]


def _count_or_letter(data: RunLengthDataset, token: int) -> str:
    most = data.max_count
    return str(token + 1) if token < most else _letter(token - most)


# How the inputs and the labels of a data set are written.
_WRITERS: dict[type, tuple[Writer, Writer]] = {
    SeenBeforeDataset: (
        _each(lambda _, token: _letter(token)),
        _each(lambda _, label: 'seen before' if label else 'new'),
    ),
    LookUpDataset: (_pairs, _each(lambda _, label: f'value {label}')),
    RunLengthDataset: (
        _each(_count_or_letter),
        _each(lambda _, label: '(end)' if label == END else _letter(label - 1)),
    ),
}

"""Models of sequences, to be called with tokens or vectors; exported ones, too."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from paperzoo.apis.image_model import ImageModel, attempted
from paperzoo.apis.predictor import Predictor
from paperzoo.apis.results import Result, as_numpy
from paperzoo.errors import UserError
from paperzoo.runtime.sample import Fields
from paperzoo.runtime.sessions import Session

if TYPE_CHECKING:
    from mmengine.config import Config
    from torch import nn


class SequenceResult(Result):
    """The labels of a sequence; what belongs to images is None.

    `labels`, `scores` and `probabilities` have one row for each token of a tagger, for
    the one label of a set, or for each token that a translator has written, its end
    included. Its length is the number of labels.

    Args:
        inputs: What the model was called with: tokens (N,) or vectors (N, D).
        labels: (T,).
        probabilities: (T, K), the softmax of the model's scores.

    Example:
        >>> import numpy as np
        >>> from paperzoo.apis.sequences import SequenceResult
        >>> shares = np.array([[0.75, 0.25], [0.5, 0.5]], np.float32)
        >>> result = SequenceResult(np.array([3, 3]), np.array([0, 1]), shares)
        >>> result, result.scores.tolist()
        (SequenceResult(2 inputs: labels 0 1), [0.75, 0.5])
    """

    def __init__(
        self, inputs: NDArray, labels: NDArray[np.int64], probabilities: NDArray
    ) -> None:
        self.inputs = inputs
        self.classes = ()
        self.sample = Fields(pred_label=labels, probabilities=probabilities)

    @property
    def labels(self) -> NDArray[np.int64]:
        """The labels (T,): of each token, of the set, or the tokens that it wrote."""
        return self.sample.pred_label

    @property
    def scores(self) -> NDArray[np.float32]:
        """How likely each label is (T,), from 0 to 1."""
        return np.take_along_axis(self.probabilities, self.labels[:, None], 1)[:, 0]

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """How likely each class is for each label (T, K)."""
        return self.sample.probabilities

    @property
    def names(self) -> None:
        """None: classes of sequences have numbers only."""

    def drawn_bgr(self) -> NDArray[np.uint8]:
        """Refuse: a sequence is no image."""
        raise UserError('a sequence is no image: result.labels has what was found')

    def to_coco(self) -> Any:
        """Refuse: COCO has no records of sequences."""
        raise UserError('COCO has no records of sequences: see result.labels')

    def __len__(self) -> int:
        """Return the number of labels."""
        return len(self.labels)

    def __repr__(self) -> str:
        """Return the number of inputs, and the first labels."""
        shown = ' '.join(map(str, self.labels[:20].tolist()))
        more = ' ...' if len(self) > 20 else ''
        return f'SequenceResult({len(self.inputs)} inputs: labels {shown}{more})'

    def _repr_png_(self) -> None:  # type: ignore[override]
        """Nothing: Jupyter shows the text."""


class Inputs(NamedTuple):
    """What a model of sequences takes.

    Attributes:
        num_tokens: Tokens from 0 to one less; None if it takes vectors.
        channels: Of the vectors.
    """

    num_tokens: int | None
    channels: int | None

    def read(self, given: Any) -> NDArray:
        """Return one sequence as an array, (N,) of int64 or (N, D) of float32.

        Args:
            given: Numbers in a list, an array or a tensor.

        Raises:
            UserError: If it has another shape, no entry, or a token is out of range.
        """
        found = self._array(given)
        if self.num_tokens is None:
            wanted = f'vectors (N, {self.channels})'
            fits = found is not None and found.ndim == 2 and found.dtype.kind in 'iuf'
            fits = fits and found.shape[1] == self.channels  # type: ignore[union-attr]
        else:
            wanted = f'tokens (N,), whole numbers from 0 to {self.num_tokens - 1}'
            fits = found is not None and found.ndim == 1 and found.dtype.kind in 'iu'
        if found is None or not fits or not len(found):
            what = type(given).__name__ if found is None else f'{found.dtype} array'
            shape = '' if found is None else f' of shape {found.shape}'
            raise UserError(f'a {what}{shape} is no sequence: give {wanted}')
        if self.num_tokens is None:
            if not np.isfinite(found).all():
                raise UserError('a vector of the sequence is not finite')
            return found.astype(np.float32)
        if found.min() < 0 or found.max() >= self.num_tokens:
            raise UserError(
                f'the tokens are from {found.min()} to {found.max()}: give {wanted}'
            )
        return found.astype(np.int64)

    def is_one(self, given: Any) -> bool:
        """Return whether this is one sequence, and not several.

        Args:
            given: What a model was called with.
        """
        found = self._array(given)
        return found is not None and found.ndim == (2 if self.num_tokens is None else 1)

    @staticmethod
    def _array(given: Any) -> NDArray | None:
        try:
            found = as_numpy(given) if hasattr(given, 'detach') else np.asarray(given)
        except ValueError:  # of sequences of different lengths
            return None
        return found if found.dtype.kind in 'iuf' else None


class TakesSequences(ImageModel):
    """What is called with sequences as others are with images.

    Attributes:
        takes: What goes in.
    """

    takes: Inputs

    def __call__(
        self, sequence: Any, *, score: float | None = None, batch_size: int = 1
    ) -> Any:
        """Return the `SequenceResult` of a sequence, or of each of several.

        Args:
            sequence: Tokens (N,) or vectors (N, D) in a list, an array or a tensor; a
                list of those gives a list, a generator a generator.
            score: Not used: every sequence gets its labels.
            batch_size: How many sequences of one length go through the model at once.

        Raises:
            UserError: If it is no sequence that this model takes.
        """
        if isinstance(sequence, Iterator):
            return self._each(sequence, score, batch_size)
        several = isinstance(sequence, list | tuple) or hasattr(sequence, 'shape')
        if several and len(sequence) and not self.takes.is_one(sequence):
            return list(self._each(sequence, score, batch_size))
        return next(self._each([sequence], score, 1))


class SequencePredictor(TakesSequences, Predictor):
    """A model of sequences; `load` makes one.

    Args:
        model: A `SequenceTagger`, `SetClassifier` or `SequenceTranslator`, in
            evaluation mode, with its weights.
        cfg: Its config.
        precision: As of `load`.

    Raises:
        UserError: If the device has no such precision.

    Example:
        >>> import paperzoo
        >>> from paperzoo.apis.inference import predictor_of
        >>> cfg = paperzoo.load_config('attention_tagging')
        >>> model = predictor_of(paperzoo.build_model(cfg, 'cpu'), cfg, {})
        >>> model([3, 1, 3]).probabilities.shape, len(model([[3, 1], [2, 2, 2]]))
        ((3, 2), 2)
    """

    def __init__(
        self, model: 'nn.Module', cfg: 'Config', *, precision: str = 'float32'
    ) -> None:
        from paperzoo.attention.sequence_models import TokenEmbedding

        self._prepare(model, cfg, 0.0, precision, fuse=False)  # there is no batch norm
        self.classes: tuple[str, ...] = ()
        self.palette = None
        embedding: Any = model.embedding
        if isinstance(embedding, TokenEmbedding):
            self.takes = Inputs(embedding.tokens.num_embeddings, None)
        else:
            self.takes = Inputs(None, embedding[0].in_features)

    def _prepared(self, image: Any) -> tuple[Any, dict[str, Any]]:
        import torch

        read = self.takes.read(image)
        return read, {'inputs': torch.from_numpy(read)}

    def _run(self, data: list[dict[str, Any]]) -> list[Any]:
        import torch
        from mmengine.structures import BaseDataElement

        from paperzoo.attention.translator import SequenceTranslator

        batch = self.model.data_preprocessor(
            {'inputs': torch.stack([one['inputs'] for one in data])}
        )
        found = []
        with torch.no_grad(), self._numbers():
            labels = [one['pred_label'] for one in self.model(**batch, mode='predict')]
            if isinstance(self.model, SequenceTranslator):
                # One pass over its own answer scores as all steps of the writing did.
                scores = [
                    self.model(own[None], target=said[None])[0]
                    for own, said in zip(batch['inputs'], labels, strict=True)
                ]
            else:
                scores = list(self.model(**batch))
        for said, score in zip(labels, scores, strict=True):
            shares = score.float().softmax(-1).reshape(len(said), -1)
            found.append(BaseDataElement(pred_label=said, probabilities=shares))
        return found

    def _result(self, sample: Any, shown: Any, score: float) -> SequenceResult:
        return SequenceResult(
            shown, as_numpy(sample.pred_label), as_numpy(sample.probabilities)
        )

    def __repr__(self) -> str:
        """Return the model's class and its device."""
        device = next(self.model.parameters()).device
        return f'SequencePredictor({type(self.model).__name__}, on {device})'


class ExportedSequences(TakesSequences):
    """The exported file of a model of sequences, to be called like the model.

    Args:
        session: The file, opened.

    Raises:
        UserError: If it was written for something else.
    """

    def __init__(self, session: Session) -> None:
        self.session, self.card = session, session.card
        self.classes = ()
        self.palette = None
        self.score = 0.0
        shapes = {port.name: port.shape for port in session.inputs}
        outputs = [port.name for port in session.outputs]
        tokens = session.card.settings.get('num_tokens')
        self.shape = shapes.get('inputs', ())
        channels = self.shape[2] if len(self.shape) == 3 else None
        known = tokens if channels is None else channels
        if (
            set(shapes) != {'inputs', 'padding'}
            or outputs != ['scores']
            or len(self.shape) not in (2, 3)
            or type(known) is not int
            or known < 1
        ):
            raise UserError(
                f"'{session.file}' does not take sequences as its metadata says: "
                'export it again'
            )
        self.takes = Inputs(known, None) if channels is None else Inputs(None, known)

    def attempt(
        self, images: Sequence[Any], *, score: float | None = None
    ) -> list[Result | Exception]:
        """Return for each sequence the result, or why there is none.

        Args:
            images: Sequences, as of a call.
            score: Not used.
        """
        return attempted(self._one, images)

    def _one(self, sequence: Any) -> SequenceResult:
        given = self.takes.read(sequence)
        batch, length = (
            side if isinstance(side, int) else 0 for side in self.shape[:2]
        )
        if length and len(given) > length:
            raise UserError(
                f'a sequence of {len(given)} is longer than the {length} that '
                f"'{self.session.file}' takes: export it with --dynamic"
            )
        # A file of a fixed size gets the sequence with padding behind it.
        inputs = np.zeros((batch or 1, length or len(given), *given.shape[1:]))
        inputs[:, : len(given)] = given
        padding = np.ones(inputs.shape[:2], bool)
        padding[:, : len(given)] = False
        run = {'inputs': inputs.astype(given.dtype), 'padding': padding}
        scores = self.session.run(run)['scores'][:1]
        rows = scores[0, : len(given)] if scores.ndim == 3 else scores
        shares = np.exp(rows - rows.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        return SequenceResult(given, shares.argmax(-1), shares)

    def __repr__(self) -> str:
        """Return the file and the model that it was."""
        return f'ExportedSequences({self.session.file}, {self.card.model})'

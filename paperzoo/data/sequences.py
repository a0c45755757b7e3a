"""Generated sequences and sets, whose labels need attention: made in a second.

| data set | from | to |
| --- | --- | --- |
| `SeenBeforeDataset` | tokens | of each token, whether it was there before |
| `LookUpDataset` | a set of vectors | the value of the key that one of them asks for |
| `RunLengthDataset` | `3 a 2 b` | `a a a b b`: a length that only the values tell |

An item is a dict of `inputs`, (L) token numbers or (L, D) vectors, and `target`:
(L), () or (T) labels. `pad_collate` makes a batch of items of different lengths.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any
from zlib import crc32

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from paperzoo.errors import UserError, check_choice
from paperzoo.registry import DATASETS

# What the loss leaves out: torch's own choice.
IGNORED = -100
# The token that ends a decoded sequence.
END = 0
SPLITS = ('train', 'val', 'test')
Item = tuple[np.ndarray, np.ndarray]


def split_of(inputs: Shaped[np.ndarray, '...']) -> str:
    """Return the split that a sequence belongs to, a tenth to each of val and test.

    The sequence alone decides: no test sequence is seen in training, with any seed.

    Args:
        inputs: The sequence.

    Example:
        >>> import numpy as np
        >>> split_of(np.array([3, 1, 2]))
        'train'
    """
    number = crc32(np.ascontiguousarray(inputs).tobytes()) % 10
    return {0: 'test', 1: 'val'}.get(number, 'train')


class GeneratedSequences(Dataset):
    """A split of generated sequences; they depend on the arguments only.

    Args:
        split: 'train', 'val' or 'test'.
        num: Number of items.
        min_length: Of the sequences.
        max_length: Of the sequences.
        seed: Of the items.

    Raises:
        UserError: If an argument is out of its range, so that there would be no items.
    """

    def __init__(
        self, split: str, *, num: int, min_length: int, max_length: int, seed: int = 0
    ) -> None:
        name = type(self).__name__
        check_choice(name, 'split', split, SPLITS)
        if num < 1 or not 1 <= min_length <= max_length or seed < 0:
            raise UserError(
                f'{name}: num={num}, min_length={min_length}, max_length={max_length}, '
                f'seed={seed}: use num >= 1, 1 <= min_length <= max_length, seed >= 0'
            )
        self.split = split
        self.min_length, self.max_length = min_length, max_length
        rng = np.random.default_rng([seed, SPLITS.index(split)])
        self.items = [self._draw_own(rng) for _ in range(num)]

    @abstractmethod
    def draw(self, rng: np.random.Generator, length: int) -> Item:
        """Return a sequence and its labels.

        Args:
            rng: To draw from.
            length: Of the sequence.
        """

    @property
    def metainfo(self) -> dict[str, Any]:
        """The name of the split."""
        return {'split': self.split}

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        inputs, target = map(torch.from_numpy, self.items[index])
        return {'inputs': inputs, 'target': target}

    def _draw_own(self, rng: np.random.Generator) -> Item:
        """Return the next item that belongs to this split."""
        # A tenth or more belong here; but a few short ones may all belong to another.
        for _ in range(10000):
            length = int(rng.integers(self.min_length, self.max_length + 1))
            inputs, target = self.draw(rng, length)
            if split_of(inputs) == self.split:
                return inputs, target
        raise UserError(
            f"{type(self).__name__}: no sequence of split '{self.split}' was found "
            f'among 10000: raise max_length={self.max_length}, so that there are more'
        )


@DATASETS.register_module()
class SeenBeforeDataset(GeneratedSequences):
    """Tokens, and of each whether the same token was there before.

    Copies of a token differ in their place only: without positions a model must treat
    them alike, and without attention it cannot know of each other.

    Args:
        split: 'train', 'val' or 'test'.
        num: Number of items.
        num_tokens: Number of different tokens.
        min_length: Of the sequences.
        max_length: Of the sequences.
        seed: Of the items.

    Example:
        >>> item = SeenBeforeDataset('train', num=1, min_length=5, max_length=5)[0]
        >>> item['inputs'].shape, item['target'].shape
        (torch.Size([5]), torch.Size([5]))
    """

    def __init__(
        self,
        split: str,
        *,
        num: int,
        num_tokens: int = 16,
        min_length: int = 4,
        max_length: int = 16,
        seed: int = 0,
    ) -> None:
        if num_tokens < 1:
            raise UserError(
                f'SeenBeforeDataset: num_tokens={num_tokens}: use a positive number'
            )
        self.num_tokens = num_tokens
        super().__init__(
            split, num=num, min_length=min_length, max_length=max_length, seed=seed
        )

    def draw(self, rng: np.random.Generator, length: int) -> Item:
        """Return tokens, and 1 for each that was there before, 0 for the others."""
        tokens = rng.integers(self.num_tokens, size=length)
        return tokens, seen_before(tokens)


def seen_before(tokens: Int[np.ndarray, ' length']) -> Int[np.ndarray, ' length']:
    """Return 1 for each token that was there before, 0 for the others.

    Example:
        >>> import numpy as np
        >>> seen_before(np.array([5, 7, 5, 5]))
        array([0, 0, 1, 1])
    """
    same = tokens[:, None] == tokens
    return np.tril(same, -1).any(axis=1).astype(tokens.dtype)


@DATASETS.register_module()
class LookUpDataset(GeneratedSequences):
    """Sets of keys with a value each, and one key that asks for its value.

    A vector is 1 for the question and 0 for the others, then the key, a direction, then
    the value, one-hot, zeros for the question. Keys are at least 0.8 apart; that of the
    question is within 0.3 of one, and this one's value is the label.

    Args:
        split: 'train', 'val' or 'test'.
        num: Number of items.
        dims: Of the keys.
        num_values: Number of different values.
        min_length: Of the sets, 2 or more: the question counts.
        max_length: Of the sets.
        seed: Of the items.

    Example:
        >>> item = LookUpDataset('train', num=1, min_length=5, max_length=5)[0]
        >>> item['inputs'].shape, item['target'].shape
        (torch.Size([5, 13]), torch.Size([]))
    """

    near, far = 0.3, 0.8

    def __init__(
        self,
        split: str,
        *,
        num: int,
        dims: int = 8,
        num_values: int = 4,
        min_length: int = 3,
        max_length: int = 9,
        seed: int = 0,
    ) -> None:
        if min(min_length, dims, num_values) < 2:
            raise UserError(
                f'LookUpDataset: min_length={min_length}, dims={dims}, '
                f'num_values={num_values}: use 2 or more of each'
            )
        self.dims, self.num_values = dims, num_values
        super().__init__(
            split, num=num, min_length=min_length, max_length=max_length, seed=seed
        )

    def draw(self, rng: np.random.Generator, length: int) -> Item:
        """Return keys with values and the question among them, and its answer."""
        keys = self._keys(rng, length - 1)
        values = rng.integers(self.num_values, size=length - 1)
        # To normalise makes an offset of 0.28 one of 0.283 at most.
        offset = rng.uniform(0, 0.28) * _unit(rng.normal(size=self.dims))
        question = _unit(keys[0] + offset)
        vectors = np.zeros((length, 1 + self.dims + self.num_values), np.float32)
        vectors[0, 0] = 1
        vectors[:, 1 : 1 + self.dims] = np.vstack([question, keys])
        vectors[1:, 1 + self.dims :] = np.eye(self.num_values)[values]
        return rng.permutation(vectors), np.array(values[0])

    def _keys(
        self, rng: np.random.Generator, count: int
    ) -> Float[np.ndarray, 'count dims']:
        chosen = np.empty((0, self.dims))
        for one in _unit(rng.normal(size=(4 * count, self.dims))):
            if (np.linalg.norm(chosen - one, axis=1) >= self.far).all():
                chosen = np.vstack([chosen, one])
            if len(chosen) == count:
                return chosen
        raise UserError(
            f'LookUpDataset: among {4 * count} random keys of dims={self.dims} there '
            f'are no {count} that are {self.far} apart: lower '
            f'max_length={self.max_length}, or raise dims'
        )


def _unit(vectors: Float[np.ndarray, '*any dims']) -> Float[np.ndarray, '*any dims']:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@DATASETS.register_module()
class RunLengthDataset(GeneratedSequences):
    """Counts and letters in turns, and the letters so many times, then the end.

    How long the answer is follows from the values of the counts, not from the length
    of the question. Source tokens: 0 to max_count - 1 are the counts 1 to max_count,
    then come the letters. Target tokens: 0 is the end, then come the letters.

    Args:
        split: 'train', 'val' or 'test'.
        num: Number of items.
        num_letters: Number of different letters.
        max_count: Largest count.
        min_length: Smallest number of pairs of a count and a letter.
        max_length: Largest number of pairs.
        seed: Of the items.

    Example:
        >>> item = RunLengthDataset('train', num=1, min_length=3, max_length=3)[0]
        >>> len(item['inputs']), int(item['target'][-1])
        (6, 0)
    """

    def __init__(
        self,
        split: str,
        *,
        num: int,
        num_letters: int = 8,
        max_count: int = 4,
        min_length: int = 1,
        max_length: int = 4,
        seed: int = 0,
    ) -> None:
        if num_letters < 1 or max_count < 1:
            raise UserError(
                f'RunLengthDataset: num_letters={num_letters}, max_count={max_count}: '
                'use positive numbers'
            )
        self.num_letters, self.max_count = num_letters, max_count
        super().__init__(
            split, num=num, min_length=min_length, max_length=max_length, seed=seed
        )

    def draw(self, rng: np.random.Generator, length: int) -> Item:
        """Return the source of so many pairs, and its target with the end."""
        counts = rng.integers(self.max_count, size=length)
        letters = rng.integers(self.num_letters, size=length)
        source = np.stack([counts, self.max_count + letters], axis=1).reshape(-1)
        return source, np.append((letters + 1).repeat(counts + 1), END)


def pad_collate(items: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return a batch of items, the shorter ones padded behind their end.

    Args:
        items: Of a data set of this module.

    Returns:
        `inputs`, padded by 0; `padding`, true there; `target`, padded by -100.

    Example:
        >>> items = RunLengthDataset('val', num=2, max_length=2)
        >>> batch = pad_collate([items[0], items[1]])
        >>> batch['inputs'].shape == batch['padding'].shape
        True
    """
    inputs = [item['inputs'] for item in items]
    lengths = [len(one) for one in inputs]
    targets = [item['target'] for item in items]
    if targets[0].dim():
        target = pad_sequence(targets, batch_first=True, padding_value=IGNORED)
    else:
        target = torch.stack(targets)
    return {
        'inputs': pad_sequence(inputs, batch_first=True),
        'padding': torch.arange(max(lengths)) >= torch.tensor(lengths)[:, None],
        'target': target,
    }

"""Generated sequences: their labels are right, their splits share nothing."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from paperzoo.data.sequences import (
    END,
    IGNORED,
    GeneratedSequences,
    LookUpDataset,
    RunLengthDataset,
    SeenBeforeDataset,
    pad_collate,
    seen_before,
    split_of,
)
from paperzoo.errors import UserError

SETS = [SeenBeforeDataset, LookUpDataset, RunLengthDataset]
by_set = pytest.mark.parametrize('kind', SETS, ids=lambda kind: kind.__name__)
seeds = st.integers(0, 2**20)


def items_of(dataset: GeneratedSequences) -> list[dict[str, Tensor]]:
    return [dataset[index] for index in range(len(dataset))]


def test_the_second_copy_was_there_before() -> None:
    found = seen_before(np.array([5, 3, 5, 5, 1, 3]))
    np.testing.assert_array_equal(found, [0, 0, 1, 1, 0, 1])


@given(st.lists(st.integers(0, 5), max_size=12), st.permutations(range(6)))
def test_first_copies_are_as_many_as_there_are_tokens(
    tokens: list[int], names: list[int]
) -> None:
    """And what the tokens are called does not matter."""
    found = seen_before(np.array(tokens, dtype=np.int64))
    assert (found == 0).sum() == len(set(tokens))
    renamed = np.array([names[token] for token in tokens], dtype=np.int64)
    np.testing.assert_array_equal(seen_before(renamed), found)


@settings(max_examples=20)
@given(seeds)
def test_the_label_is_the_value_of_the_only_key_near_the_question(seed: int) -> None:
    dataset = LookUpDataset('val', num=5, seed=seed)
    for item in items_of(dataset):
        asks, keys, values = item['inputs'].double().split([1, 8, 4], dim=1)
        ones = torch.ones(len(keys), dtype=torch.float64)
        assert_close(keys.norm(dim=1), ones, rtol=0, atol=1e-6)
        assert_close(values.sum(1), 1 - asks[:, 0])
        (question,) = asks[:, 0].nonzero()[:, 0].tolist()
        distances = torch.cdist(keys, keys).fill_diagonal_(10)
        (answer,) = (distances[question] <= dataset.near).nonzero()[:, 0].tolist()
        assert values[answer].argmax() == item['target']
        others = [index for index in range(len(keys)) if index != question]
        assert (distances[others][:, others] >= dataset.far - 1e-6).all()


def test_values_and_sizes_are_equally_frequent() -> None:
    items = items_of(LookUpDataset('train', num=1000))
    counts = np.bincount([int(item['target']) for item in items])
    # The standard deviation is 14.
    np.testing.assert_allclose(counts, 250, atol=60)
    sizes = np.bincount([len(item['inputs']) for item in items])
    assert not sizes[:3].any()
    # The standard deviation is 11.
    np.testing.assert_allclose(sizes[3:], 1000 / 7, atol=50)


@settings(max_examples=20)
@given(seeds)
def test_a_target_has_each_letter_as_often_as_its_count_says(seed: int) -> None:
    dataset = RunLengthDataset('train', num=5, max_count=3, seed=seed)
    for item in items_of(dataset):
        source, target = item['inputs'].tolist(), item['target'].tolist()
        expected = []
        for count, letter in zip(source[::2], source[1::2], strict=True):
            assert 0 <= count < 3
            expected += [letter - 3 + 1] * (count + 1)
        assert target == [*expected, END]
        assert min(expected) > END


@by_set
def test_a_split_depends_on_its_arguments_only(kind: type) -> None:
    one, same, other = (kind('val', num=10, seed=seed) for seed in (3, 3, 4))
    for a, b in zip(one, same, strict=True):
        assert_close(a, b)
    assert any(
        a['inputs'].tolist() != b['inputs'].tolist()
        for a, b in zip(one, other, strict=True)
    )
    assert one.metainfo['split'] == 'val'


@by_set
def test_splits_share_nothing(kind: type) -> None:
    """Even short sequences, of which there are few, belong to one split each."""
    short = dict(min_length=2, max_length=2)
    drawn = {
        split: {
            item['inputs'].numpy().tobytes() for item in kind(split, num=50, **short)
        }
        for split in ('train', 'val', 'test')
    }
    for split, sequences in drawn.items():
        for sequence in sequences:
            assert split_of(np.frombuffer(sequence, np.uint8)) == split
    assert not drawn['train'] & drawn['test']
    assert not drawn['train'] & drawn['val']
    assert not drawn['val'] & drawn['test']


def test_a_tenth_is_for_the_test() -> None:
    splits = [split_of(np.array([number])) for number in range(2000)]
    # The standard deviation is 0.007.
    assert splits.count('test') / 2000 == pytest.approx(0.1, abs=0.03)
    assert splits.count('val') / 2000 == pytest.approx(0.1, abs=0.03)


def test_a_batch_can_be_checked() -> None:
    long = {'inputs': torch.tensor([7, 8, 9]), 'target': torch.tensor([1, 0])}
    short = {'inputs': torch.tensor([5]), 'target': torch.tensor([0])}
    expected = {
        'inputs': torch.tensor([[7, 8, 9], [5, 0, 0]]),
        'padding': torch.tensor([[False, False, False], [False, True, True]]),
        'target': torch.tensor([[1, 0], [0, IGNORED]]),
    }
    assert_close(pad_collate([long, short]), expected)


def test_a_batch_of_sets_has_a_label_each() -> None:
    vectors = [torch.ones(2, 3), torch.ones(1, 3)]
    labels = [torch.tensor(1), torch.tensor(0)]
    items = [
        {'inputs': own, 'target': label}
        for own, label in zip(vectors, labels, strict=True)
    ]
    batch = pad_collate(items)
    assert_close(batch['inputs'].sum((1, 2)), torch.tensor([6.0, 3.0]))
    assert_close(batch['padding'], torch.tensor([[False, False], [False, True]]))
    assert_close(batch['target'], torch.tensor([1, 0]))


@pytest.mark.parametrize(
    ('kind', 'arguments', 'said'),
    [
        (SeenBeforeDataset, {'split': 'tests'}, "split='tests': use 'train'"),
        (SeenBeforeDataset, {'min_length': 9, 'max_length': 8}, 'min_length=9'),
        (SeenBeforeDataset, {'num_tokens': 0}, 'num_tokens=0'),
        (SeenBeforeDataset, {'num': 0}, 'num=0'),
        (LookUpDataset, {'num_values': 1}, 'num_values=1'),
        (LookUpDataset, {'dims': 2, 'min_length': 40, 'max_length': 40}, 'dims=2'),
        (RunLengthDataset, {'max_count': 0}, 'max_count=0'),
        (
            RunLengthDataset,
            {'max_count': 1, 'num_letters': 1, 'max_length': 1, 'split': 'val'},
            'raise max_length=1',
        ),
    ],
)
def test_what_makes_no_data_set_is_refused(
    kind: type, arguments: dict, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        kind(**{'split': 'train', 'num': 1, **arguments})

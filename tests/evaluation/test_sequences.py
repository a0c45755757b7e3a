"""Right labels and right sequences."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from paperzoo.evaluation.sequences import SequenceAccuracy, right_places

labels = st.lists(st.integers(0, 3), max_size=6)


def sample(pred: list[int], truth: list[int]) -> dict[str, torch.Tensor]:
    return {'pred_label': torch.tensor(pred), 'gt_label': torch.tensor(truth)}


def test_numbers_that_can_be_checked() -> None:
    """5 of 8 labels are right: 2 of 2, 1 of 2, 2 of 3 and a missing, 0 of 1."""
    metric = SequenceAccuracy()
    metric.dataset_meta = {'split': 'test'}
    metric.process(None, [sample([1, 2], [1, 2]), sample([1, 2], [0, 2])])
    metric.process(None, [sample([1, 2], [1, 2, 0]), sample([1], [0])])
    assert metric.evaluate(4) == {
        'sequences/test_accuracy': pytest.approx(100 * 5 / 8),
        'sequences/test_exact_match': 25.0,
        'sequences/test_count': 4,
    }


def test_what_is_too_much_is_wrong() -> None:
    truth = torch.tensor([1, 2])
    assert right_places(torch.tensor([1, 2, 2]), truth) == (2, 3)
    assert right_places(torch.tensor([2, 1, 2]), truth) == (0, 3)


@given(labels, labels)
def test_all_is_right_of_equal_sequences_only(one: list[int], other: list[int]) -> None:
    right, total = right_places(
        torch.tensor(one, dtype=torch.long), torch.tensor(other, dtype=torch.long)
    )
    assert 0 <= right <= min(len(one), len(other))
    assert (right == total) is (one == other)


def test_a_label_of_a_whole_set_is_a_sequence_of_one() -> None:
    metric = SequenceAccuracy()
    labels = {'pred_label': torch.tensor([1]), 'gt_label': torch.tensor(1)}
    metric.process(None, [labels])
    assert metric.evaluate(1)['sequences/unnamed_exact_match'] == 100

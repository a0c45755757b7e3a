"""What happens to a batch of episodes before the model sees it."""

from typing import Any

import pytest
import torch
from torch.testing import assert_close

from paperzoo.common.few_shot import EpisodeDataPreprocessor
from paperzoo.errors import UserError
from paperzoo.registry import MODELS


def batch(**changes: Any) -> dict[str, Any]:
    images = torch.full((2, 2, 3, 1, 1), 100, dtype=torch.uint8)
    labels = torch.tensor([[0, 1], [1, 0]])
    return {
        'support': images,
        'support_label': labels,
        'query': images.float(),
        'query_label': labels,
        'name': ['a', 'b'],
        **changes,
    }


def test_images_are_normalised_and_classes_counted() -> None:
    module = MODELS.build(
        dict(
            type='paperzoo.EpisodeDataPreprocessor',
            mean=[0.0, 50.0, 100.0],
            std=[1.0, 2.0, 4.0],
        )
    )
    found = module(batch())
    column = torch.tensor([100.0, 25.0, 0.0]).view(3, 1, 1).expand(2, 2, 3, 1, 1)
    assert_close(found['support'], column)
    assert_close(found['query'], column)
    assert found['ways'] == 2
    keys = {'support', 'support_label', 'query', 'query_label', 'ways'}
    assert set(found) == keys
    assert module.state_dict() == {}


def test_without_statistics_images_become_floats() -> None:
    found = EpisodeDataPreprocessor()(batch())
    assert_close(found['support'], batch()['query'])


def test_numbers_of_classes_that_are_given_are_kept() -> None:
    assert EpisodeDataPreprocessor()(batch(ways=4))['ways'] == 4


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            dict(support_label=torch.tensor([[0, 1], [0, 0]])),
            'episode 1 of the batch has no support of class 1',
        ),
        (dict(support=torch.zeros(2, 2, 1, 4, 4)), '3 entries.*1 channels'),
    ],
)
def test_wrong_batches_are_named(changes: dict, message: str) -> None:
    module = EpisodeDataPreprocessor([0.0] * 3, [1.0] * 3)
    with pytest.raises(UserError, match=message):
        module(batch(**changes))


def test_what_is_missing_is_named() -> None:
    data = batch()
    del data['query']
    with pytest.raises(UserError, match=r'no query, only name.*EpisodeDataset'):
        EpisodeDataPreprocessor()(data)
    with pytest.raises(UserError, match=r'std=\[0\.0\]'):
        EpisodeDataPreprocessor(std=[0.0])

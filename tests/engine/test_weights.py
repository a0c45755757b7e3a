"""What is no checkpoint of weights is said to be none."""

from typing import Any

import pytest
import torch

from paperzoo.engine.weights import check_weights
from paperzoo.errors import UserError


@pytest.mark.parametrize(
    'loaded',
    [
        *(None, [], 3, torch.ones(1), {}, {'meta': {}}, {1: torch.ones(1)}),
        *({'state_dict': one} for one in (None, [1], {}, {'a': 1})),
    ],
)
def test_no_weights(loaded: Any) -> None:
    with pytest.raises(UserError, match=r"checkpoint 'a\.pth' holds no weights"):
        check_weights(loaded, 'a.pth')


def test_meta_must_be_a_dict() -> None:
    loaded = {'state_dict': {'a': torch.ones(1)}, 'meta': 3}
    with pytest.raises(UserError, match="'meta' is no dict"):
        check_weights(loaded, 'a.pth')
    check_weights({'a': torch.ones(1), 'version': 2}, 'a.pth')


@pytest.mark.parametrize(
    ('meta', 'said'),
    [
        ({'dataset_meta': 'x'}, 'meta.dataset_meta is a str, no dict'),
        ({'dataset_meta': [1]}, 'meta.dataset_meta is a list, no dict'),
        ({'CLASSES': 7}, 'meta.CLASSES is 7, no list of names'),
        *(
            ({'dataset_meta': {'classes': one}}, 'meta.dataset_meta.classes is ')
            for one in (7, [1, 2], {0: 'a'}, [['a'], 'b'], [None], torch.ones(2))
        ),
    ],
)
def test_classes_must_be_a_list_of_names(meta: dict, said: str) -> None:
    with pytest.raises(UserError) as caught:
        check_weights({'a': torch.ones(1), 'meta': meta}, 'a.pth')
    message = str(caught.value)
    assert message.startswith(f"checkpoint 'a.pth': its {said}")
    assert message.endswith('Mend it, or take it out')
    assert '\n' not in message


@pytest.mark.parametrize('versions', ['x', {'': 'x'}])
def test_versions_of_layers_must_be_dicts(versions: Any) -> None:
    weights: Any = torch.nn.BatchNorm1d(1).state_dict()
    check_weights({'state_dict': weights}, 'a.pth')
    weights._metadata = versions
    with pytest.raises(UserError, match=r"'a\.pth': the _metadata .* dict of dicts"):
        check_weights({'state_dict': weights}, 'a.pth')

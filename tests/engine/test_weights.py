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

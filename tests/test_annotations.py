"""The equipment of the tests: a wrong shape is an error wherever a test passes one."""

import pytest
import torch
from jaxtyping import TypeCheckError

from paperzoo.fcos import centerness


def test_shapes_are_checked() -> None:
    with pytest.raises(TypeCheckError, match='ltrb'):
        centerness(torch.ones(2, 5))

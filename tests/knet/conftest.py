"""What the tests of K-Net share."""

import jaxtyping
import pytest


@pytest.fixture
def unchecked_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Switch checks of shapes off, which torch.compile cannot trace."""
    monkeypatch.setattr(jaxtyping.config, 'jaxtyping_disable', True)

"""What all tests and examples share: data, remedies, checked annotations."""

import gc
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jaxtyping
import pytest
import torch
from hypothesis import settings
from mmengine.logging import MMLogger
from mmengine.utils import ManagerMixin

# One generated Shapes set for all runs and workers of this checkout.
os.environ.setdefault(
    'PAPERZOO_CACHE', str(Path(__file__).parent / '.cache' / 'paperzoo')
)

import paperzoo.compat  # noqa: F401


class UncheckedWhileTraced(type(jaxtyping.config)):  # type: ignore[misc]
    """Annotations are not checked where a compiler reads: they break its graph."""

    @property
    def jaxtyping_disable(self) -> bool:
        """Return whether the compiler reads this."""
        return torch.compiler.is_compiling()


jaxtyping.config.__class__ = UncheckedWhileTraced

# The same examples in every run: what is green stays green. To look for new ones:
# HYPOTHESIS_PROFILE=default make test
settings.register_profile('repeatable', derandomize=True, deadline=None)
settings.load_profile(os.environ.get('HYPOTHESIS_PROFILE', 'repeatable'))


def managers(cls: type = ManagerMixin) -> Iterator[type]:
    """Yield the classes of which MMEngine keeps instances for the whole process."""
    yield cls
    for child in cls.__subclasses__():
        yield from managers(child)


def pytest_collection_finish() -> None:
    """Let garbage collections, which MMEngine's data sets ask for, skip the imports."""
    gc.freeze()


@contextmanager
def restored() -> Iterator[None]:
    """Forget the default scope, visualizers and loggers that came in meanwhile."""
    before = {cls: dict(cls._instance_dict) for cls in managers()}
    yield
    for cls in managers():
        cls._instance_dict.clear()
        cls._instance_dict.update(before.get(cls, {}))


@pytest.fixture(autouse=True, scope='module')
def instances_of_this_file() -> Iterator[None]:
    """Let no file meet what another file's fixtures have set, such as a scope."""
    with restored():
        yield


@pytest.fixture(autouse=True)
def own_instances(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let no test meet the default scope, visualizer or logger of another one.

    What MMEngine logs is no part of an example's output, and what an example writes
    goes where all tests write.
    """
    with restored(), pytest.MonkeyPatch.context() as patch:
        if isinstance(request.node, pytest.DoctestItem):
            MMLogger.get_instance('mmengine', log_level='ERROR')
            folder = request.getfixturevalue('tmp_path')
            patch.setattr(tempfile, 'tempdir', str(folder))
        yield


@pytest.fixture
def real_data() -> Path:
    """The folder of real data sets; the test skips without it."""
    root = os.environ.get('PAPERZOO_DATA')
    if not root:
        pytest.skip('PAPERZOO_DATA is not set: no real images here')
    return Path(root)

"""A runner that has what a hook looks at, and nothing else."""

from typing import Any

from mmengine.runner import Runner


class FakeRunner(Runner):
    """A Runner in type only: what a test gives it are its attributes."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)

    work_dir: Any = ''

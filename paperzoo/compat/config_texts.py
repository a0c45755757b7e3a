"""Configs that come as text, in a checkpoint, are data: nothing of them is ever run.

Ailment: a checkpoint holds the config of its training as the text of a Python file.
On resume mmengine gives it to `Config.fromstring`, and all inferencers do so that get
no config: this runs the text, imports what its `custom_imports` names, and the types in
it may name any function of any module. A checkpoint of plain data runs code like that.
Upstream thread: none; mmengine/runner/runner.py (`resume`), _flexible_runner.py,
mmengine/infer/infer.py (`_init_model`), mmengine/config/config.py (`fromstring`).
Delete when: the supported mmengine reads a checkpoint's config without running it.

`Config.fromstring` reads any text as assignments of literals. What an inferencer builds
from it is made of classes that registries hold. A config in a file is code that its
user runs, as ever: `Config.fromfile` is as it was.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.util import find_spec
from io import StringIO
from typing import Any

from paperzoo.compat.literals import read_literals
from paperzoo.compat.registered_types import (
    PACKAGES,
    needed_parts,
    scope_of,
    visualizer_part,
)
from paperzoo.errors import UserError

# The scope of the inferencer that reads a config to build from it.
_BUILDING: ContextVar[str | None] = ContextVar('building', default=None)
_MARK = '_paperzoo_reads_data'


def apply() -> None:
    """Let `Config.fromstring` read data, and inferencers build registered classes."""
    if find_spec('mmengine') is None:
        return
    from mmengine.config import Config
    from mmengine.infer import BaseInferencer

    Config.fromstring = staticmethod(config_of_text)
    if not hasattr(BaseInferencer._init_model, _MARK):
        BaseInferencer._init_model = _checked_building(BaseInferencer._init_model)


def config_of_text(cfg_str: Any, file_format: str) -> Any:
    """Stand in for `Config.fromstring`, which runs the text.

    Args:
        cfg_str: The text: assignments of literals, JSON or YAML.
        file_format: `.py`, `.json`, `.yaml` or `.yml`.

    Raises:
        UserError: If the text is anything more; nothing of it was run.
        OSError: If the format is none of these.
    """
    from mmengine.config import Config

    if file_format not in ('.py', '.json', '.yaml', '.yml'):
        raise OSError('Only py/yml/yaml/json type are supported now!')
    try:
        given = _read(cfg_str, file_format)
        if not isinstance(given, dict) or '_base_' in given:
            raise UserError('it is no dict, or has a base')
        scope = _BUILDING.get()
        return Config(given if scope is None else _buildable(given, scope))
    except Exception as error:  # Anything: the text may come from anywhere.
        said = str(error) or type(error).__name__
        raise UserError(
            'a config that comes as text, as checkpoints hold one, is not used: '
            f'{said}. Nothing of it was run. Of such a checkpoint take the weights '
            'alone: load_from=CHECKPOINT to train, model=CONFIG for an inferencer. A '
            'text of your own goes into a file, for Config.fromfile(FILE)'
        ) from error


def _read(text: Any, file_format: str) -> Any:
    from mmengine.fileio import load

    if not isinstance(text, str):
        raise UserError(f'it is no text but {type(text).__name__}')
    if file_format == '.py':
        return read_literals(text)
    if file_format == '.json':
        return json.loads(text)
    return load(StringIO(text), file_format='yaml')


def _buildable(given: dict[str, Any], scope: str) -> dict[str, Any]:
    kept = needed_parts(given, scope_of({'default_scope': scope}))
    for key, loader in kept.items():
        if key.endswith('_dataloader'):
            _only_names(loader['dataset'], scope)
    if visualizer := visualizer_part(given, scope):
        kept['visualizer'] = visualizer
    return kept


def _only_names(spec: dict[str, Any], scope: str) -> None:
    """Let mmengine's empty data set stand for one: names and colours are asked of it.

    The data set's own class may want files that are not here.
    """
    from mmengine.dataset import BaseDataset
    from mmengine.registry import DATASETS

    kind = spec.get('type')
    if isinstance(kind, str):
        kind = DATASETS.get(kind if '.' in kind else f'{scope}.{kind}')
    spec['metainfo'] = {**getattr(kind, 'METAINFO', {}), **spec['metainfo']}
    spec['type'] = BaseDataset


@contextmanager
def _building(scope: str | None) -> Iterator[None]:
    token = _BUILDING.set(scope)
    try:
        yield
    finally:
        _BUILDING.reset(token)


def _checked_building(init_model: Callable[..., Any]) -> Callable[..., Any]:
    def _init_model(self: Any, cfg: Any, *args: Any, **kwargs: Any) -> Any:
        # Without a scope names mean what mmengine registers.
        with _building(self.scope if self.scope in PACKAGES else 'mmengine'):
            return init_model(self, cfg, *args, **kwargs)

    setattr(_init_model, _MARK, True)
    return _init_model

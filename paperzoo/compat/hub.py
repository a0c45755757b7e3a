"""mmengine's hub finds the configs of paperzoo.

Ailment: `mmengine.hub.get_config` and `get_model` know the packages of a fixed table,
and look for text configs in a folder `.mim`: "mmengine does not support to load
paperzoo config". Pure-Python configs lie in the package itself. A text config cannot
inherit from them: `_base_ = 'paperzoo::...'` stays refused.
Upstream thread: none; the table is `PKG2PROJECT` in mmengine/utils/package_utils.py.
Delete when: the supported mmengine finds configs of any package that has some.
"""

import functools
import sys
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

from paperzoo.errors import UserError
from paperzoo.utils.when_imported import when_imported

_PREFIX = 'paperzoo::'


def apply() -> None:
    """Let the hub answer for names that begin with `paperzoo::`."""
    when_imported('mmengine.hub.hub', _mend)


def _mend(module: Any) -> None:
    for name, own in (('get_config', _get_config), ('get_model', _get_model)):
        both = _either(own, getattr(module, name))
        for place in (module, sys.modules.get('mmengine.hub')):
            if place is not None and hasattr(place, name):
                setattr(place, name, both)


def _either(own: Callable[..., Any], theirs: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(theirs)
    def get(cfg_path: str, pretrained: bool = False, **kwargs: Any) -> Any:
        if not cfg_path.startswith(_PREFIX):
            return theirs(cfg_path, pretrained, **kwargs)
        if pretrained:
            raise UserError(
                f"'{cfg_path}': paperzoo publishes no weights; with some of yours: "
                'paperzoo.load(CHECKPOINT)'
            )
        return own(cfg_path, **kwargs)

    return get


def _get_config(cfg_path: str) -> Any:
    import paperzoo

    name = PurePosixPath(cfg_path.removeprefix(_PREFIX)).name
    return paperzoo.load_config(name.removesuffix('.py'))


def _get_model(cfg_path: str, **kwargs: Any) -> Any:
    import paperzoo

    cfg = _get_config(cfg_path)
    for key, value in kwargs.items():  # mmengine's default arguments
        cfg.model.setdefault(key, value)
    return paperzoo.build_model(cfg, 'cpu').train()

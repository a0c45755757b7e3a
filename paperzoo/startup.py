"""Attaches the remedies of `paperzoo.compat` at the first import of the stack.

`import paperzoo` only puts a finder in place. The remedies cost an import of mmengine
and torch, and change what mmengine does: who asks for a paper's mathematics alone gets
neither. A program that has imported mmengine before gets them with the first registry,
or at the first import of mmcv's ops, mmdet or mmseg.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from paperzoo.utils.when_imported import imported_within

_AFTER = 'mmengine'  # the remedies import it themselves
_BEFORE = ('mmcv', 'mmcv.ops', 'mmdet', 'mmseg')


def attach() -> None:
    """Let the remedies come after mmengine's import, before that of the others."""
    imported_within(_AFTER, _then_apply)
    for name in _BEFORE:
        imported_within(name, _applied)


@contextmanager
def _then_apply() -> Iterator[None]:
    yield
    _apply()


@contextmanager
def _applied() -> Iterator[None]:
    _apply()
    yield


def _apply() -> None:
    if 'paperzoo.compat' in sys.modules:
        return
    try:
        import_module('paperzoo.compat')
    except ModuleNotFoundError as error:
        # Without torch or mmengine there is nothing to repair: their import says so.
        if (error.name or '').partition('.')[0] not in ('torch', 'mmengine'):
            raise

"""The room: what it offers, and what it does without."""

import pytest
from own_process import python

import paperzoo.knet

MMDET_FREE = ['kernels', 'update_head', 'init_head', 'semantic_fpn', 'losses']
PROGRAM = """
import sys
sys.modules['{missing}'] = None
from importlib import import_module
for part in {parts}:
    import_module('paperzoo.knet.' + part)
"""


def test_every_name_is_there() -> None:
    for name in dir(paperzoo.knet):
        assert getattr(paperzoo.knet, name).__name__ == name
    with pytest.raises(AttributeError, match='KNot'):
        paperzoo.knet.KNot  # type: ignore[attr-defined]  # noqa: B018  there is none


@pytest.mark.parametrize(
    ('missing', 'parts'),
    [('mmdet', [*MMDET_FREE, 'semantic']), ('mmseg', ['detector'])],
)
def test_half_a_stack_is_enough(missing: str, parts: list[str]) -> None:
    program = PROGRAM.format(missing=missing, parts=parts)
    python(program)

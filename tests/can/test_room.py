"""The room: what it offers, and what it does without."""

import subprocess
import sys

import paperzoo.can

PROGRAM = """
import sys
for missing in ('mmcv', 'mmdet', 'mmseg', 'torchdiffeq'):
    sys.modules[missing] = None
from mmengine.registry import MODELS
config = dict(type='paperzoo.CANClassifier', feat_channels=4)
config['backbone'] = dict(type='paperzoo.ResNet12', widths=(1, 2, 3, 4))
MODELS.build(config)
"""


def test_every_name_is_there() -> None:
    for name in dir(paperzoo.can):
        assert getattr(paperzoo.can, name).__name__ == name


def test_mmengine_is_enough() -> None:
    run = subprocess.run(
        [sys.executable, '-c', PROGRAM], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr

"""Runtime of semantic segmentation: log, checkpoints, pictures."""

from mmengine.config import read_base
from mmseg.engine.hooks import SegVisualizationHook
from mmseg.models import SegTTAModel
from mmseg.visualization import SegLocalVisualizer

with read_base():
    from .default_runtime import *

default_scope = 'mmseg'
default_hooks['visualization'] = dict(type=SegVisualizationHook)
visualizer.update(type=SegLocalVisualizer)
# Batch statistics over all processes, where there is more than one.
sync_bn = 'torch'
# For mmseg's tools/test.py --tta, with the data set's tta_pipeline.
tta_model = dict(type=SegTTAModel)

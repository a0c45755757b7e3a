"""The registries of paperzoo, children of MMEngine's, with scope `paperzoo`.

`type='paperzoo.X'` in any MMEngine config imports this module, and the first lookup
imports the rooms. A room whose stack (say mmdet) is not installed is left out without
breaking the others; asking for something of it says what to install.
"""

from importlib import import_module
from typing import Any

import mmengine.registry as root
from mmengine.registry import Registry

import paperzoo.compat  # noqa: F401  (the remedies must be in place before mmdet is imported)
from paperzoo.errors import UserError

_OPTIONAL_STACK = {'mmcv', 'mmdet', 'mmseg', 'pycocotools', 'hotcoco'}


class RoomRegistry(Registry):
    """A registry that leaves out the rooms whose stack is not installed."""

    def __init__(self, name: str, locations: list[str], **kwargs: Any) -> None:
        super().__init__(name, scope='paperzoo', locations=locations, **kwargs)
        self._imported: bool = False
        self.left_out: dict[str, str] = {}

    def import_from_location(self) -> None:
        """Import the rooms once, noting those that miss an optional package."""
        if self._imported:
            return
        self._imported = True
        for room in self._locations:
            try:
                import_module(room)
            except ModuleNotFoundError as error:
                package = (error.name or '').partition('.')[0]
                if package not in _OPTIONAL_STACK:
                    raise
                self.left_out[room] = package

    def get(self, key: str) -> type | None:
        """Return the class registered as `key`, as MMEngine's registry does.

        Raises:
            UserError: If `key` names the scope `paperzoo`, is unknown, and rooms were
                left out.
        """
        found = super().get(key)
        if found is None and key.startswith('paperzoo.') and self.left_out:
            rooms = ', '.join(
                f'{room} (needs {pkg})' for room, pkg in self.left_out.items()
            )
            raise UserError(
                f"type='{key}' was not found in the {self.name} registry, and these "
                f'rooms were left out: {rooms}. Install what is missing: '
                "pip install 'paperzoo[lite]'"
            )
        return found


_PAPERS = [
    'paperzoo.common',
    'paperzoo.common.few_shot.preprocessor',
    'paperzoo.common.few_shot.resnet12',
    'paperzoo.fcos.head',
    'paperzoo.dmf.protonet',
    'paperzoo.dmf.classifier',
    'paperzoo.can.classifier',
    'paperzoo.feat.classifier',
    'paperzoo.attention.local',
    'paperzoo.attention.modules',
    'paperzoo.attention.positions',
    'paperzoo.attention.transformer',
    'paperzoo.attention.sequence_models',
    'paperzoo.attention.translator',
    'paperzoo.knet.init_head',
    'paperzoo.knet.update_head',
    'paperzoo.knet.detector',
    'paperzoo.knet.semantic',
]
_DATA = [
    'paperzoo.data.coco',
    'paperzoo.data.episodes',
    'paperzoo.data.formats.detection',
    'paperzoo.data.formats.semantic',
    'paperzoo.data.panoptic',
    'paperzoo.data.semantic',
    'paperzoo.data.sequences',
]
_METRICS = [
    'paperzoo.evaluation.coco',
    'paperzoo.evaluation.panoptic_quality',
    'paperzoo.evaluation.dump',
    'paperzoo.evaluation.few_shot',
    'paperzoo.evaluation.sequences',
]

_HOOKS = [
    'paperzoo.engine.compile',
    'paperzoo.engine.data_time',
    'paperzoo.engine.early_stopping',
    'paperzoo.engine.finite_loss',
    'paperzoo.engine.image_cache',
    'paperzoo.engine.memory_format',
    'paperzoo.engine.picture_page',
    'paperzoo.engine.precision',
    'paperzoo.engine.progress',
    'paperzoo.engine.random_state',
    'paperzoo.explain.hook',
]

MODELS = RoomRegistry('model', _PAPERS, parent=root.MODELS)
TASK_UTILS = RoomRegistry('task util', _PAPERS, parent=root.TASK_UTILS)
DATASETS = RoomRegistry('dataset', _DATA, parent=root.DATASETS)
DATA_SAMPLERS = RoomRegistry(
    'data sampler', ['paperzoo.data.episodes'], parent=root.DATA_SAMPLERS
)
TRANSFORMS = RoomRegistry(
    'transform',
    ['paperzoo.data.few_shot_transforms', 'paperzoo.data.formats.semantic'],
    parent=root.TRANSFORMS,
)
PARAM_SCHEDULERS = RoomRegistry(
    'parameter scheduler', ['paperzoo.attention.schedule'], parent=root.PARAM_SCHEDULERS
)
LOOPS = RoomRegistry('loop', ['paperzoo.engine.episode_loop'], parent=root.LOOPS)
METRICS = RoomRegistry('metric', _METRICS, parent=root.METRICS)
HOOKS = RoomRegistry('hook', _HOOKS, parent=root.HOOKS)
OPTIM_WRAPPERS = RoomRegistry(
    'optimizer wrapper', ['paperzoo.engine.amp'], parent=root.OPTIM_WRAPPERS
)

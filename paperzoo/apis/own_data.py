"""What a labelled folder says, and what follows from it for a training."""

import math
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from paperzoo.apis.config import config_folders, find_config, load_config, type_name
from paperzoo.data.formats.class_folders import is_class_folders
from paperzoo.data.formats.coco import is_coco
from paperzoo.data.formats.description import (
    LabelledImage,
    LabelledSet,
    distinct_colours,
)
from paperzoo.data.formats.folder import Folder
from paperzoo.data.formats.masks import is_masks
from paperzoo.data.formats.recognise import formats_of, read_folder
from paperzoo.data.formats.splitting import chosen_by_seed, part_of
from paperzoo.errors import UserError, check_choice

if TYPE_CHECKING:
    from mmengine.config import Config

# The bases of each task; the first is taken if none is named.
MODELS = {
    'detection': {'fcos': 'fcos_r50_fpn', 'fcos_imprv': 'fcos_imprv_r50_fpn'},
    'instance': {'knet': 'knet_r50_fpn_instance'},
    'panoptic': {'knet': 'knet_r50_fpn_panoptic'},
    'semantic': {'knet': 'knet_r50_fcn_semantic'},
    'few-shot': {
        'dmf': 'dmf_resnet12',
        'protonet': 'protonet_resnet12',
        'can': 'can_resnet12',
        'feat': 'feat_resnet12',
    },
}
TASKS = tuple(MODELS)
_VAL = 0.2  # share of the images for validation, if the folder has none
_VAL_CLASSES = 10  # of few-shot learning beside classes to test on
_OF_OBJECTS = ('coco', 'yolo', 'voc', 'labelme', 'cvat')
# Longest and shortest side of COCO's images in the papers.
_LARGEST = (1333, 800)


@dataclass
class OwnData:
    """What a config is written from.

    Args:
        task: One of `TASKS`.
        base: The config to inherit from, as a module.
        base_config: The same, loaded.
        found: The folder.
        train: The images to train on.
        check: The images to check with, by split: `'val'`, and `'test'` if there are.
        val: Share of the training images that are for validation; 0 if the folder has
            its own.
        seed: Of that choice.
        scratch: Whether all weights begin at random.
        fine_tune: Whether they begin at those of a whole model.
        notes: What the user should know.
    """

    task: str
    base: str
    base_config: 'Config'
    found: LabelledSet
    train: list[LabelledImage]
    check: dict[str, list[LabelledImage]]
    val: float
    seed: int
    scratch: bool
    fine_tune: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def palette(self) -> list[tuple[int, int, int]]:
        """A colour for each class."""
        return list(self.found.palette) or distinct_colours(len(self.found.classes))

    @property
    def sides(self) -> tuple[int, int]:
        """Median of the images' longer and shorter sides, in pixels."""
        images = self.found.images
        return (
            round(median(max(one.width, one.height) for one in images)),
            round(median(min(one.width, one.height) for one in images)),
        )

    def object_sides(self) -> list[float]:
        """Return the longer side of each object's box, in pixels, sorted."""
        return sorted(
            max(one.box[2] - one.box[0], one.box[3] - one.box[1])
            for image in self.train
            for one in image.objects
        )

    def scale(self) -> tuple[int, int]:
        """Return what to resize images to: their own size, within COCO's.

        Small images are enlarged, at most twofold, where a quarter of the objects
        would be smaller than 32 pixels.
        """
        longer, shorter = self.sides
        sides = self.object_sides()
        quarter = sides[len(sides) // 4] if sides else 32.0
        factor = min(max(1.0, 32 / quarter), 2.0)
        factor = min(factor, _LARGEST[0] / longer, _LARGEST[1] / shorter)
        if factor == _LARGEST[0] / longer or factor == _LARGEST[1] / shorter:
            return _LARGEST
        return _step(longer * factor, 32), _step(shorter * factor, 32)

    def first_range(self) -> int:
        """Return the largest distance of FCOS's first level, in pixels.

        A location of an object has distances of about three quarters of its side, so
        the median object lies at the border of the first two levels; never above the
        paper's 64.
        """
        sides = self.object_sides()
        if not sides:
            return 64
        longer, shorter = self.sides
        scale = self.scale()
        factor = min(scale[0] / longer, scale[1] / shorter)
        return min(64, max(16, 8 * round(0.75 * median(sides) * factor / 8)))


def look(
    folder: str | Path,
    *,
    task: str | None = None,
    model: str | None = None,
    data_format: str | None = None,
    val: float | None = None,
    seed: int = 0,
    scratch: bool = False,
    fine_tune: bool = False,
) -> OwnData:
    """Read a folder and decide what follows from it.

    Args:
        folder: With images and annotations in a known format.
        task: One of `TASKS`; by default the one that the annotations are made for.
        model: A short name of `MODELS`, or a config of paperzoo of this task.
        data_format: The folder's format, where it holds several.
        val: Share of the training images for validation if the folder has none.
        seed: Of that choice.
        scratch: Whether to begin at random weights, where none can be fetched.
        fine_tune: Whether to begin at a whole model trained on COCO or ADE20K.

    Raises:
        UserError: If the folder cannot be used for the task, or there is no such model.

    Example:
        >>> import pathlib, tempfile
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> from PIL import Image
        >>> for name in 'abcdef':
        ...     (root / name).mkdir()
        ...     for number in range(3):
        ...         Image.new('L', (32, 32)).save(root / name / f'{number}.png')
        >>> from paperzoo.apis.own_data import look
        >>> data = look(root)
        >>> data.task, len(data.train), len(data.check['val'])
        ('few-shot', 12, 6)
    """
    chosen, val = val, _VAL if val is None else val
    if not 0 < val < 1:
        raise UserError(f'--val {val}: a share of the images between 0 and 1')
    if task is not None:
        check_choice('paperzoo init', '--task', task, TASKS)
    found = _read(Path(os.path.expanduser(folder)).absolute(), task, data_format)
    if task is None:
        task = _task_of(found)
        if task == 'instance' and (model or '').startswith('fcos'):
            task = 'detection'  # outlines have boxes, too
    base, config = find_base(task, model)
    data = OwnData(task, base, config, found, [], {}, val, seed, scratch, fine_tune)
    if task == 'few-shot':
        _split_classes(data, by_default=chosen is None)
    else:
        _split_images(data)
    if chosen is not None and not data.val:
        data.notes.append(
            f'--val {chosen:g} is not used: the folder has validation images of its own'
        )
    _warn(data)
    return data


def find_base(task: str, model: str | None = None) -> tuple[str, 'Config']:
    """Return the config of a model as a module, and loaded.

    Args:
        task: One of `TASKS`.
        model: A short name of `MODELS`, or a config of paperzoo; by default the first.

    Raises:
        UserError: If there is no such model, or it is not for this task.

    Example:
        >>> from paperzoo.apis.own_data import find_base
        >>> find_base('detection', 'fcos')[0]
        'paperzoo.configs.fcos_r50_fpn'
    """
    known = MODELS[task]
    wrong = UserError(
        f'--model {model} is no model of paperzoo for {task}: {" or ".join(known)}, or '
        'the name of a variant of its config'
    )
    if model not in known and any(model in others for others in MODELS.values()):
        raise wrong
    path = find_config(known.get(model or next(iter(known)), model or '')).resolve()
    # The other packages keep theirs in a folder .mim.
    own = [one.resolve() for one in config_folders() if one.parent.name != '.mim']
    ours = [one for one in own if path.is_relative_to(one)]
    if not ours:
        raise wrong
    config = load_config(path)
    if not _fits(task, config):
        raise wrong
    inner = path.relative_to(ours[0]).with_suffix('')
    return '.'.join(('paperzoo', 'configs', *inner.parts)), config


def _fits(task: str, config: 'Config') -> bool:
    model = config.model
    if task == 'few-shot':
        return 'layout' in ((config.get('train_dataloader') or {}).get('dataset') or {})
    if task == 'semantic':
        return 'decode_head' in model
    steps = config.get('train_pipeline') or []
    resized = len(steps) > 2 and type_name(steps[2]['type']) in (
        'Resize',
        'RandomResize',
    )
    if task == 'detection':
        return resized and 'bbox_head' in model
    panoptic = (model.get('roi_head') or {}).get('do_panoptic')
    return resized and panoptic is (task == 'panoptic')


def _read(folder: Path, task: str | None, data_format: str | None) -> LabelledSet:
    """Read the folder in the format that serves the task."""
    files = Folder(folder)
    if task == 'panoptic':
        if not is_coco(files):
            raise UserError(f'{folder}: panoptic annotations are read in COCO format')
        return read_folder(files, 'coco', panoptic=True)
    if task == 'semantic' and is_masks(files):
        return read_folder(files, 'masks')
    if task == 'few-shot' and is_class_folders(files):
        return read_folder(files, 'class_folders')
    if task in ('detection', 'instance') and data_format is None:
        names = [one for one in formats_of(files) if one in _OF_OBJECTS]
        if not names:
            raise UserError(
                f'{folder}: no objects are labelled here in one of '
                f'{", ".join(_OF_OBJECTS)}'
            )
        data_format = names[0] if len(names) == 1 else None
    if task in ('semantic', 'few-shot'):
        needed = {
            'semantic': 'label maps (images/ and masks/)',
            'few-shot': 'a folder for each class, or tables with filename and label',
        }[task]
        raise UserError(f'{folder}: for {task} it needs {needed}')
    panoptic = False if task else None
    return read_folder(files, data_format, panoptic=panoptic)


def _task_of(found: LabelledSet) -> str:
    """Return the task that annotations are made for."""
    if found.format == 'class_folders':
        return 'few-shot'
    if found.format == 'masks':
        return 'semantic'
    if found.things is not None:
        return 'panoptic'
    objects = [one for image in found.images for one in image.objects]
    outlined = sum(_is_outline(one.mask) for one in objects)
    return 'instance' if 2 * outlined > len(objects) else 'detection'


def _is_outline(mask: object) -> bool:
    """Return whether a mask is more than the corners of a box."""
    if not isinstance(mask, list):
        return mask is not None
    return any(len(set(one[0::2])) > 2 or len(set(one[1::2])) > 2 for one in mask)


def _split_images(data: OwnData) -> None:
    """Set the images of each split, by the folder or by the seed."""
    images = data.found.images
    names = [one.path.relative_to(data.found.root).as_posix() for one in images]
    splits = [one.split for one in images]
    own = data.found.splits()
    if own.get('val'):
        data.val = 0.0
    elif own.get('train', 0) + own.get('', 0) < 2:
        raise UserError(
            f'{data.found.root}: {_counted(own)}; a '
            'training needs two or more, one of them to check with'
            + _reasons(data.found)
        )
    else:
        data.notes.append(
            f'the folder has no validation images: {data.val:.0%} of the training '
            f'images are chosen by seed {data.seed}, always the same'
        )
    parts = {
        split: part_of(images, names, splits, split, data.val, data.seed)
        for split in ('train', 'val', 'test')
    }
    data.train = parts.pop('train')
    if not data.train:
        raise UserError(
            f'{data.found.root}: no images to train on; it has {_counted(own)}'
            + _reasons(data.found)
        )
    data.check = {split: part for split, part in parts.items() if part}


def _counted(splits: Mapping[str, int]) -> str:
    """Return how many images there are that can be used, as words."""
    total = sum(splits.values())
    named = ', '.join(f'{count} {name}' for name, count in splits.items() if name)
    count = f'{total} image{"" if total == 1 else "s"} that can be used'
    return f'{count} ({named})' if named else count


def _reasons(found: LabelledSet) -> str:
    """Return what is left out of a folder, as the further lines of an error."""
    return ''.join(f'\n  left out: {one}' for one in found.left_out[:5])


def _split_classes(data: OwnData, by_default: bool) -> None:
    """Set the images of each split so that no class is in two of them.

    Args:
        data: Changes.
        by_default: Whether nobody said how many classes are for validation.
    """
    images = data.found.images
    own = {
        split: {one.name for one in images if one.split == split}
        for split in ('train', 'val', 'test', '')
    }
    own['train'] |= own.pop('')
    seen = [names for names in own.values() if names]
    if len(seen) > 1 and sum(map(len, seen)) > len(set().union(*seen)):
        data.notes.append(
            'the splits of the folder share classes, as for ordinary classification; '
            'few-shot learning needs new ones: the classes of all are divided by seed '
            f'{data.seed}'
        )
        own = {'train': set().union(*seen), 'val': set(), 'test': set()}
    counts = Counter(one.name for one in images)
    if few := {name for name, count in counts.items() if count < 2}:
        data.notes.append(
            f'{len(few)} classes have one image only and are left out, such as '
            f'{min(few)!r}'
        )
        own = {split: names - few for split, names in own.items()}
    if not own['val']:
        if by_default and own['test']:
            # They only choose a checkpoint, and are missed in the training.
            data.val = min(data.val, _VAL_CLASSES / len(own['train']))
        own['val'] = chosen_by_seed(own['train'], data.val, data.seed)
        while len(own['val']) < 2 < len(own['train']):
            own['val'].add(min(own['train'] - own['val']))
        own['train'] = own['train'] - own['val']
        data.notes.append(
            f'{len(own["val"])} classes are for validation, chosen by seed {data.seed}'
        )
    else:
        data.val = 0.0
    if min(len(names) for names in own.values() if names) < 2 or len(own['train']) < 2:
        raise UserError(
            f'{data.found.root}: {len(counts)} classes; an episode needs two or more '
            'in the training and two others to check with'
        )
    data.train = [one for one in images if one.name in own['train']]
    data.check = {
        split: [one for one in images if one.name in own[split]]
        for split in ('val', 'test')
        if own[split]
    }


def _warn(data: OwnData) -> None:
    """Note what will make the training worse than it seems."""
    labelled = {one.name for image in data.train for one in image.objects}
    if data.task == 'semantic' and len(data.found.classes) < 2:
        raise UserError(
            f'{data.found.root}: all label maps hold one value only: nothing to learn'
        )
    if data.task in ('detection', 'instance'):
        if not labelled:
            raise UserError(
                f'{data.found.root}: no object to train on' + _reasons(data.found)
            )
        rare = [name for name in data.found.classes if name not in labelled]
        if rare:
            data.notes.append(
                f'{len(rare)} classes have no object in the training images, such as '
                f'{rare[0]!r}'
            )
        if not any(one.objects for one in data.check.get('val', [])):
            data.notes.append('no validation image has an object: no AP can be told')
    if data.task == 'instance':
        objects = [one for image in data.train for one in image.objects]
        boxes = sum(one.mask is None for one in objects)
        if boxes:
            data.notes.append(
                f'{boxes} of {len(objects)} objects have a box only, which is taken as '
                'their mask'
            )


def _step(value: float, step: int) -> int:
    """Return the next multiple of a step."""
    return step * max(1, math.ceil(value / step - 1e-6))

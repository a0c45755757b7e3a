"""The text of a config for own data, in pure Python over a base that exists."""

import math
from collections import Counter
from itertools import pairwise
from pathlib import Path
from pprint import pformat
from typing import Any

from paperzoo.apis.config import type_name
from paperzoo.apis.own_data import OwnData
from paperzoo.apis.own_weights import weights_lines
from paperzoo.errors import UserError

_WIDTH = 100
# Steps that a small set needs from the base's pretrained weights.
_STEPS = {'detection': 5000, 'instance': 8000, 'panoptic': 8000, 'semantic': 4000}
_METRICS = {
    'detection': 'coco/bbox_mAP',
    'instance': 'coco/segm_mAP',
    'panoptic': 'coco_panoptic/PQ',
    'semantic': 'mIoU',
    'few-shot': 'few_shot/val_accuracy',
}
_OWN = {
    'coco': 'CocoFolderDataset',
    'yolo': 'YOLODataset',
    'voc': 'VOCDataset',
    'labelme': 'LabelMeDataset',
    'cvat': 'CVATDataset',
}


def config_text(data: OwnData, target: Path) -> str:
    """Return a config.

    Args:
        data: What it is written from.
        target: Where it goes.

    Example:
        >>> import pathlib, tempfile
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> from PIL import Image
        >>> for name in 'abcdef':
        ...     (root / name).mkdir()
        ...     for number in range(3):
        ...         Image.new('L', (32, 32)).save(root / name / f'{number}.png')
        >>> from paperzoo.apis.own_config import config_text
        >>> from paperzoo.apis.own_data import look
        >>> 'model.update(num_classes=4)' in config_text(look(root), root / 'mine.py')
        True
    """
    write = {
        'detection': _objects,
        'instance': _objects,
        'panoptic': _panoptic,
        'semantic': _semantic,
        'few-shot': _few_shot,
    }[data.task]
    imports, lines = write(data, target)
    imports = ['from paperzoo.engine import EarlyStoppingHook', *imports]
    head = [
        f'"""Own data: {data.task}, {len(data.train)} images to train on. Change it '
        'at will."""',
        '',
        'from mmengine.config import read_base',
        *sorted(imports),
        '',
        'with read_base():',
        f'    from {data.base} import *',
        '',
        f'data_root = {str(data.found.root)!r}',
    ]
    return '\n'.join([*head, *lines, *weights_lines(data)]) + '\n'


def _call(start: str, *arguments: str, end: str = ')') -> list[str]:
    """Return a call, on one line if it fits."""
    line = f'{start}{", ".join(arguments)}{end}'
    if len(line) <= _WIDTH:
        return [line]
    rows = ['']
    for one in arguments:
        row = f'{rows[-1]}, {one}' if rows[-1] else one
        if rows[-1] and len(row) + 5 > _WIDTH:
            rows.append(one)
        else:
            rows[-1] = row
    return [start, *(f'    {row},' for row in rows), end]


def _objects(data: OwnData, target: Path) -> tuple[list[str], list[str]]:
    """Return imports and lines of a set of boxes or masks."""
    files = data.found.files
    stock = data.found.format == 'coco' and 'val' in files and not data.val
    name = 'CocoDataset' if stock else _OWN[data.found.format]
    home = 'paperzoo.data.coco' if stock else 'paperzoo.data.formats.detection'
    lines = [*_meta(data), *_thing_heads(data), *_scale(data)]
    if stock:
        lines += _stock_sets(data, name, 'img')
        lines.append(f'val_evaluator.update(ann_file={_place(files["val"][0])})')
        test = ''
        if 'test' in files:
            test = f', ann_file={_place(files["test"][0])}'
        lines.append(
            f'test_evaluator = dict(val_evaluator{test})'
            if test
            else 'test_evaluator = val_evaluator'
        )
    else:
        lines += [
            "test_pipeline[3]['meta_keys'] += ('instances',)",
            *_folder_sets(data, name, 'filter_cfg=dict(filter_empty_gt=True)'),
            'val_evaluator.update(ann_file=None)  # the truth is that of the data set',
            'test_evaluator = val_evaluator',
        ]
    return [f'from {home} import {name}'], lines + _epochs(data)


def _panoptic(data: OwnData, target: Path) -> tuple[list[str], list[str]]:
    """Return imports and lines of a panoptic set."""
    files = data.found.files
    if not files:
        why = '\n'.join(f'  {one}' for one in data.found.left_out[:3])
        raise UserError(
            f'{data.found.root}: the panoptic files cannot be read as they are: one '
            'file for each split, all images of it in one folder and all PNG in one, '
            f'the same categories in the same order\n{why}'
        )
    split = bool(data.val)
    name = 'CocoPanopticFolderDataset' if split else 'CocoPanopticDataset'
    home = 'paperzoo.data.formats.detection' if split else 'paperzoo.data.panoptic'
    first = files['train']
    val = first if split else files['val']
    lines = [*_meta(data), *_thing_heads(data), *_scale(data)]
    lines += _stock_sets(data, name, 'img', 'seg')
    for start, one in (
        ('val_evaluator.update(', val),
        ('test_evaluator = dict(', files.get('test')),
    ):
        if one is None:
            lines.append('test_evaluator = val_evaluator')
            continue
        own = ('val_evaluator',) if start.startswith('test') else ()
        places = (f'ann_file={_place(one[0])}', f'seg_prefix={_place(one[2])}')
        lines += _call(start, *own, *places)
    return [f'from {home} import {name}'], lines + _epochs(data)


def _semantic(data: OwnData, target: Path) -> tuple[list[str], list[str]]:
    """Return imports and lines of a set of label maps."""
    classes = len(data.found.classes)
    longer, shorter = data.sides
    factor = min(1.0, 512 / shorter)
    scale = (round(longer * factor), round(shorter * factor))
    crop = 32 * max(1, math.ceil(scale[1] / 32))
    batch = 4
    in_epochs = 'max_epochs' in data.base_config.train_cfg
    lines = [
        *_meta(data),
        *_numbers('decode_head', data.base_config.model.decode_head, classes),
        *_numbers(
            'auxiliary_head', data.base_config.model.get('auxiliary_head'), classes
        ),
        '',
        f'scale = {scale}  # the images are about {longer} x {shorter} pixels',
        f'crop_size = ({crop}, {crop})',
        "model['data_preprocessor'].update(size=crop_size)",
        *_map_pipelines(data),
        *_folder_sets(data, 'MaskFolderDataset', '', batch),
        *(_epochs(data, batch) if in_epochs else _iterations(data, batch)),
    ]
    home = 'paperzoo.data.formats.semantic'
    return [f'from {home} import LoadMappedAnnotations, MaskFolderDataset'], lines


def _map_pipelines(data: OwnData) -> list[str]:
    """Return the lines that load label maps and scale them."""
    lines = []
    for name in ('train_pipeline', 'test_pipeline'):
        for place, step in enumerate(data.base_config[name]):
            kind = type_name(step['type'])
            if kind == 'LoadAnnotations':
                lines.append(f'{name}[{place}] = dict(type=LoadMappedAnnotations)')
            elif kind in ('Resize', 'RandomResize'):
                lines.append(f'{name}[{place}].update(scale=scale)')
            elif kind == 'RandomCrop':
                lines.append(f'{name}[{place}].update(crop_size=crop_size)')
    for place, step in enumerate(data.base_config.get('tta_pipeline') or ()):
        for number, choices in enumerate(step.get('transforms') or ()):
            if [type_name(one['type']) for one in choices] == ['LoadAnnotations']:
                lines.append(
                    f"tta_pipeline[{place}]['transforms'][{number}] = "
                    '[dict(type=LoadMappedAnnotations)]'
                )
    return lines


def _iterations(data: OwnData, batch: int) -> list[str]:
    """Return the schedule of a base that counts iterations."""
    steps = max(_STEPS[data.task], min(80000, 60 * len(data.train) // batch))
    steps = 1000 * math.ceil(steps * (1 + data.scratch) / 1000)
    every, warm = steps // 20, min(1000, steps // 10)
    return [
        '',
        f'max_iters = {steps}',
        f'train_cfg.update(max_iters=max_iters, val_interval={every})',
        *_warm_up(data, warm),
        f'param_scheduler[1].update(begin={warm}, end=max_iters'
        f'{_milestones(data, steps * 3 // 4, steps * 9 // 10)})',
        *_rate(data, batch),
        *_keep_best(data, every),
    ]


def _milestones(data: OwnData, *steps: int) -> str:
    last = data.base_config.param_scheduler[1]
    return f', milestones={list(steps)}' if 'milestones' in last else ''


def _few_shot(data: OwnData, target: Path) -> tuple[list[str], list[str]]:
    """Return imports and lines of a set of classes."""
    _, shorter = data.sides
    steps = data.base_config.train_pipeline
    usual = next((one['size'] for one in steps if 'size' in one), 84)
    side = min(usual, max(32, 4 * round(shorter / 4)))
    classes = len({one.name for one in data.train})
    epochs = min(95, max(20, len(data.train) // 200))
    lines = [
        f'model.update(num_classes={classes})',
        f'side = {side}  # the images have sides of about {shorter} pixels',
        *(
            f'train_pipeline[{place}].update(size=side'
            + (f', padding={max(2, side // 10)})' if 'padding' in one else ')')
            for place, one in enumerate(steps)
            if 'size' in one
        ),
        *_call(
            'test_pipeline = [',
            'dict(type=ImageResize, size=side)',
            'dict(type=ImageCenterCrop, size=side)',
            end=']',
        ),
    ]
    if side < 64 <= usual:
        lines += [
            '# Two poolings instead of three leave something to align.',
            "model['backbone'].update(pools=(True, True, False, False))",
        ]
    if 'positions' in data.base_config.model:
        # Rounded up at every pooling.
        of_map = -(-side // (4 if side < 64 else 8))
        lines += [f'model.update(positions={of_map**2})']
    lines += [
        *_episodes(data, target),
        '',
        f'max_epochs = {epochs}',
        'train_cfg.update(max_epochs=max_epochs)',
        'param_scheduler[1].update(end=max_epochs)',
        *_stop(data),
    ]
    home = 'paperzoo.data.few_shot_transforms'
    return [f'from {home} import ImageCenterCrop, ImageResize'], lines


def _episodes(data: OwnData, target: Path) -> list[str]:
    """Return the data sets of episodes."""
    parts = {'train': data.train, **data.check}
    counts = {
        split: Counter(one.name for one in images) for split, images in parts.items()
    }
    table = str(target.absolute().with_name(target.stem))
    # EpisodeDataset replaces {split}.
    table = table.replace('{', '{{').replace('}', '}}') + '_{split}.csv'
    pixels = sum(one.width * one.height for one in data.found.images)
    lines = [
        '',
        '# The tables beside this config name the images of each split.',
        *_call(
            'data = dict(',
            *('data_root=data_root', "layout='csv'", "img_path=''"),
            *(f'ann_file={table!r}', f'ways={min(5, *map(len, counts.values()))}'),
            f'in_memory={3 * pixels < 2e9}',
        ),
    ]
    for loader in ('train', 'val', 'test'):
        split = loader if loader in parts else 'val'
        usual = data.base_config[f'{loader}_dataloader'].dataset.queries
        queries = min(usual, min(counts[split].values()) - 1)
        others = sorted(set(parts) - {split})
        pipeline = 'train_pipeline' if loader == 'train' else 'test_pipeline'
        lines += _call(
            f"{loader}_dataloader['dataset'].update(",
            *(f'split={split!r}', f'queries={queries}', f'disjoint_from={others}'),
            *(f'pipeline={pipeline}', '**data'),
        )
    if 'test' not in parts:
        lines.append("test_evaluator.update(split='val')")
    return lines


def _meta(data: OwnData) -> list[str]:
    meta: dict[str, Any] = {'classes': tuple(data.found.classes)}
    if data.found.things is not None:
        things = len(data.found.things)
        meta |= {
            'thing_classes': meta['classes'][:things],
            'stuff_classes': meta['classes'][things:],
        }
    meta['palette'] = data.palette
    line = f'metainfo = dict({", ".join(f"{k}={v!r}" for k, v in meta.items())})'
    if len(line) <= _WIDTH:
        return [line]
    rows = []
    for key, value in meta.items():
        first, *rest = pformat(value, width=78 - len(key), compact=True).splitlines()
        pad = ' ' * (len(key) + 5)
        rows += [f'    {key}={first}', *(pad + one for one in rest)]
        rows[-1] += ','
    return ['metainfo = dict(', *rows, ')']


def _thing_heads(data: OwnData) -> list[str]:
    """Return the lines that tell every head how many classes there are."""
    total = len(data.found.classes)
    if data.task == 'detection':
        lines = [f"model['bbox_head'].update(num_classes={total})"]
        head = data.base_config.model.bbox_head
        strides = head.get('strides') or (8, 16, 32, 64, 128)
        first = data.first_range()
        if first < 64:
            edges = [-1, *(first * 2**level for level in range(len(strides) - 1)), 1e8]
            ranges = ', '.join(
                f'({low:g}, {high:g})' if high < 1e8 else f'({low:g}, 1e8)'
                for low, high in pairwise(edges)
            )
            lines += [
                '# Sizes of objects that each level finds, by those of the data.',
                *_call("model['bbox_head'].update(regress_ranges=(", ranges, end='))'),
            ]
        return lines
    things = total if data.found.things is None else len(data.found.things)
    stuff = total - things
    return [
        f"model['rpn_head'].update(num_classes={total}, num_stuff_classes={stuff})",
        f"model['roi_head'].update(num_thing_classes={things}, "
        f'num_stuff_classes={stuff})',
        f"model['roi_head']['mask_head'].update(num_classes={total}, "
        f'num_stuff_classes={stuff})',
    ]


def _numbers(path: str, head: Any, classes: int) -> list[str]:
    """Return a line for each head within a head that counts the classes."""
    lines = []
    if isinstance(head, dict):
        if 'num_classes' in head:
            keys = ''.join(f'[{part!r}]' for part in path.split('.'))
            lines.append(f'model{keys}.update(num_classes={classes})')
        for key, inner in head.items():
            lines += _numbers(f'{path}.{key}', inner, classes)
    return lines


def _scale(data: OwnData) -> list[str]:
    scale = data.scale()
    longer, shorter = data.sides
    smaller = (scale[0], 32 * max(1, round(scale[1] * 0.8 / 32)))
    first = type_name(data.base_config.train_pipeline[2]['type'])
    train = f'[{smaller}, scale]' if first == 'RandomResize' else 'scale'
    sides = data.object_sides()
    objects = f', the objects {sides[len(sides) // 2]:.0f}' if sides else ''
    return [
        f'scale = {scale}  # the images are about {longer} x {shorter} pixels{objects}',
        f'train_pipeline[2].update(scale={train})',
        'test_pipeline[1].update(scale=scale)',
        '',
    ]


def _folder_sets(data: OwnData, name: str, limits: str, batch: int = 0) -> list[str]:
    """Return the data sets of a class that reads a folder by itself."""
    choice = (f'val={data.val}', f'seed={data.seed}') if data.val else ()
    places = ('data_root=data_root', 'metainfo=metainfo')
    lines = [
        *_call('data = dict(', f'type={name}', *places, *choice),
        f'train_dataloader.update(batch_size={batch or _batch(data)})',
        *_call(
            "train_dataloader['dataset'] = dict(",
            *('data', "split='train'", *filter(None, [limits])),
            'pipeline=train_pipeline',
        ),
        *_call(
            "val_dataloader['dataset'] = dict(",
            *('data', "split='val'", 'test_mode=True', 'pipeline=test_pipeline'),
        ),
    ]
    if 'test' not in data.check:
        return [*lines, 'test_dataloader = val_dataloader']
    return [
        *lines,
        *_call(
            'test_dataloader = dict(',
            *(
                'val_dataloader',
                "dataset=dict(val_dataloader['dataset'], split='test')",
            ),
        ),
    ]


def _stock_sets(data: OwnData, name: str, *keys: str) -> list[str]:
    """Return the data sets of a class that reads the files of a split."""
    files = data.found.files
    first = files['train']

    def places(one: tuple[str, ...]) -> tuple[str, str]:
        ann_file, *folders = one
        pairs = zip(keys, folders, strict=True)
        prefix = ', '.join(f'{key}={folder!r}' for key, folder in pairs)
        return f'ann_file={ann_file!r}', f'data_prefix=dict({prefix})'

    def choice(split: str) -> tuple[str, ...]:
        if not data.val:
            return ()
        chosen = (f'val={data.val}', f'seed={data.seed}')
        return f'type={name}', f'split={split!r}', *chosen

    lines = [
        'data = dict(data_root=data_root, metainfo=metainfo)',
        f'train_dataloader.update(batch_size={_batch(data)})',
    ]
    for split, one in (('train', first), ('val', files.get('val', first))):
        pipeline = 'train_pipeline' if split == 'train' else 'test_pipeline'
        lines += _call(
            f"{split}_dataloader['dataset'].update(",
            *(*places(one), f'pipeline={pipeline}', '**data', *choice(split)),
        )
    if 'test' not in files:
        return [*lines, 'test_dataloader = val_dataloader']
    return [
        *lines,
        *_call(
            'test_dataloader = dict(val_dataloader, dataset=dict(',
            *("val_dataloader['dataset']", *places(files['test'])),
            end='))',
        ),
    ]


def _place(name: str) -> str:
    """Return the f-string of a file below the data root."""
    safe = name.replace('{', '{{').replace('}', '}}')
    return 'f' + repr(f'{{data_root}}/{safe}')


def _batch(data: OwnData) -> int:
    width, height = data.scale()
    return 2 if width * height > 600_000 else 4


def _epochs(data: OwnData, batch: int | None = None) -> list[str]:
    """Return the schedule by the number of images."""
    batch = batch or _batch(data)
    steps = _STEPS[data.task] * (2 if data.scratch else 1)
    epochs = min(300, max(12, math.ceil(steps * batch / len(data.train))))
    total = math.ceil(len(data.train) / batch) * epochs
    every = max(1, round(epochs / 20))
    return [
        '',
        f'max_epochs = {epochs}',
        f'train_cfg.update(max_epochs=max_epochs, val_interval={every})',
        *_warm_up(data, max(1, min(500, total // 10))),
        'param_scheduler[1].update(end=max_epochs'
        f'{_milestones(data, epochs * 2 // 3, epochs * 11 // 12)})',
        *_rate(data, batch),
        *_keep_best(data, every),
    ]


def _warm_up(data: OwnData, steps: int) -> list[str]:
    if data.base_config.param_scheduler[0].get('end') == steps:
        return []
    return [f'param_scheduler[0].update(end={steps})']


def _keep_best(data: OwnData, every: int) -> list[str]:
    return [
        *_call(
            "default_hooks['checkpoint'].update(",
            *(f'interval={every}', 'max_keep_ckpts=1', *_rule(data)),
            f'save_best={_METRICS[data.task]!r}',
        ),
        *_stop(data),
    ]


def _rate(data: OwnData, batch: int) -> list[str]:
    """Return the learning rate for the batch, by what the base's is for."""
    optimizer = data.base_config.optim_wrapper.optimizer
    before = data.base_config.train_dataloader.batch_size
    scaling = data.base_config.get('auto_scale_lr') or {}
    # Inherited by a config of one process, it is of another rate.
    if scaling.get('base_batch_size') in (8 * before, 16 * before):
        before = scaling['base_batch_size']
    adaptive = type_name(optimizer.type).startswith('Adam')
    share = batch / before
    rate = optimizer.lr * (math.sqrt(share) if adaptive else share)
    return [
        f"optim_wrapper['optimizer'].update(lr={rate:.3g})  # for batches of {batch}",
        f'auto_scale_lr = dict(enable=False, base_batch_size={batch})',
    ]


def _stop(data: OwnData) -> list[str]:
    metric = _METRICS[data.task]
    # The default of 0.1 is for percents; COCO's AP is a fraction.
    least = ('min_delta=0.001',) if data.task in ('detection', 'instance') else ()
    own = 'custom_hooks' in data.base_config and data.base_config.custom_hooks
    return [
        '# Stop when eight checks in a row find nothing better.',
        *_call(
            f'custom_hooks = [{"*custom_hooks, " if own else ""}dict(',
            *('type=EarlyStoppingHook', f'monitor={metric!r}', *_rule(data), *least),
            'patience=8',
            end=')]',
        ),
    ]


def _rule(data: OwnData) -> tuple[str, ...]:
    # Of the others mmengine knows that more is better.
    return ("rule='greater'",) if data.task == 'panoptic' else ()

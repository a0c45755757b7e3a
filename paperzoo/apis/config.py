"""Configs: found by name, loaded with overrides, and what they say."""

import difflib
import importlib.util
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from paperzoo.apis.config_errors import (
    import_custom,
    merge,
    reading_explained,
    refuse_objects,
)
from paperzoo.apis.stack import check_stack
from paperzoo.errors import UserError
from paperzoo.preflight.common_values import check_values
from paperzoo.preflight.top_keys import refuse_unread
from paperzoo.utils.colours import colours_of
from paperzoo.utils.files import write_safely
from paperzoo.utils.run_info import trained_classes
from paperzoo.utils.wrappers import unwrap_datasets

if TYPE_CHECKING:
    from mmengine.config import Config

_ENDINGS = ('.py', '.json', '.yml', '.yaml')


def config_folders() -> list[Path]:
    """Return the folders that hold configs: paperzoo's, mmdet's and mmseg's.

    Example:
        >>> from paperzoo.apis.config import config_folders
        >>> config_folders()[0].name
        'configs'
    """
    here = Path(__file__).parents[1]
    folders = [here / 'configs', here.parent / 'configs']
    for package in ('mmdet', 'mmseg'):
        spec = importlib.util.find_spec(package)
        if spec and spec.origin:
            folders.append(Path(spec.origin).parent / '.mim' / 'configs')
    return [folder for folder in folders if folder.is_dir()]


def find_config(name: str) -> Path:
    """Return the file of a config given as a path or as a bare name.

    Args:
        name: A path, or a base name of a config of paperzoo, mmdet or mmseg, with or
            without `.py`.

    Raises:
        UserError: If there is no such config; the message names the nearest ones.

    Example:
        >>> from paperzoo.apis.config import find_config
        >>> find_config('fcos_r50_fpn').name
        'fcos_r50_fpn.py'
    """
    if Path(name).is_file():
        return Path(name)
    base = Path(name).name.removesuffix('.py') + '.py'
    known: dict[str, Path] = {}
    for folder in config_folders():
        for file in sorted(folder.rglob('*.py')):
            known.setdefault(file.name, file)
        if base in known:
            return known[base]
    near = difflib.get_close_matches(base, known, n=3)
    hint = f' Did you mean {" or ".join(near)}?' if near else ''
    raise UserError(
        f"config '{name}' is neither a file nor the name of a config of paperzoo, "
        f"mmdet or mmseg.{hint} All of paperzoo's: mim search paperzoo"
    )


def load_config(
    config: str | Path,
    cfg_options: Mapping[str, Any] | None = None,
    *,
    work_dir: str | Path | None = None,
) -> 'Config':
    """Return a config with everything it inherits, and with overrides.

    Args:
        config: A path, or a base name of a config of paperzoo, mmdet or mmseg, with or
            without `.py`.
        cfg_options: Overrides by dotted key, such as `{'train_cfg.max_epochs': 2}`.
        work_dir: Where logs, checkpoints and results go; by default what the config
            says, else `work_dirs/` and the config's name.

    Raises:
        UserError: If there is no such config, it cannot be read, one of the common
            settings or an override cannot be, or the OpenMMLab stack does not fit.

    Example:
        >>> from paperzoo.apis.config import load_config
        >>> cfg = load_config('fcos_r50_fpn', {'train_cfg.max_epochs': 2})
        >>> cfg.model.bbox_head.num_classes, cfg.train_cfg.max_epochs
        (80, 2)
    """
    check_stack()
    path = find_config(os.path.expanduser(config))
    if path.suffix not in _ENDINGS:
        raise UserError(
            f"'{path}' is no config: that ends in .py, .json or .yml. The config comes "
            'first, then the checkpoint: fcos_tiny_shapes epoch_1.pth'
        )
    # A config may name modules of the project that it lies in, as under `python -m`.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    from mmengine.config import Config

    from paperzoo.preflight.config_lines import refuse_circle

    refuse_circle(path)
    with reading_explained(path):
        cfg = Config.fromfile(str(path), import_custom_modules=False)
    if cfg_options:
        refuse_unread(cfg, cfg_options)
        merge(cfg, cfg_options)
    check_values(cfg)
    import_custom(cfg)
    check_stack(cfg.get('default_scope'))
    set_work_dir(cfg, work_dir)
    return cfg


def set_work_dir(cfg: 'Config', work_dir: str | Path | None) -> None:
    """Let a config say where its run goes.

    Args:
        cfg: Changes.
        work_dir: The place; by default what the config says, else `work_dirs/` and the
            config's name.

    Example:
        >>> from mmengine.config import Config
        >>> from paperzoo.apis.config import set_work_dir
        >>> cfg = Config(dict(model=dict(type='FCOS')))
        >>> set_work_dir(cfg, None)
        >>> cfg.work_dir
        'work_dirs/run'
    """
    if work_dir:
        cfg.work_dir = str(work_dir)
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / Path(cfg.filename or 'run').stem)


def dump_config(cfg: 'Config', file: str | Path) -> Path:
    """Write a config with everything it inherits, as a file to inherit from.

    Args:
        cfg: The config.
        file: Where to write: `.py`, `.json`, `.yml` or `.yaml`.

    Raises:
        UserError: If the file exists already, its name has another ending, it cannot
            be written, or the config holds what no file can.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from paperzoo.apis.config import dump_config, load_config
        >>> with TemporaryDirectory() as folder:
        ...     file = dump_config(load_config('fcos_r50_fpn'), Path(folder, 'base.py'))
        ...     load_config(file).model.bbox_head.num_classes
        80
    """
    file = Path(file)
    if file.exists():
        raise UserError(f"'{file}' exists already: name another file, or remove it")
    if file.suffix not in _ENDINGS:
        raise UserError(f"'{file}' must end in .py, .json or .yml")
    refuse_objects(cfg)
    with TemporaryDirectory() as folder:
        whole = Path(folder, file.name)
        cfg.dump(str(whole))
        content = whole.read_bytes()
    write_safely(file, lambda stream: stream.write(content))
    return file


def class_names(cfg: 'Config', meta: dict) -> tuple[str, ...]:
    """Return the class names: the checkpoint's, else those of the config's data set.

    Args:
        cfg: The config.
        meta: Of the checkpoint.

    Raises:
        UserError: If neither the checkpoint nor the config says the names, what the
            checkpoint says is no list of names, or no head of the model counts as many.

    Example:
        >>> from paperzoo.apis.config import class_names, load_config
        >>> class_names(load_config('fcos_tiny_shapes'), {})[:3]
        ('circle', 'rectangle', 'triangle')
    """
    from paperzoo.preflight.datasets import data_sets

    found: Sequence[str] | None = trained_classes(meta)
    for split in () if found else ('test', 'val', 'train'):
        for one in data_sets(cfg, split):
            found = found or one.classes
    if not found:
        raise UserError(
            'neither the checkpoint nor the config says the names of the classes: add '
            "metainfo=dict(classes=('a', 'b')) to test_dataloader.dataset"
        )
    from paperzoo.preflight.checkpoint_classes import check_names

    check_names(cfg, tuple(found))
    return tuple(found)


def palette(cfg: 'Config', meta: dict) -> list[tuple[int, int, int]] | None:
    """Return the classes' colours, RGB: the checkpoint's, else the data set's, or None.

    Args:
        cfg: The config.
        meta: Of the checkpoint.

    Example:
        >>> from paperzoo.apis.config import load_config, palette
        >>> palette(load_config('fcos_tiny_shapes'), {})[0]
        (230, 25, 75)
    """
    from paperzoo.preflight.datasets import data_sets

    # MMEngine takes the name of a palette, too.
    found = colours_of((meta.get('dataset_meta') or {}).get('palette'))
    for split in () if found else ('test', 'val', 'train'):
        for one in data_sets(cfg, split):
            found = found or colours_of(one.metainfo.get('palette'))
    return found


def dataset_config(cfg: 'Config', split: str) -> dict:
    """Return the config of a split's data set without wrappers around it, or {}.

    Args:
        cfg: The config.
        split: `'train'`, `'val'` or `'test'`.

    Example:
        >>> from paperzoo.apis.config import dataset_config, load_config
        >>> dataset_config(load_config('fcos_tiny_shapes'), 'test').ann_file
        'annotations/instances_val.json'
    """
    found = unwrap_datasets((cfg.get(f'{split}_dataloader') or {}).get('dataset'))
    return found[0][1] if found else {}


def image_pipeline(cfg: 'Config') -> list[dict]:
    """Return the test pipeline without the steps that load annotations.

    Args:
        cfg: The config.

    Raises:
        UserError: If the config has no test pipeline.

    Example:
        >>> from paperzoo.apis.config import image_pipeline, load_config, type_name
        >>> steps = image_pipeline(load_config('fcos_tiny_shapes'))
        >>> [type_name(step['type']) for step in steps]
        ['LoadImageFromFile', 'Resize', 'PackDetInputs']
    """
    steps = dataset_config(cfg, 'test').get('pipeline')
    if steps is None:  # an empty one is one: episodes of images as they are
        steps = cfg.get('test_pipeline')
    if steps is None:
        raise UserError(f'{cfg.filename}: no test_dataloader.dataset.pipeline')
    return [step for step in steps if 'Annotations' not in type_name(step['type'])]


def test_scale(cfg: 'Config') -> tuple[tuple[int, int] | None, bool]:
    """Return the scale of the test pipeline's `Resize`, and whether it keeps ratios.

    Without a `Resize`, images keep their size: None.

    Args:
        cfg: The config.

    Raises:
        UserError: If the pipeline resizes in a way that is not understood.

    Example:
        >>> from paperzoo.apis.config import load_config, test_scale
        >>> test_scale(load_config('fcos_tiny_shapes'))
        ((256, 192), True)
    """
    split = 'test' if cfg.get('test_dataloader') else 'val'
    for step in dataset_config(cfg, split).get('pipeline') or []:
        name = type_name(step['type'])
        if 'Resize' not in name:
            continue
        scale = step.get('scale')
        if name != 'Resize' or scale is None:
            raise UserError(
                f'{cfg.filename}: the test pipeline resizes by {dict(step)}; only '
                'Resize with a scale is understood here. Give one by --cfg-options'
            )
        sides = (scale, scale) if isinstance(scale, int) else tuple(scale)
        return sides, step.get('keep_ratio', False)
    return None, False


def type_name(kind: Any) -> str:
    """Return the name of a type that a config gives as a text or as a class.

    Args:
        kind: The text or the class.

    Example:
        >>> from paperzoo.apis.config import type_name
        >>> type_name('mmdet.models.FCOS'), type_name(dict)
        ('FCOS', 'dict')
    """
    return kind.rpartition('.')[2] if isinstance(kind, str) else kind.__name__

"""What can be found wrong before a training starts, in seconds.

What is not understood is passed over: a check that may be wrong is worse than none.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mmengine.config import Config

from paperzoo.data.layout import check_classes
from paperzoo.errors import UserError
from paperzoo.preflight.built_sets import check_built
from paperzoo.preflight.datasets import DataSpec, data_sets
from paperzoo.preflight.episodes import check_episodes, reads_episodes
from paperzoo.preflight.issues import Issue, report
from paperzoo.preflight.losses import check_losses
from paperzoo.preflight.num_classes import check_heads
from paperzoo.preflight.packages import check_packages
from paperzoo.preflight.random_weights import check_frozen
from paperzoo.utils.run_info import is_first_process

# Weights, and an optimizer with two numbers for each.
_STATES = 3


def check_before_training(cfg: Config, warn: Callable[[str], object] = print) -> None:
    """Refuse a training that would fail later, or silently learn the wrong thing.

    Args:
        cfg: The config, complete.
        warn: What takes the messages of warnings.

    Raises:
        UserError: If something is wrong; the message has a paragraph for each thing.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     check_before_training(Config(dict(work_dir=folder)))  # nothing is wrong
    """
    _refuse(cfg, ('train', 'val'), warn)


def check_before_test(cfg: Config, warn: Callable[[str], object] = print) -> None:
    """Refuse a test whose numbers would be wrong.

    Args:
        cfg: The config, complete.
        warn: What takes the messages of warnings.

    Raises:
        UserError: With one paragraph for each thing that is wrong.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     check_before_test(Config(dict(work_dir=folder)))  # nothing is wrong
    """
    _refuse(cfg, ('test',), warn)


def check_data(cfg: Config, split: str) -> None:
    """Refuse the files of a data set that could not be built, if they are why.

    Args:
        cfg: The config, complete.
        split: `'train'`, `'val'` or `'test'`.

    Raises:
        UserError: With one paragraph for each thing that is wrong.

    Example:
        >>> check_data(Config(dict(work_dir='work')), 'test')  # nothing is wrong
    """
    report(_check_files(cfg, data_sets(cfg, split)), '', lambda _: None)


def _refuse(cfg: Config, splits: Sequence[str], warn: Callable[[str], object]) -> None:
    if not is_first_process(cfg.get('launcher') or 'none'):
        return  # the first process looks for all of them
    report(preflight(cfg, splits), '(Without these checks: --no-preflight)', warn)


def preflight(cfg: Config, splits: Sequence[str] = ('train', 'val')) -> list[Issue]:
    """Return all that is found wrong.

    Args:
        cfg: The config, complete.
        splits: Which of `'train'`, `'val'` and `'test'` will be read.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     preflight(Config(dict(work_dir=folder)))
        []
    """
    issues = _check_work_dir(cfg.work_dir) if 'train' in splits else []
    sets: list[DataSpec] = []
    for split in splits:
        if split == 'train' or cfg.get(f'{split}_cfg') is not None:
            found = data_sets(cfg, split)
            # The heads learn the classes of the training.
            if split == splits[0]:
                issues += check_heads(cfg, found)
            sets += found
    if 'train' in splits:
        issues += [*check_losses(cfg), *check_frozen(cfg)]
    issues += check_packages(cfg)
    return issues + _check_files(cfg, sets)


def _check_files(cfg: Config, sets: list[DataSpec]) -> list[Issue]:
    issues: list[Issue] = []
    labels: list[tuple[DataSpec, list[str]]] = []
    # Often the test set is the validation set again.
    different: list[DataSpec] = []
    for one in sets:
        if all((one.built, one.spec) != (had.built, had.spec) for had in different):
            different.append(one)
    for one in different:
        try:
            check_classes(one.spec.get('metainfo'))
        except UserError as error:
            issues.append(Issue(f'{one.key}.{error}'))
            continue
        found, names = _check_set(cfg, one)
        issues += found
        if names:
            labels.append((one, names))
    issues += check_episodes(cfg.get('model') or {}, different)
    return issues + _check_same_labels(labels)


def _check_set(cfg: Config, one: DataSpec) -> tuple[list[Issue], list[str] | None]:
    """Return what is wrong with a data set, and its class names if labels matter."""
    with suppress(ModuleNotFoundError):  # no mmdet
        from paperzoo.preflight.coco_files import by_name, check_coco, reads_coco

        if reads_coco(one):
            found, names = check_coco(one, str(cfg.filename))
            return found, None if by_name(one) else names
    with suppress(ModuleNotFoundError):  # no mmseg
        from paperzoo.preflight.label_maps import check_maps, reads_maps

        if reads_maps(one):
            return check_maps(one, cfg.get('model')), None
    return [] if reads_episodes(one) else check_built(one), None


def _check_same_labels(labels: list[tuple[DataSpec, list[str]]]) -> list[Issue]:
    """Return an issue if a label is another class in another annotation file."""
    for one, names in labels[1:]:
        first, expected = labels[0]
        if set(names) == set(expected) and names != expected:
            label = next(i for i, name in enumerate(names) if name != expected[i])
            return [
                Issue(
                    f'{one.key}.ann_file: label {label} is {names[label]!r}, but '
                    f'{expected[label]!r} in {first.key}.ann_file: mmdet counts '
                    "classes in the file's order.\n"
                    "  Write 'categories' of both files in the same order."
                )
            ]
    return []


def _check_work_dir(work_dir: str) -> list[Issue]:
    """Return an issue if nothing can be written to the work dir.

    Args:
        work_dir: As in the config; it need not be there yet, and is not made.
    """
    place = Path(work_dir).absolute()
    place = next(one for one in (place, *place.parents) if os.path.lexists(one))
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b'0' * 4096)
    except OSError as error:
        text = (
            f"work_dir = '{work_dir}' cannot be written: {error.strerror or error}\n"
            '  Name another place with --work-dir.'
        )
        return [Issue(text)]
    return []


def check_space(runner: Any) -> None:
    """Refuse a work dir without room for two checkpoints: the old and the new one.

    Args:
        runner: MMEngine's, with its model built.

    Raises:
        UserError: If the disk has too little room for two checkpoints.

    Example:
        >>> from types import SimpleNamespace
        >>> from torch import nn
        >>> check_space(SimpleNamespace(model=nn.Linear(1, 1), work_dir='.'))
    """
    model = runner.model.state_dict().values()
    size = sum(one.numel() * one.element_size() for one in model)
    needed = 2 * _STATES * size
    free = shutil.disk_usage(runner.work_dir).free
    if free < needed:
        raise UserError(
            f"work_dir = '{runner.work_dir}' has {free / 1e6:.0f} MB left; two "
            f'checkpoints of this model need up to {needed / 1e6:.0f} MB.\n'
            '  Make room, or name another place with --work-dir. '
            '(Without this check: --no-preflight)'
        )

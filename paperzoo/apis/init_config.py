"""Writes the config of a labelled folder, and says what comes next."""

import csv
import io
import shlex
from dataclasses import dataclass
from pathlib import Path

from paperzoo.apis.own_config import config_text
from paperzoo.apis.own_data import OwnData, look
from paperzoo.apis.own_weights import weights_note, weights_url
from paperzoo.errors import UserError
from paperzoo.utils.files import write_safely


@dataclass
class Written:
    """What was written, and what to tell.

    Args:
        config: The config.
        files: The files beside it that it needs.
        summary: One line on the data.
        notes: What the user should know.
        weights: Where the first weights come from, and how to do without a network.
        left_out: What of the folder cannot be used.
        commands: What to run next.
    """

    config: Path
    files: list[Path]
    summary: str
    notes: list[str]
    weights: list[str]
    left_out: list[str]
    commands: list[str]


def init_config(
    folder: str | Path,
    output: str | Path,
    *,
    task: str | None = None,
    model: str | None = None,
    data_format: str | None = None,
    val: float | None = None,
    seed: int = 0,
    scratch: bool = False,
    fine_tune: bool = False,
) -> Written:
    """Write a config that trains a model on a labelled folder.

    Args:
        folder: With images and annotations in a known format.
        output: The config to write; nothing is overwritten.
        task: One of `TASKS`; by default the one that the annotations are made for.
        model: A short name of `MODELS`, or a config of paperzoo of this task.
        data_format: The folder's format, where it holds several.
        val: Share of the training images for validation if the folder has none.
        seed: Of that choice.
        scratch: Whether to begin at random weights, where none can be fetched.
        fine_tune: Whether to begin at a whole model trained on COCO or ADE20K; its
            class layers keep the rows of equal names.

    Raises:
        UserError: If the folder cannot be used for the task, there is no such model, or
            a file to write exists.

    Example:
        >>> import pathlib, tempfile
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> from PIL import Image
        >>> for name in 'abcdef':
        ...     (root / name).mkdir()
        ...     for number in range(3):
        ...         Image.new('L', (32, 32)).save(root / name / f'{number}.png')
        >>> from paperzoo.apis.init_config import init_config
        >>> init_config(root, root / 'mine.py', model='protonet').summary
        'class_folders: few-shot, 6 classes, 18 images (12 train, 6 val)'
    """
    target = Path(output)
    if scratch and fine_tune:
        raise UserError('--from-scratch and --fine-tune: one of both')
    if target.suffix != '.py':
        raise UserError(f"'{output}' must end in .py")
    data = look(
        folder, task=task, model=model, data_format=data_format,
        val=val, seed=seed, scratch=scratch, fine_tune=fine_tune,
    )  # fmt: skip
    tables = _episode_tables(data, target) if data.task == 'few-shot' else {}
    for path in (target, *tables):
        if path.exists():
            raise UserError(f"'{path}' exists already: name another file, or remove it")
    text = config_text(data, target)
    for path, content in {**tables, target: text}.items():
        _write(path, content)
    return Written(
        target,
        list(tables),
        _summary(data),
        data.notes + data.found.notes,
        weights_note(weights_url(data)),
        data.found.left_out,
        _commands(data, target),
    )


def _episode_tables(data: OwnData, target: Path) -> dict[Path, str]:
    """Return a table of images and classes for each split, to lie beside the config."""
    tables = {}
    for split, images in {'train': data.train, **data.check}.items():
        text = io.StringIO()
        rows = csv.writer(text, lineterminator='\n')
        rows.writerow(('filename', 'label'))
        for one in images:
            name = one.path.relative_to(data.found.root).as_posix()
            rows.writerow((name, one.name))
        tables[target.with_name(f'{target.stem}_{split}.csv')] = text.getvalue()
    return tables


def _write(path: Path, content: str) -> None:
    write_safely(path, lambda file: file.write(content.encode()))


def _summary(data: OwnData) -> str:
    counts = {'train': len(data.train), **{k: len(v) for k, v in data.check.items()}}
    shown = ', '.join(f'{count} {split}' for split, count in counts.items())
    if data.task == 'few-shot':
        classes = len({one.name for one in data.found.images})
    else:
        classes = len(data.found.classes)
    return (
        f'{data.found.format}: {data.task}, {classes} classes, '
        f'{len(data.found.images)} images ({shown})'
    )


def _support(data: OwnData) -> Path:
    """Return the folder whose classes a few-shot model may tell apart."""
    for split in ('test', 'val'):
        place, *more = data.found.files.get(split, ('',))
        if place and not more:  # a folder; a table comes with that of its images
            return data.found.root / place
    return data.found.root


def _commands(data: OwnData, target: Path) -> list[str]:
    config = shlex.quote(str(target))
    trained = f'work_dirs/{shlex.quote(target.stem)}'
    first = (
        ['check', 'train'] if data.task == 'few-shot' else ['check', 'browse', 'train']
    )
    lines = [f'paperzoo {name} {config}' for name in first]
    results = shlex.quote(f'{target.stem}_results.json')
    split = 'test' if data.task == 'few-shot' and 'test' in data.check else 'val'
    images = shlex.quote(str(data.check[split][0].path.parent))
    if data.task == 'few-shot':
        images += f' --support {shlex.quote(str(_support(data)))}'
    return [
        *lines,
        f'paperzoo test {config} {trained} --out {results}',
        f'paperzoo analyze {results}',
        f'paperzoo predict {config} {trained} {images}',
    ]

"""Do few-shot splits share images, and does the model know their classes?"""

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

from paperzoo.data.episodes import EpisodeDataset
from paperzoo.errors import UserError
from paperzoo.preflight.datasets import DataSpec
from paperzoo.preflight.image_files import evenly_spaced
from paperzoo.preflight.issues import Issue

_LOOK_AT = 40


def check_episodes(model: dict, sets: list[DataSpec]) -> list[Issue]:
    """Return what is wrong between the few-shot splits of a config.

    Args:
        model: Of the config.
        sets: All data sets; those of other types are passed over.

    Example:
        >>> check_episodes({}, [])
        []
    """
    issues: list[Issue] = []
    built: dict[str, EpisodeDataset] = {}
    for one in sets:
        if not reads_episodes(one):
            continue
        try:
            built[one.key] = one.built(**{**one.arguments, 'in_memory': False})
        except UserError as error:
            issues.append(Issue(f'{one.key}: {error}'))
        else:
            issues += _check_images(built[one.key], one.key)
    for key, dataset in built.items():
        if key.startswith('train') and not dataset.test_mode:
            issues += _check_classifier(model, dataset, key)
    pairs = [
        (a, b)
        for a in built
        for b in built
        if a < b and built[a].split != built[b].split
    ]
    digest = cache(_digest)  # each file is read once, however many pairs there are
    for a, b in pairs:
        issues += _check_shared(built[a], built[b], a, b, digest)
    return issues


def reads_episodes(data: DataSpec) -> bool:
    """Return whether a data set is one of few-shot episodes.

    Args:
        data: The data set.

    Example:
        >>> reads_episodes(DataSpec('train', {}, EpisodeDataset))
        True
    """
    return isinstance(data.built, type) and issubclass(data.built, EpisodeDataset)


def _check_images(dataset: EpisodeDataset, key: str) -> list[Issue]:
    """Return an issue if some image cannot be read, or fails in the pipeline."""
    shapes: dict[tuple[int, ...], int] = {}
    for index in evenly_spaced(range(len(dataset.source.images)), _LOOK_AT):
        try:
            shapes.setdefault(tuple(dataset.image(index).shape), index)
        except UserError as error:
            return [Issue(f'{key}: {error}')]
    if len(shapes) > 1:
        listed = ', '.join(f'{w} x {h}' for _, h, w in list(shapes)[:3])
        text = (
            f'{key}: the pipeline gives images of several sizes ({listed}), which make '
            'no batch\n  End it with a resize and a crop of one size.'
        )
        return [Issue(text)]
    return []


def _check_classifier(model: dict, dataset: EpisodeDataset, key: str) -> list[Issue]:
    given, right = model.get('num_classes'), len(dataset.metainfo['classes'])
    if not isinstance(given, int) or given == right:
        return []
    return [
        Issue(
            f'model.num_classes = {given}, but {key} has {right} classes\n'
            f'  --cfg-options model.num_classes={right}',
            stops=given < right,
        )
    ]


def _check_shared(
    first: EpisodeDataset,
    other: EpisodeDataset,
    key: str,
    other_key: str,
    digest: Callable[[Path], bytes],
) -> list[Issue]:
    """Return an issue if files of two splits have one content, whatever their names."""
    ours, theirs = _by_size(first), _by_size(other)
    same = [
        (found[digest(file)], file)
        for size in ours.keys() & theirs.keys()
        if (found := {digest(one): one for one in ours[size]})
        for file in theirs[size]
        if digest(file) in found
    ]
    if not same:
        return []
    examples = '\n'.join(f'    {one} and {two}' for one, two in same[:3])
    return [
        Issue(
            f'{key} and {other_key} share {len(same)} images (equal content):\n'
            f'{examples}\n'
            '  Few-shot classes must be new to the model: correct the splits.',
            # Public sets have a few by accident.
            stops=100 * len(same)
            > min(len(first.source.images), len(other.source.images)),
        )
    ]


def _by_size(dataset: EpisodeDataset) -> dict[int, list[Path]]:
    found: dict[int, list[Path]] = {}
    for one in dataset.source.images:
        if isinstance(one, Path) and one.is_file():
            found.setdefault(one.stat().st_size, []).append(one)
    return found


def _digest(file: Path) -> bytes:
    return hashlib.blake2b(file.read_bytes(), digest_size=16).digest()

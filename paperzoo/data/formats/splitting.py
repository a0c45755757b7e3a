"""Which images check the training: chosen by a seed, the same on every machine."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import TypeVar

from paperzoo.data.formats.description import LabelledImage, LabelledSet
from paperzoo.errors import UserError

T = TypeVar('T')


def chosen_by_seed(names: Iterable[str], share: float, seed: int) -> set[str]:
    """Return a share of the names, the same for the same names and seed.

    Copies of one picture that an export service made by augmentation (`a.rf.1f.jpg`,
    `a.rf.2e.jpg`) stay together: a copy in the training would make the check easy.

    Args:
        names: Of images or classes, in any order.
        share: Between 0 and 1; at least one name is chosen and one is not, where
            there are two.
        seed: Another seed chooses others.

    Example:
        >>> from paperzoo.data.formats.splitting import chosen_by_seed
        >>> sorted(chosen_by_seed(['a', 'b', 'c', 'd', 'e'], 0.4, seed=0))
        ['b', 'e']
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.split('.rf.')[0], []).append(name)
    order = sorted(
        groups, key=lambda group: hashlib.sha256(f'{seed} {group}'.encode()).digest()
    )
    total = sum(map(len, groups.values()))
    wanted = max(1, round(share * total)) if len(order) > 1 else 0
    chosen: set[str] = set()
    for group in order[:-1]:
        if len(chosen) >= wanted:
            break
        chosen.update(groups[group])
    return chosen


def part_of(
    items: Sequence[T],
    names: Sequence[str],
    splits: Sequence[str],
    split: str,
    share: float,
    seed: int,
) -> list[T]:
    """Return the items of a split.

    Args:
        items: Such as images.
        names: Their names, for the choice.
        splits: The split of each as the folder says, `''` if it does not.
        split: `'train'`, `'val'`, `'test'`, or `''` for all.
        share: Of the training images that are for validation; 0 leaves them as the
            folder has them.
        seed: Of the choice.

    Example:
        >>> from paperzoo.data.formats.splitting import part_of
        >>> names = ['a', 'b', 'c', 'd', 'e']
        >>> part_of(names, names, [''] * 5, 'val', 0.4, seed=0)
        ['b', 'e']
        >>> part_of(names, names, [''] * 5, 'train', 0.4, seed=0)
        ['a', 'c', 'd']
    """
    if not split:
        return list(items)
    own = {'train': ('train', '')}.get(split, (split,))
    if not share or split == 'test':
        return [one for one, said in zip(items, splits, strict=True) if said in own]
    rows = [
        (one, name)
        for one, name, said in zip(items, names, splits, strict=True)
        if said in ('train', '')
    ]
    chosen = chosen_by_seed((name for _, name in rows), share, seed)
    return [one for one, name in rows if (name in chosen) == (split == 'val')]


def images_of(
    found: LabelledSet, split: str, val: float, seed: int
) -> list[LabelledImage]:
    """Return the images of a split.

    Args:
        found: What a reader found.
        split: `'train'`, `'val'`, `'test'`, or `''` for all images.
        val: Share of the training images that are for validation instead.
        seed: Of the choice.

    Raises:
        UserError: If the split has no images.

    Example:
        >>> from pathlib import Path
        >>> from paperzoo.data.formats.description import LabelledImage, LabelledSet
        >>> from paperzoo.data.formats.splitting import images_of
        >>> root = Path('cells')
        >>> images = [LabelledImage(root / f'{name}.jpg', 20, 10) for name in 'abcde']
        >>> found = LabelledSet('yolo', root, ('cat',), images)
        >>> [one.path.name for one in images_of(found, 'val', val=0.4, seed=0)]
        ['c.jpg', 'e.jpg']
    """
    images = found.images
    names = [image.path.relative_to(found.root).as_posix() for image in images]
    chosen = part_of(images, names, [one.split for one in images], split, val, seed)
    if not chosen:
        raise UserError(
            f'{found.root}: no image for split={split!r}; it has '
            f'{found.splits()}. To choose some of the training images: val=0.2'
        )
    return chosen

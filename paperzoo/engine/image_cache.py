"""Decoded images kept in memory: a small set is read once, not once an epoch."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from paperzoo.registry import HOOKS
from paperzoo.utils.progress import track

# Of the memory that is free when the training begins.
SHARE = 0.5
_MEMINFO = Path('/proc/meminfo')
_CGROUP = Path('/sys/fs/cgroup')


@HOOKS.register_module()
class CacheImagesHook(Hook):
    """Decode the training images before the training, and keep them.

    What does not fit into half of the free memory is decoded as before. The images are
    the same, the memory is shared with the loading processes where these are forked
    (Linux); where they are spawned they decode as before. Label maps and masks are
    read as before.

    Args:
        limit_mib: The most memory; by default half of what is free.

    Example:
        >>> type(HOOKS.build(dict(type='paperzoo.CacheImagesHook'))).__name__
        'CacheImagesHook'
    """

    def __init__(self, limit_mib: float | None = None) -> None:
        self.limit_mib = limit_mib

    def before_train(self, runner: Runner) -> None:
        """Read the images of the training set; loading processes start later."""
        mib = self.limit_mib if self.limit_mib is not None else SHARE * free_mib()
        kept, total, used = cache_images(runner.train_dataloader.dataset, mib)
        if total == 0:
            runner.logger.warning(
                'Images are not kept: no transform of the training set is a '
                'LoadImageFromFile'
            )
            return
        rest = '' if kept == total else '; the others do not fit, and are decoded'
        runner.logger.info(
            f'{kept} of {total} images are kept in memory, {used:.0f} MiB of at most '
            f'{mib:.0f}{rest}'
        )


class CachedLoad:
    """A transform that loads an image, or takes it from memory.

    Args:
        load: The transform that loads.
        images: What `load` adds to a sample, by the path of its image.
    """

    def __init__(self, load: Any, images: dict[str, dict[str, Any]]) -> None:
        self.load = load
        self.images = images

    def __call__(self, results: dict) -> dict | None:
        """Return the sample with its image; later transforms may write into it."""
        added = self.images.get(results['img_path'])
        if added is None:
            return self.load(results)
        results.update(added)
        results['img'] = added['img'].copy()
        return results

    def __repr__(self) -> str:
        """Return what is loaded, and how many images are kept."""
        return f'CachedLoad({self.load}, {len(self.images)} images)'

    def __reduce__(self) -> tuple:
        # A spawned process would get a copy of all images.
        return CachedLoad, (self.load, {})


def cache_images(dataset: Any, limit_mib: float) -> tuple[int, int, float]:
    """Keep the decoded images of a data set; its samples stay the same.

    Args:
        dataset: MMEngine's, perhaps wrapped; its pipelines change.
        limit_mib: The most memory that the images may take.

    Returns:
        How many images are kept, of how many, and the MiB that they take.

    Example:
        >>> import paperzoo
        >>> from paperzoo.apis.build import build_dataset
        >>> cfg = paperzoo.load_config('fcos_tiny_shapes')
        >>> cfg.val_dataloader.dataset.indices = 3
        >>> dataset = build_dataset(cfg, 'val', cfg.val_dataloader.dataset)
        >>> kept, total, mib = cache_images(dataset, limit_mib=100)
        >>> kept, total, round(mib, 2)
        (3, 3, 0.66)
    """
    kept = total = 0
    used = 0.0
    for one in _bare(dataset):
        transforms: Any = getattr(getattr(one, 'pipeline', None), 'transforms', [])
        loads = (
            place
            for place, step in enumerate(transforms)
            if isinstance(step, LoadImageFromFile)
        )
        if (place := next(loads, None)) is not None:
            load = transforms[place]
            images, own, size = _decoded(one, load, limit_mib - used)
            transforms[place] = CachedLoad(load, images)
            kept, total, used = kept + own, total + len(one), used + size
    return kept, total, used


def _decoded(
    dataset: Any, load: Any, limit_mib: float
) -> tuple[dict[str, dict[str, Any]], int, float]:
    """Return what loading adds, by image; of how many samples; and their MiB."""
    images: dict[str, dict[str, Any]] = {}
    kept, used = 0, 0.0
    numbers: Iterable[int] = range(len(dataset))
    if is_main_process():
        numbers = track(numbers, 'decoding images')
    for index in numbers:
        if used >= limit_mib:
            break
        info = dataset.get_data_info(index)
        if info['img_path'] not in images:
            added = _added(load, info)
            size = 0.0 if added is None else added['img'].nbytes / 2**20
            if added is None or used + size > limit_mib:
                continue
            images[info['img_path']] = added
            used += size
        kept += 1
    return images, kept, used


def _added(load: Any, info: dict) -> dict[str, Any] | None:
    """Return what loading adds to a sample; None for an image that cannot be read."""
    try:
        loaded = load(dict(info))
    except (OSError, ValueError):
        return None  # its turn in the training says so
    if loaded is None or not isinstance(loaded.get('img'), np.ndarray):
        return None
    return {k: v for k, v in loaded.items() if info.get(k, load) is not v}


def _bare(dataset: Any) -> Iterator[Any]:
    """Yield the data sets in wrappers such as `RepeatDataset`."""
    if hasattr(dataset, 'datasets'):
        for one in dataset.datasets:
            yield from _bare(one)
    elif hasattr(dataset, 'dataset'):
        yield from _bare(dataset.dataset)
    else:
        yield dataset


def free_mib() -> float:
    """Return how much memory may still be taken, as machine and container say.

    Example:
        >>> free_mib() > 0
        True
    """
    free = float('inf')
    if _MEMINFO.is_file():
        for line in _MEMINFO.read_text(encoding='ascii').splitlines():
            if line.startswith('MemAvailable'):
                free = int(line.split()[1]) / 1024
    try:
        most = (_CGROUP / 'memory.max').read_text(encoding='ascii').strip()
        taken = int((_CGROUP / 'memory.current').read_text(encoding='ascii'))
        free = min(free, (int(most) - taken) / 2**20)
    except (OSError, ValueError):
        pass  # no container, or one without a limit ('max')
    return free if free != float('inf') else 1024.0  # not known: little

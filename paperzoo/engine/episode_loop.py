"""Validation and test by episodes on cached feature maps."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from mmengine.runner import TestLoop, ValLoop
from mmengine.runner.amp import autocast
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from paperzoo.data.episodes import Episode, EpisodeDataset
from paperzoo.errors import UserError
from paperzoo.registry import LOOPS
from paperzoo.utils.wrappers import unwrap_model

GIB = 1 << 30


class MapCache:
    """Feature maps of some images of a split.

    Args:
        model: With `extract_feat` and an `EpisodeDataPreprocessor`.
        dataset: The split.
        batch_size: Images that are embedded at once.
        num_workers: Processes that load them.
    """

    def __init__(
        self, model: Any, dataset: EpisodeDataset, batch_size: int, num_workers: int
    ) -> None:
        self.model = model
        self.dataset = dataset
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.maps = torch.empty(0)
        self._place = np.full(len(dataset.source.images), -1)

    def bytes_per_image(self) -> int:
        """Return the size of the map of one image."""
        first = self._embed(self.dataset.image(0)[None])
        return first.numel() * first.element_size()

    def fill(self, images: Int[np.ndarray, ' images']) -> None:
        """Embed some images, each once, in place of those held so far.

        Args:
            images: Their numbers in the split, each once.
        """
        self.maps = torch.empty(0)  # gives the memory back before new is taken
        self._place[:] = -1
        loader = DataLoader(
            _Images(self.dataset, images.tolist()),
            batch_size=self.batch_size,
            num_workers=self.num_workers,
        )
        done = 0
        for batch in loader:
            feats = self._embed(batch)
            if not done:
                self.maps = feats.new_empty((len(images), *feats.shape[1:]))
            self.maps[done : done + len(feats)] = feats
            done += len(feats)
        self._place[images] = np.arange(len(images))

    def __getitem__(
        self, images: Int[np.ndarray, '*places']
    ) -> Float[Tensor, '*places channels height width']:
        place = torch.from_numpy(self._place[images]).to(self.maps.device)
        return self.maps[place]

    def _embed(
        self, images: UInt8[Tensor, 'batch 3 height width']
    ) -> Float[Tensor, 'batch channels down along']:
        return self.model.extract_feat(self.model.data_preprocessor.normalize(images))


class _Images(Dataset):
    def __init__(self, dataset: EpisodeDataset, images: list[int]) -> None:
        self.dataset = dataset
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.dataset.image(self.images[index])


class _EpisodeLoop:
    """What validation and test share; `phase` is the name in hooks."""

    phase: str
    runner: Any
    dataloader: Any
    evaluator: Any
    fp16: bool

    def __init__(
        self,
        runner: Any,
        dataloader: Any,
        evaluator: Any,
        fp16: bool = False,
        images_per_batch: int = 64,
        cache_gib: float = 8.0,
    ) -> None:
        super().__init__(runner, dataloader, evaluator, fp16)  # type: ignore[call-arg]
        dataset = self.dataloader.dataset
        if not isinstance(dataset, EpisodeDataset):
            raise UserError(
                f'{self.phase}_dataloader.dataset is a {type(dataset).__name__}, but '
                f'{type(self).__name__} runs on an EpisodeDataset. Change '
                f"{self.phase}_cfg to MMEngine's loop, or the data set"
            )
        self.images_per_batch = images_per_batch
        self.cache_bytes = cache_gib * GIB

    def run(self) -> dict:
        """Embed the images, classify the episodes, return the metrics."""
        self._hook('before_{}')
        self._hook('before_{}_epoch')
        self.runner.model.eval()
        with torch.no_grad():
            self._run_episodes(unwrap_model(self.runner.model))
        metrics = self.evaluator.evaluate(len(self.dataloader.dataset))
        self._hook('after_{}_epoch', metrics=metrics)
        self._hook('after_{}')
        return metrics

    def _run_episodes(self, model: Any) -> None:
        dataset, workers = self.dataloader.dataset, self.dataloader.num_workers
        cache = MapCache(model, dataset, self.images_per_batch, workers)
        with autocast(enabled=self.fp16):
            most = int(self.cache_bytes // cache.bytes_per_image())
        # The loader's sampler says which episodes are this process's, its batch size
        # how many are classified at once; its images are not loaded.
        batches = (
            [dataset.draw(key) for key in keys]
            for keys in self.dataloader.batch_sampler
        )
        number = 0
        for group, images in grouped(batches, most):
            with autocast(enabled=self.fp16):
                cache.fill(images)
            for batch in group:
                self._hook('before_{}_iter', batch_idx=number, data_batch=batch)
                with autocast(enabled=self.fp16):
                    outputs = classify(model, cache, batch, dataset.ways)
                self.evaluator.process(data_samples=outputs, data_batch=batch)
                self._hook(
                    'after_{}_iter', batch_idx=number, data_batch=batch, outputs=outputs
                )
                number += 1

    def _hook(self, name: str, **kwargs: Any) -> None:
        self.runner.call_hook(name.format(self.phase), **kwargs)


@LOOPS.register_module()
class EpisodeValLoop(_EpisodeLoop, ValLoop):
    """Validation by episodes; each image of the split is embedded once.

    The model has `extract_feat(images)` and `predict_from_feats(support_feats,
    support_label, query_feats, ways)`, which returns scores [episodes, queries, ways].
    The same episodes with images instead of maps: MMEngine's `ValLoop`.

    Args:
        runner: The runner.
        dataloader: Of an `EpisodeDataset`; the batch size counts episodes.
        evaluator: Takes a dict of `pred_label`, `gt_label` and `class` per episode.
        fp16: Whether to run in mixed precision.
        images_per_batch: Images that are embedded at once.
        cache_gib: Memory for feature maps on the model's device. If those of all
            episodes need more, they are made for some episodes at a time.

    Raises:
        UserError: If the data set is no `EpisodeDataset`.

    Example:
        >>> val_cfg = dict(type='paperzoo.EpisodeValLoop', cache_gib=2.0)
        >>> LOOPS.get(val_cfg['type']).phase
        'val'
    """

    phase = 'val'


@LOOPS.register_module()
class EpisodeTestLoop(_EpisodeLoop, TestLoop):
    """Test by episodes: see `EpisodeValLoop`.

    Example:
        >>> test_cfg = dict(type='paperzoo.EpisodeTestLoop', cache_gib=2.0)
        >>> LOOPS.get(test_cfg['type']).phase
        'test'
    """

    phase = 'test'


def grouped(
    batches: Iterator[list[Episode]], most: int
) -> Iterator[tuple[list[list[Episode]], Int[np.ndarray, ' images']]]:
    """Yield consecutive batches together with the images that they need.

    Args:
        batches: Batches of episodes.
        most: Images of a group, unless a single batch needs more.

    Example:
        >>> one = Episode(*map(np.array, ([0], [1], [0], [2, 3], [0, 0])))
        >>> other = Episode(*map(np.array, ([0], [1], [0], [4, 5], [0, 0])))
        >>> [images.tolist() for _, images in grouped(iter([[one], [other]]), most=5)]
        [[1, 2, 3, 4, 5]]
        >>> [images.tolist() for _, images in grouped(iter([[one], [other]]), most=4)]
        [[1, 2, 3], [1, 4, 5]]
    """
    group: list[list[Episode]] = []
    needed = np.empty(0, np.int64)
    for batch in batches:
        own = _images_of(batch)
        together = np.union1d(needed, own)
        if group and len(together) > most:
            yield group, needed
            group, together = [], own
        group, needed = [*group, batch], together
    if group:
        yield group, needed


def classify(
    model: Any, cache: MapCache | Tensor, batch: Sequence[Episode], ways: int
) -> list[dict[str, Tensor]]:
    """Return the predictions for a batch of episodes, on cached maps.

    Args:
        model: With `predict_from_feats`.
        cache: The maps of all images of the batch, by the images' numbers.
        batch: Episodes of equal size.
        ways: Their classes.

    Example:
        >>> from types import SimpleNamespace
        >>> episode = Episode(*map(np.array, ([4], [0], [0], [1, 2], [0, 0])))
        >>> model = SimpleNamespace(predict_from_feats=lambda *_: torch.ones(1, 2, 1))
        >>> (found,) = classify(model, torch.zeros(3, 8, 5, 5), [episode], ways=1)
        >>> found['pred_label'].tolist(), found['class'].tolist()
        ([0, 0], [4, 4])
    """
    support = cache[np.stack([episode.support for episode in batch])]
    query = cache[np.stack([episode.query for episode in batch])]
    support_label, query_label, classes = (
        torch.from_numpy(np.stack(rows))
        for rows in (
            [episode.support_label for episode in batch],
            [episode.query_label for episode in batch],
            [episode.classes[episode.query_label] for episode in batch],
        )
    )
    scores = model.predict_from_feats(
        support, support_label.to(support.device), query, ways
    )
    predicted = scores.argmax(-1).cpu()
    return [
        {'pred_label': own, 'gt_label': truth, 'class': each}
        for own, truth, each in zip(predicted, query_label, classes, strict=True)
    ]


def _images_of(batch: Sequence[Episode]) -> Int[np.ndarray, ' images']:
    return np.unique(np.concatenate([np.r_[one.support, one.query] for one in batch]))

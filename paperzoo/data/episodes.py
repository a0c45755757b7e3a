"""Few-shot episodes: a few classes, a few labelled images of each, and queries."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int, UInt8
from mmengine.dataset import Compose
from mmengine.dist import get_dist_info, sync_random_seed
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from paperzoo.data.few_shot_sources import (
    LabelledImages,
    check_disjoint,
    locate_split,
)
from paperzoo.errors import UserError
from paperzoo.registry import DATA_SAMPLERS, DATASETS


class EpisodeKey(NamedTuple):
    """What an episode depends on, besides the data set."""

    seed: int
    epoch: int
    number: int


class Episode(NamedTuple):
    """Which images an episode is made of; supports and queries class by class."""

    classes: Int[np.ndarray, ' ways']
    support: Int[np.ndarray, ' ways*shots']
    support_label: Int[np.ndarray, ' ways*shots']
    query: Int[np.ndarray, ' queries']
    query_label: Int[np.ndarray, ' queries']


@DATASETS.register_module()
class EpisodeDataset(Dataset):
    """A split of a few-shot set, an item of which is an episode.

    Item i is always the same episode; `EpisodeSampler` asks for new ones every epoch.
    An item is a dict of `support` [K*S, 3, H, W] and `query` [Q, 3, H, W] (uint8, RGB),
    `support_label` and `query_label` (0 to K-1), `support_class` and `query_class`:
    the class in the split, -1 if `test_mode`. Then `query_index` has the numbers of the
    queries in the split, and `episode_class` the classes of the episode (K).

    Args:
        data_root: Folder of the set; `data/...` follows `$PAPERZOO_DATA`, `data/glyphs`
            is made on first use.
        split: Its name; replaces `{split}` in `ann_file` and `img_path`.
        layout: 'folders', 'csv', 'json' or 'pickle': how the split is stored.
        ann_file: File that lists the split, relative to `data_root`; by default the
            layout's own (see `paperzoo.data.few_shot_sources`).
        img_path: Folder or file of the images, likewise.
        ways: Classes of an episode (K).
        shots: Supports of a class (S).
        queries: Queries of a class (Q is `ways * queries`).
        episodes: Length of the data set.
        pipeline: Transforms of an image; they see a dict with `img` and `rng`.
        seed: Of the episodes that are asked for by number alone.
        disjoint_from: Splits, stored likewise, that must not share a class with this
            one.
        in_memory: Whether to decode all images once, at the beginning.
        test_mode: Whether the classes are strange to the model.

    Raises:
        UserError: If a file or folder is missing, there are too few classes or images,
            or two splits share classes.

    Example:
        >>> try:
        ...     EpisodeDataset('/nowhere', 'train', ways=5, shots=1)
        ... except UserError as error:
        ...     print(str(error).partition(' (')[0])
        data set not found: data_root='/nowhere'
    """

    def __init__(
        self,
        data_root: str,
        split: str,
        *,
        layout: str = 'folders',
        ann_file: str | None = None,
        img_path: str | None = None,
        ways: int = 5,
        shots: int = 1,
        queries: int = 15,
        episodes: int = 2000,
        pipeline: Sequence[Any] = (),
        seed: int = 0,
        disjoint_from: Sequence[str] = (),
        in_memory: bool = False,
        test_mode: bool = False,
    ) -> None:
        self.split = split
        self.ways, self.shots, self.queries = ways, shots, queries
        self.episodes = episodes
        self.seed = seed
        self.test_mode = test_mode
        self.pipeline = Compose(pipeline)
        where = (data_root, layout, ann_file, img_path)
        self.source = _read(split, *where)
        self._decoded: list[np.ndarray] | None = None
        self._check_sizes()
        for other in disjoint_from:
            theirs = _read(other, *where)
            if self.source.named and theirs.named:
                check_disjoint(split, self.source.classes, other, theirs.classes)
        order = np.argsort(self.source.labels, kind='stable')
        ends = np.bincount(self.source.labels).cumsum()
        self._members = np.split(order, ends[:-1])
        if in_memory:
            count = len(self.source.images)
            self._decoded = [self.source.read(index) for index in range(count)]

    @property
    def metainfo(self) -> dict[str, Any]:
        """The split's name and classes, and the kind of the episodes."""
        meta = {
            'split': self.split,
            'classes': self.source.classes,
            'ways': self.ways,
            'shots': self.shots,
            'queries': self.queries,
        }
        if self.test_mode:
            # Some sets are arrays; theirs have numbers in place of names.
            meta['files'] = [
                str(one) if isinstance(one, Path) else f'image {number}'
                for number, one in enumerate(self.source.images)
            ]
        return meta

    def __len__(self) -> int:
        return self.episodes

    def key(self, item: int | EpisodeKey) -> EpisodeKey:
        """Return the key of an item; a bare number has the data set's own seed."""
        if isinstance(item, tuple):
            return EpisodeKey(*item)
        return EpisodeKey(self.seed, 0, int(item))

    def draw(self, item: int | EpisodeKey) -> Episode:
        """Return which images an episode is made of."""
        rng = np.random.default_rng(self.key(item))
        classes = rng.choice(len(self._members), self.ways, replace=False)
        size = self.shots + self.queries
        drawn = np.stack(
            [rng.choice(self._members[c], size, replace=False) for c in classes]
        )
        label = np.arange(self.ways)
        return Episode(
            classes,
            drawn[:, : self.shots].reshape(-1),
            label.repeat(self.shots),
            drawn[:, self.shots :].reshape(-1),
            label.repeat(self.queries),
        )

    def image(
        self, index: int, rng: np.random.Generator | None = None
    ) -> UInt8[Tensor, '3 height width']:
        """Return an image after the pipeline.

        Args:
            index: Of the image in the split.
            rng: What the transforms draw from.
        """
        pixels = self._decoded[index] if self._decoded else self.source.read(index)
        rng = np.random.default_rng([self.seed, index]) if rng is None else rng
        result = self.pipeline({'img': pixels, 'rng': rng})
        # A view of pixels that other items share, or that are read-only, is copied.
        return torch.from_numpy(np.array(result['img'])).permute(2, 0, 1).contiguous()

    def __getitem__(self, item: int | EpisodeKey) -> dict[str, Tensor]:
        episode = self.draw(item)
        rng = np.random.default_rng([*self.key(item), 1])
        support, query = (
            torch.stack([self.image(int(index), rng) for index in indices])
            for indices in (episode.support, episode.query)
        )
        known = np.full_like(episode.classes, -1) if self.test_mode else episode.classes
        item_of = {
            'support': support,
            'support_label': torch.from_numpy(episode.support_label),
            'support_class': torch.from_numpy(known[episode.support_label]),
            'query': query,
            'query_label': torch.from_numpy(episode.query_label),
            'query_class': torch.from_numpy(known[episode.query_label]),
        }
        if self.test_mode:  # for who writes down what was found in which image
            item_of['query_index'] = torch.from_numpy(episode.query)
            item_of['episode_class'] = torch.from_numpy(episode.classes)
        return item_of

    def _check_sizes(self) -> None:
        classes = self.source.classes
        if len(classes) < self.ways:
            raise UserError(
                f"split '{self.split}' has {len(classes)} classes, an episode needs "
                f'ways={self.ways}. Lower ways'
            )
        counts = np.bincount(self.source.labels, minlength=len(classes))
        fewest = int(counts.argmin())
        if counts[fewest] < self.shots + self.queries:
            raise UserError(
                f"split '{self.split}': class '{classes[fewest]}' has {counts[fewest]} "
                f'images, an episode needs shots={self.shots} + queries={self.queries}.'
                ' Lower one of them'
            )


@DATA_SAMPLERS.register_module()
class EpisodeSampler(Sampler):
    """Asks for other episodes every epoch: the same after a resumption.

    Which episodes an epoch has depends on the seed and the epoch only; with several
    processes each takes its share of them.

    Args:
        dataset: The `EpisodeDataset`.
        seed: By default the runner's, or a random one if that is None.

    Example:
        >>> import pathlib, tempfile
        >>> from PIL import Image
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> for file in ('cat/1.png', 'cat/2.png', 'dog/1.png', 'dog/2.png'):
        ...     (root / 'train' / file).parent.mkdir(parents=True, exist_ok=True)
        ...     Image.new('RGB', (8, 8)).save(root / 'train' / file)
        >>> data = EpisodeDataset(str(root), 'train', ways=2, queries=1, episodes=2)
        >>> sampler = EpisodeSampler(data, seed=7)
        >>> sampler.set_epoch(3)
        >>> [tuple(key) for key in sampler]
        [(7, 3, 0), (7, 3, 1)]
    """

    def __init__(self, dataset: EpisodeDataset, seed: int | None = None) -> None:
        self.rank, self.world_size = get_dist_info()
        self.seed = sync_random_seed() if seed is None else seed
        self.epoch = 0
        self.length = -(-len(dataset) // self.world_size)

    def __iter__(self) -> Iterator[EpisodeKey]:
        for turn in range(self.length):
            number = turn * self.world_size + self.rank
            yield EpisodeKey(self.seed, self.epoch, number)

    def __len__(self) -> int:
        return self.length

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; MMEngine's `DistSamplerSeedHook` calls it.

        Args:
            epoch: Counted from 0.
        """
        self.epoch = epoch


def _read(
    split: str, data_root: str, layout: str, *paths: str | None
) -> LabelledImages:
    reader, place = locate_split(data_root, split, layout, *paths)
    return reader(place)

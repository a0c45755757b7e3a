"""Episodes: what they are made of, and that they are the same wherever made."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from few_shot_toys import COUNTS, PER_CLASS, write_set
from hypothesis import given
from hypothesis import strategies as st
from mmengine.dataset import default_collate
from torch.utils.data import DataLoader

from paperzoo.data import episodes as module
from paperzoo.data.episodes import EpisodeDataset, EpisodeKey, EpisodeSampler
from paperzoo.data.few_shot_transforms import ImageRandomCrop
from paperzoo.errors import UserError


@pytest.fixture(scope='module')
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp('toy'))


def make(root: Path, split: str = 'train', **kwargs: Any) -> EpisodeDataset:
    given = dict(ways=3, shots=2, queries=4, episodes=10, layout='pickle')
    return EpisodeDataset(str(root), split, **{**given, **kwargs})


@given(
    ways=st.integers(1, 8),
    shots=st.integers(1, 3),
    queries=st.integers(1, 4),
    seed=st.integers(0, 2**31),
    number=st.integers(0, 10**6),
)
def test_an_episode_is_what_its_name_says(
    root: Path, ways: int, shots: int, queries: int, seed: int, number: int
) -> None:
    data = make(root, ways=ways, shots=shots, queries=queries)
    episode = data.draw(EpisodeKey(seed, 3, number))
    assert len(set(episode.classes.tolist())) == ways
    images = np.r_[episode.support, episode.query]
    assert len(set(images.tolist())) == ways * (shots + queries)
    for indices, labels, each in (
        (episode.support, episode.support_label, shots),
        (episode.query, episode.query_label, queries),
    ):
        assert labels.tolist() == [k for k in range(ways) for _ in range(each)]
        np.testing.assert_array_equal(
            data.source.labels[indices], episode.classes[labels]
        )


def test_an_item_holds_the_images_and_labels_of_its_episode(root: Path) -> None:
    data = make(root)
    item, episode = data[4], data.draw(4)
    pixels = torch.from_numpy(np.array(data.source.images))
    for part in ('support', 'query'):
        indices = getattr(episode, part)
        torch.testing.assert_close(item[part], pixels[indices].permute(0, 3, 1, 2))
        labels = getattr(episode, f'{part}_label')
        torch.testing.assert_close(item[f'{part}_label'], torch.from_numpy(labels))
        known = torch.from_numpy(episode.classes[labels])
        torch.testing.assert_close(item[f'{part}_class'], known)
    strange = make(root, test_mode=True)[4]
    torch.testing.assert_close(strange['query'], item['query'])
    assert (strange['query_class'] == -1).all()
    assert (strange['support_class'] == -1).all()


def test_every_class_and_image_is_drawn_about_as_often(root: Path) -> None:
    data = make(root, queries=1, shots=1)
    drawn = [data.draw(number) for number in range(2000)]
    counts = np.bincount(np.concatenate([one.query for one in drawn]))
    # 6000 draws of 56 images: 107 each, with a standard deviation of about 10.
    assert len(counts) == COUNTS['train'] * PER_CLASS
    assert counts.min() > 60
    assert counts.max() < 160


def collected(data: EpisodeDataset, epoch: int, workers: int, batch: int = 2) -> dict:
    sampler = EpisodeSampler(data, seed=5)
    sampler.set_epoch(epoch)
    loader = DataLoader(
        data, batch, sampler=sampler, num_workers=workers, collate_fn=default_collate
    )
    batches = list(loader)
    return {key: torch.cat([batch[key] for batch in batches]) for key in batches[0]}


def test_workers_and_batches_change_nothing_and_epochs_do(root: Path) -> None:
    data = make(root, pipeline=[dict(type=ImageRandomCrop, size=4, padding=1)])
    one = collected(data, epoch=3, workers=0)
    assert one['support'].shape == (10, 6, 3, 4, 4)
    assert one['query'].shape == (10, 12, 3, 4, 4)
    assert one['query_label'].shape == one['query_class'].shape == (10, 12)
    for key, value in collected(data, epoch=3, workers=2, batch=5).items():
        torch.testing.assert_close(value, one[key])
    other = collected(data, epoch=4, workers=0)
    assert (other['query_class'] != one['query_class']).any(1).all()


def test_a_number_alone_is_always_the_same_episode(root: Path) -> None:
    for data in (make(root), make(root, episodes=99, in_memory=True)):
        for key, value in data[7].items():
            torch.testing.assert_close(value, make(root)[7][key])
    assert (make(root, seed=1).draw(7).query != make(root).draw(7).query).any()


def test_processes_share_an_epoch(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make(root, episodes=10)
    shares = []
    for rank in range(4):
        monkeypatch.setattr(module, 'get_dist_info', lambda rank=rank: (rank, 4))
        shares.append(list(EpisodeSampler(data, seed=2)))
    assert {len(share) for share in shares} == {3}
    keys = [key for share in shares for key in share]
    # Rounded up by further episodes: none is seen twice.
    assert sorted(key.number for key in keys) == list(range(12))
    assert {(key.seed, key.epoch) for key in keys} == {(2, 0)}


def test_shared_classes_are_an_error_that_names_them(
    root: Path, tmp_path: Path
) -> None:
    make(root, disjoint_from=['val', 'test'])
    for split in ('train', 'val'):
        (tmp_path / f'{split}.pkl').write_bytes((root / f'{split}.pkl').read_bytes())
    (tmp_path / 'test.pkl').write_bytes((root / 'train.pkl').read_bytes())
    with pytest.raises(UserError, match=r"'train' and 'test' share 8 .*'class 0'"):
        make(tmp_path, disjoint_from=['val', 'test'])


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        (dict(ways=9), 'has 8 classes'),
        (dict(shots=5), r"class 'class 0' has 7 images"),
    ],
)
def test_too_large_episodes_are_refused(root: Path, wrong: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(root, **wrong)


def test_metainfo_names_the_split(root: Path) -> None:
    meta = make(root, 'val').metainfo
    assert meta['split'] == 'val'
    assert meta['classes'] == tuple(f'class {i}' for i in range(8, 13))


@pytest.mark.data
@pytest.mark.parametrize('layout', ['folders', 'csv'])
def test_real_images(real_data: Path, layout: str) -> None:
    """Folders and tables of CIFAR-FS give the same classes, all of them strange."""
    paths = {'img_path': '{split}'} if layout == 'csv' else {}
    data = EpisodeDataset(
        'data/cifar_fs',
        'val',
        layout=layout,
        disjoint_from=['train', 'test'],
        **paths,
    )
    assert len(data.source.classes) == 16
    assert np.bincount(data.source.labels).tolist() == [20] * 16
    assert data[0]['query'].shape == (75, 3, 32, 32)


@pytest.mark.data
def test_real_characters(real_data: Path) -> None:
    data = EpisodeDataset(
        'data/omniglot_small', 'test', disjoint_from=['train'], episodes=1
    )
    assert len(data.source.classes) == 106
    item = data[0]['support']
    assert item.shape == (5, 3, 105, 105)
    assert set(item.unique().tolist()) == {0, 255}

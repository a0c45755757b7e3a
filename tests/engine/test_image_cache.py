"""Images that are kept in memory are those that would have been decoded."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_runner import FakeRunner
from mmengine.config import Config
from mmengine.dataset import ConcatDataset, RepeatDataset
from mmengine.registry import DATASETS, init_default_scope
from mmengine.runner import Runner

from paperzoo.apis.config import load_config
from paperzoo.engine import CacheImagesHook, image_cache
from paperzoo.engine.image_cache import CachedLoad, cache_images, free_mib

SHAPE_MIB = 320 * 240 * 3 / 2**20
IMAGES = 6


def spec() -> Config:
    cfg = load_config('fcos_tiny_shapes')
    init_default_scope(cfg.default_scope)
    cfg.train_dataloader.dataset.indices = IMAGES
    return cfg


def samples(dataset: Any) -> list[Any]:
    np.random.seed(0)
    return [dataset[index] for index in range(len(dataset))]


def assert_equal(one: Any, other: Any) -> None:
    for own, expected in zip(samples(one), samples(other), strict=True):
        assert own['inputs'].equal(expected['inputs'])
        found, wanted = (x['data_samples'] for x in (own, expected))
        assert found.gt_instances.bboxes.tensor.equal(wanted.gt_instances.bboxes.tensor)
        assert found.metainfo.keys() == wanted.metainfo.keys()
        for key, value in wanted.metainfo.items():
            assert np.all(found.metainfo[key] == value), key


def test_samples_are_equal_and_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    given = spec().train_dataloader.dataset
    plain, cached = DATASETS.build(given), DATASETS.build(given)
    kept, total, mib = cache_images(cached, limit_mib=1000)
    assert (kept, total) == (IMAGES, IMAGES)
    assert mib == pytest.approx(IMAGES * SHAPE_MIB)
    assert_equal(cached, plain)
    monkeypatch.setattr('mmengine.fileio.get', lambda *_, **__: 1 / 0)
    samples(cached)  # reads nothing, and what transforms wrote is not there
    with pytest.raises(ZeroDivisionError):
        samples(plain)


def test_what_does_not_fit_is_decoded_as_before() -> None:
    given = spec().train_dataloader.dataset
    plain, cached = DATASETS.build(given), DATASETS.build(given)
    kept, total, mib = cache_images(cached, limit_mib=2.5 * SHAPE_MIB)
    assert (kept, total) == (2, IMAGES)
    assert mib <= 2.5 * SHAPE_MIB
    assert_equal(cached, plain)
    assert cache_images(DATASETS.build(given), limit_mib=0.0)[0] == 0


def test_wrapped_sets() -> None:
    given = spec().train_dataloader.dataset
    parts = [DATASETS.build(given) for _ in range(2)]
    wrapped = ConcatDataset(parts)
    assert cache_images(wrapped, limit_mib=1000)[:2] == (2 * IMAGES, 2 * IMAGES)
    again = ConcatDataset([DATASETS.build(given) for _ in range(2)])
    assert_equal(wrapped, again)
    repeated = RepeatDataset(DATASETS.build(given), times=2)
    assert cache_images(repeated, limit_mib=1000)[0] == IMAGES


def test_a_spawned_process_gets_no_copy() -> None:
    dataset = DATASETS.build(spec().train_dataloader.dataset)
    cache_images(dataset, limit_mib=1000)
    load = dataset.pipeline.transforms[0]
    assert isinstance(load, CachedLoad)
    assert len(load.images) == IMAGES
    assert not pickle.loads(pickle.dumps(load)).images


@pytest.mark.parametrize('workers', [0, 1])
def test_forked_workers_share_it(workers: int, tmp_path: Path) -> None:
    cfg = spec()
    cfg.train_dataloader.update(num_workers=workers, batch_size=2)
    cfg.train_dataloader.sampler = {'type': 'DefaultSampler', 'shuffle': False}
    cfg.work_dir = str(tmp_path)
    batches = []
    for cached in (False, True):
        loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
        if cached:
            cache_images(loader.dataset, limit_mib=1000)
            # Whoever reads a file now, reads none.
            load = loader.dataset.pipeline.transforms[0]
            load.load = lambda _: 1 / 0
        np.random.seed(0)
        batches.append([batch['inputs'] for batch in loader])
    plain, found = batches
    for one, other in zip(found, plain, strict=True):
        assert all(a.shape == b.shape for a, b in zip(one, other, strict=True))


def test_the_hook_says_how_much(monkeypatch: pytest.MonkeyPatch) -> None:
    class Log(list):
        info = list.append
        warning = list.append

    dataset = DATASETS.build(spec().train_dataloader.dataset)
    log = Log()
    runner = FakeRunner(logger=log)
    loader = type('Loader', (), {'dataset': dataset})()
    monkeypatch.setattr(FakeRunner, 'train_dataloader', loader)
    monkeypatch.setattr(image_cache, 'free_mib', lambda: 4 * SHAPE_MIB)
    CacheImagesHook().before_train(runner)
    assert log[0].startswith(f'2 of {IMAGES} images are kept in memory')
    dataset.pipeline.transforms = []
    CacheImagesHook().before_train(runner)
    assert 'no transform' in log[1]


def test_a_container_bounds_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_cache, '_CGROUP', tmp_path)
    machine = free_mib()
    assert 0 < machine < 1 << 30
    (tmp_path / 'memory.max').write_text('3145728\n')
    (tmp_path / 'memory.current').write_text('1048576\n')
    assert free_mib() == 2.0
    (tmp_path / 'memory.max').write_text('max\n')
    assert free_mib() > 2.0
    monkeypatch.setattr(image_cache, '_MEMINFO', tmp_path / 'none')
    assert free_mib() == 1024.0

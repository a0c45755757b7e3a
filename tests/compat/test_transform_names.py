"""Every entry point takes every headline config, its dump, and a checkpoint."""

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import mmdet.apis
import mmdet.datasets
import mmseg.apis
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from small_models import is_semantic, side, small_model
from torch.testing import assert_close

import paperzoo
from paperzoo.apis.config import dump_config, load_config
from paperzoo.apis.prediction import predict_files
from paperzoo.compat.transform_names import bare_name

CLASSES = {
    'fcos_r50_fpn': 80,
    'knet_r50_fpn_instance': 80,
    'knet_r50_fpn_panoptic': 133,
    'knet_r50_fcn_semantic': 150,
}


def test_bare_names() -> None:
    assert bare_name('Resize') == bare_name('mmcv.transforms.Resize') == 'Resize'
    assert bare_name('mmcv.Resize') == 'Resize' != bare_name('RandomResize')
    assert bare_name(Config) == 'Config'


@pytest.mark.parametrize('dumped', [False, True])
def test_what_mmdets_analysis_loads(dumped: bool, tmp_path: Path) -> None:
    cfg = load_config('fcos_tiny_shapes')
    if dumped:
        cfg = Config.fromfile(dump_config(cfg, tmp_path / 'dump.py'))
    found = mmdet.datasets.get_loading_pipeline(cfg.test_dataloader.dataset.pipeline)
    names = [bare_name(step['type']) for step in found]
    assert names == ['LoadImageFromFile', 'LoadAnnotations']
    assert found[1]['with_bbox'] is True


@pytest.fixture(autouse=True)
def _own_scope(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The entry points set mmengine's default scope, and leave it."""
    before = dict(DefaultScope._instance_dict)
    yield
    DefaultScope._instance_dict.clear()
    DefaultScope._instance_dict.update(before)


@pytest.fixture(
    scope='module',
    params=[
        pytest.param(name, marks=pytest.mark.slow if 'instance' in name else ())
        for name in CLASSES
    ],
)
def given(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """A small model of a headline config: source, dump, checkpoint; and an image.

    Its data set is nowhere: who predicts needs none.
    """
    folder = tmp_path_factory.mktemp(request.param)
    cfg = load_config(request.param)
    for key in ('train', 'val', 'test'):
        cfg[f'{key}_dataloader'].dataset.data_root = '/nowhere'
    if 'test_cfg' in cfg.model and 'score_thr' in cfg.model.test_cfg:
        cfg.model.test_cfg.score_thr = 0.0  # random weights find something, too
    size = side(cfg)
    steps = cfg.test_dataloader.dataset.pipeline
    for step in steps:
        if bare_name(step['type']) == 'Resize':
            step.update(scale=(size, size))
    cfg.test_pipeline = steps
    model = small_model(cfg)
    cfg.model.data_preprocessor.pop('batch_augments', None)
    names = tuple(f'class {number}' for number in range(CLASSES[request.param]))
    meta = {'classes': names, 'palette': [(9, 9, 9)] * len(names)}
    checkpoint = folder / 'w.pth'
    torch.save(
        {
            'state_dict': model.state_dict(),
            'meta': {'dataset_meta': meta, 'cfg': cfg.pretty_text},
        },
        checkpoint,
    )
    image = folder / 'a.png'
    pixels = np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8)
    cv2.imwrite(str(image), pixels)
    return {
        'semantic': is_semantic(cfg),
        'configs': {
            'source': cfg,
            'dump': str(dump_config(cfg, folder / 'dump.py')),
            'alone': None,
        },
        'checkpoint': str(checkpoint),
        'image': str(image),
        'pixels': pixels,
    }


def loaded(config: Any, checkpoint: str, image: Any) -> Any:
    """Return what our own function gives."""
    return paperzoo.load(checkpoint, config, device='cpu', score=0.0)(image).sample


def written(config: Any, checkpoint: str, image: Any) -> Any:
    """Return what `paperzoo predict` writes, its scores or its maps."""
    model = paperzoo.load(checkpoint, config, device='cpu', score=0.0)
    with TemporaryDirectory() as folder:
        file = image
        if not isinstance(image, str):
            file = str(Path(folder, 'a.png'))
            cv2.imwrite(file, image)
        found, _ = predict_files(model, [file], out=Path(folder, 'out'))
    return found['annotations']


def entry_points(semantic: bool) -> dict[str, Callable[..., Any]]:
    """Return functions of config, checkpoint and image that give a data sample."""
    own = {'load': loaded}
    if semantic:
        return own | {
            'inferencer': lambda config, checkpoint, image: mmseg.apis.MMSegInferencer(
                config, checkpoint, device='cpu'
            )(image, return_datasamples=True),
            'function': lambda config, checkpoint, image: mmseg.apis.inference_model(
                mmseg.apis.init_model(config, checkpoint, 'cpu'), image
            ),
        }
    return own | {
        'inferencer': lambda config, checkpoint, image: mmdet.apis.DetInferencer(
            config, checkpoint, device='cpu', show_progress=False
        )(image, return_datasamples=True)['predictions'][0],
        'function': lambda config, checkpoint, image: mmdet.apis.inference_detector(
            mmdet.apis.init_detector(config, checkpoint, device='cpu'), image
        ),
    }


def found(sample: Any) -> Any:
    """Return the numbers of a prediction."""
    for key in ('pred_sem_seg', 'pred_panoptic_seg'):
        if key in sample:
            return torch.as_tensor(sample.get(key).values()[0])
    return torch.as_tensor(sample.pred_instances.scores)


def test_every_entry_point(given: dict[str, Any]) -> None:
    results: dict[str, Any] = {}
    for name, run in entry_points(given['semantic']).items():
        for kind, config in given['configs'].items():
            if config is None and name == 'function':
                continue  # it takes no checkpoint alone
            if isinstance(config, Config):
                config = config.copy()  # they change it
            for what in ('image', 'pixels'):
                sample = run(config, given['checkpoint'], given[what])
                results[f'{name}, {kind}, {what}'] = found(sample)
    assert len(results) == 16
    first = results['inferencer, source, image']
    assert first.numel() > 0
    for name, other in results.items():
        assert_close(other, first, msg=name)
    # What the command writes is the same for file and pixels, with and without config.
    records = [
        written(config, given['checkpoint'], given[what])
        for config, what in ((given['configs']['dump'], 'image'), (None, 'pixels'))
    ]
    assert records[0] == records[1]
    sample = loaded(None, given['checkpoint'], given['image'])
    assert len(records[0]) == len(
        sample.pred_instances
        if 'pred_instances' in sample
        else [
            one
            for one in found(sample).unique()
            if one % 1000 < (150 if given['semantic'] else 133)
        ]
    )

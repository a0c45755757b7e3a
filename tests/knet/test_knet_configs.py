"""K-Net's configs: published numbers, results of the right form, twins, checkpoints."""

import ast
from pathlib import Path
from typing import Any

import mmdet.datasets.transforms
import mmseg
import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.registry import TRANSFORMS, DefaultScope, init_default_scope
from small_models import classes, images, samples, small_model

from paperzoo.apis.config import config_folders
from paperzoo.registry import DATASETS, METRICS, MODELS

FOLDER = config_folders()[0]
KNET = sorted(FOLDER.rglob('knet_*.py'))
MMSEG = Path(mmseg.__file__).parent / '.mim' / 'configs' / 'knet'
SHAPES = [path for path in KNET if 'tiny_shapes' in path.stem]
METRIC = {'instance': 'mask AP', 'panoptic': 'PQ', 'semantic': 'mIoU'}
by_name = pytest.mark.parametrize('path', KNET, ids=lambda path: path.stem)


def load(name: str) -> Config:
    (path,) = FOLDER.rglob(f'{name}.py')
    cfg = Config.fromfile(str(path))
    init_default_scope(cfg.default_scope)
    return cfg


def plain(cfg: Config, *without: str) -> dict[str, Any]:
    """Return a config flattened, without the keys that contain one of the words."""
    flat = flattened(cfg.to_dict())
    return {k: v for k, v in flat.items() if not any(word in k for word in without)}


def flattened(config: dict[str, Any], place: str = '') -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            flat |= flattened(value, f'{place}{key}.')
        else:
            flat[place + key] = value
    return flat


def test_published_numbers_agree() -> None:
    """Metafile, README and the config's header give the same number of the authors."""
    folder = FOLDER / 'knet'
    models = yaml.safe_load((folder / 'metafile.yml').read_text())['Models']
    rows = (folder / 'README.md').read_text().splitlines()
    assert len(models) == 16
    for model in models:
        (result,) = model['Results']
        ((metric, number),) = result['Metrics'].items()
        path = FOLDER.parent / model['Config']
        header = ast.get_docstring(ast.parse(path.read_text())) or ''
        expect = f'Expect: {metric} {number} on {result["Dataset"]} (the authors'
        assert expect in ' '.join(header.split())
        assert any(metric == METRIC[task] for task in METRIC if task in model['Name'])
        (row,) = (row for row in rows if row.startswith(f'| [`{model["Name"]}`]'))
        assert f'| {number} |' in row


@by_name
def test_results_have_the_form_that_metrics_read(path: Path) -> None:
    cfg = load(path.stem)
    things, stuff = classes(cfg)
    model = small_model(cfg).eval()
    with torch.no_grad():
        found = model.predict(images(cfg, 2), samples(cfg, 2, 0))
    assert len(found) == 2
    for sample in found:
        if 'decode_head' in cfg.model:
            labels = sample.pred_sem_seg.data
            assert labels.shape == (1, 64, 64)
            assert labels.max() < stuff
        elif stuff:
            ids = sample.pred_panoptic_seg.sem_seg
            assert ids.shape == (1, 64, 64)
            assert (ids % 1000).max() <= things + stuff
        else:
            masks = sample.pred_instances.masks
            limit = cfg.model.test_cfg.rcnn.max_per_img
            assert masks.dtype == torch.bool
            assert masks.shape == (limit, 64, 64)
            assert sample.pred_instances.labels.max() < things


@by_name
def test_numbers_of_classes_agree_with_the_data(path: Path) -> None:
    cfg = load(path.stem)
    names = cfg.train_dataloader.dataset.type.METAINFO
    things, stuff = classes(cfg)
    assert len(names['classes']) == things + stuff
    if things and stuff:
        assert len(names['thing_classes']) == things
        assert len(names['stuff_classes']) == stuff


@pytest.mark.parametrize('path', SHAPES, ids=lambda path: path.stem)
def test_shapes_can_be_read(path: Path) -> None:
    cfg = load(path.stem)
    things, stuff = classes(cfg)
    for split, images_in_it in (('train', 400), ('val', 100)):
        dataset = DATASETS.build(cfg[f'{split}_dataloader'].dataset)
        assert len(dataset) == images_in_it
        sample = dataset[0]
        size = (144, 192) if 'decode_head' in cfg.model else (192, 256)
        assert sample['inputs'].shape == (3, *size)
        if stuff:
            values = sample['data_samples'].gt_sem_seg
            key = 'data' if 'decode_head' in cfg.model else 'sem_seg'
            assert set(values.get(key).unique().tolist()) <= {
                *range(things + stuff),
                255,
            }
        if things:
            assert len(sample['data_samples'].gt_instances.masks) > 0
    METRICS.build(cfg.val_evaluator)


@pytest.mark.data
@pytest.mark.parametrize(
    ('name', 'counts'),
    [
        ('knet_tiny_camvid', (367, 101, 233)),
        ('knet_r18_fpn_coco100_instance', None),
        ('knet_r18_fpn_coco100_panoptic', None),
    ],
)
def test_real_data_can_be_read(
    name: str, counts: tuple[int, ...] | None, real_data: Path
) -> None:
    cfg = load(name)
    for number, split in enumerate(('train', 'val', 'test')):
        dataset = DATASETS.build(cfg[f'{split}_dataloader'].dataset)
        assert len(dataset) == counts[number] if counts else 80 < len(dataset) <= 100
        sample = dataset[0]['data_samples']
        assert 'gt_sem_seg' in sample or len(sample.gt_instances.masks) > 0


@pytest.mark.parametrize('task', METRIC)
def test_the_ablation_differs_in_the_number_of_stages_only(task: str) -> None:
    name = f'knet_tiny_shapes_{task}'
    full, ablation = load(name), load(f'{name}_no_update')
    assert plain(full, 'num_stages') == plain(ablation, 'num_stages')
    part = 'decode_head' if task == 'semantic' else 'roi_head'
    assert (full.model[part].num_stages, ablation.model[part].num_stages) == (3, 0)


def test_the_fcn_is_the_twin_without_kernels() -> None:
    knet, fcn = load('knet_tiny_camvid'), load('fcn_tiny_camvid')
    assert plain(knet, 'decode_head') == plain(fcn, 'decode_head')
    head = knet.to_dict()['model']['decode_head']['kernel_generate_head']
    assert fcn.to_dict()['model']['decode_head'] == head


def test_the_640_one_trains_and_tests_at_640() -> None:
    cfg = load('knet_swin_l_uper_semantic_640')
    assert cfg.model.data_preprocessor.size == (640, 640)
    pipeline = cfg.train_dataloader.dataset.pipeline
    assert [t.scale[1] for t in pipeline if 'scale' in t] == [640]
    assert [t.crop_size for t in pipeline if 'crop_size' in t] == [(640, 640)]
    for split in ('val', 'test'):
        pipeline = cfg[f'{split}_dataloader'].dataset.pipeline
        assert [t.scale[1] for t in pipeline if 'scale' in t] == [640]


@pytest.mark.parametrize('head', ['fcn', 'psp', 'deeplabv3', 'uper'])
def test_checkpoints_of_mmseg_fit(head: str) -> None:
    """Names and shapes are those of the model that mmseg's config builds."""
    cfg = load(f'knet_r50_{head}_semantic')
    if head == 'uper':  # mmseg trained it wider than the authors
        cfg.model.decode_head.kernel_generate_head.channels = 512
        cfg.model.decode_head.kernel_update_head.update(
            in_channels=512, out_channels=512
        )
    (path,) = MMSEG.glob(f'knet-s3_r50-d8_{head}*_8xb2-*.py')
    theirs = Config.fromfile(str(path)).model
    theirs.pretrained = None
    cfg.model.backbone.init_cfg = None
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
        weights = MODELS.build(theirs).state_dict()
    model.load_state_dict(weights, strict=True, assign=True)


@pytest.mark.parametrize('task', ['instance', 'panoptic'])
def test_the_random_resize_moves_masks_under_any_default_scope(task: str) -> None:
    cfg = load(f'knet_r50_fpn_{task}_ms_3x')
    with DefaultScope.overwrite_default_scope('mmseg'):
        transform = TRANSFORMS.build(cfg.train_pipeline[2])
        assert type(transform.resize) is mmdet.datasets.transforms.Resize

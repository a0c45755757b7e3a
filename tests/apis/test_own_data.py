"""A config from a folder: it loads, builds, learns, and says what it decided."""

import ast
import json
from pathlib import Path
from typing import Any

import labelled_folders as made
import numpy as np
import pytest
from labelled_folders import CLASSES
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image
from small_models import small_model

from paperzoo.apis.config import load_config
from paperzoo.apis.init_config import Written, init_config
from paperzoo.apis.own_data import find_base
from paperzoo.errors import UserError


def written(root: Path, output: Path, **options: Any) -> tuple[Written, Config]:
    done = init_config(root, output, **options)
    return done, load_config(output)


def one_item_losses(cfg: Config) -> dict[str, float]:
    """Return the losses of a small model of the config on its first training batch."""
    from mmengine.registry import init_default_scope

    init_default_scope(cfg.default_scope)
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False, batch_size=2)
    loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
    model = small_model(cfg).train()
    batch = model.data_preprocessor(next(iter(loader)), training=True)
    losses = model(**batch, mode='loss')
    total, values = model.parse_losses(losses)
    total.backward()
    return {name: float(value) for name, value in values.items()}


@pytest.mark.parametrize('name', made.BOXES)
def test_detection(name: str, tmp_path: Path) -> None:
    root, splits = tmp_path / 'my "data" {1}', ('train', 'train', 'val')
    made.BOXES[name](root, made.scenes(6, splits=splits))
    done, cfg = written(root, tmp_path / 'cells.py')
    assert done.summary.startswith(f'{name.split("-")[0]}: detection, 3 classes, 6')
    assert not done.left_out
    assert cfg.model.bbox_head.num_classes == 3
    assert sorted(cfg.metainfo.classes) == sorted(CLASSES)
    assert cfg.default_hooks.checkpoint.save_best == 'coco/bbox_mAP'
    if name not in ('coco', 'coco-cvat', 'yolo', 'voc', 'labelme', 'cvat'):
        return  # another layout of one of these classes
    losses = one_item_losses(cfg)
    assert all(np.isfinite(one) for one in losses.values())
    assert losses['loss_bbox'] > 0


@pytest.mark.parametrize('name', ['coco', 'coco-cvat', 'yolo', 'labelme', 'cvat'])
def test_instances(name: str, tmp_path: Path) -> None:
    splits = ('train', 'train', 'val')
    made.BOXES[name](tmp_path / 'data', made.scenes(6, splits=splits), masks=True)
    done, cfg = written(tmp_path / 'data', tmp_path / 'cells.py')
    assert 'instance, 3 classes' in done.summary
    assert cfg.model.roi_head.num_thing_classes == 3
    assert cfg.val_evaluator.metric == 'segm'
    losses = one_item_losses(cfg)
    assert all(np.isfinite(one) for one in losses.values())
    assert losses['s2_loss_mask'] > 0


@pytest.mark.parametrize('kind', ['grey', '16-bit', 'rgb'])
def test_semantic(kind: str, tmp_path: Path) -> None:
    made.write_masks(tmp_path / 'data', made.scenes(4), kind)
    done, cfg = written(tmp_path / 'data', tmp_path / 'streets.py')
    assert 'semantic, 4 classes, 4 images (3 train, 1 val)' in done.summary
    head = cfg.model.decode_head
    assert head.kernel_generate_head.num_classes == 4
    assert head.kernel_update_head.num_classes == 4
    assert cfg.model.auxiliary_head.num_classes == 4
    assert all(np.isfinite(one) for one in one_item_losses(cfg).values())


def panoptic(root: Path, some: list, splits: tuple[str, ...]) -> None:
    """Write things 1 to 3 and the rest of each image as stuff."""
    for split in splits:
        part = [one for one in some if one.split == split]
        images, annotations = [], []
        for number, one in enumerate(part, 1):
            made.save(one, root / split / one.name)
            labels = made.label_map(one).astype(int)
            picture = np.zeros((*labels.shape, 3), np.uint8)
            infos = []
            for label in np.unique(labels).tolist():
                here = labels == label
                picture[here] = (label + 1, 0, 0)
                rows, columns = here.any(1).nonzero()[0], here.any(0).nonzero()[0]
                left, top = int(columns[0]), int(rows[0])
                box = [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top]
                infos.append(
                    {
                        'id': label + 1,
                        'category_id': label or 9,
                        'bbox': box,
                        'area': int(here.sum()),
                        'iscrowd': 0,
                    }
                )
            stem = Path(one.name).stem
            path = root / 'annotations' / f'panoptic_{split}' / f'{stem}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path)
            width, height = one.size
            images.append(
                {'id': number, 'file_name': one.name, 'width': width, 'height': height}
            )
            annotations.append(
                {'image_id': number, 'file_name': path.name, 'segments_info': infos}
            )
        categories = [
            {'id': number, 'name': name, 'isthing': 1}
            for number, name in enumerate(CLASSES, 1)
        ]
        categories.append({'id': 9, 'name': 'ground', 'isthing': 0})
        made.write_json(
            root / 'annotations' / f'panoptic_{split}.json',
            dict(images=images, annotations=annotations, categories=categories),
        )


@pytest.mark.parametrize('splits', [('train',), ('train', 'val')])
def test_panoptic(splits: tuple[str, ...], tmp_path: Path) -> None:
    some = made.scenes(4, splits=splits)
    panoptic(tmp_path / 'data', some, splits)
    done, cfg = written(tmp_path / 'data', tmp_path / 'rooms.py')
    assert 'panoptic, 4 classes, 4 images' in done.summary
    assert cfg.model.rpn_head.num_stuff_classes == 1
    assert cfg.model.roi_head.num_thing_classes == 3
    assert cfg.metainfo.thing_classes == CLASSES
    losses = one_item_losses(cfg)
    assert all(np.isfinite(one) for one in losses.values())
    assert losses['s2_loss_mask'] > 0
    from paperzoo.registry import DATASETS, METRICS

    METRICS.build(cfg.val_evaluator)
    parts = [
        {Path(one['img_path']).name for one in data.load_data_list()}
        for data in (
            DATASETS.build(cfg.train_dataloader.dataset),
            DATASETS.build(cfg.val_dataloader.dataset),
        )
    ]
    assert not parts[0] & parts[1]
    assert len(parts[0] | parts[1]) == 4


def test_panoptic_without_segments_is_said(tmp_path: Path) -> None:
    panoptic(tmp_path / 'data', made.scenes(2), ('train',))
    file = tmp_path / 'data/annotations/panoptic_train.json'
    content = json.loads(file.read_text())
    del content['annotations'][1]['segments_info']
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r'_train\.json: not in COCO .*segments_'):
        init_config(tmp_path / 'data', tmp_path / 'a.py')


def test_panoptic_stuff_before_things_is_said(tmp_path: Path) -> None:
    panoptic(tmp_path / 'data', made.scenes(2), ('train',))
    file = tmp_path / 'data/annotations/panoptic_train.json'
    content = json.loads(file.read_text())
    content['categories'].reverse()
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r'all things .* before all stuff'):
        init_config(tmp_path / 'data', tmp_path / 'rooms.py')


@pytest.mark.parametrize('model', ['dmf', 'protonet', 'can', 'feat'])
def test_few_shot(model: str, tmp_path: Path) -> None:
    made.write_classes(tmp_path / 'data', classes=8, images=5)
    done, cfg = written(tmp_path / 'data', tmp_path / 'birds.py', model=model)
    assert 'few-shot, 8 classes, 40 images (30 train, 10 val)' in done.summary
    assert [one.name for one in done.files] == ['birds_train.csv', 'birds_val.csv']
    assert cfg.model.num_classes == 6
    from paperzoo.registry import DATASETS, MODELS

    train = DATASETS.build(cfg.train_dataloader.dataset)
    val = DATASETS.build(cfg.val_dataloader.dataset)
    assert not set(train.source.classes) & set(val.source.classes)
    assert len(train.source.classes) == 6
    cfg.model.backbone.update(widths=(8, 8, 8, 64))
    if 'meta_filter' in cfg.model:
        cfg.model.meta_filter.update(groups=8)
    cfg.model.update(feat_channels=64)
    net = MODELS.build(cfg.model)
    from mmengine.dataset import default_collate

    batch = net.data_preprocessor(default_collate([train[0], train[1]]))
    total, _ = net.parse_losses(net(**batch, mode='loss'))
    assert np.isfinite(float(total))


def test_splits_of_ordinary_classification_are_divided_anew(tmp_path: Path) -> None:
    for split in ('train', 'val'):
        made.write_classes(tmp_path / 'data' / split, classes=6, images=3)
    done, _ = written(tmp_path / 'data', tmp_path / 'birds.py')
    assert any('share classes' in note for note in done.notes)
    tables = [path.read_text('utf-8').splitlines()[1:] for path in done.files]
    train, val = ({row.rpartition(',')[2] for row in rows} for rows in tables)
    assert not train & val
    assert len(train | val) == 6


def test_scale_and_ranges_follow_the_objects(tmp_path: Path) -> None:
    small = made.scenes(6)
    for one in small:
        one.things = [made.Thing(CLASSES[0], [10, 10, 26, 10, 26, 24])]
    made.write_coco_cvat(tmp_path / 'small', small)
    _, cfg = written(tmp_path / 'small', tmp_path / 'small.py')
    # 16 pixels become 32; their distances are about 24.
    longer = np.median([max(one.size) for one in small])
    assert cfg.scale[0] == pytest.approx(2 * longer, abs=32)
    ranges = ((-1, 24), (24, 48), (48, 96), (96, 192), (192, 1e8))
    assert cfg.model.bbox_head.regress_ranges == ranges
    large = made.scenes(3)
    for one in large:
        pixels = np.zeros((1500, 2600, 3), np.uint8)
        one.pixels = pixels
        one.things = [made.Thing(CLASSES[0], [10, 10, 700, 10, 700, 700])]
    made.write_coco_cvat(tmp_path / 'large', large)
    _, cfg = written(tmp_path / 'large', tmp_path / 'large.py')
    assert cfg.scale == (1333, 800)
    assert 'regress_ranges' not in cfg.model.bbox_head


def test_more_images_take_fewer_epochs(tmp_path: Path) -> None:
    epochs = []
    for count in (20, 60):
        root = tmp_path / f'{count} images'
        made.write_yolo(root, made.scenes(count))
        _, cfg = written(root, tmp_path / f'of_{count}.py')
        epochs.append(cfg.train_cfg.max_epochs)
        assert cfg.param_scheduler[1].end == cfg.train_cfg.max_epochs
        assert cfg.param_scheduler[1].milestones[-1] < cfg.train_cfg.max_epochs
    assert 12 <= epochs[1] <= epochs[0] <= 300


def test_from_scratch_frees_all(tmp_path: Path) -> None:
    made.write_coco(tmp_path / 'data', made.scenes(3))
    _, cfg = written(tmp_path / 'data', tmp_path / 'a.py', scratch=True)
    backbone = cfg.model.backbone
    assert backbone.init_cfg is None
    assert (backbone.frozen_stages, backbone.norm_eval) == (-1, False)
    from paperzoo.registry import MODELS

    cfg.model.backbone.update(depth=18, base_channels=8)
    cfg.model.neck.in_channels = [8, 16, 32, 64]
    net = MODELS.build(cfg.model).train()
    assert all(one.requires_grad for one in net.parameters())
    assert all(one.training for one in net.modules())


@pytest.mark.parametrize(
    ('task', 'file'),
    [
        ('detection', 'fcos_r50_caffe_fpn_gn-head_1x_coco-821213aa.pth'),
        ('instance', 'knet_s3_r50_fpn_1x_coco_20211016_113017-8a8645d4.pth'),
        ('semantic', '_80k_ade20k_20220228_043751-abcab920.pth'),
    ],
)
def test_where_weights_come_from(
    task: str, file: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    if task == 'semantic':
        made.write_masks(tmp_path / 'data', made.scenes(4), 'grey')
    else:
        made.write_coco(tmp_path / 'data', made.scenes(3), masks=task == 'instance')
    done, cfg = written(tmp_path / 'data', tmp_path / 'a.py')
    text = done.config.read_text('utf-8')
    name = (
        'resnet50_v1c-2cccc1ad.pth' if task == 'semantic' else 'resnet50-0676ba61.pth'
    )
    place = str(tmp_path / 'torch/hub/checkpoints' / name)
    assert done.weights[0].endswith(f'/{name}')
    assert done.weights[1] == f'kept as {place}'
    assert 'PAPERZOO_MIRROR' in done.weights[2]
    assert f'# kept as {place}\n' in text
    assert cfg.load_from is None
    # A whole model in place of a backbone.
    done, cfg = written(tmp_path / 'data', tmp_path / 'b.py', fine_tune=True)
    assert cfg.load_from.endswith(file)
    assert done.weights[0] == f'weights: {cfg.load_from}'
    assert cfg.model.backbone.init_cfg is None
    if task == 'detection':
        theirs = load_config('fcos_r50-caffe_fpn_gn-head_1x_coco').model
        for key in ('mean', 'std', 'bgr_to_rgb'):
            ours = cfg.model.data_preprocessor
            assert ours[key] == theirs.data_preprocessor[key]
        from mmengine.registry import init_default_scope

        from paperzoo.registry import MODELS

        init_default_scope('mmdet')
        for model in (cfg.model, theirs):
            model.backbone.update(init_cfg=None, depth=18, base_channels=4)
            model.neck.in_channels = [4, 8, 16, 32]
        theirs.bbox_head.num_classes = 3
        with_keys = [
            {key: one.shape for key, one in MODELS.build(model).state_dict().items()}
            for model in (cfg.model, theirs)
        ]
        assert with_keys[0] == with_keys[1]


def test_only_known_models_are_fine_tuned(tmp_path: Path) -> None:
    made.write_coco(tmp_path / 'data', made.scenes(3))
    with pytest.raises(UserError, match='no weights of a whole model are known for fc'):
        init_config(
            tmp_path / 'data', tmp_path / 'a.py', model='fcos_imprv', fine_tune=True
        )
    with pytest.raises(UserError, match='one of both'):
        init_config(tmp_path / 'data', tmp_path / 'a.py', scratch=True, fine_tune=True)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    made.write_classes(tmp_path / 'data', classes=5, images=3)
    (tmp_path / 'a_val.csv').write_text('mine')
    with pytest.raises(UserError, match=r'a_val\.csv. exists already'):
        init_config(tmp_path / 'data', tmp_path / 'a.py')
    assert not (tmp_path / 'a.py').exists()
    assert (tmp_path / 'a_val.csv').read_text() == 'mine'
    (tmp_path / 'b.py').write_text('mine')
    with pytest.raises(UserError, match=r'b\.py. exists already'):
        init_config(tmp_path / 'data', tmp_path / 'b.py')
    assert (tmp_path / 'b.py').read_text() == 'mine'


def test_names_are_data_not_code(tmp_path: Path, monkeypatch: Any) -> None:
    proof = tmp_path / 'proof'
    evil = f"a'); __import__('os').mkdir('{proof}'); ('\"\"\"\\"
    names = (evil, 'two\nlines', '{braces}')
    monkeypatch.setattr(made, 'CLASSES', names)
    root = tmp_path / 'it\'s """data""" {x}'
    made.write_coco(root, made.scenes(4, splits=('train', 'val')))
    content = tmp_path / 'a.py'
    some = made.scenes(4, splits=('train', 'val'))
    for one, name in zip(some, (*names, names[0]), strict=True):
        for thing in one.things:
            thing.name = name
    made.write_coco(root, some)
    _, cfg = written(root, content)
    assert cfg.metainfo.classes == names
    assert cfg.data_root == str(root)
    assert Path(cfg.val_evaluator.ann_file).is_file()
    assert not proof.exists()
    ast.parse(content.read_text('utf-8'))


@pytest.mark.parametrize(
    'name',
    [
        "x'+str(__import__('os').mkdir('proof'))+'_val.json",
        'x\'"{y}"\\N{DASH}_val.json',
    ],
)
def test_names_of_files_are_data_not_code(
    name: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    root = tmp_path / 'data'
    made.write_coco(root, made.scenes(4, splits=('train', 'val')))
    file = root / 'annotations' / name
    (root / 'annotations/instances_val.json').rename(file)
    _, cfg = written(root, tmp_path / 'a.py')
    assert not Path('proof').exists()
    assert cfg.val_evaluator.ann_file == str(file)


@pytest.mark.parametrize(
    ('options', 'why'),
    [
        (dict(task='semantic'), 'for semantic it needs label maps'),
        (dict(task='panoptic'), 'no panoptic annotations'),
        (dict(task='tracking'), "--task='tracking'"),
        (dict(model='knet'), 'no model of paperzoo for detection: fcos'),
        (dict(model='yolov9'), 'neither a file nor the name'),
        (dict(model='retinanet_r50_fpn_1x_coco'), 'no model of paperzoo'),
        (dict(val=1.5), '--val 1.5'),
    ],
)
def test_what_does_not_fit_is_one_message(
    options: dict, why: str, tmp_path: Path
) -> None:
    made.write_coco(tmp_path / 'data', made.scenes(3))
    with pytest.raises(UserError, match=why):
        init_config(tmp_path / 'data', tmp_path / 'a.py', **options)
    assert not (tmp_path / 'a.py').exists()


def test_fcos_takes_the_boxes_of_outlines(tmp_path: Path) -> None:
    made.write_coco(tmp_path / 'data', made.scenes(3), masks=True)
    done, _ = written(tmp_path / 'data', tmp_path / 'a.py', model='fcos')
    assert done.summary.startswith('coco: detection')


def test_a_variant_of_a_config(tmp_path: Path) -> None:
    made.write_coco(tmp_path / 'data', made.scenes(3))
    _, cfg = written(tmp_path / 'data', tmp_path / 'a.py', model='fcos_r50_fpn_ms_2x')
    assert cfg.train_pipeline[2].scale[1] == cfg.scale
    assert find_base('detection', 'fcos')[0] == 'paperzoo.configs.fcos_r50_fpn'
    assert find_base('few-shot', 'protonet')[0] == (
        'paperzoo.configs.dmf.protonet_resnet12'
    )


def test_too_little(tmp_path: Path) -> None:
    made.write_labelme(tmp_path / 'one', made.scenes(1))
    with pytest.raises(UserError, match='a training needs two or more'):
        init_config(tmp_path / 'one', tmp_path / 'a.py')
    made.write_classes(tmp_path / 'three', classes=3, images=3)
    with pytest.raises(UserError, match='an episode needs two or more'):
        init_config(tmp_path / 'three', tmp_path / 'a.py')


def train(cfg: Config, tmp_path: Path, steps: int) -> Path:
    """Train a small model for an epoch or so, with validation, and return the dir."""
    cfg.work_dir = str(tmp_path / 'work')
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.update(num_workers=0, persistent_workers=False)
    if 'max_iters' in cfg.train_cfg:
        cfg.train_cfg.update(max_iters=steps, val_interval=steps)
        cfg.default_hooks.checkpoint.interval = steps
    else:
        cfg.train_cfg.update(max_epochs=steps, val_interval=steps)
        cfg.default_hooks.checkpoint.interval = steps
    cfg.experiment_name = tmp_path.name
    cfg.log_level = 'WARNING'
    runner = Runner.from_cfg(cfg)
    runner.train()
    runner.test()
    return Path(cfg.work_dir)


def narrow(cfg: Config) -> Config:
    from small_models import shrink

    widths = shrink(cfg.model.backbone)
    if 'neck' in cfg.model:
        cfg.model.neck.in_channels = widths[-len(cfg.model.neck.in_channels) :]
    if 'decode_head' in cfg.model:
        cfg.model.decode_head.kernel_generate_head.in_channels = widths[-1]
        cfg.model.auxiliary_head.in_channels = widths[2]
    return cfg


def test_a_training_of_yolo(tmp_path: Path) -> None:
    made.write_yolo_labelimg(tmp_path / 'data', made.scenes(5))
    _, cfg = written(tmp_path / 'data', tmp_path / 'a.py', scratch=True)
    cfg.model.test_cfg.score_thr = 0.0
    work = train(narrow(cfg), tmp_path, 1)
    assert list(work.glob('best_coco_bbox_mAP_*.pth'))


def test_few_classes_are_kept_from_the_training_beside_a_test(tmp_path: Path) -> None:
    for split, classes, colour in (('train', 60, 1), ('test', 4, 2)):
        for number in range(classes):
            folder = tmp_path / 'data' / split / f'{split} {number}'
            folder.mkdir(parents=True)
            for image in range(2):
                Image.new('L', (32, 32), 9 * image + colour).save(
                    folder / f'{image}.png'
                )
    counts = {}
    for name, options in (('default', {}), ('said', {'val': 0.2})):
        _, cfg = written(
            tmp_path / 'data', tmp_path / f'{name}.py', model='protonet', **options
        )
        counts[name] = cfg.model.num_classes
        assert cfg.test_dataloader.dataset.split == 'test'
    assert counts == {'default': 50, 'said': 48}


@pytest.mark.slow
@pytest.mark.parametrize('task', ['instance', 'panoptic', 'semantic', 'few-shot'])
def test_a_training_of_each_task(task: str, tmp_path: Path) -> None:
    root = tmp_path / 'data'
    if task == 'instance':
        made.write_labelme(root, made.scenes(5), masks=True)
    elif task == 'panoptic':
        panoptic(root, made.scenes(5), ('train',))
    elif task == 'semantic':
        made.write_masks_roboflow(root, made.scenes(6))
    else:
        made.write_classes(root, classes=6, images=6)
    _, cfg = written(root, tmp_path / 'a.py', scratch=True)
    if task == 'few-shot':
        cfg.model.backbone.update(widths=(8, 8, 8, 64))
        cfg.model.meta_filter.update(groups=8)
        cfg.model.update(feat_channels=64)
        cfg.train_dataloader.dataset.update(episodes=4)
        for split in ('val', 'test'):
            cfg[f'{split}_dataloader'].dataset.update(episodes=4)
    else:
        narrow(cfg)
    assert list(train(cfg, tmp_path, 1).glob('best_*.pth'))


@pytest.mark.data
@pytest.mark.parametrize(
    ('name', 'task'),
    [
        ('bccd', 'detection'),
        ('coco100', 'instance'),
        ('coco100', 'panoptic'),
        ('camvid', 'semantic'),
    ],
)
def test_real_sets(name: str, task: str, tmp_path: Path, real_data: Path) -> None:
    done, cfg = written(real_data / name, tmp_path / 'a.py', task=task)
    assert not done.left_out
    losses = one_item_losses(cfg)
    assert all(np.isfinite(one) for one in losses.values())
    if name == 'bccd':
        # The stock class and its files: the numbers are those of a written config.
        ours, theirs = cfg.train_dataloader.dataset, load_config('fcos_r18_fpn_bccd')
        for key in ('ann_file', 'metainfo', 'type'):
            wanted = theirs.train_dataloader.dataset[key]
            if key == 'metainfo':
                assert ours[key].classes == wanted.classes
            else:
                assert ours[key] == wanted


@pytest.mark.data
def test_real_characters(tmp_path: Path, real_data: Path) -> None:
    done, cfg = written(real_data / 'omniglot_small', tmp_path / 'a.py')
    assert 'few-shot, 242 classes, 4840 images' in done.summary
    assert [one.name for one in done.files] == [
        'a_train.csv',
        'a_val.csv',
        'a_test.csv',
    ]
    from paperzoo.registry import DATASETS

    cfg.test_dataloader.dataset.in_memory = False
    test = DATASETS.build(cfg.test_dataloader.dataset)
    assert len(test.source.classes) == 106


@pytest.mark.parametrize('area', [True, False])
def test_all_files_of_a_split_are_counted_and_trained_on(
    area: bool, tmp_path: Path
) -> None:
    from paperzoo.registry import DATASETS

    root = tmp_path / 'data'
    some = made.scenes(9)
    parts = {'train': some[:3], 'extra': some[3:6], 'val': some[6:], 'trainval': some}
    for one in some:
        made.save(one, root / one.name)
    for name, part in parts.items():
        content = made.coco_content(part, masks=False)
        for one in content['annotations']:
            one['area'] = one['area'] if area else None
        made.write_json(root / f'instances_{name}.json', content)
    done, cfg = written(root, tmp_path / 'cells.py')
    assert '9 images (6 train, 3 val)' in done.summary
    assert 'instances_trainval.json: 9 of its 9 images' in done.left_out[0]
    names = []
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.pipeline = []
        data = DATASETS.build(loader.dataset)
        names.append({Path(one['img_path']).name for one in data})
    assert [len(one) for one in names] == [6, 3]
    assert not names[0] & names[1]


def broken_panoptic(root: Path, key: str, value: Any) -> Path:
    """Write a panoptic set whose first segment has another value, None for none."""
    panoptic(root, made.scenes(3), ('train',))
    file = root / 'annotations/panoptic_train.json'
    content = json.loads(file.read_text())
    info = content['annotations'][0]['segments_info'][0]
    if value is None:
        del info[key]
    else:
        info[key] = value
    file.write_text(json.dumps(content))
    return file


@pytest.mark.parametrize(
    ('key', 'value', 'why'),
    [
        ('area', None, "it has no 'area'"),
        ('area', 0, 'area is 0, no number above 0'),
        ('iscrowd', '0', "iscrowd is the text '0'"),
    ],
)
def test_a_segment_that_cannot_be_read_is_named(
    key: str, value: Any, why: str, tmp_path: Path
) -> None:
    file = broken_panoptic(tmp_path / 'data', key, value)
    with pytest.raises(UserError, match=rf'{file}, image 1, segment \d: {why}'):
        init_config(tmp_path / 'data', tmp_path / 'rooms.py')


def test_a_segment_without_iscrowd_is_none(tmp_path: Path) -> None:
    broken_panoptic(tmp_path / 'data', 'iscrowd', None)
    done, _ = written(tmp_path / 'data', tmp_path / 'rooms.py')
    assert not done.left_out


def test_panoptic_without_a_picture_or_an_annotation_is_said(tmp_path: Path) -> None:
    panoptic(tmp_path / 'data', made.scenes(3), ('train',))
    file = tmp_path / 'data/annotations/panoptic_train.json'
    content = json.loads(file.read_text())
    dropped = content['annotations'].pop()
    made.write_json(file, content)
    with pytest.raises(UserError, match=f'{file}, image 3: no annotation is of it'):
        init_config(tmp_path / 'data', tmp_path / 'rooms.py')
    content['annotations'].append(dropped)
    made.write_json(file, content)
    (tmp_path / 'data/annotations/panoptic_train' / dropped['file_name']).unlink()
    with pytest.raises(UserError, match=r"image 3: its PNG 'scene 2\.png' is not in"):
        init_config(tmp_path / 'data', tmp_path / 'rooms.py')


def test_a_panoptic_file_over_two_splits_is_refused(tmp_path: Path) -> None:
    root = tmp_path / 'data'
    panoptic(root, made.scenes(2), ('train',))
    content = json.loads((root / 'annotations/panoptic_train.json').read_text())
    for one, split in zip(content['images'], ('train', 'val'), strict=True):
        (root / split).mkdir(exist_ok=True)
        target = root / split / one['file_name']
        (root / 'train' / one['file_name']).rename(target)
        one['file_name'] = f'{split}/{one["file_name"]}'
    made.write_json(root / 'annotations/panoptic.json', content)
    (root / 'annotations/panoptic_train.json').unlink()
    with pytest.raises(UserError, match='one file for each split'):
        init_config(root, tmp_path / 'rooms.py')


def test_no_object_is_told_with_the_reasons(tmp_path: Path) -> None:
    made.write_coco_cvat(tmp_path / 'data', made.scenes(3))
    file = tmp_path / 'data/annotations/instances_default.json'
    content = json.loads(file.read_text())
    for one in content['annotations']:
        one['bbox'] = '3,4,8,9'
    made.write_json(file, content)
    with pytest.raises(UserError, match='no object to train on') as error:
        init_config(tmp_path / 'data', tmp_path / 'a.py')
    assert f"left out: {file}, annotation 1: bbox is '3,4,8,9', not left" in (
        str(error.value)
    )


def test_no_images_to_train_on_is_told_with_the_reasons(tmp_path: Path) -> None:
    root = tmp_path / 'data'
    some = made.scenes(3)
    for one in some:
        made.save(one, root / one.name)
    for name in ('train', 'val'):
        made.write_json(root / f'{name}.json', made.coco_content(some, masks=False))
    with pytest.raises(
        UserError, match=r'no images to train on.*\n.*3 of its 3 images'
    ):
        init_config(root, tmp_path / 'a.py')


def test_a_share_beside_own_validation_images_is_said(tmp_path: Path) -> None:
    made.write_coco(tmp_path / 'data', made.scenes(4, splits=('train', 'val')))
    done, _ = written(tmp_path / 'data', tmp_path / 'a.py', val=0.5)
    said = '--val 0.5 is not used: the folder has validation images of its own'
    assert said in done.notes
    done, _ = written(tmp_path / 'data', tmp_path / 'b.py')
    assert not [one for one in done.notes if '--val' in one]
    made.write_yolo_labelimg(tmp_path / 'whole', made.scenes(4))
    done, _ = written(tmp_path / 'whole', tmp_path / 'c.py', val=0.5)
    assert said not in done.notes

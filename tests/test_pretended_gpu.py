"""Training steps and predictions mix no devices and hardly wait for a GPU."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from few_shot_toys import noise_episodes
from mmcv.ops import batched_nms
from mmengine.config import Config
from mmengine.registry import init_default_scope
from pretended_gpu import GPU, PretendedGpu, move, on_gpu, tag
from small_models import images, is_semantic, samples, small_model
from torch import nn

from paperzoo.apis.config import config_folders
from paperzoo.data.sequences import pad_collate
from paperzoo.fcos import FCOSHead
from paperzoo.knet.panoptic import boxes_around, pixel_winners, top_instances
from paperzoo.knet.pasting import Sizes, enlarged_blocks
from paperzoo.registry import DATASETS, MODELS

FOLDER = config_folders()[0]
IMAGES = 2


def load(name: str) -> Config:
    (path,) = FOLDER.rglob(f'{name}.py')
    cfg = Config.fromfile(str(path))
    init_default_scope(cfg.default_scope)
    return cfg


def ours(counted: Counter[str]) -> Counter[str]:
    """Leave out mmseg's accuracy, which its heads log."""
    return Counter({k: v for k, v in counted.items() if 'accuracy.py' not in k})


# What waits: the loss once at most, a prediction so often an image.
@pytest.mark.parametrize(
    ('name', 'in_loss', 'an_image'),
    [
        ('fcos_r50_fpn', 0, 2),
        ('fcos_imprv_r50_fpn', 0, 2),
        ('fcos_rt_r50_fpn', 0, 2),
        ('fcos_imprv_dcn_r50_fpn', 0, 2),
        ('fcos_r50_fpn_authors', 0, 2),
        ('knet_r50_fpn_instance', 1, 0),
        ('knet_r50_fpn_panoptic', 1, 1),
        ('knet_r50_fcn_semantic', 0, 0),
        ('knet_r50_uper_semantic', 0, 0),
    ],
)
def test_images(name: str, in_loss: int, an_image: int) -> None:
    cfg = load(name)
    if 'bbox_head' in cfg.model:
        cfg.model.test_cfg.score_thr = 0.0
    model = move(small_model(cfg)).train()
    batch, annotated = images(cfg, IMAGES), samples(cfg, IMAGES, 4)
    with PretendedGpu() as gpu:
        losses = model.loss(move(batch), [move(one) for one in annotated])
        total, _ = model.parse_losses(losses)
    assert on_gpu(total)
    assert not gpu.mixed
    assert ours(gpu.waits).total() == in_loss, gpu.waits
    # Polygons and bitmaps are no tensors: they go up when their masks are learnt.
    masks = Counter({k: v for k, v in gpu.uploads.items() if 'to_tensor' not in k})
    assert not masks
    model.eval()
    batch, plain = images(cfg, IMAGES), samples(cfg, IMAGES, 0)
    with torch.no_grad(), PretendedGpu() as gpu:
        model.predict(move(batch), [move(one) for one in plain])
    assert not gpu.mixed
    assert gpu.waits.total() == an_image * IMAGES, gpu.waits
    if not is_semantic(cfg):
        # mmcv's batched_nms makes a 1 on the CPU.
        assert set(gpu.uploads.values()) <= {IMAGES}
        assert all('batched_nms' in where for where in gpu.uploads)


@pytest.mark.parametrize(
    'name',
    [
        'dmf_resnet12',
        'protonet_resnet12',
        'nearest_prototype_resnet12',
        'can_resnet12',
        'can_resnet12_transductive',
        'feat_resnet12',
    ],
)
def test_episodes(name: str) -> None:
    cfg = load(name)
    cfg.model.backbone.widths = (4, 4, 8, 16)
    cfg.model.feat_channels = 16
    if cfg.model.get('meta_filter'):
        cfg.model.meta_filter.groups = 4
    if cfg.model.get('positions'):
        cfg.model.update(positions=16, candidates=3)
    model = move(MODELS.build(cfg.model)).train()
    data = cfg.train_dataloader.dataset
    labels = torch.arange(data.ways).repeat_interleave(data.shots).expand(2, -1)
    episode = noise_episodes(labels)
    batch = model.data_preprocessor(episode, True)
    with PretendedGpu() as gpu:
        total, _ = model.parse_losses(model(**move(batch), mode='loss'))
        model.eval()
        with torch.no_grad():
            model(**move(batch), mode='predict')
    assert on_gpu(total)
    assert not gpu.mixed
    assert not gpu.waits
    assert not gpu.uploads


@pytest.mark.parametrize(
    ('name', 'waits'),
    [
        ('attention_set_classification', 4),  # one a sequence: labels without padding
        ('attention_tagging', 8),
    ],
)
def test_sequences(name: str, waits: int) -> None:
    cfg = load(name)
    cfg.train_dataloader.dataset.num = 4
    batch = pad_collate(list(DATASETS.build(cfg.train_dataloader.dataset)))
    model = move(MODELS.build(cfg.model)).train()
    with PretendedGpu() as gpu:
        total, _ = model.parse_losses(model(**move(batch), mode='loss'))
    assert on_gpu(total)
    assert not gpu.mixed
    assert not gpu.waits
    with torch.no_grad(), PretendedGpu() as gpu:
        model.eval()(**move(batch), mode='predict')
    assert not gpu.mixed
    assert gpu.waits.total() <= waits


@pytest.mark.parametrize('offset', [0, 1])
def test_suppression_waits_once(offset: int) -> None:
    torch.manual_seed(0)
    start = torch.rand(300, 2) * 50
    boxes = torch.cat((start, start + 1 + torch.rand(300, 2) * 20), dim=1)
    scores, classes = torch.rand(300), torch.randint(0, 3, (300,))
    nms = {'type': 'nms', 'iou_threshold': 0.5, 'offset': offset}
    expected = batched_nms(boxes, scores, classes, nms)
    with PretendedGpu() as gpu:
        found = batched_nms(tag(boxes), tag(scores), tag(classes), nms)
        assert all(one.device == GPU for one in found)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert not gpu.mixed
    assert gpu.waits.total() == 1


@pytest.mark.parametrize('min_bbox_size', [-1, 0, 20])
@pytest.mark.parametrize('nms_pre', [-1, 7, 1000])
@pytest.mark.parametrize('threshold_by', ['cls', 'product'])
@pytest.mark.parametrize('score_mode', ['product', 'sqrt'])
def test_boxes_are_those_of_the_cpu(
    min_bbox_size: float, nms_pre: int, threshold_by: str, score_mode: str
) -> None:
    """Off the CPU candidates have a fixed number: the same ones, in the same order."""
    head, maps = some_maps()
    head.test_cfg = Config(
        {
            'score_thr': 0.3,
            'nms_pre': nms_pre,
            'min_bbox_size': min_bbox_size,
            'nms': {'type': 'nms', 'iou_threshold': 0.5},
            'max_per_img': 50,
            'threshold_by': threshold_by,
            'rank_by': 'product' if threshold_by == 'product' else 'cls',
            'score_mode': score_mode,
        }
    )
    meta = [{'img_shape': (128, 128), 'scale_factor': (0.5, 2.0)}] * 2
    (one, two) = head.predict_by_feat(*maps, batch_img_metas=meta, rescale=True)
    assert len(one)
    assert len(two)
    with PretendedGpu() as gpu:
        moved = [[tag(level) for level in levels] for levels in maps]
        found = head.predict_by_feat(*moved, batch_img_metas=meta, rescale=True)
    assert not gpu.mixed
    for own, expected in zip(found, (one, two), strict=True):
        for key in ('bboxes', 'scores', 'labels'):
            torch.testing.assert_close(own[key], expected[key], rtol=0, atol=0)


def some_maps() -> tuple[FCOSHead, list[list[torch.Tensor]]]:
    norm = {'type': nn.GroupNorm, 'num_groups': 4}
    head = FCOSHead(3, 8, feat_channels=8, stacked_convs=0, norm_cfg=norm).eval()
    torch.manual_seed(0)
    sides = (16, 8, 4, 2, 1)
    scores, quality = ([torch.randn(2, n, s, s) for s in sides] for n in (3, 1))
    # Ties, between classes and between points, are broken alike.
    scores = [(level * 2).round() / 2 for level in scores]
    distances = [torch.rand(2, 4, s, s) * 60 for s in sides]
    return head, [scores, distances, quality]


def test_candidates_are_one_graph() -> None:
    head, maps = some_maps()
    cfg = Config({'score_thr': 0.3, 'nms_pre': 20})
    one = [[level[0] for level in levels] for levels in maps]
    points = head.prior_generator.grid_priors(
        [x.shape[-2:] for x in one[0]], device='cpu'
    )
    compiled = torch.compile(head.candidates, fullgraph=True, backend='aot_eager')
    found = compiled(*one, points, (128, 128), cfg)
    expected = head.candidates(*one, points, (128, 128), cfg)
    assert found.there is not None
    assert not found.there.all()
    for own, known in zip(found.alone()[:4], expected[:4], strict=True):
        torch.testing.assert_close(own, known, rtol=0, atol=0)


def test_masks_are_one_graph() -> None:
    """Instances off the CPU, and who wins which pixel, depend on no value's size."""
    torch.manual_seed(0)
    logits, masks = torch.randn(6, 3), torch.randn(6, 8, 12)
    sizes = Sizes((32, 48), (30, 48), (60, 90))

    def found(logits: torch.Tensor, masks: torch.Tensor) -> tuple[torch.Tensor, ...]:
        scores, labels, kernels = top_instances(logits, 10)
        prob = dict(enlarged_blocks(masks, sizes))[0]
        chosen = prob[kernels] > 0.5
        low = torch.zeros(6, dtype=torch.bool)
        winners = pixel_winners(scores[:6], low, enlarged_blocks(masks, sizes))
        return scores, labels, chosen, boxes_around(chosen), *winners

    compiled = torch.compile(found, fullgraph=True, backend='aot_eager')
    torch.testing.assert_close(
        compiled(logits, masks), found(logits, masks), rtol=0, atol=0
    )


def up(x: torch.Tensor) -> Any:
    return x.to('cuda')


@pytest.mark.parametrize(
    'wrong',
    [
        lambda here: here + torch.ones(2),
        lambda here: torch.ones(2)[here.long()],
        lambda here: here.numpy(),
    ],
)
def test_mixed_devices_are_seen(wrong: Callable[[Any], Any]) -> None:
    with PretendedGpu() as gpu:
        wrong(up(torch.zeros(2)))
    assert gpu.mixed.total() == 1


@pytest.mark.parametrize(
    'waiting',
    [
        lambda here: here[here > 0],
        lambda here: here.sum().item(),
        lambda here: bool((here > 0).all()),
        lambda here: torch.where(here > 0),
        lambda here: here.cpu(),
        lambda here: here.to('cpu'),
        lambda here: here.long().bincount(),
    ],
)
def test_waits_are_seen(waiting: Callable[[Any], Any]) -> None:
    with PretendedGpu() as gpu:
        here = up(torch.ones(2))
        assert here.is_cuda
        waiting(here)
    assert gpu.waits.total() == 1
    assert not gpu.mixed


def test_what_is_made_there_is_there() -> None:
    with PretendedGpu() as gpu:
        here = up(torch.ones(2))
        made = [here.new_zeros(1), torch.zeros(1, device=here.device), here[:1]]
        made += [
            here.clone(),
            torch.stack([here, here]),
            torch.where(here > 0, here, 0),
        ]
        assert all(one.is_cuda for one in made)
        assert not here.cpu().is_cuda
        here[here > 0] = 2.0  # filled in
        here * torch.tensor(2.0)  # a number
    assert not gpu.mixed
    assert gpu.waits.total() == 1
    assert gpu.uploads.total() == 1

"""On a GPU everything gives the numbers of the CPU; without one, the CPU gives its own.

The cases on the CPU keep the tests themselves right where there is no GPU.
"""

from typing import Any

import pytest
import torch
from few_shot_toys import noise_episodes
from mmengine.config import Config
from mmengine.registry import init_default_scope
from small_models import images, samples, small_model
from torch import Tensor, nn

from paperzoo.apis.config import find_config
from paperzoo.ops.deform_conv import deform_conv2d
from paperzoo.ops.nms import nms
from paperzoo.ops.roi_align import roi_align
from paperzoo.registry import MODELS

IMAGES = 2


WITHOUT_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU')
ON_GPU = [pytest.mark.gpu, WITHOUT_GPU]
DEVICES = ['cpu', pytest.param('cuda', marks=ON_GPU)]


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(autouse=True)
def exact() -> Any:
    """Convolutions in full single precision: TF32 has three digits."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


def load(name: str) -> Config:
    cfg = Config.fromfile(str(find_config(name)))
    init_default_scope(cfg.default_scope)
    return cfg


def close(one: Any, other: Any) -> None:
    torch.testing.assert_close(one.cpu(), other.cpu(), rtol=1e-3, atol=1e-4)


def gradients(model: nn.Module) -> list[Tensor]:
    return [one.grad.cpu() for one in model.parameters() if one.grad is not None]


@pytest.mark.parametrize('number', [0, 1, 500])
@pytest.mark.parametrize('offset', [0, 1])
def test_suppression(device: str, number: int, offset: int) -> None:
    torch.manual_seed(0)
    start = torch.rand(number, 2) * 50
    boxes = torch.cat((start, start + 1 + torch.rand(number, 2) * 20), dim=1)
    scores = torch.rand(number)
    found = nms(boxes.to(device), scores.to(device), 0.5, offset)
    assert found.tolist() == nms(boxes, scores, 0.5, offset).tolist()
    assert found.device.type == device


@pytest.mark.parametrize('samples_per_bin', [0, 2])
@pytest.mark.parametrize('pool_mode', ['avg', 'max'])
def test_roi_align(device: str, samples_per_bin: int, pool_mode: Any) -> None:
    torch.manual_seed(0)
    image = torch.randn(2, 5, 12, 14)
    start = torch.rand(9, 2) * 8
    rois = torch.cat(
        (torch.arange(9.0)[:, None] % 2, start, start + 0.5 + torch.rand(9, 2) * 6), 1
    )
    results = []
    for place in ('cpu', device):
        leaf = image.to(place, copy=True).requires_grad_()
        out = roi_align(leaf, rois.to(place), 3, 1.0, samples_per_bin, pool_mode)
        (grad,) = torch.autograd.grad(out.square().sum(), leaf)
        results.append((out, grad))
    for expected, found in zip(*results, strict=True):
        close(found, expected)


@pytest.mark.parametrize('modulated', [False, True])
def test_deformable_convolution(device: str, modulated: bool) -> None:
    torch.manual_seed(0)
    given = [
        torch.randn(2, 4, 7, 8),
        torch.randn(2, 36, 7, 8),
        torch.randn(6, 2, 3, 3),
        *([torch.rand(2, 18, 7, 8)] if modulated else []),
    ]
    results = []
    for place in ('cpu', device):
        leaves = [one.to(place, copy=True).requires_grad_() for one in given]
        image, offset, weight, *mask = leaves
        out = deform_conv2d(
            image, offset, weight, padding=1, mask=mask[0] if mask else None
        )
        grads = torch.autograd.grad(out.square().sum(), leaves)
        results.append((out, *grads))
    for expected, found in zip(*results, strict=True):
        close(found, expected)


MODELS_OF_IMAGES = (
    'fcos_r50_fpn',
    'fcos_imprv_dcn_r50_fpn',
    'knet_r50_fpn_instance',
    'knet_r50_fpn_panoptic',
    'knet_r50_fcn_semantic',
)


@pytest.mark.parametrize(
    ('device', 'name'),
    [
        ('cpu', 'fcos_r50_fpn'),
        *(pytest.param('cuda', name, marks=ON_GPU) for name in MODELS_OF_IMAGES),
    ],
)
def test_losses_gradients_and_predictions(device: str, name: str) -> None:
    cfg = load(name)
    if 'bbox_head' in cfg.model:
        cfg.model.test_cfg.score_thr = 0.0
    batch, annotated = images(cfg, IMAGES), samples(cfg, IMAGES, 4)
    found: dict[Any, Any] = {}
    for place in ('cpu', device):
        model = small_model(cfg.copy()).to(place)
        for part in model.modules():
            if isinstance(part, nn.Dropout):
                part.p = 0.0
        moved = [one.to(place) for one in annotated]
        losses = model.train().loss(batch.to(place), moved)
        total, every = model.parse_losses(losses)
        total.backward()
        with torch.no_grad():
            predicted = model.eval().predict(batch.to(place), moved)
        found[place, len(found)] = every, gradients(model), predicted
    (losses, grads, predicted), (other, other_grads, others) = found.values()
    for key, value in losses.items():
        close(other[key], value)
    for one, two in zip(other_grads, grads, strict=True):
        torch.testing.assert_close(one, two, rtol=0.02, atol=1e-3)
    assert len(predicted) == len(others) == IMAGES
    if 'bbox_head' in cfg.model:
        for one, two in zip(predicted, others, strict=True):
            scores = [x.pred_instances.scores.cpu() for x in (one, two)]
            torch.testing.assert_close(*scores, rtol=1e-3, atol=1e-4)


def test_episodes(device: str) -> None:
    cfg = load('dmf_resnet12')
    cfg.model.backbone.widths = (4, 4, 8, 16)
    cfg.model.update(feat_channels=16)
    cfg.model.meta_filter.groups = 4
    labels = torch.arange(5).repeat_interleave(2).expand(2, -1)
    torch.manual_seed(0)
    episode = noise_episodes(labels)
    totals = []
    for place in ('cpu', device):
        torch.manual_seed(0)
        model = MODELS.build(cfg.model).to(place).eval()  # no dropout
        batch = model.data_preprocessor(episode, False)
        total, _ = model.parse_losses(model(**batch, mode='loss'))
        total.backward()
        totals.append((total, gradients(model)))
    (expected, grads), (found, others) = totals
    close(found, expected)
    for one, two in zip(others, grads, strict=True):
        torch.testing.assert_close(one, two, rtol=0.02, atol=1e-3)


@pytest.mark.gpu
@WITHOUT_GPU
def test_the_loss_of_fcos_is_recorded_as_a_graph() -> None:
    """Without a wait and with fixed shapes: what a CUDA graph needs."""
    cfg = load('fcos_r50_fpn')
    model = small_model(cfg).cuda().train()
    batch = images(cfg, IMAGES).cuda()
    annotated = [one.to('cuda') for one in samples(cfg, IMAGES, 4)]

    def step() -> Tensor:
        total, _ = model.parse_losses(model.loss(batch, annotated))
        return total

    expected = step().item()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side), torch.no_grad():
        step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph), torch.no_grad():
        total = step()
    graph.replay()
    assert total.item() == pytest.approx(expected, rel=1e-3)

"""The semantic head: the stored arrays, and mmseg's head with the same weights."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mmseg
import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData
from mmseg.models.decode_heads import FCNHead, IterativeDecodeHead
from mmseg.models.decode_heads.knet_head import KernelUpdateHead, KernelUpdator
from mmseg.models.segmentors import EncoderDecoder
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from torch.testing import assert_close

from paperzoo.errors import UserError
from paperzoo.knet import KernelUpdater, KNetKernelUpdateHead, KNetSemanticHead

GOLDEN = Path(__file__).parents[1] / 'data' / 'golden'
CHANNELS = [8, 12, 16, 20]
META = [{'img_shape': (48, 64), 'pad_shape': (48, 64)}] * 2


@pytest.fixture(autouse=True)
def _scope() -> Iterator[None]:
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


def samples(labels: Tensor) -> list[SegDataSample]:
    return [
        SegDataSample(gt_sem_seg=PixelData(data=label[None].long())) for label in labels
    ]


def without_chance(module: nn.Module) -> nn.Module:
    """In training, but without dropout and with fixed statistics."""
    for part in module.train().modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.eval()
        elif isinstance(part, nn.modules.dropout._DropoutNd):
            part.p = 0.0
    return module


@pytest.mark.paper('knet "K-Net"')
@pytest.mark.parametrize('dtype', [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize('name', sorted(p.stem for p in GOLDEN.glob('knet_seg_*.npz')))
def test_golden(name: str, dtype: torch.dtype) -> None:
    golden = np.load(GOLDEN / f'{name}.npz')
    meta = json.loads(str(golden['meta']))
    config = {key: value for key, value in meta['hyper'].items() if key != 'type'}
    keys = [key for key in golden.files if key.startswith('w:')]
    weights = {key[2:]: torch.from_numpy(golden[key]) for key in keys}
    head = KNetSemanticHead(**config)
    head.load_state_dict(weights, strict=True)
    without_chance(head.to(dtype))
    index = config['kernel_generate_head']['in_index']
    x = torch.from_numpy(golden[f'in:x{index}']).to(dtype).requires_grad_()
    stages = head([x] * (index + 1))
    losses = head.loss_by_feat(stages, samples(torch.from_numpy(golden['in:label'])))
    found = {f'out:stage{n}': logits for n, logits in enumerate(stages)}
    for key, value in losses.items():
        found[f'loss:{key}' if 'loss' in key else f'out:acc.{key}'] = value
    sum(value for key, value in losses.items() if 'loss' in key).backward()
    # Gradients, loaded as if they were weights, tell whose they are.
    named = dict(head.named_parameters())
    numbers = {k: torch.full_like(v, n) for n, (k, v) in enumerate(weights.items())}
    tagged = copy.deepcopy(head)
    tagged.load_state_dict(numbers)
    for own, value in tagged.named_parameters():
        theirs = list(weights)[int(value.flatten()[0])]
        found[f'grad:w:{theirs}'] = named[own].grad
    found[f'grad:x{index}'] = x.grad
    stored = [k for k in golden.files if k.startswith(('out:', 'loss:', 'grad:'))]
    assert len(stored) > 8
    for key in stored:
        expected = torch.from_numpy(golden[key]).to(dtype)
        size = expected.abs().max().item()
        rounding = 10 * meta['f32_vs_f64_maxabs'].get(key, 0.0)
        atol = 2e-7 * size + 1e-7
        if dtype == torch.float32:
            atol = 1e-5 * max(1.0, size) + rounding
        value = found[key].detach().to(dtype).reshape(expected.shape)
        assert_close(value, expected, rtol=0, atol=atol)


def stage(channels: int, classes: int, **options: Any) -> dict[str, Any]:
    return {
        'type': 'KernelUpdateHead',
        'num_classes': classes,
        'num_heads': 2,
        'feedforward_channels': 24,
        'in_channels': channels,
        'out_channels': channels,
        'kernel_updator_cfg': {
            'type': 'KernelUpdator',
            'in_channels': channels,
            'feat_channels': channels,
            'out_channels': channels,
            'norm_cfg': {'type': 'LN'},
            'act_cfg': {'type': 'ReLU', 'inplace': True},
        },
        **options,
    }


def config(kind: str = 'FCNHead', classes: int = 5, **options: Any) -> dict[str, Any]:
    single = {'in_channels': CHANNELS[3], 'in_index': 3, 'channels': 12}
    heads: dict[str, dict[str, Any]] = {
        'FCNHead': {**single, 'num_convs': 1},
        'PSPHead': {**single, 'pool_scales': (1, 2)},
        'ASPPHead': {**single, 'dilations': (1, 2)},
        'UPerHead': {
            'in_channels': CHANNELS,
            'in_index': [0, 1, 2, 3],
            'channels': 12,
            'pool_scales': (1, 2),
        },
    }
    head = {'type': kind, 'num_classes': classes, 'norm_cfg': {'type': 'BN'}}
    # mmseg's heads take their configs apart.
    return copy.deepcopy(
        {
            'num_stages': 2,
            'kernel_generate_head': {**head, **heads[kind], **options},
            'kernel_update_head': [stage(12, classes) for _ in range(2)],
        }
    )


def levels(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    torch.manual_seed(1)
    return [
        torch.randn(2, c, 24 // 2**n, 32 // 2**n, dtype=dtype)
        for n, c in enumerate(CHANNELS)
    ]


def labels(classes: int = 5) -> Tensor:
    torch.manual_seed(2)
    found = torch.randint(classes, (2, 48, 64))
    found[:, :5] = 255
    return found


@pytest.mark.parametrize('kind', ['FCNHead', 'PSPHead', 'ASPPHead', 'UPerHead'])
def test_equals_mmseg(kind: str) -> None:
    torch.manual_seed(0)
    peer, ours = IterativeDecodeHead(**config(kind)), KNetSemanticHead(**config(kind))
    ours.load_state_dict(peer.state_dict(), strict=True)
    renamed = copy.deepcopy(ours).double()
    results = []
    for head in (peer, ours):
        head = without_chance(head.double())
        x = [level.requires_grad_() for level in levels()]
        stages = head(x)
        losses = head.loss_by_feat(stages, samples(labels()))
        sum(value for key, value in losses.items() if 'loss' in key).backward()
        logits = head.eval().predict(x, META, None)
        gradients = [level.grad for level in x if level.grad is not None]
        results.append([*stages, *losses.values(), *gradients, logits])
        results[-1].append(torch.tensor(len(losses)))
    assert_close(results[1], results[0])
    # Its gradients, loaded as if they were weights, bear our names.
    as_weights = {name: p.grad for name, p in peer.named_parameters()}
    renamed.load_state_dict(peer.state_dict() | as_weights)
    found = [parameter.grad for parameter in ours.parameters()]
    assert_close(found, [parameter.detach() for parameter in renamed.parameters()])


def test_attributes_are_the_decode_heads() -> None:
    head = KNetSemanticHead(**config(align_corners=True))
    names = ('align_corners', 'num_classes', 'out_channels', 'threshold')
    assert [getattr(head, name) for name in names] == [True, 5, 5, None]


def test_one_output_channel() -> None:
    loss = {'type': 'CrossEntropyLoss', 'use_sigmoid': True}
    options = {'out_channels': 1, 'threshold': 0.4, 'loss_decode': loss}
    head = KNetSemanticHead(**config(classes=2, **options)).double()
    assert head.threshold == 0.4
    assert {part.grouping for part in head.kernel_update_head} == {'sigmoid'}
    losses = head.loss(levels(), samples(labels(2)))
    sum(value for key, value in losses.items() if 'loss' in key).backward()
    assert all(p.grad is not None for p in head.kernel_update_head.parameters())
    # Unlike under a softmax over one channel, masks decide what a stage gathers.
    x, part = levels()[0][:, :4], head.kernel_update_head[0]
    features = torch.cat([x] * 3, dim=1)
    kernels = torch.randn(2, 1, 12, 1, 1, dtype=torch.float64)
    masks = torch.randn(2, 1, 24, 32, dtype=torch.float64)
    one, other = (part(features, kernels, logits)[1] for logits in (masks, -masks))
    assert (one != other).any()


def test_one_class_and_a_threshold_through_the_segmentor() -> None:
    loss = {'type': 'CrossEntropyLoss', 'use_sigmoid': True}
    options = {'out_channels': 1, 'threshold': 0.4, 'loss_decode': loss}
    decode_head = config(classes=2, in_channels=32, **options)
    decode_head['type'] = KNetSemanticHead
    backbone = {'type': 'ResNet', 'depth': 18, 'base_channels': 4}
    model = EncoderDecoder(
        backbone, decode_head, test_cfg=ConfigDict(mode='whole')
    ).eval()
    assert model.out_channels == 1
    sample = SegDataSample(metainfo={'img_shape': (64, 96), 'ori_shape': (64, 96)})
    torch.manual_seed(0)
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        logits = model.encode_decode(x, [sample.metainfo])
        middle = logits.sigmoid().median().item()
        model.decode_head.threshold = middle
        found = model.predict(x, [sample])[0]
    assert_close(found.seg_logits.data, logits[0].sigmoid())
    mask = logits[0].sigmoid() > middle
    assert 0 < mask.sum() < mask.numel()
    assert_close(found.pred_sem_seg.data, mask.to(found.pred_sem_seg.data))


def test_a_sampler_keeps_hard_pixels_only() -> None:
    sampler = {'type': 'OHEMPixelSampler', 'thresh': 0.2, 'min_kept': 20}
    torch.manual_seed(0)
    plain = without_chance(KNetSemanticHead(**config()).double())
    hard = without_chance(KNetSemanticHead(**config(sampler=sampler)).double())
    hard.load_state_dict(plain.state_dict())
    stages = plain(levels())
    without = plain.loss_by_feat(stages, samples(labels()))
    with_it = hard.loss_by_feat(stages, samples(labels()))
    for number in range(3):
        assert with_it[f'loss_ce.s{number}'] < without[f'loss_ce.s{number}']


def test_stages_are_initialised() -> None:
    one = config() | {'kernel_update_head': stage(12, 5)}
    head = KNetSemanticHead(**one)
    nn.init.zeros_(head.kernel_update_head[1].mask_fcs[0].weight)
    head.init_weights()
    weight = head.kernel_update_head[1].mask_fcs[0].weight
    bound = (6 / 24) ** 0.5  # Xavier's
    assert 0.8 * bound < weight.abs().max() <= bound


MMSEG = Path(mmseg.__file__).parent / '.mim' / 'configs' / 'knet'


@pytest.mark.parametrize('path', sorted(MMSEG.glob('*.py')), ids=lambda p: p.stem)
@pytest.mark.parametrize('names', ['text', 'classes'])
def test_mmsegs_configs_with_only_the_type_changed(path: Path, names: str) -> None:
    config = Config.fromfile(str(path)).model.decode_head.to_dict()
    head = config['kernel_generate_head']
    head['norm_cfg'] = {'type': 'BN'}
    stages = config['kernel_update_head']
    if names == 'classes':
        for stage in stages:
            stage['type'] = KernelUpdateHead
            stage['kernel_updator_cfg']['type'] = KernelUpdator
    assert config.pop('type') == 'IterativeDecodeHead'
    with torch.device('meta'):
        peer = IterativeDecodeHead(**copy.deepcopy(config))
        ours = KNetSemanticHead(**copy.deepcopy(config))
    assert {type(stage) for stage in ours.kernel_update_head} == {KNetKernelUpdateHead}
    assert all(
        type(stage.kernel_updater) is KernelUpdater for stage in ours.kernel_update_head
    )
    state = peer.state_dict()
    ours.load_state_dict(state, strict=True)
    assert len(state) == len(ours.state_dict())


@pytest.mark.parametrize('kind', ['KernelUpdator', KernelUpdator])
def test_mmsegs_updator_has_its_defaults(kind: Any) -> None:
    # The head has 128 channels: two parts of 64, as wide as the updater's inside.
    one = stage(128, 5, kernel_updator_cfg={'type': kind, 'in_channels': 64})
    one['feat_transform_cfg'] = None
    head = KNetSemanticHead(2, config(channels=128)['kernel_generate_head'], one)
    peer = KernelUpdateHead(
        **{key: value for key, value in copy.deepcopy(one).items() if key != 'type'}
    )
    head.kernel_update_head[0].load_state_dict(peer.state_dict(), strict=True)
    whole = stage(256, 5, kernel_updator_cfg={'type': kind})
    updater = KNetKernelUpdateHead(
        **{key: value for key, value in whole.items() if key != 'type'}
    ).kernel_updater
    assert (updater.in_channels, updater.feat_channels) == (256, 64)


@pytest.mark.parametrize('kind', ['FCNHead', 'UPerHead'])
def test_it_compiles_as_one_graph(kind: str) -> None:
    torch.manual_seed(0)
    head = without_chance(KNetSemanticHead(**config(kind)).double())
    torch._dynamo.reset()
    compiled = torch.compile(head.forward, fullgraph=True, backend='aot_eager')
    results = []
    for run in (head, compiled):
        stages = run(levels())
        losses = head.loss_by_feat(stages, samples(labels()))
        total = sum(value for key, value in losses.items() if 'loss' in key)
        gradients = torch.autograd.grad(total, list(head.parameters()))
        results.append([*stages, *gradients])
    assert_close(results[1], results[0])


REFUSED: dict[str, dict[str, Any]] = {
    'DepthwiseSeparableASPPHead': {'c1_in_channels': 8, 'c1_channels': 4},
    'DNLHead': {},
    'CCHead': {},
    'GCHead': {},
    'NLHead': {},
    'SegformerHead': {'in_channels': [20], 'in_index': [3]},
    'ANNHead': {'in_channels': [16, 20], 'in_index': [2, 3], 'project_channels': 4},
}


@pytest.mark.parametrize('kind', REFUSED)
def test_a_head_that_does_more_than_classify_features_is_refused(kind: str) -> None:
    head = {'type': kind, 'in_channels': 20, 'in_index': 3, 'channels': 12}
    head = {**head, 'num_classes': 5, **REFUSED[kind]}
    with pytest.raises(UserError, match=rf'{kind}.*not cls_seg'):
        KNetSemanticHead(1, head, stage(12, 5))


def test_a_head_with_features_of_its_own_is_taken() -> None:
    class Doubled(FCNHead):
        def _forward_feature(self, inputs: list[Tensor]) -> Tensor:
            return 2 * super()._forward_feature(inputs)

    head = config()['kernel_generate_head'] | {'type': Doubled}
    KNetSemanticHead(1, head, stage(12, 5))
    separable = config()['kernel_generate_head']
    separable['type'] = 'DepthwiseSeparableFCNHead'
    KNetSemanticHead(1, separable, stage(12, 5))


def test_a_wrong_number_of_stages_is_named() -> None:
    with pytest.raises(UserError, match=r'2 entries.*num_stages=3'):
        KNetSemanticHead(**config() | {'num_stages': 3})

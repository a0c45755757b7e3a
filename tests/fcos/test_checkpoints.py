"""Weights of the authors' FCOS and of AdelaiDet, under mmdet's names."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import Tensor, nn
from torch.testing import assert_close

from paperzoo.errors import UserError
from paperzoo.fcos.checkpoints import convert_state_dict, find_weights, left_out

CONFIG = Path(__file__).parents[2] / 'configs' / 'fcos_r50_fpn.py'

# From our names to theirs; the first that fits. It says the same as the converter, the
# other way round and in other words.
AUTHORS = [
    (r'bbox_head\.cls_convs', 'rpn.head.cls_tower'),
    (r'bbox_head\.reg_convs', 'rpn.head.bbox_tower'),
    (r'bbox_head\.conv_cls', 'rpn.head.cls_logits'),
    (r'bbox_head\.conv_reg', 'rpn.head.bbox_pred'),
    (r'bbox_head\.conv_centerness', 'rpn.head.centerness'),
    (r'bbox_head\.scales', 'rpn.head.scales'),
    (r'neck\.lateral_convs\.0\.conv', 'backbone.fpn.fpn_inner2'),
    (r'neck\.lateral_convs\.1\.conv', 'backbone.fpn.fpn_inner3'),
    (r'neck\.lateral_convs\.2\.conv', 'backbone.fpn.fpn_inner4'),
    (r'neck\.fpn_convs\.0\.conv', 'backbone.fpn.fpn_layer2'),
    (r'neck\.fpn_convs\.1\.conv', 'backbone.fpn.fpn_layer3'),
    (r'neck\.fpn_convs\.2\.conv', 'backbone.fpn.fpn_layer4'),
    (r'neck\.fpn_convs\.3\.conv', 'backbone.fpn.top_blocks.p6'),
    (r'neck\.fpn_convs\.4\.conv', 'backbone.fpn.top_blocks.p7'),
    (r'backbone\.conv1', 'backbone.body.stem.conv1'),
    (r'backbone\.bn1', 'backbone.body.stem.bn1'),
    (r'backbone\.layer', 'backbone.body.layer'),
]
ADELAIDET = [
    (r'bbox_head\.cls_convs', 'proposal_generator.fcos_head.cls_tower'),
    (r'bbox_head\.reg_convs', 'proposal_generator.fcos_head.bbox_tower'),
    (r'bbox_head\.conv_cls', 'proposal_generator.fcos_head.cls_logits'),
    (r'bbox_head\.conv_reg', 'proposal_generator.fcos_head.bbox_pred'),
    (r'bbox_head\.conv_centerness', 'proposal_generator.fcos_head.ctrness'),
    (r'bbox_head\.scales', 'proposal_generator.fcos_head.scales'),
    (r'neck\.lateral_convs\.0\.conv', 'backbone.fpn_lateral3'),
    (r'neck\.lateral_convs\.1\.conv', 'backbone.fpn_lateral4'),
    (r'neck\.lateral_convs\.2\.conv', 'backbone.fpn_lateral5'),
    (r'neck\.fpn_convs\.0\.conv', 'backbone.fpn_output3'),
    (r'neck\.fpn_convs\.1\.conv', 'backbone.fpn_output4'),
    (r'neck\.fpn_convs\.2\.conv', 'backbone.fpn_output5'),
    (r'neck\.fpn_convs\.3\.conv', 'backbone.top_block.p6'),
    (r'neck\.fpn_convs\.4\.conv', 'backbone.top_block.p7'),
    (r'backbone\.conv1', 'backbone.bottom_up.stem.conv1'),
    (r'backbone\.bn1', 'backbone.bottom_up.stem.conv1.norm'),
    (r'backbone\.layer1', 'backbone.bottom_up.res2'),
    (r'backbone\.layer2', 'backbone.bottom_up.res3'),
    (r'backbone\.layer3', 'backbone.bottom_up.res4'),
    (r'backbone\.layer4', 'backbone.bottom_up.res5'),
]
INSIDE_ADELAIDET = [
    (r'downsample\.0', 'shortcut'),
    (r'downsample\.1', 'shortcut.norm'),
    (r'\.bn([123])\.', r'.conv\1.norm.'),
]
# Where convolution and GroupNorm of tower layer 0, 1, 2, 3 stand in their list.
TOWER = {
    'conv': {'0': '0', '1': '3', '2': '6', '3': '9'},
    'gn': {'0': '1', '1': '4', '2': '7', '3': '10'},
}


def their_name(name: str, kind: str) -> str:
    for ours, theirs in AUTHORS if kind == 'authors' else ADELAIDET:
        renamed, count = re.subn(rf'^{ours}', theirs, name)
        if count:
            break
    else:
        raise AssertionError(name)
    if tower := re.fullmatch(r'(.+_tower)\.(\d)\.(conv|gn)\.(.+)', renamed):
        begin, layer, part, rest = tower.groups()
        renamed = f'{begin}.{TOWER[part][layer]}.{rest}'
    if kind == 'adelaidet' and 'bottom_up.res' in renamed:
        for ours, theirs in INSIDE_ADELAIDET:
            renamed = re.sub(ours, theirs, renamed)
    return renamed


def their_weights(model: nn.Module, kind: str) -> dict[str, Tensor]:
    """The model's weights as `kind` stores them; frozen norms count no batches."""
    weights = {}
    deformable = {
        name.partition('.conv_offset')[0]
        for name in model.state_dict()
        if '.conv_offset.' in name
    }
    for name, value in model.state_dict().items():
        if name.endswith('num_batches_tracked'):
            continue
        renamed = their_name(name.replace('.conv_offset.', '.offset.'), kind)
        if name.rpartition('.')[0] in deformable:
            begin, _, leaf = renamed.rpartition('.')
            renamed = f'{begin}.conv.{leaf}'
        weights[renamed] = value.reshape(1) if name.endswith('.scale') else value
    return weights


def small_model(seed: int, **head: Any) -> nn.Module:
    """The paper's model with few channels: all its names, every number random."""
    cfg = Config.fromfile(str(CONFIG)).model
    cfg.backbone.update(base_channels=4, init_cfg=None)
    cfg.neck.update(in_channels=[16, 32, 64, 128], out_channels=32)
    cfg.bbox_head.update(in_channels=32, feat_channels=32, num_classes=5, **head)
    if head:
        dcn = {'type': 'DCNv2', 'deform_groups': 1, 'fallback_on_stride': False}
        cfg.backbone.update(dcn=dcn, stage_with_dcn=(False, False, True, False))
    generator = torch.Generator().manual_seed(seed)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg).eval()
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            scale = 0.5 + 0.5 * name.endswith('running_var')
            value.copy_(torch.rand(value.shape, generator=generator) * scale + 0.05)
            if value.dim() == 4:
                value.sub_(0.3).div_(value[0].numel() ** 0.5)
    return model


@pytest.mark.parametrize('prefix', ['', 'module.'])
@pytest.mark.parametrize(
    ('kind', 'head'),
    [('authors', {}), ('authors', {'dcn_on_last_conv': True}), ('adelaidet', {})],
    ids=['authors', 'authors, deformable', 'adelaidet'],
)
def test_the_model_computes_the_same(kind: str, head: dict, prefix: str) -> None:
    source, target = small_model(0, **head), small_model(1, **head)
    theirs = {prefix + k: v for k, v in their_weights(source, kind).items()}
    converted = convert_state_dict(theirs)
    # BatchNorm counts no batches in an old state dict: it is strict all the same.
    target.load_state_dict(converted, strict=True)
    image = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        before, after = source(image), target(image)
        other = small_model(1, **head)(image)
    assert_close(after, before, rtol=0, atol=0)
    assert not torch.equal(other[0][0], before[0][0])
    assert len(converted) == len(theirs)
    if head:
        assert any('bbox_head.cls_convs.3.conv.conv_offset.' in k for k in converted)
        assert any('backbone.layer3.0.conv2.conv_offset.' in k for k in converted)


def test_a_deformable_tower_of_adelaidet() -> None:
    head = 'proposal_generator.fcos_head.bbox_tower.9'
    names = [f'{head}.offset.weight', f'{head}.offset.bias', f'{head}.conv.weight']
    converted = convert_state_dict({name: torch.zeros(1) for name in names})
    assert list(converted) == [
        'bbox_head.reg_convs.3.conv.conv_offset.weight',
        'bbox_head.reg_convs.3.conv.conv_offset.bias',
        'bbox_head.reg_convs.3.conv.weight',
    ]


@pytest.mark.parametrize(
    ('theirs', 'ours'),
    [
        ('module.rpn.head.cls_tower.9.weight', 'bbox_head.cls_convs.3.conv.weight'),
        ('rpn.head.bbox_tower.4.bias', 'bbox_head.reg_convs.1.gn.bias'),
        ('backbone.fpn.top_blocks.p7.bias', 'neck.fpn_convs.4.conv.bias'),
        ('backbone.body.stem.bn1.running_var', 'backbone.bn1.running_var'),
        (
            'backbone.bottom_up.res2.0.shortcut.norm.weight',
            'backbone.layer1.0.downsample.1.weight',
        ),
        (
            'backbone.bottom_up.res5.2.conv3.norm.num_batches_tracked',
            'backbone.layer4.2.bn3.num_batches_tracked',
        ),
    ],
)
def test_names_by_hand(theirs: str, ours: str) -> None:
    assert list(convert_state_dict({theirs: torch.zeros(1)})) == [ours]


def test_a_scale_becomes_a_number() -> None:
    converted = convert_state_dict({'rpn.head.scales.2.scale': torch.tensor([1.5])})
    assert_close(converted, {'bbox_head.scales.2.scale': torch.tensor(1.5)})


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('proposal_generator.fcos_head.share_tower.0.weight', 'NUM_SHARE_CONVS'),
        ('proposal_generator.fcos_head.cls_tower.1.0.weight', r'FCOS\.NORM'),
        ('rpn.head.cls_tower.2.weight', "'rpn.head.cls_tower.2.weight'"),
        ('rpn.head.cls_tower.1.offset.weight', "'rpn.head.cls_tower.1.offset.weight'"),
        ('backbone.body.xif0_0.pw.weight', 'a ResNet or ResNeXt is understood'),
        ('backbone.body.layer5.0.conv1.weight', "'backbone.body.layer5.0.conv1.we"),
        ('backbone.fpn.fpn_inner1.weight', "'backbone.fpn.fpn_inner1.weight'"),
        ('bbox_head.conv_cls.weight', "mmdet's names already"),
        ('roi_heads.mask.weight', 'Is it a checkpoint of the FCOS authors'),
    ],
)
def test_what_is_not_understood_is_listed(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as raised:
        convert_state_dict({name: torch.zeros(1), 'pixel_mean': torch.zeros(3)})
    assert f"1 weights are not understood, and none is dropped silently: '{name}'" in (
        str(raised.value)
    )


def test_no_weights_are_named() -> None:
    weights = {
        'pixel_mean': torch.zeros(3),
        'module.pixel_std': torch.ones(3),
        'proposal_generator.anchor_generator.cell_anchors.0': torch.zeros(3, 4),
    }
    names = [name.removeprefix('module.') for name in weights]
    assert left_out(weights) == names
    assert convert_state_dict(weights) == {}


def test_two_names_that_become_one() -> None:
    name = 'rpn.head.centerness.bias'
    other = 'proposal_generator.fcos_head.ctrness.bias'
    with pytest.raises(UserError, match=r"ctrness\.bias' and another weight both bec"):
        convert_state_dict({name: torch.zeros(1), other: torch.zeros(1)})


@pytest.mark.parametrize('wrap', ['model', 'state_dict', None])
def test_weights_are_found_in_a_wrapped_checkpoint(wrap: str | None) -> None:
    weights = {'a': torch.zeros(1)}
    checkpoint = {wrap: weights, 'iteration': 7} if wrap else weights
    assert find_weights(checkpoint) == weights


@pytest.mark.parametrize(
    ('checkpoint', 'message'),
    [
        ([torch.zeros(1)], 'found a list where names and tensors should be'),
        ({}, 'found a dict'),
        ({'weights': {'a': torch.zeros(1)}, 'epoch': 3}, "'weights', 'epoch' is no te"),
    ],
)
def test_no_weights_to_be_found(checkpoint: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_weights(checkpoint)

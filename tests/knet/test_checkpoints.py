"""The authors' names of parameters load; their full lists for R50 and Swin-L."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.runner import load_checkpoint
from torch import nn
from torch.testing import assert_close

from paperzoo.common import rename_keys
from paperzoo.knet import KernelUpdater, KNet, KNetKernelUpdateHead, RankLoss

R50: dict[str, Any] = {'type': 'mmdet.ResNet', 'depth': 50}
SWIN_L: dict[str, Any] = {
    'type': 'mmdet.SwinTransformer',
    'embed_dims': 192,
    'depths': [2, 2, 18, 2],
    'num_heads': [6, 12, 24, 48],
}
CHANNELS = {
    'mmdet.ResNet': [256, 512, 1024, 2048],
    'mmdet.SwinTransformer': [192, 384, 768, 1536],
}
PANOPTIC: dict[str, Any] = {'num_thing_classes': 80, 'num_stuff_classes': 53}


def weight_and_bias(name: str, *shape: int) -> dict[str, tuple[int, ...]]:
    return {f'{name}.weight': shape, f'{name}.bias': shape[:1]}


def conv_gn(name: str, size: int) -> dict[str, tuple[int, ...]]:
    conv = {f'{name}.conv.weight': (256, 256, size, size)}
    return conv | weight_and_bias(f'{name}.gn', 256)


def batch_norm(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    statistics = dict.fromkeys(
        [f'{name}.running_mean', f'{name}.running_var'], (channels,)
    )
    return (
        weight_and_bias(name, channels)
        | statistics
        | {f'{name}.num_batches_tracked': ()}
    )


def r50_keys() -> dict[str, tuple[int, ...]]:
    """ResNet-50's names, torchvision's: bottlenecks of 3, 4, 6 and 3."""
    keys = {'conv1.weight': (64, 3, 7, 7)} | batch_norm('bn1', 64)
    before = 64
    for layer, blocks in enumerate([3, 4, 6, 3]):
        inner = 64 * 2**layer
        for block in range(blocks):
            name = f'layer{layer + 1}.{block}'
            keys[f'{name}.conv1.weight'] = (inner, before, 1, 1)
            keys[f'{name}.conv2.weight'] = (inner, inner, 3, 3)
            keys[f'{name}.conv3.weight'] = (4 * inner, inner, 1, 1)
            for number, width in enumerate([inner, inner, 4 * inner]):
                keys |= batch_norm(f'{name}.bn{number + 1}', width)
            if not block:
                keys[f'{name}.downsample.0.weight'] = (4 * inner, before, 1, 1)
                keys |= batch_norm(f'{name}.downsample.1', 4 * inner)
            before = 4 * inner
    return keys


def swin_l_keys() -> dict[str, tuple[int, ...]]:
    """Swin-L's names, mmdet's: windows of 7, depths of 2, 2, 18 and 2."""
    keys = weight_and_bias('patch_embed.projection', 192, 3, 4, 4)
    keys |= weight_and_bias('patch_embed.norm', 192)
    for stage, (depth, heads) in enumerate([(2, 6), (2, 12), (18, 24), (2, 48)]):
        width = 192 * 2**stage
        for block in range(depth):
            name = f'stages.{stage}.blocks.{block}'
            window = f'{name}.attn.w_msa'
            for norm in ('norm1', 'norm2'):
                keys |= weight_and_bias(f'{name}.{norm}', width)
            keys[f'{window}.relative_position_bias_table'] = (13 * 13, heads)
            keys[f'{window}.relative_position_index'] = (49, 49)
            keys |= weight_and_bias(f'{window}.qkv', 3 * width, width)
            keys |= weight_and_bias(f'{window}.proj', width, width)
            keys |= weight_and_bias(f'{name}.ffn.layers.0.0', 4 * width, width)
            keys |= weight_and_bias(f'{name}.ffn.layers.1', width, 4 * width)
        if stage < 3:
            merging = f'stages.{stage}.downsample'
            keys |= weight_and_bias(f'{merging}.norm', 4 * width)
            keys[f'{merging}.reduction.weight'] = (2 * width, 4 * width)
        keys |= weight_and_bias(f'norm{stage}', width)
    return keys


def authors_body_keys(kind: str) -> dict[str, tuple[int, ...]]:
    """The documented names and shapes of backbone and neck."""
    backbone = r50_keys() if kind == 'mmdet.ResNet' else swin_l_keys()
    keys = {f'backbone.{key}': shape for key, shape in backbone.items()}
    for level, width in enumerate(CHANNELS[kind]):
        keys |= weight_and_bias(f'neck.lateral_convs.{level}.conv', 256, width, 1, 1)
        keys |= weight_and_bias(f'neck.fpn_convs.{level}.conv', 256, 256, 3, 3)
    return keys


def authors_head_keys(classes: int) -> dict[str, tuple[int, ...]]:
    """The documented names and shapes of both heads."""
    keys: dict[str, tuple[int, ...]] = {}
    fpn = 'rpn_head.localization_fpn'
    for level, convs in enumerate([1, 1, 2, 3]):
        for number in range(convs):
            keys |= conv_gn(f'{fpn}.convs_all_levels.{level}.conv{number}', 3)
    keys |= conv_gn(f'{fpn}.conv_pred', 1) | conv_gn(f'{fpn}.aux_convs.0', 1)
    keys |= conv_gn('rpn_head.loc_convs.0', 1) | conv_gn('rpn_head.seg_convs.0', 1)
    keys['rpn_head.init_kernels.weight'] = (100, 256, 1, 1)
    keys |= weight_and_bias('rpn_head.conv_seg', classes, 256, 1, 1)
    for stage in range(3):
        found: dict[str, tuple[int, ...]] = {
            'attention.attn.in_proj_weight': (768, 256),
            'attention.attn.in_proj_bias': (768,),
            'cls_fcs.0.weight': (256, 256),
            'mask_fcs.0.weight': (256, 256),
        }
        updater = 'kernel_update_conv'
        for name in ('dynamic_layer', 'input_layer'):
            found |= weight_and_bias(f'{updater}.{name}', 512, 256)
        for name in ('input_gate', 'update_gate', 'fc_layer'):
            found |= weight_and_bias(f'{updater}.{name}', 256, 256)
        for name in ('norm_in', 'norm_out', 'input_norm_in', 'input_norm_out'):
            found |= weight_and_bias(f'{updater}.{name}', 256)
        found |= weight_and_bias(f'{updater}.fc_norm', 256)
        for name in ('attention_norm', 'ffn_norm', 'cls_fcs.1', 'mask_fcs.1'):
            found |= weight_and_bias(name, 256)
        found |= weight_and_bias('attention.attn.out_proj', 256, 256)
        found |= weight_and_bias('feat_transform.conv', 256, 256, 1, 1)
        found |= weight_and_bias('ffn.layers.0.0', 2048, 256)
        found |= weight_and_bias('ffn.layers.1', 256, 2048)
        found |= weight_and_bias('fc_cls', classes, 256)
        found |= weight_and_bias('fc_mask', 256, 256)
        keys |= {
            f'roi_head.mask_head.{stage}.{key}': value for key, value in found.items()
        }
    return keys


@pytest.mark.parametrize('backbone', [R50, SWIN_L], ids=['R50', 'Swin-L'])
@pytest.mark.parametrize('panoptic', [False, True], ids=['instance', 'panoptic'])
def test_the_documented_keys_are_all_of_them(
    backbone: dict[str, Any],
    panoptic: bool,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    # mmdet's Swin reads numbers from a tensor, which must not be a meta tensor.
    monkeypatch.setattr(torch, 'linspace', partial(torch.linspace, device='cpu'))
    counts = PANOPTIC if panoptic else {}
    classes = {'num_classes': 133, **counts} if panoptic else {}
    rank = {'loss_rank': {'type': RankLoss, 'loss_weight': 0.1}} if panoptic else {}
    neck = {'type': 'mmdet.FPN', 'out_channels': 256, 'num_outs': 4}
    with torch.device('meta'):
        model = KNet(
            backbone,
            neck | {'in_channels': CHANNELS[backbone['type']]},
            {'cat_stuff_mask': panoptic, **classes, **rank},
            {'mask_head': {**classes, **rank}, 'do_panoptic': panoptic, **counts},
        )
    shapes = authors_head_keys(133 if panoptic else 80)
    shapes |= authors_body_keys(backbone['type'])
    state = {key: torch.empty(shape, device='meta') for key, shape in shapes.items()}
    model.load_state_dict(dict(state), strict=True)
    assert len(state) == len(model.state_dict())
    # mmengine has a loader of its own.
    torch.save({'state_dict': state}, tmp_path / 'authors.pth')
    load_checkpoint(model, str(tmp_path / 'authors.pth'), strict=True)
    del state['rpn_head.init_kernels.weight']
    torch.save({'state_dict': state}, tmp_path / 'authors.pth')
    with pytest.raises(RuntimeError, match=r'[Mm]issing.*init_kernels'):
        load_checkpoint(model, str(tmp_path / 'authors.pth'), strict=True)


def test_each_weight_finds_its_place() -> None:
    torch.manual_seed(0)
    updater = KernelUpdater(4, 4)
    theirs = {
        'dynamic_layer': updater.feature_layer,
        'input_layer': updater.kernel_layer,
        'update_gate': updater.feature_gate,
        'input_gate': updater.kernel_gate,
        'norm_in': updater.feature_gate_norm,
        'input_norm_in': updater.kernel_gate_norm,
        'norm_out': updater.feature_norm,
        'input_norm_out': updater.kernel_norm,
        'fc_layer': updater.out_layer,
        'fc_norm': updater.out_norm,
    }
    state = {
        f'{name}.{key}': torch.rand_like(value)
        for name, layer in theirs.items()
        for key, value in layer.state_dict().items()
    }
    updater.load_state_dict(dict(state), strict=True)
    for name, layer in theirs.items():
        for key, value in layer.state_dict().items():
            assert_close(value, state[f'{name}.{key}'])


def test_our_own_names_go_on_loading(tmp_path: Path) -> None:
    torch.manual_seed(0)
    options = {'in_channels': 8, 'out_channels': 8, 'num_heads': 2, 'num_ffn_fcs': 3}
    ours, other = (KNetKernelUpdateHead(**options) for _ in range(2))
    wrapped = nn.ModuleDict({'stage': other})
    state = {f'stage.{key}': value for key, value in ours.state_dict().items()}
    torch.save({'state_dict': state}, tmp_path / 'ours.pth')
    # mmengine has a loader of its own.
    load_checkpoint(wrapped, str(tmp_path / 'ours.pth'), strict=True)
    assert_close(dict(other.state_dict()), dict(ours.state_dict()))


def test_only_whole_components_are_renamed_and_the_longest_wins() -> None:
    one = torch.zeros(1)
    names = {'a': 'x', 'a.b': 'y', 'ffn.layers.1': 'z'}
    state = dict.fromkeys(['p.a.b.w', 'p.a.w', 'p.ab.w', 'a.w', 'p.ffn.layers.10'], one)
    rename_keys(state, 'p.', names)
    assert sorted(state) == ['a.w', 'p.ab.w', 'p.ffn.layers.10', 'p.x.w', 'p.y.w']

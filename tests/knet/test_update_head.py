"""One stage: against mmseg's with the same weights, its options, laws, compilation."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.registry import DefaultScope
from mmseg.models.decode_heads.knet_head import KernelUpdateHead
from torch import Tensor, nn
from torch.testing import assert_close

from paperzoo.errors import UserError
from paperzoo.knet import KNetKernelIterHead, KNetKernelUpdateHead
from paperzoo.knet.init_head import InitialKernels
from paperzoo.knet.update_head import StageOutput

SMALL: dict[str, Any] = {
    'num_classes': 5,
    'in_channels': 16,
    'out_channels': 16,
    'feedforward_channels': 24,
    'num_heads': 4,
}
PEER: dict[str, Any] = {
    **SMALL,
    'num_mask_fcs': 1,
    'feat_transform_cfg': {'conv_cfg': {'type': 'Conv2d'}, 'act_cfg': None},
    'kernel_updator_cfg': {
        'type': 'KernelUpdator',
        'in_channels': 16,
        'feat_channels': 16,
        'out_channels': 16,
        'act_cfg': {'type': 'ReLU', 'inplace': True},
        'norm_cfg': {'type': 'LN'},
    },
}
SPLIT = PEER['kernel_updator_cfg'] | {
    'in_channels': 8,
    'feat_channels': 8,
    'out_channels': 8,
}


def head(**options: Any) -> KNetKernelUpdateHead:
    torch.manual_seed(0)
    return KNetKernelUpdateHead(**(SMALL | options)).double()


def inputs(kernels: int = 5, size: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(1)
    shapes = (2, 16, 8, 12), (2, kernels, 16, size, size), (2, kernels, 8, 12)
    x, feats, masks = (torch.randn(shape, dtype=torch.float64) for shape in shapes)
    return x, feats, masks


@pytest.mark.paper('knet "Kernel Interaction"')
@pytest.mark.parametrize(
    'options',
    [
        {},
        {'mask_transform_stride': 2},
        {'with_ffn': False, 'feat_transform_cfg': None},
        {'num_mask_fcs': 3, 'num_ffn_fcs': 3},
        {'kernel_updator_cfg': SPLIT},
        {'feat_gather_stride': 2},
        {'kernel_updator_cfg': PEER['kernel_updator_cfg'] | {'gate_norm_act': True}},
    ],
    ids=lambda options: ' '.join(options) or 'base',
)
@pytest.mark.parametrize('mask_size', [(8, 12), (16, 24)], ids=str)
def test_equals_mmseg(options: dict[str, Any], mask_size: tuple[int, int]) -> None:
    config = PEER | options
    with DefaultScope.overwrite_default_scope('mmseg'):
        # mmseg's class takes its arguments apart.
        peer = KernelUpdateHead(**copy.deepcopy(config)).double()
    peer.init_weights()
    ours = KNetKernelUpdateHead(**config, grouping='softmax', with_cls=False).double()
    ours.load_state_dict(peer.state_dict(), strict=True)
    x, kernels, _ = inputs()
    masks = torch.randn(2, 5, *mask_size, dtype=torch.float64)
    results = []
    for module in (peer, ours):
        leaves = [t.clone().requires_grad_() for t in (x, kernels, masks)]
        mask_preds, new_kernels = module(*leaves, mask_shape=mask_size)[-2:]
        objective = mask_preds.square().sum() + new_kernels.sin().sum()
        objective.backward()
        gradients = [torch.zeros_like(t) if t.grad is None else t.grad for t in leaves]
        results.append((mask_preds, new_kernels, *gradients))
    for found, expected in zip(results[1], results[0], strict=True):
        assert_close(found, expected)
    # Their gradients, loaded as if they were weights, bear our names.
    renamed = copy.deepcopy(ours)
    renamed.load_state_dict({name: p.grad for name, p in peer.named_parameters()})
    for parameter, expected in zip(
        ours.parameters(), renamed.parameters(), strict=True
    ):
        assert_close(parameter.grad, expected.detach())


@settings(max_examples=10, deadline=None)
@given(st.permutations(range(5)))
def test_the_order_of_kernels_does_not_matter(order: list[int]) -> None:
    module, (x, kernels, masks) = head(), inputs()
    expected = module(x, kernels, masks)
    found = module(x, kernels[:, order], masks[:, order])
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other[:, order])


OPTIONS: dict[str, dict[str, Any]] = {
    'hard_mask_thr': {'hard_mask_thr': 0.7},
    'grouping': {'grouping': 'softmax'},
    'mask_transform_stride': {'mask_transform_stride': 2},
    'with_ffn': {'with_ffn': False},
    'feat_transform_cfg': {'feat_transform_cfg': None},
    'num_cls_fcs': {'num_cls_fcs': 2},
    'num_mask_fcs': {'num_mask_fcs': 3},
    'gate_sigmoid': {'kernel_updator_cfg': {'gate_sigmoid': False}},
    'gate_norm_act': {'kernel_updator_cfg': {'gate_norm_act': True}},
    'activate_out': {'kernel_updator_cfg': {'activate_out': True}},
}


@pytest.mark.parametrize('name', OPTIONS)
def test_options_change_the_result_but_not_its_shape(name: str) -> None:
    base, other = head(), head(**OPTIONS[name])
    shared = base.state_dict()
    other.load_state_dict(shared, strict=False)
    x, kernels, masks = inputs()
    plain, found = base(x, kernels, masks), other(x, kernels, masks)
    assert [value.shape for value in found] == [value.shape for value in plain]
    assert any((a != b).any() for a, b in zip(plain, found, strict=True))


def test_kernels_of_three_by_three() -> None:
    module, (x, kernels, masks) = head(conv_kernel_size=3), inputs(size=3)
    output = module(x, kernels, masks)
    assert output.mask_preds.shape == masks.shape
    assert output.kernels.shape == kernels.shape
    assert output.cls_score.shape == (2, 5, 5)


def test_mask_upsample_stride() -> None:
    x, kernels, masks = inputs()
    start = InitialKernels(kernels, x, masks, None)
    for stride in (1, 4):
        config = SMALL | {'mask_upsample_stride': stride}
        stages = KNetKernelIterHead(1, mask_head=config, num_thing_classes=5).double()
        size = (2, 5, stride * 8, stride * 12)
        first, second = stages.predictions(start)
        assert first.mask_preds.shape == second.mask_preds.shape == size
        assert_close(stages.last(start), second)
        if stride == 1:
            assert first.mask_preds is masks
            assert_close(second.mask_preds, stages(start)[0].mask_preds)


def test_initial_weights() -> None:
    module = head(kernel_init=True)
    module.init_weights()
    bias = module.fc_cls.bias
    assert_close(bias.sigmoid(), torch.full_like(bias, 0.01))
    conv = module.feat_transform.conv.weight  # Xavier: bounded by sqrt(6 / (16 + 16))
    assert 0.35 < conv.abs().max() <= (6 / 32) ** 0.5
    assert 0.005 < module.fc_mask.weight.std() < 0.015
    given_by_user = head(
        init_cfg={'type': 'Constant', 'layer': 'Linear', 'val': 0.5, 'bias': 0.0}
    )
    given_by_user.init_weights()
    weight = given_by_user.fc_mask.weight
    assert_close(weight, torch.full_like(weight, 0.5))


@pytest.mark.parametrize(
    'options',
    [
        {},
        {'conv_kernel_size': 3},
        {'grouping': 'softmax', 'with_cls': False},
        {'mask_transform_stride': 2},
    ],
    ids=str,
)
def test_it_compiles_as_one_graph(options: dict[str, Any]) -> None:
    module = head(**options)
    arguments = inputs(size=options.get('conv_kernel_size', 1))
    compare_compiled(module, lambda run: [v for v in run(*arguments) if v is not None])


def test_all_stages_compile_as_one_graph() -> None:
    torch.manual_seed(0)
    stages = KNetKernelIterHead(3, mask_head=SMALL, num_thing_classes=5).double()
    x, kernels, masks = inputs()
    start = InitialKernels(kernels, x, masks, None)
    compare_compiled(stages, lambda run: [v for output in run(start) for v in output])


def compare_compiled(module: nn.Module, outputs: Callable) -> None:
    """Outputs and gradients are the same, from one graph forward and backward."""
    torch._dynamo.reset()
    compiled = torch.compile(module, fullgraph=True, backend='aot_eager')
    results = []
    for run in (module, compiled):
        found = outputs(run)
        objective = sum(value.sin().sum() for value in found)
        gradients = torch.autograd.grad(objective, list(module.parameters()))
        results.append([*found, *gradients])
    assert_close(results[1], results[0])


def test_no_object_reaches_all_parameters() -> None:
    module = head()
    output = module(*inputs())
    assert isinstance(output, StageOutput)
    total = torch.stack([value.sum() for value in output])
    gradients = torch.autograd.grad(total.sum(), list(module.parameters()))
    assert all(gradient is not None for gradient in gradients)


def test_configs_are_left_alone() -> None:
    config = {'kernel_size': 3, 'act_cfg': None}
    module = head(feat_transform_cfg=config)
    assert config == {'kernel_size': 3, 'act_cfg': None}
    x, kernels, masks = inputs()
    assert module(x, kernels, masks).mask_preds.shape == masks.shape


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'num_thing_classes': 4}, 'num_thing_classes=4'),
        ({'grouping': 'argmax'}, "grouping='argmax'"),
        ({'conv_kernel_size': 2}, 'conv_kernel_size=2'),
    ],
)
def test_what_a_user_can_get_wrong(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        head(**options)

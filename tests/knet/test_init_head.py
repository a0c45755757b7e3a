"""The first kernels: options, stuff kernels, initial weights."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from paperzoo.errors import UserError
from paperzoo.knet import KNetKernelInitHead, RankLoss, SemanticFPNWrapper
from paperzoo.knet.kernels import upsample
from paperzoo.knet.targets import GroundTruth, KernelTargets, kernel_targets

NORM = {'type': 'GN', 'num_groups': 4}
SMALL: dict[str, Any] = {
    'num_proposals': 6,
    'in_channels': 8,
    'out_channels': 8,
    'num_classes': 5,
    'norm_cfg': NORM,
    'localization_fpn': {
        'type': SemanticFPNWrapper,
        'in_channels': 8,
        'feat_channels': 8,
        'out_channels': 8,
        'positional_encoding': None,
        'norm_cfg': NORM,
    },
}
PANOPTIC = {
    'num_thing_classes': 3,
    'num_stuff_classes': 2,
    'cat_stuff_mask': True,
    'loss_rank': {'type': RankLoss, 'loss_weight': 0.1},
}


def head(**options: Any) -> KNetKernelInitHead:
    torch.manual_seed(0)
    module = KNetKernelInitHead(**(SMALL | options))
    module.init_weights()
    return module.double()


def levels() -> list[Tensor]:
    torch.manual_seed(1)
    sizes = [(16, 24), (8, 12), (4, 6), (2, 3)]
    return [torch.randn(2, 8, *size, dtype=torch.float64) for size in sizes]


def test_kernels_are_weights_plus_group_features() -> None:
    plain = head(proposal_feats_with_obj=False)(levels())
    module = head()
    weight = module.init_kernels.weight
    assert_close(plain.kernels, weight.expand(2, *weight.shape))
    start = module(levels())
    groups = (start.mask_preds.sigmoid() > 0.5).double()
    added = torch.einsum('bnhw,bchw->bnc', groups, start.features)
    assert_close(start.kernels[..., 0, 0], weight[..., 0, 0] + added)


def test_it_compiles_as_one_graph() -> None:
    module = head(**PANOPTIC)
    torch._dynamo.reset()
    compiled = torch.compile(module, fullgraph=True, backend='aot_eager')
    results = []
    for run in (module, compiled):
        start = run(levels())
        total = sum(value.sin().sum() for value in start)
        parameters = list(module.parameters())
        gradients = torch.autograd.grad(total, parameters)
        results.append([*start, *gradients])
    assert_close(results[1], results[0])


def test_soft_groups_weigh_pixels_by_probability() -> None:
    start = head(use_binary=False)(levels())
    prob = start.mask_preds.sigmoid()
    added = torch.einsum('bnhw,bchw->bnc', prob * (prob > 0.5), start.features)
    weight = head().init_kernels.weight
    assert_close(start.kernels[..., 0, 0], weight[..., 0, 0] + added)


def test_stuff_kernels_follow_the_thing_kernels() -> None:
    module = head(**PANOPTIC)
    start = module(levels())
    assert start.kernels.shape == (2, 8, 8, 1, 1)
    assert_close(start.kernels[:, 6:], module.conv_seg.weight[3:].expand(2, 2, 8, 1, 1))
    assert_close(start.mask_preds[:, 6:], start.seg_preds[:, 3:])


@pytest.mark.parametrize(
    ('options', 'size'),
    [
        ({'semantic_fpn': False}, (8, 12)),
        ({'feat_refine': True, 'feat_refine_stride': 2}, (4, 6)),
        ({'num_loc_convs': 3, 'num_seg_convs': 0}, (8, 12)),
        ({'conv_kernel_size': 3}, (8, 12)),
        ({'num_proposals': 1}, (8, 12)),
    ],
    ids=str,
)
def test_options(options: dict[str, Any], size: tuple[int, int]) -> None:
    start = head(**options)(levels())
    number, side = options.get('num_proposals', 6), options.get('conv_kernel_size', 1)
    assert start.mask_preds.shape == (2, number, *size)
    assert start.features.shape == (2, 8, *size)
    assert start.kernels.shape == (2, number, 8, side, side)
    assert (start.seg_preds is None) == ('semantic_fpn' in options)


def test_initial_weights() -> None:
    module = head(num_proposals=100)
    assert 0.9 < module.init_kernels.weight.std() < 1.1
    bias = module.conv_seg.bias
    assert_close(bias.sigmoid(), torch.full_like(bias, 0.01))
    assert module.loc_convs[0].conv.weight.std() < 0.015
    xavier = head(xavier_init_kernel=True).init_kernels.weight
    assert xavier.abs().max() <= (6 / (8 + 6)) ** 0.5
    assert head(kernel_init_std=0.01).init_kernels.weight.std() < 0.02


def truth(objects: int, stuff: int) -> GroundTruth:
    masks = torch.zeros(objects, 16, 24, dtype=torch.float64)
    for number in range(objects):
        masks[number, number : number + 3, 2:9] = 0.5 + number / 8
    stuff_masks = torch.zeros(stuff, 16, 24, dtype=torch.float64)
    stuff_masks[:1, 10:] = 1
    present = torch.arange(stuff) < 1
    return GroundTruth(masks, torch.arange(objects) % 3, stuff_masks, present)


def aim(inds: list[Tensor], truths: list[GroundTruth], stuff: int) -> KernelTargets:
    counts = 5 - stuff, stuff
    ranked = stuff > 0
    options = {'with_stuff': False, 'rank': ranked, 'paint': True}
    return kernel_targets(inds, truths, *counts, **options)


def test_losses_without_objects_are_zero_and_keep_the_graph() -> None:
    module = head(**PANOPTIC)
    start = module(levels())
    truths = [truth(0, 2)._replace(stuff_masks=torch.zeros(2, 16, 24).double())] * 2
    inds = [torch.zeros(6, dtype=torch.long)] * 2
    losses = module.loss_by_feat(
        upsample(start.mask_preds[:, :6], 2),
        upsample(start.seg_preds, 2),
        aim(inds, truths, 2),
    )
    for key in ('loss_rpn_mask', 'loss_rpn_dice', 'loss_rpn_rank'):
        assert_close(losses[key], torch.zeros_like(losses[key]))
    # Classes of pixels still learn "nothing here".
    assert losses['loss_rpn_seg'] > 0
    gradients = torch.autograd.grad(sum(losses.values()), list(module.parameters()))
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_only_matched_kernels_learn_a_mask() -> None:
    module = head(**PANOPTIC)
    masks = torch.randn(1, 6, 16, 24, dtype=torch.float64, requires_grad=True)
    inds = [torch.tensor([0, 2, 0, 1, 0, 0])]
    losses = module.loss_by_feat(masks, None, aim(inds, [truth(2, 2)], 2))
    assert sorted(losses) == ['loss_rpn_dice', 'loss_rpn_mask', 'loss_rpn_rank']
    gradient = torch.autograd.grad(
        losses['loss_rpn_mask'] + losses['loss_rpn_dice'], masks
    )[0]
    touched = gradient.flatten(2).abs().sum(dim=2)[0] > 0
    assert touched.tolist() == [False, True, False, True, False, False]


def test_classes_of_many_pixels_in_half_precision() -> None:
    module = head().float()
    masks = torch.ones(1, 300, 400)
    gt = GroundTruth(masks, torch.tensor([1]), masks[:0], torch.zeros(0).bool())
    scores = torch.randn(1, 5, 300, 400, generator=torch.manual_seed(0)).half()
    inds, preds = [torch.tensor([1, 0, 0, 0, 0, 0])], torch.zeros(1, 6, 300, 400)
    targets = aim(inds, [gt], 0)
    found = module.loss_by_feat(preds, scores, targets)['loss_rpn_seg']
    expected = module.loss_by_feat(preds, scores.float(), targets)['loss_rpn_seg']
    assert_close(found, expected)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'num_thing_classes': 4}, 'num_thing_classes=4'),
        ({'conv_kernel_size': 2}, 'conv_kernel_size=2'),
        (PANOPTIC | {'conv_kernel_size': 3}, 'conv_kernel_size=3'),
        (PANOPTIC | {'semantic_fpn': False}, 'semantic_fpn=True'),
    ],
)
def test_what_a_user_can_get_wrong(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        head(**options)

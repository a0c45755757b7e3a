"""The whole detector on small features: any batch, any number of objects, options."""

from typing import Any

import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from mmengine.structures import InstanceData, PixelData
from torch import Tensor, nn
from torch.testing import assert_close

from paperzoo.errors import UserError
from paperzoo.knet import KNet, RankLoss, SemanticFPNWrapper
from paperzoo.knet.init_head import InitialKernels
from paperzoo.knet.iter_head import class_of_pixels
from paperzoo.knet.panoptic import merge_panoptic, segment_scores
from paperzoo.knet.pasting import Sizes, enlarged_blocks

PADDED = (32, 64)


class Pyramid(nn.Module):
    """A backbone of one convolution per level."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(3, 8, 3, padding=1) for _ in range(4))

    def forward(self, x: Tensor) -> list[Tensor]:
        return [
            conv(nn.functional.avg_pool2d(x, 4 * 2**level))
            for level, conv in enumerate(self.convs)
        ]


def config(panoptic: bool = False, **roi_head: Any) -> dict[str, Any]:
    norm = {'type': 'GN', 'num_groups': 4}
    encoding = {'type': 'mmdet.SinePositionalEncoding', 'num_feats': 4}
    classes = {'num_thing_classes': 3, 'num_stuff_classes': 2 if panoptic else 0}
    rank = {'type': RankLoss, 'loss_weight': 0.1} if panoptic else None
    shared = {**classes, 'num_classes': sum(classes.values()), 'loss_rank': rank}
    width = {'in_channels': 8, 'out_channels': 8}
    stage = {'feedforward_channels': 16, 'num_heads': 2, **width}
    fpn = {'type': SemanticFPNWrapper, 'positional_encoding': encoding}
    fpn |= {'feat_channels': 8, **width}
    return {
        'backbone': {'type': Pyramid},
        'rpn_head': {
            'num_proposals': 6,
            'in_channels': 8,
            'out_channels': 8,
            'norm_cfg': norm,
            'localization_fpn': fpn | {'norm_cfg': norm},
            'cat_stuff_mask': panoptic,
            **shared,
        },
        'roi_head': {
            'num_stages': 2,
            'num_proposals': 6,
            'mask_head': {**stage, **shared},
            'do_panoptic': panoptic,
            **classes,
            **roi_head,
        },
    }


def build(panoptic: bool = False, **roi_head: Any) -> KNet:
    torch.manual_seed(0)
    return KNet(**config(panoptic, **roi_head))


def sample(objects: int, panoptic: bool = False, seed: int = 0) -> DetDataSample:
    torch.manual_seed(seed)
    shape = (30, 60)
    info = {'batch_input_shape': PADDED, 'img_shape': shape, 'ori_shape': (45, 90)}
    found = DetDataSample(metainfo=info | {'img_path': f'{seed}.png'})
    masks = torch.zeros(objects, *shape, dtype=torch.uint8)
    for number in range(objects):
        top, left = torch.randint(0, 20, (2,)).tolist()
        masks[number, top : top + 9, left : left + 14] = 1
    found.gt_instances = InstanceData(
        masks=BitmapMasks(masks.numpy(), *shape), labels=torch.arange(objects) % 3
    )
    if panoptic:
        classes = torch.full((1, *shape), 255, dtype=torch.uint8)
        classes[:, 20:, :40] = 3 + seed % 2
        found.gt_sem_seg = PixelData(sem_seg=classes)
    return found


def images(number: int) -> Tensor:
    torch.manual_seed(2)
    return torch.randn(number, 3, *PADDED)


def total(losses: dict[str, Tensor]) -> Tensor:
    logged = (value for key, value in losses.items() if 'loss' in key)
    return sum(logged, torch.zeros(()))


@pytest.mark.parametrize('panoptic', [False, True], ids=['instance', 'panoptic'])
@pytest.mark.parametrize(
    'objects', [[2], [0, 1, 2], [0, 0], [9, 1]], ids=lambda objects: f'{objects}'
)
def test_any_batch_and_any_number_of_objects(
    panoptic: bool, objects: list[int]
) -> None:
    model = build(panoptic)
    batch = [sample(n, panoptic, seed) for seed, n in enumerate(objects)]
    losses = model.loss(images(len(batch)), batch)
    kinds = ['cls', 'mask', 'dice'] + ['rank'] * panoptic
    keys = {f's{stage}_loss_{kind}' for stage in range(2) for kind in kinds}
    keys |= {f'loss_rpn_{kind}' for kind in ['mask', 'dice', 'seg', *kinds[3:]]}
    assert keys == {key for key in losses if 'loss' in key}
    total(losses).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize('panoptic', [False, True], ids=['instance', 'panoptic'])
def test_losses_of_a_batch_are_means_over_what_its_images_have(panoptic: bool) -> None:
    model, x = build(panoptic).double(), images(3).double()
    counts = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    batch = [sample(n + 1, panoptic, n) for n in range(3)]
    found = model.loss(x, batch)
    alone = [model.loss(x[n : n + 1], batch[n : n + 1]) for n in range(3)]
    truths = [model.ground_truth(one, x) for one in batch]
    painted = [
        torch.cat([gt.masks, gt.stuff_masks]).ne(0).any(dim=0).sum() for gt in truths
    ]
    for key, value in found.items():
        weights = counts + panoptic  # objects, and one stuff class in each image
        if 'rpn' in key:
            weights = counts
        if 'seg' in key:  # pixels that have a class
            weights = torch.stack(painted).double()
        if 'rank' in key:  # all pixels
            weights = torch.ones_like(counts)
        values = torch.stack([losses[key].double() for losses in alone])
        expected = (weights * values).sum() / weights.sum()
        assert_close(value.double(), expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize('panoptic', [False, True], ids=['instance', 'panoptic'])
def test_images_of_a_batch_do_not_mix(panoptic: bool) -> None:
    model, x = build(panoptic).eval(), images(3)
    batch = [sample(1, panoptic, seed) for seed in range(3)]
    together = model(x, batch, mode='tensor')
    for number in range(3):
        alone = model(x[number : number + 1], mode='tensor')
        for one, other in zip(alone, together, strict=True):
            assert_close(one, other[number : number + 1], rtol=1e-3, atol=1e-3)


def test_predicted_instances() -> None:
    model = build().eval()
    model.kernel_iter_head.test_cfg = {'max_per_img': 7}
    batch = [sample(0, seed=0), sample(0, seed=1)]
    with torch.no_grad():
        found = model(images(2), batch, mode='predict')
        small = model.predict(images(2), batch, rescale=False)
    for result in found:
        instances = result.pred_instances
        assert instances.masks.dtype == torch.bool
        assert len(instances) == 7
        assert (instances.scores[:-1] >= instances.scores[1:]).all()
    assert small[0].pred_instances.masks.shape == (7, 30, 60)
    assert small[0].pred_instances.bboxes.shape == (7, 4)


def test_how_large_results_may_be_is_a_matter_of_test_cfg() -> None:
    model = build().eval()
    for options, kind in (
        ({}, Tensor),
        ({'max_mask_mib': 0.01}, list),
        ({'max_mask_mib': 0.01, 'rle_masks': False}, Tensor),
        ({'rle_masks': True}, list),
    ):
        model.kernel_iter_head.test_cfg = options
        with torch.no_grad():
            found = model.predict(images(1), [sample(0)])[0].pred_instances
        assert isinstance(found.masks, kind)
        assert len(found.masks) == 18


def test_predicted_panoptic_map() -> None:
    model = build(panoptic=True).eval()
    merge = {'instance_score_thr': 0.0, 'overlap_thr': 0.1}
    model.kernel_iter_head.test_cfg = {'merge_stuff_thing': merge}
    with torch.no_grad():
        found = model.predict(images(1), [sample(0, panoptic=True)])[0]
        scores, masks = model(images(1), mode='tensor')
    ids = found.pred_panoptic_seg.sem_seg
    assert ids.shape == (1, 45, 90)
    # Kernels that claim half their image and win there are segments of their class.
    assert (ids % 1000 < 5).any()
    sizes = Sizes(PADDED, (30, 60), (45, 90))
    segments = segment_scores(scores[0].sigmoid(), 6, 3)
    blocks = enlarged_blocks(masks[0], sizes)
    assert_close(ids[0], merge_panoptic(*segments, blocks, 3, 5, **merge).ids)


OPTIONS: dict[str, dict[str, Any]] = {
    'hard_target': {'hard_target': True},
    'post_assign': {'post_assign': True},
    'assign_stages': {'assign_stages': 1},
    'stage_loss_weights': {'stage_loss_weights': [2.0, 0.5]},
}


@pytest.mark.parametrize('name', OPTIONS)
def test_options_of_the_stages_change_the_losses(name: str) -> None:
    batch = [sample(3, seed=0), sample(2, seed=1)]
    losses = build(num_stages=2).loss(images(2), batch)
    other = build(num_stages=2, **OPTIONS[name]).loss(images(2), batch)
    assert losses.keys() == other.keys()
    changed = {key for key in losses if not torch.equal(losses[key], other[key])}
    assert changed
    # The initial kernels have no part in any of them.
    assert not any('rpn' in key for key in changed)
    if name == 'stage_loss_weights':
        for stage, weight in enumerate([2.0, 0.5]):
            own = [key for key in losses if key.startswith(f's{stage}_')]
            assert f's{stage}_pos_acc' in own
            for key in own:
                factor = weight if 'loss' in key else 1.0
                assert_close(other[key], factor * losses[key], msg=key)


def test_hard_targets_of_the_initial_kernels_change_their_losses_only() -> None:
    options = config()
    options['rpn_head']['hard_target'] = True
    batch = [sample(3, seed=0), sample(2, seed=1)]
    torch.manual_seed(0)
    hard = KNet(**options).loss(images(2), batch)
    soft = build().loss(images(2), batch)
    changed = {key for key in soft if not torch.equal(soft[key], hard[key])}
    assert {'loss_rpn_mask', 'loss_rpn_dice'} <= changed
    assert all('rpn' in key for key in changed)


def test_mask_upsample_stride_sets_the_size_at_which_masks_are_learnt() -> None:
    options = config()
    options['rpn_head']['feat_downsample_stride'] = 4
    options['roi_head']['mask_head']['mask_upsample_stride'] = 4
    fine, coarse = KNet(**options, mask_assign_stride=2), build()
    fine.load_state_dict(coarse.state_dict(), strict=True)
    (_, small), (_, large) = (m(images(1), mode='tensor') for m in (coarse, fine))
    assert small.shape[-2:] == (8, 16)
    assert large.shape[-2:] == (16, 32)
    assert_close(large.mean(), small.mean(), rtol=0.1, atol=0.1)
    batch = [sample(3)]
    losses, other = coarse.loss(images(1), batch), fine.loss(images(1), batch)
    for key in ('loss_rpn_mask', 's0_loss_mask', 's1_loss_dice'):
        assert losses[key] != other[key]
        assert_close(losses[key], other[key], rtol=0.3, atol=0.0)


def test_the_rank_loss_adds_its_own_gradient() -> None:
    batch, options = [sample(3, panoptic=True)], config(panoptic=True)
    for part in (options['rpn_head'], options['roi_head']['mask_head']):
        part['loss_rank'] = None
    torch.manual_seed(0)
    without, ranked = KNet(**options), build(panoptic=True)
    plain, losses = without.loss(images(1), batch), ranked.loss(images(1), batch)
    added = {'loss_rpn_rank', 's0_loss_rank', 's1_loss_rank'}
    assert losses.keys() - plain.keys() == added
    assert_close({key: losses[key] for key in plain}, plain)
    assert all(losses[key] > 0 for key in added)
    total(plain).backward()
    total(losses).backward()
    weights = (
        model.kernel_init_head.init_kernels.weight for model in (without, ranked)
    )
    one, other = (weight.grad for weight in weights)
    assert (one != other).any()


@pytest.mark.parametrize('number', [1, 3, 9])
def test_the_number_of_kernels_is_that_of_the_masks(number: int) -> None:
    options = config()
    options['rpn_head']['num_proposals'] = number
    options['roi_head']['num_proposals'] = number
    torch.manual_seed(0)
    model = KNet(**options)
    losses = model.loss(images(1), [sample(3)])
    assert not torch.equal(
        losses['s1_loss_cls'], build().loss(images(1), [sample(3)])['s1_loss_cls']
    )
    with torch.no_grad():
        scores, masks = model.eval()(images(1), mode='tensor')
        found = model.predict(images(1), [sample(0)])[0].pred_instances
    assert masks.shape == (1, number, 8, 16)
    assert scores.shape == (1, number, 3)
    assert len(found) == 3 * number


def test_kernels_of_three_by_three() -> None:
    options = config()
    options['rpn_head']['conv_kernel_size'] = 3
    options['roi_head']['mask_head']['conv_kernel_size'] = 3
    model = KNet(**options)
    total(model.loss(images(2), [sample(2), sample(0)])).backward()
    assert all(p.grad is not None for p in model.parameters())
    with torch.no_grad():
        found = model.eval().predict(images(1), [sample(0)])[0].pred_instances
    assert found.masks.shape == (18, 45, 90)


def test_stages_may_share_their_weights() -> None:
    shared = build(num_stages=3, recursive=True)
    assert len({id(stage) for stage in shared.kernel_iter_head.stages}) == 1
    losses = shared.loss(images(1), [sample(2)])
    assert {'s0_loss_cls', 's1_loss_cls', 's2_loss_cls'} <= losses.keys()
    # Stages of their own with the same weights give the same.
    alike = build(num_stages=3)
    alike.load_state_dict(shared.state_dict(), strict=True)
    assert_close(losses, alike.loss(images(1), [sample(2)]))
    total(losses).backward()
    total(alike.loss(images(1), [sample(2)])).backward()
    gradients = [stage.fc_mask.weight.grad for stage in alike.kernel_iter_head.stages]
    own = shared.kernel_iter_head.stages[0].fc_mask.weight.grad
    assert_close(own, sum(gradients), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('panoptic', [False, True], ids=['instance', 'panoptic'])
def test_without_stages_the_initial_kernels_are_the_result(panoptic: bool) -> None:
    model = build(panoptic, num_stages=0)
    batch = [sample(2, panoptic)]
    losses = model.loss(images(1), batch)
    assert all(key.startswith('loss_rpn_') for key in losses)
    total(losses).backward()
    with torch.no_grad():
        scores, masks = model.eval()(images(1), batch, mode='tensor')
        start = model.kernel_init_head(model.extract_feat(images(1)))
        model.predict(images(1), batch)
    assert_close(masks, start.mask_preds)
    # The class of a kernel is the mean class of its pixels.
    inside = start.mask_preds[0].sigmoid() > 0.5
    kernel = inside.flatten(1).sum(dim=1).argmax()
    assert inside[kernel].any()
    classes = start.seg_preds[0][:, inside[kernel]].mean(dim=1)
    assert_close(scores[0, kernel], classes)


def test_a_kernel_without_pixels_has_no_class() -> None:
    masks = torch.full((1, 2, 2, 2), -3.0)
    masks[0, 1, 0] = 3.0
    seg = torch.arange(12.0).view(1, 3, 2, 2)
    start = InitialKernels(torch.zeros(1, 2, 4, 1, 1), seg, masks, seg)
    logits = class_of_pixels(start)
    assert logits[0, 0].sigmoid().max() < 1e-8
    assert_close(logits[0, 1], seg[0, :, 0].mean(dim=1))


@pytest.mark.parametrize('kind', ['bitmap', 'polygon', 'tensor'])
def test_kinds_of_masks(kind: str) -> None:
    model, data = build(), sample(1)
    square = [10.0, 4.0, 30.0, 4.0, 30.0, 20.0, 10.0, 20.0]
    polygons = PolygonMasks([[torch.tensor(square).numpy()]], 30, 60)
    kinds = {
        'bitmap': polygons.to_bitmap(),
        'polygon': polygons,
        'tensor': polygons.to_tensor(torch.uint8, 'cpu'),
    }
    data.gt_instances.masks = kinds[kind]
    found = model.ground_truth(data, torch.zeros(0))
    assert found.masks.shape == (1, 8, 16)
    expected = torch.zeros(8, 16)
    expected[1:5, 2:7] = 1  # 16 x 20 pixels at stride 4, edges half a cell off
    assert (found.masks[0] - expected).abs().mean() < 0.06


def test_padding_is_neither_object_nor_stuff() -> None:
    model, data = build(panoptic=True), sample(1, panoptic=True)
    data.gt_sem_seg.sem_seg[:] = 3
    found = model.ground_truth(data, torch.zeros(0))
    assert found.stuff_present.tolist() == [True, False]
    assert found.stuff_masks[0, :7, :15].eq(1).all()
    assert found.stuff_masks[0, :, 15:].eq(0).all()
    assert found.stuff_masks[1].eq(0).all()


def test_mixed_precision_trains() -> None:
    model = build(panoptic=True)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = model.loss(images(2), [sample(2, True, 0), sample(0, True, 1)])
    assert all(value.dtype == torch.float32 for value in losses.values())
    total(losses).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize('panoptic', [False, True], ids=['instance', 'panoptic'])
def test_half_precision_gives_the_losses_of_single(panoptic: bool) -> None:
    # 12 masks of 64 x 128 pixels, features summed over 2048 of them: beyond 65504.
    model = build(panoptic)
    batch = [sample(9, panoptic, 0), sample(3, panoptic, 1)]
    for one in batch:
        one.set_metainfo({'batch_input_shape': (256, 512)})
    x = torch.randn(2, 3, 256, 512, generator=torch.manual_seed(2))
    expected = model.loss(x, batch)
    with torch.autocast('cpu', dtype=torch.float16):
        found = model.loss(x, batch)
    assert_close(found, expected, rtol=1e-2, atol=1e-5)
    total(found).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_half_the_resolution_inside_a_stage() -> None:
    options = config()
    stage: dict[str, Any] = {'feat_gather_stride': 2, 'mask_transform_stride': 2}
    stage |= {'feat_transform_cfg': {'kernel_size': 3, 'act_cfg': None}}
    options['roi_head']['mask_head'] |= stage
    losses = KNet(**options).loss(images(2), [sample(2), sample(1)])
    assert total(losses).isfinite()


@pytest.mark.parametrize('stride', [1, 2, 4])
@pytest.mark.parametrize('mask_stride', [1, 2])
@pytest.mark.parametrize('size', [None, 1, 3])
def test_stages_that_do_not_keep_the_size_of_masks_are_refused(
    stride: int, mask_stride: int, size: int | None
) -> None:
    options = config()
    stage = {'feat_gather_stride': stride, 'mask_transform_stride': mask_stride}
    conv = None if size is None else {'kernel_size': size, 'act_cfg': None}
    options['roi_head']['mask_head'] |= stage | {'feat_transform_cfg': conv}
    if stride == 1 or (stride, mask_stride, size) == (2, 2, 3):
        stages = KNet(**options).kernel_iter_head
        x, masks = torch.randn(1, 8, 8, 16), torch.randn(1, 6, 8, 16)
        start = InitialKernels(torch.randn(1, 6, 8, 1, 1), x, masks, None)
        assert {each.mask_preds.shape for each in stages(start)} == {masks.shape}
        return
    with pytest.raises(UserError, match=f'feat_gather_stride={stride}'):
        KNet(**options)


@pytest.mark.parametrize('stride', [2, 8])
def test_a_wrong_stride_of_the_masks_is_named(stride: int) -> None:
    # At stride 2 the objects have 4 times the pixels of the predictions.
    model = KNet(**config(), mask_assign_stride=stride)
    with pytest.raises(UserError, match=rf'mask_assign_stride={stride}.*8 x 16'):
        model.loss(images(1), [sample(2)])
    options = config()
    options['roi_head']['mask_head']['mask_upsample_stride'] = 4
    with pytest.raises(UserError, match=r'16 x 32 \(mask_upsample_stride=4'):
        KNet(**options).loss(images(1), [sample(2)])


def test_images_that_are_not_padded_are_named() -> None:
    one = sample(2)
    one.set_metainfo({'batch_input_shape': (36, 60)})
    with pytest.raises(UserError, match='pad_size_divisor'):
        build().loss(torch.randn(1, 3, 36, 60), [one])


def test_what_a_user_can_get_wrong() -> None:
    with pytest.raises(UserError, match='num_thing_classes differs'):
        KNet(**config(), num_thing_classes=4)
    with pytest.raises(UserError, match='num_proposals differs'):
        build(num_proposals=5)
    with pytest.raises(UserError, match='mask_head has 3 thing'):
        build(num_thing_classes=4)
    with pytest.raises(UserError, match='stage_loss_weights has 3 entries'):
        build(stage_loss_weights=[1, 1, 1])
    wrong = config(panoptic=True)
    wrong['rpn_head']['cat_stuff_mask'] = False
    with pytest.raises(UserError, match='cat_stuff_mask=False'):
        KNet(**wrong)
    for options, message in (
        ({'assign_stages': 0}, 'assign_stages=0'),
        ({'with_cls': False}, 'with_cls=False'),
        ({'feat_gather_stride': 2}, 'feat_gather_stride=2'),
        ({'conv_kernel_size': 3}, 'conv_kernel_size differs'),
        ({'in_channels': 16, 'out_channels': 16}, 'out_channels differs'),
        ({'out_channels': 16}, 'out_channels=16'),
        ({'mask_transform_stride': 4}, 'mask_transform_stride=4'),
    ):
        wrong = config()
        place = wrong['roi_head'] if 'assign_stages' in options else None
        (wrong['roi_head']['mask_head'] if place is None else place).update(options)
        with pytest.raises(UserError, match=message):
            KNet(**wrong)
    wrong = config()
    wrong['rpn_head']['out_channels'] = 16
    with pytest.raises(UserError, match='feat_refine=True'):
        KNet(**wrong)
    with pytest.raises(UserError, match='LoadPanopticAnnotations'):
        build(panoptic=True).loss(images(1), [sample(1)])

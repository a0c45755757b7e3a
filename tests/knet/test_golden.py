"""The parts of the room on the authors' arrays: outputs, gradients, assignments."""

import pytest
import torch
from mmengine.structures import InstanceData
from references.knet_golden import DTYPES, ENCODED, Golden, names, translated
from torch import Tensor

from paperzoo.knet.init_head import InitialKernels
from paperzoo.knet.panoptic import merge_panoptic, segment_scores
from paperzoo.registry import MODELS, TASK_UTILS


@pytest.mark.paper('knet "Adaptive Kernel Update"')
@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@pytest.mark.parametrize('name', names('kernel_updator_*'))
def test_kernel_updater(name: str, dtype: torch.dtype) -> None:
    golden = Golden(name, dtype)
    module = golden.model()
    inputs = {key: golden.leaf(key) for key in ('update_feature', 'input_feature')}
    found = module(**inputs)
    golden.check('out:features', found)
    golden.check_gradients((found * golden['in:cotangent']).sum(), inputs)
    golden.all_checked('out:', 'grad:')


@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@pytest.mark.parametrize('name', names('semantic_fpn_*'))
def test_semantic_fpn(name: str, dtype: torch.dtype) -> None:
    golden = Golden(name, dtype, ENCODED)
    module, x = golden.model(), golden.levels()
    found = module(x)
    found = found if isinstance(found, list) else [found]
    for number, result in enumerate(found):
        golden.check(f'out:{number}', result)
    if 'out:positional_encoding' in golden:
        everywhere = torch.zeros(1, *x[3].shape[-2:], dtype=torch.bool)
        encoding = module.positional_encoding(everywhere)
        golden.check('out:positional_encoding', encoding.to(dtype))
    objective = sum(
        (result * golden[f'in:cotangent{number}']).sum()
        for number, result in enumerate(found)
    )
    golden.check_gradients(objective, {f'x{n}': level for n, level in enumerate(x)})
    golden.all_checked('out:', 'grad:')


@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@pytest.mark.parametrize('name', names('conv_kernel_head_*'))
def test_kernel_init_head(name: str, dtype: torch.dtype) -> None:
    golden = Golden(name, dtype, ENCODED)
    module, x = golden.model(), golden.levels()
    start = module.eval()(x)
    found = {
        'proposal_feats': start.kernels,
        'x_feats': start.features,
        'mask_preds': start.mask_preds,
        'seg_preds': start.seg_preds,
    }
    check_outputs(golden, found, {f'x{n}': level for n, level in enumerate(x)})


@pytest.mark.paper('knet "Group-Aware Kernels"')
@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@pytest.mark.parametrize('name', names('kernel_update_head_*'))
def test_kernel_update_head(name: str, dtype: torch.dtype) -> None:
    golden = Golden(name, dtype)
    inputs = {key: golden.leaf(key) for key in ('x', 'proposal_feat', 'mask_preds')}
    output = golden.model()(**inputs, mask_shape=golden.meta['mask_shape'])
    found = {
        'cls_score': output.cls_score,
        'mask_preds': output.mask_preds,
        'object_feats': output.kernels,
    }
    check_outputs(golden, found, inputs)


def check_outputs(
    golden: Golden, found: dict[str, Tensor], inputs: dict[str, Tensor]
) -> None:
    for key, value in found.items():
        golden.check(f'out:{key}', value)
    objective = sum(
        (value * golden[f'in:cotangent_{key}']).sum() for key, value in found.items()
    )
    golden.check_gradients(objective, inputs)
    golden.all_checked('out:', 'grad:')


@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@pytest.mark.parametrize('name', names('kernel_iter_head_*'))
def test_chained_stages(name: str, dtype: torch.dtype) -> None:
    golden = Golden(name, dtype)
    head = golden.model()
    inputs = {key: golden.leaf(key) for key in ('x', 'proposal_feats', 'mask_preds')}
    start = InitialKernels(
        inputs['proposal_feats'], inputs['x'], inputs['mask_preds'], None
    )
    outputs = head(start)
    predictions = head.predictions(start)[1:]
    for number, (output, prediction) in enumerate(
        zip(outputs, predictions, strict=True)
    ):
        stage = f'out:train.s{number}'
        golden.check(f'{stage}.cls_score', output.cls_score)
        golden.check(f'{stage}.mask_preds', output.mask_preds)
        golden.check(f'{stage}.object_feats', output.kernels)
        golden.check(f'{stage}.scaled_mask_preds', prediction.mask_preds)
        last = number == len(outputs) - 1
        golden.check(
            f'out:eval.s{number}.scaled_mask_preds',
            head.last(start).mask_preds if last else output.mask_preds,
        )
    objective = sum(
        (value * golden[f'in:cotangent_{key}']).sum()
        for key, value in zip(
            ('cls_score', 'scaled_mask_preds'), predictions[-1], strict=True
        )
    )
    golden.check_gradients(objective, inputs)
    golden.all_checked('out:', 'grad:')


@pytest.mark.paper('knet "Training Instance Kernels"')
@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@pytest.mark.parametrize('name', names('assigner_*'))
def test_assigner(name: str, dtype: torch.dtype) -> None:
    golden = Golden(name, dtype)
    assigner = TASK_UTILS.build(translated(golden.meta['hyper']))
    preds = InstanceData(masks=golden['in:mask_logits'])
    if golden.meta['cls_used']:
        preds.scores = golden['in:cls_logits']
    gt = InstanceData(masks=golden['in:gt_masks'], labels=golden['in:gt_labels'])
    result = assigner.assign(preds, gt)
    golden.check('out:gt_inds', result.gt_inds)
    golden.check('out:labels', result.labels)
    if 'out:cost_total' in golden:
        terms = assigner.terms(preds, gt)
        for term, value in terms.items():
            golden.check(f'out:cost_{term.removesuffix("_cost")}', value)
        golden.check('out:cost_total', sum(terms.values()))
    golden.all_checked('out:')


@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@pytest.mark.parametrize('name', names('loss_*'))
def test_loss(name: str, dtype: torch.dtype) -> None:
    golden = Golden(name, dtype)
    loss = MODELS.build(translated(golden.meta['hyper']))
    golden.params, pred = {}, golden.leaf('pred')
    found: dict[str, Tensor] = {}
    if name == 'loss_focal':
        labels, weights = golden['in:labels'], golden['in:label_weights']
        found['loss:avg'] = loss(pred, labels, avg_factor=4.0)
        found['loss:weighted_avg'] = loss(pred, labels, weights, avg_factor=4.0)
        found['out:none'] = loss(pred, labels, reduction_override='none')
    elif name == 'loss_rank':
        found['loss:rank'] = loss(pred, golden['in:target'])
    else:
        found['loss:mean'] = loss(pred, golden['in:target'])
    if name == 'loss_dice':
        found['out:none'] = loss(pred, golden['in:target'], reduction_override='none')
    for key, value in found.items():
        golden.check(key, value)
    objective = sum(value.sum() for value in found.values())
    golden.check_gradients(objective, {'pred': pred})
    golden.all_checked('loss:', 'out:', 'grad:')


@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@pytest.mark.parametrize('name', names('panoptic_merge_*'))
def test_panoptic_merge(name: str, dtype: torch.dtype) -> None:
    golden = Golden(name, dtype)
    hyper = golden.meta['hyper']
    things, stuff = hyper['num_thing_classes'], hyper['num_stuff_classes']
    scores, labels = segment_scores(
        golden['in:cls_probs'], hyper['num_proposals'], things
    )
    golden.check('out:scores', scores)
    golden.check('out:labels', labels)
    thresholds = {
        key: hyper['merge_stuff_thing'][key]
        for key in ('instance_score_thr', 'overlap_thr')
    }
    blocks = enumerate(golden['in:mask_probs'].split(1))
    count = things + stuff
    ids = merge_panoptic(scores, labels, blocks, things, count, **thresholds).ids
    golden.check('out:panoptic', ids)
    segment_ids, areas = ids.unique(return_counts=True)
    golden.check('out:segment_ids', segment_ids)
    golden.check('out:segment_areas', areas)
    golden.all_checked('out:')

"""The whole detector on the authors' arrays: losses, gradients, targets, results."""

import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData, PixelData
from references.knet_golden import DTYPES, ENCODED, Golden, names

from paperzoo.knet.kernels import upsample
from paperzoo.knet.panoptic import segment_scores


def samples(golden: Golden) -> list[DetDataSample]:
    meta, found = golden.meta, []
    for image, shape in enumerate(meta['img_shapes']):
        info = {
            'batch_input_shape': tuple(meta['batch_input_shape']),
            'img_shape': tuple(shape),
            'ori_shape': tuple(meta.get('ori_shapes', meta['img_shapes'])[image]),
        }
        sample = DetDataSample(metainfo=info)
        if f'in:gt_masks.{image}' in golden:
            masks = golden.arrays[f'in:gt_masks.{image}']
            sample.gt_instances = InstanceData(
                masks=BitmapMasks(masks, *masks.shape[1:]),
                labels=golden[f'in:gt_labels.{image}'],
            )
        if 'in:gt_semantic_seg' in golden:
            classes = golden['in:gt_semantic_seg'][image]
            sample.gt_sem_seg = PixelData(sem_seg=classes)
        found.append(sample)
    return found


@pytest.mark.paper('knet "Training Instance Kernels"')
@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@pytest.mark.parametrize('name', names('knet_train_*'))
def test_training_step(name: str, dtype: torch.dtype) -> None:
    golden = Golden(name, dtype, ENCODED)
    model, x = golden.model().train(), golden.levels()
    model.backbone.x = x
    images = torch.zeros(len(x[0]), 3, *golden.meta['batch_input_shape'], dtype=dtype)
    losses = model.loss(images, samples(golden))
    for key, value in losses.items():
        accuracy = key.endswith('pos_acc')
        golden.check(f'out:acc.{key}' if accuracy else f'loss:{key}', value)
    golden.all_checked('loss:', 'out:acc.')
    objective = sum(value for key, value in losses.items() if 'loss' in key)
    golden.check_gradients(objective, {f'x{n}': level for n, level in enumerate(x)})
    golden.all_checked('grad:')


@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@pytest.mark.parametrize('name', names('knet_train_*'))
def test_training_targets(name: str, dtype: torch.dtype) -> None:
    golden = Golden(name, dtype, ENCODED)
    model, x = golden.model().train(), golden.levels()
    init_head, iter_head = model.kernel_init_head, model.kernel_iter_head
    with torch.no_grad():
        start = init_head(x)
        outputs = iter_head(start)
        predictions = iter_head.predictions(start)
        stride = init_head.feat_downsample_stride
        things = upsample(start.mask_preds[:, : init_head.num_proposals], stride)
    golden.check('out:rpn.proposal_feats_cat', start.kernels)
    golden.check('out:rpn.mask_preds_cat', start.mask_preds)
    golden.check('out:rpn.x_feats', start.features)
    for stage, output in enumerate(outputs):
        golden.check(f'out:s{stage}.cls_score', output.cls_score)
        golden.check(f'out:s{stage}.mask_preds', output.mask_preds)
        golden.check(f'out:s{stage}.object_feats', output.kernels)

    batch = samples(golden)
    truths = [model.ground_truth(sample, things) for sample in batch]
    for image, gt in enumerate(truths):
        golden.check(f'out:gt_masks_stride4.{image}', gt.masks)
        if f'out:gt_sem_cls.{image}' in golden:
            classes = model.num_thing_classes + gt.stuff_present.nonzero()
            golden.check(f'out:gt_sem_cls.{image}', classes[:, 0])
            masks = gt.stuff_masks[gt.stuff_present]
            golden.check(f'out:gt_sem_seg_stride4.{image}', masks)
    assigned = model.assign(things, predictions, truths, truths, batch)
    rows = [image.gt_inds for stage in assigned for image in stage]
    golden.check('out:assigned_gt_inds', torch.stack(rows))

    all_targets = model.get_targets(things, predictions, batch)
    assert len(all_targets) == len(outputs) + 1
    for stage, targets in enumerate(all_targets, start=-1):
        key = f'out:s{stage}.targets' if stage >= 0 else 'out:rpn.targets'
        golden.check(f'{key}.labels', targets.labels.flatten())
        golden.check(f'{key}.mask_weights', targets.positive.flatten().to(dtype))
        if f'{key}.mask_targets' in golden:
            golden.check(f'{key}.mask_targets', targets.masks.flatten(0, 1))
        if stage >= 0:
            golden.check(f'{key}.label_weights', targets.label_weights.flatten(0, 1))
            continue
        golden.check(f'{key}.seg_targets', targets.pixel_classes)
    # The initial kernels have no class loss, hence no weights of classes.
    without = {key for key in golden.arrays.files if key.startswith('out:acc.')}
    golden.all_checked('out:', but=without | {'out:rpn.targets.label_weights'})


@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@pytest.mark.parametrize('name', names('knet_test_*'))
def test_inference(name: str, dtype: torch.dtype) -> None:
    golden = Golden(name, dtype, ENCODED)
    model, x = golden.model().eval(), golden.levels()
    model.backbone.x = x
    images = torch.zeros(len(x[0]), 3, *golden.meta['batch_input_shape'], dtype=dtype)
    with torch.no_grad():
        scores, masks = model._forward(images)
        results = model.predict(images, samples(golden))
    golden.check('out:last.cls_score', scores)
    golden.check('out:last.scaled_mask_preds', masks)
    things = model.num_thing_classes
    for image, sample in enumerate(results):
        if f'out:{image}.panoptic' in golden:
            ids = sample.pred_panoptic_seg.sem_seg[0]
            segments, areas = ids.unique(return_counts=True)
            number = model.kernel_iter_head.num_proposals
            found = segment_scores(scores[image].sigmoid(), number, things)
            golden.check(f'out:{image}.panoptic', ids)
            golden.check(f'out:{image}.segment_ids', segments)
            golden.check(f'out:{image}.segment_areas', areas)
            golden.check(f'out:{image}.scores', found[0])
            golden.check(f'out:{image}.labels', found[1])
            continue
        found = sample.pred_instances
        for key in ('scores', 'labels', 'masks'):
            golden.check(f'out:{image}.{key}', found[key])
        count = torch.bincount(found.labels, minlength=things)
        golden.check(f'out:{image}.segm_per_class_count', count)
        by_class = found.scores[found.labels.argsort(stable=True)]
        golden.check(f'out:{image}.bbox_scores_classmajor', by_class)
    golden.all_checked('out:')

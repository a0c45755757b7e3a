"""The detector: features, initial kernels, stages, results."""

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.models.detectors import BaseDetector
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData, PixelData
from torch import Tensor

from paperzoo.common import rename_on_load
from paperzoo.knet.assigner import MaskHungarianAssigner, Matching, match_all
from paperzoo.knet.checks import check_detector, check_sizes
from paperzoo.knet.init_head import InitialKernels, KNetKernelInitHead
from paperzoo.knet.iter_head import KNetKernelIterHead, Prediction
from paperzoo.knet.panoptic import (
    MAX_MASK_MIB,
    Sizes,
    enlarged_blocks,
    instance_results,
    merge_panoptic,
    segment_scores,
)
from paperzoo.knet.targets import GroundTruth, ground_truth, hardened
from paperzoo.registry import MODELS, TASK_UTILS
from paperzoo.utils.precision import at_least_float32

Config = dict[str, Any]
SampleList = list[DetDataSample]


@MODELS.register_module()
class KNet(BaseDetector):
    """Instance or panoptic segmentation with one set of kernels.

    Args:
        backbone: The backbone.
        neck: The feature pyramid; None for none.
        rpn_head: Arguments of the `KNetKernelInitHead`.
        roi_head: Arguments of the `KNetKernelIterHead`; its `do_panoptic` decides
            between instances and panoptic.
        train_cfg: `rpn` with the `assigner` of the initial kernels, `rcnn` the
            `train_cfg` of `roi_head`.
        test_cfg: In `rcnn`: for instances `max_per_img` (100), `mask_thr` (0.5),
            `max_mask_mib` (1024; where the masks of an image would have more MiB, they
            are COCO's run-length codes, not a tensor) and `rle_masks` (None; True and
            False decide it for all images); for panoptic
            `merge_stuff_thing` with `instance_score_thr` (0.3), `overlap_thr` (0.6) and
            `filter_first` (False; True leaves no pixels to things of low score).
        num_thing_classes: Number of thing classes; by default that of `roi_head`.
        num_stuff_classes: Number of stuff classes; by default that of `roi_head`.
        mask_assign_stride: Stride at which masks are compared and learnt.
        data_preprocessor: What makes batches of images.
        init_cfg: Initial weights.

    Raises:
        UserError: If the parts do not fit each other.

    Paper: knet "K-Net"
    """

    def __init__(
        self,
        backbone: Config,
        neck: Config | None = None,
        rpn_head: Config | None = None,
        roi_head: Config | None = None,
        train_cfg: Config | None = None,
        test_cfg: Config | None = None,
        num_thing_classes: int | None = None,
        num_stuff_classes: int | None = None,
        mask_assign_stride: int = 4,
        *,
        data_preprocessor: Config | None = None,
        init_cfg: Config | list[Config] | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        train, test = train_cfg or {}, test_cfg or {}
        stages = {'train_cfg': train.get('rcnn'), 'test_cfg': test.get('rcnn')}
        self.backbone = MODELS.build(backbone)
        if neck is not None:
            self.neck = MODELS.build(neck)
        init_head = {'type': KNetKernelInitHead, **(rpn_head or {})}
        iter_head = {'type': KNetKernelIterHead, **stages, **(roi_head or {})}
        self.kernel_init_head = MODELS.build(init_head)
        self.kernel_iter_head = MODELS.build(iter_head)
        assigner = (train.get('rpn') or {}).get('assigner')
        self.assigner = TASK_UTILS.build(assigner or {'type': MaskHungarianAssigner})
        self.mask_assign_stride = mask_assign_stride
        self.num_thing_classes = self.kernel_iter_head.num_thing_classes
        self.num_stuff_classes = self.kernel_iter_head.num_stuff_classes
        check_detector(self, num_thing_classes, num_stuff_classes)
        names = {'rpn_head': 'kernel_init_head', 'roi_head': 'kernel_iter_head'}
        rename_on_load(self, names)

    def extract_feat(self, batch_inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the feature pyramid.

        Args:
            batch_inputs: Images, (images, channels, height, width).
        """
        x = self.backbone(batch_inputs)
        return self.neck(x) if self.with_neck else x

    def _forward(
        self, batch_inputs: Tensor, batch_data_samples: SampleList | None = None
    ) -> tuple[Tensor | None, Tensor]:
        """Return the last stage's class logits and upsampled mask logits."""
        start = self.kernel_init_head(self.extract_feat(batch_inputs))
        return self.kernel_iter_head.last(start)

    def loss(
        self, batch_inputs: Tensor, batch_data_samples: SampleList
    ) -> dict[str, Tensor]:
        """Return the losses `loss_rpn_*` and, of stage i, `s{i}_loss_*`.

        Args:
            batch_inputs: Images, (images, channels, height, width).
            batch_data_samples: `gt_instances` with masks and labels; for panoptic
                also `gt_sem_seg`, where stuff class j has the value
                `num_thing_classes + j`.

        Raises:
            UserError: If predicted masks and those of the objects differ in size, a
                cost of the matching is not finite, or `gt_sem_seg` is missing.
        """
        init_head, iter_head = self.kernel_init_head, self.kernel_iter_head
        start: InitialKernels = init_head(self.extract_feat(batch_inputs))
        predictions = iter_head.predictions(start, iter_head(start))
        mask_preds = init_head.upsample(start.mask_preds[:, : init_head.num_proposals])
        seg_preds = start.seg_preds
        if seg_preds is not None:
            seg_preds = init_head.upsample(seg_preds)

        truths = [
            self.ground_truth(s, at_least_float32(mask_preds))
            for s in batch_data_samples
        ]
        self._check_sizes(mask_preds, predictions, truths)
        first = hardened(truths) if init_head.hard_target else truths
        later = hardened(truths) if iter_head.hard_target else truths
        gt_inds = self._assign(
            mask_preds, predictions, first, later, batch_data_samples
        )
        losses = init_head.loss_by_feat(mask_preds, seg_preds, gt_inds[0], first)
        losses.update(iter_head.loss_by_feat(predictions, gt_inds[1:], later))
        return losses

    def _check_sizes(
        self,
        mask_preds: Tensor,
        predictions: Sequence[Prediction],
        truths: Sequence[GroundTruth],
    ) -> None:
        """Refuse to compare masks of different sizes."""
        stride = self.kernel_init_head.feat_downsample_stride
        predicted = {f'feat_downsample_stride={stride} of rpn_head': mask_preds}
        # A stage's masks have their own size; the first compares the initial ones too.
        stages = self.kernel_iter_head.stages
        for stage, one in zip([*stages[:1], *stages], predictions, strict=False):
            stride = stage.mask_upsample_stride
            predicted[f'mask_upsample_stride={stride} of mask_head'] = one.mask_preds
        check_sizes(predicted, truths[0], self.mask_assign_stride)

    def _assign(
        self,
        mask_preds: Tensor,
        predictions: Sequence[Prediction],
        first: Sequence[GroundTruth],
        later: Sequence[GroundTruth],
        samples: SampleList,
    ) -> list[list[Tensor]]:
        """Return the objects of each assigned stage's kernels, initial ones first.

        No forward pass waits for an assignment, so all of them are made together.
        """
        places = [
            str(sample.metainfo.get('img_path', f'image {number} of the batch'))
            for number, sample in enumerate(samples)
        ]
        matchings = [
            Matching(
                self.assigner,
                InstanceData(masks=masks.detach()),
                InstanceData(masks=gt.masks, labels=gt.labels),
                f'initial kernels, {place}',
            )
            for masks, gt, place in zip(mask_preds, first, places, strict=True)
        ]
        matchings += self.kernel_iter_head.matchings(predictions, later, places)
        gt_inds, images = match_all(matchings), len(samples)
        return [gt_inds[at : at + images] for at in range(0, len(gt_inds), images)]

    @torch.no_grad()
    def ground_truth(self, sample: DetDataSample, like: Tensor) -> GroundTruth:
        """Return objects and stuff of one image at the stride where masks are learnt.

        Args:
            sample: With `gt_instances` and, for panoptic, `gt_sem_seg`.
            like: A tensor of the device and the type that masks should have.

        Raises:
            UserError: If there are stuff classes, but the image has no `gt_sem_seg`.
        """
        counts = self.num_thing_classes, self.num_stuff_classes
        return ground_truth(sample, like, self.mask_assign_stride, *counts)

    def predict(
        self, batch_inputs: Tensor, batch_data_samples: SampleList, rescale: bool = True
    ) -> SampleList:
        """Return the samples with `pred_instances` or `pred_panoptic_seg`.

        Args:
            batch_inputs: Images, (images, channels, height, width).
            batch_data_samples: What is known of each image.
            rescale: Results have the size of the original images.
        """
        scores, masks = self._forward(batch_inputs)
        assert scores is not None  # only stages without classes have none
        for sample, cls_logits, mask_logits in zip(
            batch_data_samples, scores, masks, strict=True
        ):
            self._add_result(sample, cls_logits, mask_logits, rescale)
        return batch_data_samples

    def _add_result(
        self,
        sample: DetDataSample,
        cls_logits: Tensor,
        mask_logits: Tensor,
        rescale: bool,
    ) -> None:
        meta = sample.metainfo
        image = tuple(meta['img_shape'][:2])
        result = tuple(meta['ori_shape'][:2]) if rescale else image
        sizes = Sizes(tuple(meta.get('batch_input_shape', image)), image, result)
        test_cfg = self.kernel_iter_head.test_cfg or {}
        if not self.kernel_iter_head.do_panoptic:
            sample.pred_instances = instance_results(
                cls_logits,
                mask_logits,
                sizes,
                max_per_img=test_cfg.get('max_per_img', 100),
                mask_thr=test_cfg.get('mask_thr', 0.5),
                rle=test_cfg.get('rle_masks'),
                max_mask_mib=test_cfg.get('max_mask_mib', MAX_MASK_MIB),
            )
            return
        merge = test_cfg.get('merge_stuff_thing') or {}
        things = self.num_thing_classes
        segments = segment_scores(
            at_least_float32(cls_logits).sigmoid(),
            self.kernel_iter_head.num_proposals,
            things,
        )
        ids = merge_panoptic(
            *segments,
            enlarged_blocks(mask_logits, sizes),
            things,
            things + self.num_stuff_classes,
            instance_score_thr=merge.get('instance_score_thr', 0.3),
            overlap_thr=merge.get('overlap_thr', 0.6),
            filter_first=merge.get('filter_first', False),
        )
        sample.pred_panoptic_seg = PixelData(sem_seg=ids[None])

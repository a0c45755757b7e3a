"""The detector: features, initial kernels, stages, results."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from mmdet.models.detectors import BaseDetector
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData, PixelData
from torch import Tensor

from paperzoo.common import rename_on_load
from paperzoo.errors import UserError
from paperzoo.knet.assigner import Assignment, Matching, build_assigner, match_all
from paperzoo.knet.init_head import InitialKernels, KNetKernelInitHead
from paperzoo.knet.iter_head import KNetKernelIterHead, Prediction
from paperzoo.knet.kernels import upsample
from paperzoo.knet.panoptic import (
    MAX_MASK_MIB,
    PanopticSegments,
    instance_results,
    merge_panoptic,
    segment_scores,
)
from paperzoo.knet.pasting import Sizes, enlarged_blocks
from paperzoo.knet.targets import (
    GroundTruth,
    KernelTargets,
    check_sizes,
    ground_truth,
    hardened,
    kernel_targets,
)
from paperzoo.registry import MODELS
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
        UserError: If the parts differ in their numbers of classes or kernels, the size
            or the channels of kernels, stuff classes and stuff kernels do not come
            together, or an assigner is none of K-Net's.

    Example:
        >>> kernels = {'num_proposals': 10}
        >>> backbone = {'type': 'mmdet.ResNet', 'depth': 18}
        >>> model = KNet(backbone, rpn_head=kernels, roi_head=kernels)
        >>> model.kernel_init_head.init_kernels.weight.shape
        torch.Size([10, 256, 1, 1])

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
        self.assigner = build_assigner(assigner)
        self.mask_assign_stride = mask_assign_stride
        self.num_thing_classes = self.kernel_iter_head.num_thing_classes
        self.num_stuff_classes = self.kernel_iter_head.num_stuff_classes
        self._check(num_thing_classes, num_stuff_classes)
        names = {'rpn_head': 'kernel_init_head', 'roi_head': 'kernel_iter_head'}
        rename_on_load(self, names)

    def extract_feat(self, batch_inputs: Tensor) -> Sequence[Tensor]:
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
        predictions = iter_head.predictions(start)
        stride, seg_preds = init_head.feat_downsample_stride, start.seg_preds
        things = upsample(start.mask_preds[:, : init_head.num_proposals], stride)
        if seg_preds is not None:
            seg_preds = upsample(seg_preds, stride)
        first, *later = self.get_targets(things, predictions, batch_data_samples)
        losses = init_head.loss_by_feat(things, seg_preds, first)
        losses.update(iter_head.loss_by_feat(predictions, later))
        return losses

    def get_targets(
        self,
        things: Float[Tensor, 'images proposals _ _'],
        predictions: Sequence[Prediction],
        batch_data_samples: SampleList,
    ) -> list[KernelTargets]:
        """Return what the kernels of each stage learn, initial ones first.

        Args:
            things: Upsampled mask logits of the initial thing kernels.
            predictions: The initial and each stage's predictions.
            batch_data_samples: As of `loss`.

        Raises:
            UserError: If predicted masks and those of the objects differ in size, a
                cost of the matching is not finite, or `gt_sem_seg` is missing.
        """
        init_head, iter_head = self.kernel_init_head, self.kernel_iter_head
        like = at_least_float32(things)
        truths = [self.ground_truth(sample, like) for sample in batch_data_samples]
        stride = init_head.feat_downsample_stride
        sizes = {f'feat_downsample_stride={stride} of rpn_head': things}
        # A stage's masks have their own size; the first compares the initial ones too.
        stages = [*iter_head.stages[:1], *iter_head.stages]
        for stage, one in zip(stages, predictions, strict=False):
            stride = stage.mask_upsample_stride
            sizes[f'mask_upsample_stride={stride} of mask_head'] = one.mask_preds
        check_sizes(sizes, truths[0], self.mask_assign_stride)

        first = hardened(truths) if init_head.hard_target else truths
        later = hardened(truths) if iter_head.hard_target else truths
        assignments = self.assign(things, predictions, first, later, batch_data_samples)
        gt_inds = [[image.gt_inds for image in stage] for stage in assignments]
        counts = self.num_thing_classes, self.num_stuff_classes
        targets = [
            kernel_targets(
                gt_inds[0],
                first,
                *counts,
                with_stuff=False,
                rank='loss_rank' in init_head.losses,
                paint=init_head.loss_seg is not None,
            )
        ]
        for number, stage in enumerate(iter_head.stages, start=1):
            targets.append(
                kernel_targets(
                    gt_inds[min(number, len(gt_inds) - 1)],
                    later,
                    *counts,
                    with_stuff=self.num_stuff_classes > 0,
                    pos_weight=iter_head.pos_weights[number - 1],
                    rank='loss_rank' in stage.losses,
                )
            )
        return targets

    def assign(
        self,
        things: Float[Tensor, 'images proposals _ _'],
        predictions: Sequence[Prediction],
        first: Sequence[GroundTruth],
        later: Sequence[GroundTruth],
        batch_data_samples: SampleList,
    ) -> list[list[Assignment]]:
        """Return the assignments of each stage, of all images, initial kernels first.

        No forward pass waits for an assignment, so all of them are made together.

        Args:
            things: Upsampled mask logits of the initial thing kernels.
            predictions: The initial and each stage's predictions.
            first: What each image has, as the initial kernels learn it.
            later: What each image has, as the stages learn it.
            batch_data_samples: They name the images.

        Raises:
            UserError: If a cost is NaN or infinite.
        """
        places = [
            str(sample.metainfo.get('img_path', f'image {number} of the batch'))
            for number, sample in enumerate(batch_data_samples)
        ]
        matchings = [
            Matching(
                self.assigner,
                InstanceData(masks=masks.detach()),
                InstanceData(masks=gt.masks, labels=gt.labels),
                f'initial kernels, {place}',
            )
            for masks, gt, place in zip(things, first, places, strict=True)
        ]
        matchings += self.kernel_iter_head.matchings(predictions, later, places)
        made, images = match_all(matchings), len(batch_data_samples)
        return [made[at : at + images] for at in range(0, len(made), images)]

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
            meta = sample.metainfo
            image = tuple(meta['img_shape'][:2])
            result = tuple(meta['ori_shape'][:2]) if rescale else image
            sizes = Sizes(tuple(meta.get('batch_input_shape', image)), image, result)
            if self.kernel_iter_head.do_panoptic:
                segments = self.panoptic_postprocess(cls_logits, mask_logits, sizes)
                sample.pred_panoptic_seg = PixelData(sem_seg=segments.ids[None])
            else:
                found = self.instance_postprocess(cls_logits, mask_logits, sizes)
                sample.pred_instances = found
        return batch_data_samples

    def instance_postprocess(
        self,
        cls_logits: Float[Tensor, 'kernels classes'],
        mask_logits: Float[Tensor, 'kernels _ _'],
        sizes: Sizes,
    ) -> InstanceData:
        """Return the instances of one image, as `test_cfg` wants them.

        Args:
            cls_logits: Class logits.
            mask_logits: Mask logits.
            sizes: Those of the image.
        """
        test_cfg = self.kernel_iter_head.test_cfg or {}
        return instance_results(
            cls_logits,
            mask_logits,
            sizes,
            max_per_img=test_cfg.get('max_per_img', 100),
            mask_thr=test_cfg.get('mask_thr', 0.5),
            rle=test_cfg.get('rle_masks'),
            max_mask_mib=test_cfg.get('max_mask_mib', MAX_MASK_MIB),
        )

    def panoptic_postprocess(
        self,
        cls_logits: Float[Tensor, 'kernels classes'],
        mask_logits: Float[Tensor, 'kernels _ _'],
        sizes: Sizes,
    ) -> PanopticSegments:
        """Return the segments of one image, and why kernels became none.

        Args:
            cls_logits: Class logits; stuff kernels follow the thing kernels.
            mask_logits: Mask logits.
            sizes: Those of the image.
        """
        test_cfg = self.kernel_iter_head.test_cfg or {}
        merge = test_cfg.get('merge_stuff_thing') or {}
        things, number = self.num_thing_classes, self.kernel_iter_head.num_proposals
        prob = at_least_float32(cls_logits).sigmoid()
        return merge_panoptic(
            *segment_scores(prob, number, things),
            enlarged_blocks(mask_logits, sizes),
            things,
            things + self.num_stuff_classes,
            instance_score_thr=merge.get('instance_score_thr', 0.3),
            overlap_thr=merge.get('overlap_thr', 0.6),
            filter_first=merge.get('filter_first', False),
        )

    def _check(self, things: int | None, stuff: int | None) -> None:
        """Refuse parts that do not fit each other, or these numbers of classes."""
        init_head, iter_head = self.kernel_init_head, self.kernel_iter_head
        for name, ours in (
            ('num_thing_classes', things),
            ('num_stuff_classes', stuff),
            ('num_proposals', None),
        ):
            found = {
                'KNet': ours,
                'rpn_head': getattr(init_head, name),
                'roi_head': getattr(iter_head, name),
            }
            found = {key: value for key, value in found.items() if value is not None}
            _check_same(name, found)
        size, width = init_head.conv_kernel_size, init_head.init_kernels.in_channels
        for stage in iter_head.stages:
            sizes = {'rpn_head': size, 'mask_head': stage.conv_kernel_size}
            widths = {'rpn_head': width, 'mask_head': stage.out_channels}
            _check_same('conv_kernel_size', sizes)
            _check_same('out_channels', widths)
        if init_head.cat_stuff_mask != (self.num_stuff_classes > 0):
            raise UserError(
                f'rpn_head has cat_stuff_mask={init_head.cat_stuff_mask} with '
                f'num_stuff_classes={self.num_stuff_classes}: set it to True exactly '
                'if there are stuff classes (panoptic)'
            )


def _check_same(name: str, found: Mapping[str, int]) -> None:
    if len(set(found.values())) > 1:
        raise UserError(
            f'{name} differs between the parts of KNet: {dict(found)}; give them the '
            'same number'
        )

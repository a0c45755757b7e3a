"""The FCOS head: network, targets and losses, prediction, in the paper's order."""

from collections.abc import Sequence
from math import log
from typing import Any

import torch
from jaxtyping import Float, Int
from mmcv.cnn import Scale
from mmdet.models.dense_heads import AnchorFreeHead
from mmdet.models.layers import NormedConv2d
from mmdet.models.task_modules.coders import DistancePointBBoxCoder
from mmdet.models.utils import multi_apply
from mmdet.structures.bbox import get_box_tensor
from mmdet.utils import (
    ConfigType,
    InstanceList,
    MultiConfig,
    OptConfigType,
    reduce_mean,
)
from mmengine.config import ConfigDict
from mmengine.model import NormalInit
from mmengine.structures import InstanceData
from mmengine.utils import to_2tuple
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from paperzoo.common import FocalLoss
from paperzoo.errors import UserError, check_choice
from paperzoo.fcos.assigner import INF, REGRESS_RANGES, FCOSRangeAssigner
from paperzoo.fcos.geometry import (
    Stride,
    centerness,
    decode_ltrb,
    encode_ltrb,
    per_side,
    pyramid_points,
)
from paperzoo.fcos.losses import (
    CenternessLoss,
    ClsNormalizer,
    IoULoss,
    LossInput,
    aligned_iou_union,
    loss_per_row,
    reduced_loss,
)
from paperzoo.fcos.post_processing import (
    Candidates,
    are_larger,
    drop_small,
    in_image,
    level_candidates,
    padded_candidates,
    score_options,
    suppress,
)
from paperzoo.registry import MODELS, TASK_UTILS
from paperzoo.utils.precision import at_least_float32

# No box reaches farther, and areas of such boxes are still far from overflow.
MAX_EXPONENT = log(INF)

# Classes as types: a bare name is another class under another default scope.
LOSS_CLS = {'type': FocalLoss, 'use_sigmoid': True, 'gamma': 2.0, 'alpha': 0.25}
LOSS_BBOX = {'type': IoULoss, 'loss_weight': 1.0}
LOSS_CENTERNESS = {'type': CenternessLoss, 'loss_weight': 1.0}
BBOX_CODER = {'type': DistancePointBBoxCoder}
NORM_CFG = {'type': nn.GroupNorm, 'num_groups': 32, 'requires_grad': True}
INIT_CFG = {
    'type': NormalInit,
    'layer': 'Conv2d',
    'std': 0.01,
    'override': {
        'type': NormalInit,
        'name': 'conv_cls',
        'std': 0.01,
        'bias_prob': 0.01,
    },
}


@MODELS.register_module()
class FCOSHead(AnchorFreeHead):
    """Predicts at every location a class, a box around it, and its centre-ness.

    It takes the arguments of mmdet's FCOSHead, has its parameters' names and, at the
    defaults, gives its numbers. Subclasses may override the methods that mmdet's has,
    `forward_single`, `loss_by_feat`, `get_targets`, `predict_by_feat`,
    `_predict_by_feat_single` and `_bbox_post_process`, with its arguments.

    Targets and losses are computed over all locations by masking: shapes do not depend
    on how many objects there are, nothing is read back from the device, and images
    without objects take the same path as all others.

    Args:
        num_classes: Number of classes, background not counted.
        in_channels: Channels of the feature maps.
        regress_ranges: Smallest and largest distance of each level, in pixels.
        center_sampling: Only locations near the centre of a box are positive.
        center_sample_radius: How near, in strides of the level.
        norm_on_bbox: Distances are predicted in strides, behind a ReLU, instead of in
            pixels, behind an exponential.
        centerness_on_reg: Centre-ness branches off the box tower instead of the class
            tower.
        loss_cls: Loss of the classes; must name `use_sigmoid`.
        loss_bbox: Loss of the boxes, which it gets as x0, y0, x1, y1.
        loss_centerness: Loss of the centre-ness logits.
        bbox_coder: Turns distances into boxes when predicting.
        assigner: Replaces the FCOSRangeAssigner that the other arguments describe; its
            `assign_batch` is called.
        box_quality: What the third branch learns: `'centerness'`, or the `'iou'` of the
            predicted box with its target. With the latter all positives count alike in
            the box loss.
        cls_normalizer: What the class loss is divided by: the positives, `'fg'`, their
            running mean, `'moving_fg'`, or the number of locations, `'all'`.
        ambiguity: Which of several boxes a location takes, see FCOSRangeAssigner.
        area_convention: What the area of a box is, see FCOSRangeAssigner.
        smooth_iou: Add 1 to intersection and union, as the authors do; it is passed to
            `loss_bbox`, and holds for the IoU of `box_quality`.
        norm_cfg: Normalisation in the towers.
        cls_predictor_cfg: Arguments of a NormedConv2d in place of the last class layer.
        init_cfg: Initial weights.
        **kwargs: Those of mmdet's AnchorFreeHead: `feat_channels`, `stacked_convs`,
            `strides`, `dcn_on_last_conv`, `conv_bias`, `conv_cfg`, `train_cfg`,
            `test_cfg`. Of the latter these keys count: mmdet's `nms_pre`, `score_thr`,
            `min_bbox_size`, `nms`, `max_per_img`, and those of `score_options`.

    Raises:
        UserError: If an argument or a key of `test_cfg` has an unknown value,
            `loss_cls` is over sigmoids but does not say so, or `smooth_iou` is asked of
            a `loss_bbox` that does not have it.

    Example:
        >>> head = FCOSHead(num_classes=3, in_channels=32, feat_channels=32)
        >>> levels = [torch.zeros(1, 32, n, n) for n in (32, 16, 8, 4, 2)]
        >>> [tuple(maps[0].shape) for maps in head(levels)]
        [(1, 3, 32, 32), (1, 4, 32, 32), (1, 1, 32, 32)]

    Paper: fcos "Multi-level Prediction with FPN"
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        regress_ranges: Sequence[Sequence[float]] = REGRESS_RANGES,
        center_sampling: bool = False,
        center_sample_radius: float = 1.5,
        norm_on_bbox: bool = False,
        centerness_on_reg: bool = False,
        loss_cls: ConfigType = LOSS_CLS,
        loss_bbox: ConfigType = LOSS_BBOX,
        loss_centerness: ConfigType = LOSS_CENTERNESS,
        norm_cfg: OptConfigType = NORM_CFG,
        cls_predictor_cfg: OptConfigType = None,
        init_cfg: MultiConfig = INIT_CFG,
        bbox_coder: ConfigType = BBOX_CODER,
        assigner: OptConfigType = None,
        box_quality: str = 'centerness',
        cls_normalizer: str = 'fg',
        ambiguity: str = 'area',
        area_convention: str = 'mmdet',
        smooth_iou: bool = False,
        **kwargs: Any,
    ) -> None:
        self.regress_ranges = regress_ranges
        self.center_sampling = center_sampling
        self.center_sample_radius = center_sample_radius
        self.norm_on_bbox = norm_on_bbox
        self.centerness_on_reg = centerness_on_reg
        self.cls_predictor_cfg = cls_predictor_cfg
        super().__init__(
            num_classes=num_classes,
            in_channels=in_channels,
            loss_cls=loss_cls,
            loss_bbox=loss_bbox,
            bbox_coder=bbox_coder,
            norm_cfg=norm_cfg,
            init_cfg=init_cfg,
            **kwargs,
        )
        self._check_losses(loss_cls, loss_bbox, smooth_iou)
        check_choice('FCOSHead', 'box_quality', box_quality, ('centerness', 'iou'))
        self.box_quality = box_quality
        self.cls_normalizer = ClsNormalizer(cls_normalizer)
        self.loss_centerness = MODELS.build(loss_centerness)
        score_options(self.test_cfg)  # a wrong value is better found now than later
        self.stride_pairs = [to_2tuple(stride) for stride in self.strides]
        self.assigner = TASK_UTILS.build(
            assigner
            or {
                'type': FCOSRangeAssigner,
                'regress_ranges': regress_ranges,
                'center_sampling': center_sampling,
                'center_sample_radius': center_sample_radius,
                'ambiguity': ambiguity,
                'area_convention': area_convention,
            }
        )

    def _check_losses(
        self, loss_cls: ConfigType, loss_bbox: ConfigType, smooth_iou: bool
    ) -> None:
        if getattr(self.loss_cls, 'use_sigmoid', False) and not self.use_sigmoid_cls:
            raise UserError(
                f'FCOSHead: loss_cls={loss_cls} is over sigmoids but does not say so, '
                'and the head counts its channels by that: add use_sigmoid=True to it'
            )
        if smooth_iou and not hasattr(self.loss_bbox, 'smooth_iou'):
            raise UserError(
                f'FCOSHead: smooth_iou=True, but loss_bbox={loss_bbox} has no such '
                "argument: use type='paperzoo.IoULoss' or 'paperzoo.GIoULoss' in it"
            )
        if smooth_iou:
            self.loss_bbox.smooth_iou = True
        self.smooth_iou = getattr(self.loss_bbox, 'smooth_iou', False)

    def _init_layers(self) -> None:
        super()._init_layers()
        self.conv_centerness = nn.Conv2d(self.feat_channels, 1, 3, padding=1)
        self.scales = nn.ModuleList([Scale(1.0) for _ in self.strides])
        if self.cls_predictor_cfg is not None:
            options = {k: v for k, v in self.cls_predictor_cfg.items() if k != 'type'}
            self.conv_cls = NormedConv2d(
                self.feat_channels, self.cls_out_channels, 1, padding=0, **options
            )

    def forward(
        self, x: Sequence[Float[Tensor, 'images channels _ _']]
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Return class scores, distances and centre-ness logits of each level.

        Args:
            x: The feature map of each level.

        Returns:
            Logits (images, classes, height, width), distances (images, 4, height,
            width) and logits (images, 1, height, width). The distances are in pixels,
            except in training with `norm_on_bbox`, when they are in strides.

        Raises:
            UserError: If there are more or fewer maps than strides.
        """
        if len(x) != len(self.stride_pairs):
            raise UserError(
                f'bbox_head.strides has {len(self.stride_pairs)} levels, but the neck '
                f'gives {len(x)}: set as many strides and regress_ranges'
            )
        return multi_apply(self.forward_single, x, self.scales, self.stride_pairs)

    def forward_single(
        self,
        x: Float[Tensor, 'images channels height width'],
        scale: Scale,
        stride: Stride,
    ) -> tuple[
        Float[Tensor, 'images classes height width'],
        Float[Tensor, 'images 4 height width'],
        Float[Tensor, 'images 1 height width'],
    ]:
        """Return class scores, distances and centre-ness logits of one level.

        Args:
            x: The feature map of the level.
            scale: The level's own factor.
            stride: Its horizontal and vertical stride.
        """
        cls_score, bbox_pred, cls_feat, reg_feat = super().forward_single(x)
        centerness_pred = self.conv_centerness(
            reg_feat if self.centerness_on_reg else cls_feat
        )
        # An exponential overflows half precision.
        bbox_pred = at_least_float32(scale(bbox_pred))
        if not self.norm_on_bbox:
            bbox_pred = bbox_pred.clamp(max=MAX_EXPONENT).exp()
        else:
            bbox_pred = bbox_pred.clamp(min=0)
            if not self.training:
                bbox_pred = bbox_pred * per_side(stride, bbox_pred)
        return cls_score, bbox_pred, centerness_pred

    def get_targets(
        self,
        points: list[Float[Tensor, '_ 2']],
        batch_gt_instances: InstanceList,
    ) -> tuple[list[Int[Tensor, ' _']], list[Float[Tensor, '_ 4']]]:
        """Return what every location of a batch should predict, as mmdet does.

        Args:
            points: x and y of the points of each level.
            batch_gt_instances: `bboxes` and `labels` of each image.

        Returns:
            For each level, images one after the other: labels (images * points), where
            `num_classes` is background, and distances (images * points, 4), zero on
            background, in strides if `norm_on_bbox`.

        Paper: fcos "Multi-level Prediction with FPN"
        """
        labels, ltrb = self.batch_targets(
            points,
            [get_box_tensor(gt.bboxes) for gt in batch_gt_instances],
            [gt.labels for gt in batch_gt_instances],
        )
        sizes = [len(level) for level in points]
        return (
            [level.flatten() for level in labels.split(sizes, dim=1)],
            [level.flatten(0, 1) for level in ltrb.split(sizes, dim=1)],
        )

    @torch.no_grad()
    def batch_targets(
        self,
        points: list[Float[Tensor, '_ 2']],
        boxes: list[Float[Tensor, '_ 4']],
        labels: list[Int[Tensor, ' _']],
    ) -> tuple[Int[Tensor, 'images points'], Float[Tensor, 'images points 4']]:
        """Return the class and the distances of all points of all images; tensors only.

        Args:
            points: x and y of the points of each level.
            boxes: The boxes of each image.
            labels: Their classes.

        Paper: fcos Eq. 1
        """
        gt_inds = self.assigner.assign_batch(points, self.stride_pairs, boxes)
        # Entry 0 is the background, so an image without boxes is no special case.
        every_label, every_box = (
            pad_sequence(list(one), batch_first=True) for one in (labels, boxes)
        )
        every_label = nn.functional.pad(every_label, (1, 0), value=self.num_classes)
        every_box = nn.functional.pad(every_box, (0, 0, 1, 0))
        box = every_box.gather(1, gt_inds[..., None].expand(-1, -1, 4))
        # Of a list of its own: a compiled graph takes no subclass of it.
        ltrb = encode_ltrb(torch.cat(list(points)), box)
        if self.norm_on_bbox:
            ltrb = ltrb / self.units(points)
        ltrb = torch.where(gt_inds[..., None] > 0, ltrb, 0.0)
        return every_label.gather(1, gt_inds), ltrb

    def units(self, points: list[Float[Tensor, '_ 2']]) -> Float[Tensor, 'points 4']:
        """Return what `norm_on_bbox` divides distances by: the stride of each side.

        Args:
            points: x and y of the points of each level.
        """
        units = []
        for level, (horizontal, vertical) in zip(
            points, self.stride_pairs, strict=True
        ):
            # Filled on the device: a tensor made of a list would be copied to it.
            units.append(level.new_full((len(level), 4), horizontal))
            units[-1][:, 1::2] = vertical
        return torch.cat(units)

    def loss_by_feat(
        self,
        cls_scores: list[Float[Tensor, 'images classes _ _']],
        bbox_preds: list[Float[Tensor, 'images 4 _ _']],
        centernesses: list[Float[Tensor, 'images 1 _ _']],
        batch_gt_instances: InstanceList,
        batch_img_metas: list[dict],
        batch_gt_instances_ignore: list[InstanceData | None] | None = None,
    ) -> dict[str, Tensor]:
        """Return the three losses of a batch.

        Args:
            cls_scores: Class logits of each level.
            bbox_preds: Distances of each level.
            centernesses: Centre-ness logits of each level.
            batch_gt_instances: `bboxes` and `labels` of each image.
            batch_img_metas: Not used.
            batch_gt_instances_ignore: Not used.

        Paper: fcos Eq. 2
        """
        points = pyramid_points(
            [(level.size(-2), level.size(-1)) for level in bbox_preds],
            self.stride_pairs,
            bbox_preds[0].dtype,
            bbox_preds[0].device,
        )
        labels, targets = self.get_targets(points, batch_gt_instances)
        images = len(batch_gt_instances)
        inputs = self.loss_inputs(
            _flatten(cls_scores),
            _flatten(bbox_preds),
            _flatten(centernesses).squeeze(-1),
            torch.cat([level.unflatten(0, (images, -1)) for level in labels], dim=1),
            torch.cat([level.unflatten(0, (images, -1)) for level in targets], dim=1),
        )
        return self.losses(inputs)

    def loss_inputs(
        self,
        scores: Float[Tensor, 'images points channels'],
        ltrb: Float[Tensor, 'images points 4'],
        quality: Float[Tensor, 'images points'],
        labels: Int[Tensor, 'images points'],
        ltrb_targets: Float[Tensor, 'images points 4'],
    ) -> dict[str, LossInput]:
        """Return what each loss compares; tensors only, of static shapes.

        Args:
            scores: Class logits.
            ltrb: Predicted distances.
            quality: Logits of the centre-ness or of the IoU.
            labels: Classes, `num_classes` on background.
            ltrb_targets: True distances, in the unit of the predicted ones.

        Returns:
            By the name of the loss, which is also the name of its module in the head.

        Paper: fcos Eq. 2
        """
        scores, labels = scores.flatten(0, 1), labels.flatten()
        positive = (labels >= 0) & (labels < self.num_classes)
        num_pos = reduce_mean(positive.sum().float())
        num_all = reduce_mean(num_pos.new_full((), len(labels)))
        divisor = self.cls_normalizer(num_pos, num_all)
        # Where there is no object, a unit box stands for prediction and target alike:
        # the loss is finite there, and its weight of 0 and where() leave no gradient.
        there = positive.unsqueeze(-1)
        boxes = self._box_inputs(
            torch.where(there, ltrb.flatten(0, 1), 1.0),
            torch.where(there, ltrb_targets.flatten(0, 1), 1.0),
            quality.flatten(),
            positive.to(ltrb.dtype),
            num_pos.clamp(min=1.0),
        )
        return {'loss_cls': LossInput(scores, labels, None, divisor), **boxes}

    def _box_inputs(
        self,
        ltrb: Float[Tensor, 'rows 4'],
        ltrb_targets: Float[Tensor, 'rows 4'],
        quality: Float[Tensor, ' rows'],
        positive: Float[Tensor, ' rows'],
        num_pos: Float[Tensor, ''],
    ) -> dict[str, LossInput]:
        """Return what the losses of boxes and of their quality compare.

        Args:
            ltrb: Predicted distances.
            ltrb_targets: True distances.
            quality: Logits of the centre-ness or of the IoU.
            positive: 1 where there is an object, 0 elsewhere.
            num_pos: How many there are, at least 1.

        Paper: fcos Eq. 3
        Differs: like the authors' code, the box loss is weighted by centre-ness and
            divided by its sum, except with `box_quality='iou'`.
        """
        # No box loss depends on where a pair lies. At the origin corners are distances,
        # at x = 1000 their difference has lost three of float32's seven digits.
        origin = ltrb.new_zeros(2)
        boxes, targets = decode_ltrb(origin, ltrb), decode_ltrb(origin, ltrb_targets)
        if self.box_quality == 'iou':
            iou, _ = aligned_iou_union(boxes, targets, smooth=self.smooth_iou)
            goal, weight, divisor = iou.detach() * positive, positive, num_pos
        else:
            goal = weight = centerness(ltrb_targets) * positive
            divisor = reduce_mean(weight.sum()).clamp(min=1e-6)
        return {
            'loss_bbox': LossInput(boxes, targets, weight, divisor),
            'loss_centerness': LossInput(quality, goal, positive, num_pos),
        }

    def losses(
        self, inputs: dict[str, LossInput], per_location: bool = False
    ) -> dict[str, Tensor]:
        """Return the three losses, or how much each location adds to them.

        Args:
            inputs: Of `loss_inputs`.
            per_location: Return the summands of each loss, (images * points): class
                losses summed over the classes; on background those of box and
                centre-ness are 0.

        Paper: fcos Eq. 2
        """
        reduce = loss_per_row if per_location else reduced_loss
        losses = {
            name: reduce(getattr(self, name), one) for name, one in inputs.items()
        }
        if getattr(self.loss_cls, 'custom_accuracy', False):
            losses.update(self.loss_cls.get_accuracy(*inputs['loss_cls'][:2]))
        return losses

    def _predict_by_feat_single(
        self,
        cls_score_list: list[Tensor],
        bbox_pred_list: list[Tensor],
        score_factor_list: list[Tensor],
        mlvl_priors: list[Tensor],
        img_meta: dict,
        cfg: Any,
        rescale: bool = False,
        with_nms: bool = True,
    ) -> InstanceData:
        """Return the detections of one image; the arguments are mmdet's.

        Paper: fcos "Center-ness"
        """
        cfg = self.test_cfg if cfg is None else cfg
        maps = cls_score_list, bbox_pred_list, score_factor_list
        found = self.candidates(*maps, mlvl_priors, img_meta['img_shape'], cfg)
        size = cfg.get('min_bbox_size', -1)
        if found.there is not None and size >= 0:
            # What is too small goes in the same wait, and need not be looked for again.
            boxes = in_image(found.bboxes, img_meta) if rescale else found.bboxes
            found = found._replace(there=found.there & are_larger(boxes, size))
            cfg = ConfigDict({**cfg, 'min_bbox_size': -1})
        found = found.alone()
        results = InstanceData(
            bboxes=found.bboxes, scores=found.scores, labels=found.labels
        )
        return self._bbox_post_process(results, cfg, rescale, with_nms, img_meta)

    def candidates(
        self,
        cls_scores: list[Float[Tensor, 'channels _ _']],
        bbox_preds: list[Float[Tensor, '4 _ _']],
        centernesses: list[Float[Tensor, '1 _ _']],
        points: list[Float[Tensor, '_ 2']],
        img_shape: Sequence[int],
        cfg: Any,
    ) -> Candidates:
        """Return the boxes of one image from which the detections are chosen.

        Args:
            cls_scores: Class logits of each level.
            bbox_preds: Distances of each level, in pixels.
            centernesses: Centre-ness logits of each level.
            points: x and y of the points of each level.
            img_shape: Height and width of the image, to which boxes are clipped.
            cfg: A `test_cfg`, of which `score_thr`, `nms_pre` and the keys of
                `score_options` count.

        Paper: fcos "Center-ness"
        """
        options = score_options(cfg)
        fixed = torch.compiler.is_compiling() or points[0].device.type != 'cpu'
        choose: Any = padded_candidates if fixed else level_candidates
        kept, start = [], 0
        for logits, distances, quality, places in zip(
            cls_scores, bbox_preds, centernesses, points, strict=True
        ):
            point, label, score, *there = choose(
                self.class_scores(logits.permute(1, 2, 0).flatten(0, 1)),
                quality.flatten().sigmoid(),
                cfg.get('score_thr', 0),
                cfg.get('nms_pre', -1),
                options,
            )
            # Only what is kept is gathered and decoded.
            ltrb = distances.flatten(1)[:, point].T
            kept.append((ltrb, places[point], point + start, label, score, *there))
            start += len(places)
        every = map(torch.cat, zip(*kept, strict=True))
        ltrb, places, chosen, labels, scores, *there = every
        bboxes = self.bbox_coder.decode(places, ltrb, max_shape=img_shape)
        return Candidates(chosen, labels, scores, bboxes, *there)

    def class_scores(
        self, logits: Float[Tensor, 'points channels']
    ) -> Float[Tensor, 'points classes']:
        """Return the probability of each class, background left out."""
        if getattr(self.loss_cls, 'custom_cls_channels', False):
            return self.loss_cls.get_activation(logits)
        if self.use_sigmoid_cls:
            return logits.sigmoid()
        return logits.softmax(-1)[:, :-1]

    def _bbox_post_process(
        self,
        results: InstanceData,
        cfg: Any,
        rescale: bool = False,
        with_nms: bool = True,
        img_meta: dict | None = None,
    ) -> InstanceData:
        """Return the candidates in the image's own size, after suppression.

        The arguments are mmdet's.
        """
        if rescale and img_meta is not None:
            results.bboxes = in_image(results.bboxes, img_meta)
        results = drop_small(results, cfg.get('min_bbox_size', -1))
        if not with_nms or len(results) == 0:
            return results
        return suppress(results, cfg.nms, cfg.max_per_img)


def _flatten(maps: list[Tensor]) -> Tensor:
    """Return the maps of all levels as (images, points, channels)."""
    return torch.cat([level.flatten(2).transpose(1, 2) for level in maps], dim=1)

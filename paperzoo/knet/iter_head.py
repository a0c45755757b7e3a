"""The stages one after the other: their outputs, and the losses of all of them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from mmengine.model import BaseModule, ModuleList
from mmengine.structures import InstanceData
from torch import Tensor

from paperzoo.common import rename_on_load
from paperzoo.errors import UserError
from paperzoo.knet.assigner import Matching, build_assigner
from paperzoo.knet.init_head import InitialKernels
from paperzoo.knet.kernels import assemble_group_features, group_pixels, upsample
from paperzoo.knet.targets import GroundTruth, KernelTargets
from paperzoo.knet.update_head import KNetKernelUpdateHead, StageOutput
from paperzoo.registry import MODELS

Config = dict[str, Any]
# The logit of a kernel that has no class: a probability of 2e-9.
NO_CLASS = -20.0


class Prediction(NamedTuple):
    """Classes and upsampled masks, of one stage or of the initial kernels.

    Attributes:
        cls_score: Class logits, (images, kernels, classes); None without classes.
        mask_preds: Mask logits, (images, kernels, height, width).
    """

    cls_score: Tensor | None
    mask_preds: Tensor


@MODELS.register_module()
class KNetKernelIterHead(BaseModule):
    """Chains kernel update stages and assigns objects to their kernels.

    The masks of a stage group the pixels of the next; its upsampled masks go to loss
    and result. The kernels of each stage learn the objects that the predictions before
    them match best; the first two assignments know no classes.

    Args:
        num_stages: Number of stages. 0 is the ablation: kernels stay as they begin,
            and their classes are those of the pixels of their masks.
        recursive: All stages share their weights.
        assign_stages: How many stages are assigned anew; later ones keep the last
            assignment.
        stage_loss_weights: Weight of each stage's losses, by default 1.
        num_proposals: Number of thing kernels.
        num_thing_classes: Number of thing classes.
        num_stuff_classes: Number of stuff classes.
        mask_head: Arguments of the `KNetKernelUpdateHead`s: one for all, or a list.
        do_panoptic: Results are panoptic maps, not instances; stuff kernels take part.
        post_assign: A stage is assigned by its own predictions.
        hard_target: Masks of objects are made hard in the losses.
        proposal_feature_channel: Not used; the authors' configs name it.
        train_cfg: Of each stage, `assigner` and `pos_weight`; one for all, or a list.
        test_cfg: Of the results, see `paperzoo.knet.KNet`.
        init_cfg: Initial weights.

    Raises:
        UserError: If a list has not one entry for each stage, no stage is assigned, or
            `mask_head` has other classes than this head, no classes, or masks of
            another size than the masks given to it, or an assigner is none of K-Net's.

    Example:
        >>> size = {'in_channels': 16, 'out_channels': 16, 'feedforward_channels': 32}
        >>> mask_head = {'num_classes': 3, **size}
        >>> head = KNetKernelIterHead(2, num_thing_classes=3, mask_head=mask_head)
        >>> len(head.stages)
        2

    Paper: knet "K-Net"
    """

    def __init__(
        self,
        num_stages: int = 3,
        recursive: bool = False,
        assign_stages: int = 5,
        stage_loss_weights: Sequence[float] | None = None,
        num_proposals: int = 100,
        num_thing_classes: int = 80,
        num_stuff_classes: int = 0,
        mask_head: Config | Sequence[Config] | None = None,
        *,
        do_panoptic: bool = False,
        post_assign: bool = False,
        hard_target: bool = False,
        proposal_feature_channel: int = 256,
        train_cfg: Config | Sequence[Config] | None = None,
        test_cfg: Config | None = None,
        init_cfg: Config | list[Config] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.num_stages = num_stages
        self.assign_stages = assign_stages
        self.num_proposals = num_proposals
        self.num_thing_classes = num_thing_classes
        self.num_stuff_classes = num_stuff_classes
        self.do_panoptic = do_panoptic
        self.post_assign = post_assign
        self.hard_target = hard_target
        self.test_cfg = test_cfg
        self.stage_loss_weights = _per_stage(
            'stage_loss_weights', stage_loss_weights or 1.0, num_stages
        )
        options = _per_stage('train_cfg', train_cfg or {}, num_stages)
        self.assigners = [build_assigner(one.get('assigner')) for one in options]
        self.pos_weights = [option.get('pos_weight', 1.0) for option in options]
        heads = [
            MODELS.build({'type': KNetKernelUpdateHead, **config})
            for config in _per_stage('mask_head', mask_head or {}, num_stages)
        ]
        self.stages = ModuleList(heads[:1] * num_stages if recursive else heads)
        self._check()
        rename_on_load(self, {'mask_head': 'stages'})

    def forward(self, start: InitialKernels) -> list[StageOutput]:
        """Return what each stage predicts.

        Args:
            start: What the first stage starts from.
        """
        outputs = []
        kernels, masks = start.kernels, start.mask_preds
        for stage in self.stages:
            output = stage(start.features, kernels, masks)
            kernels, masks = output.kernels, output.mask_preds
            outputs.append(output)
        return outputs

    def last(self, start: InitialKernels) -> Prediction:
        """Return the last stage's classes and upsampled masks.

        Args:
            start: What the first stage starts from.

        Raises:
            UserError: If there are no stages and no branch classifies pixels.
        """
        if not self.num_stages:
            return Prediction(class_of_pixels(start), start.mask_preds)
        cls_score, masks, _ = self(start)[-1]
        return Prediction(
            cls_score, upsample(masks, self.stages[-1].mask_upsample_stride)
        )

    def predictions(self, start: InitialKernels) -> list[Prediction]:
        """Return the initial and each stage's predictions, masks upsampled.

        Args:
            start: What the first stage starts from.
        """
        outputs = self(start)
        if not self.num_stages:
            return [Prediction(None, start.mask_preds)]
        stride = self.stages[0].mask_upsample_stride
        found = [Prediction(None, upsample(start.mask_preds, stride))]
        for stage, (cls_score, masks, _) in zip(self.stages, outputs, strict=True):
            masks = upsample(masks, stage.mask_upsample_stride)
            found.append(Prediction(cls_score, masks))
        return found

    def matchings(
        self,
        predictions: Sequence[Prediction],
        ground_truths: Sequence[GroundTruth],
        places: Sequence[str],
    ) -> list[Matching]:
        """Return the assignments to make, images of the first stage first.

        Args:
            predictions: The initial and each stage's predictions.
            ground_truths: What each image has.
            places: Name of each image.
        """
        # Only thing kernels and thing classes are matched.
        things, classes = self.num_proposals, self.num_thing_classes
        matchings = []
        for stage in range(min(self.num_stages, self.assign_stages)):
            scores, masks = predictions[stage + 1 if self.post_assign else stage]
            for image, (gt, place) in enumerate(
                zip(ground_truths, places, strict=True)
            ):
                data = {'masks': masks[image, :things].detach()}
                if scores is not None:
                    data['scores'] = scores[image, :things, :classes].detach()
                objects = InstanceData(masks=gt.masks, labels=gt.labels)
                where = f'stage {stage}, {place}'
                matchings.append(
                    Matching(
                        self.assigners[stage], InstanceData(**data), objects, where
                    )
                )
        return matchings

    def loss_by_feat(
        self, predictions: Sequence[Prediction], targets: Sequence[KernelTargets]
    ) -> dict[str, Tensor]:
        """Return the losses of all stages.

        Args:
            predictions: The initial and each stage's predictions.
            targets: What the kernels of each stage learn.
        """
        losses = {}
        for number, stage in enumerate(self.stages):
            found = stage.loss_by_feat(*predictions[number + 1], targets[number])
            weight = self.stage_loss_weights[number]
            for key, value in found.items():
                value = value * weight if 'loss' in key else value
                losses[f's{number}_{key}'] = value
        return losses

    def _check(self) -> None:
        """Refuse stages that a detector cannot train."""
        if self.num_stages and self.assign_stages < 1:
            raise UserError(
                f'assign_stages={self.assign_stages} in roi_head: at least the first '
                'stage needs an assignment; set it to 1 or more'
            )
        classes = self.num_thing_classes, self.num_stuff_classes
        for stage in self.stages:
            found = stage.num_thing_classes, stage.num_stuff_classes
            if found != classes:
                raise UserError(
                    f'mask_head has {found[0]} thing and {found[1]} stuff classes, '
                    f'roi_head {classes[0]} and {classes[1]}: mend num_thing_classes '
                    'and num_stuff_classes of roi_head.mask_head'
                )
            if stage.fc_cls is None:
                raise UserError(
                    'mask_head has with_cls=False: the instances of a detector need '
                    'classes; remove it from roi_head.mask_head'
                )
            if not _keeps_size(stage):
                raise UserError(
                    f'mask_head has feat_gather_stride={stage.feat_gather_stride}: its '
                    'masks would have another size than the initial ones, which learn '
                    'the same targets; set it to 1, or to 2 with '
                    'mask_transform_stride=2 and kernel_size=3 in feat_transform_cfg'
                )


def _keeps_size(stage: KNetKernelUpdateHead) -> bool:
    """Return whether a stage's masks have the size of the masks that it gets."""
    if stage.feat_gather_stride == 1:
        return True
    conv = getattr(stage.feat_transform, 'conv', None)
    # What the stride makes smaller, `mask_transform_stride` (1 or 2) enlarges again.
    # With a kernel of 1 the authors' padding adds a row and a column.
    return (
        conv is not None
        and conv.kernel_size == (3, 3)
        and stage.feat_gather_stride == stage.mask_transform_stride
    )


def class_of_pixels(start: InitialKernels) -> Tensor:
    """Return the mean class logits of the pixels of each mask; none without pixels.

    Args:
        start: The initial kernels.

    Returns:
        (images, kernels, classes).

    Raises:
        UserError: If no branch classifies pixels.

    Example:
        >>> import torch
        >>> masks = torch.tensor([[[[9.0, -9.0]]]])  # one kernel claims one pixel
        >>> seg = torch.tensor([[[[1.0, 5.0]], [[2.0, 6.0]]]])  # two classes
        >>> class_of_pixels(InitialKernels(masks, seg, masks, seg))
        tensor([[[1., 2.]]])
    """
    if start.seg_preds is None:
        raise UserError(
            'KNet without stages (num_stages=0) takes its classes from the semantic '
            'branch: set semantic_fpn=True in rpn_head'
        )
    groups = group_pixels(start.mask_preds)
    pixels = groups.sum(dim=(2, 3))[..., None]
    means = assemble_group_features(start.seg_preds, groups) / pixels.clamp(min=1)
    return means.masked_fill(pixels == 0, NO_CLASS)


def _per_stage(name: str, value: Any, num_stages: int) -> list[Any]:
    """Return one value per stage, given one for all or one for each."""
    if not isinstance(value, list | tuple):
        return [value] * num_stages
    if len(value) != num_stages:
        raise UserError(
            f'{name} has {len(value)} entries, but num_stages={num_stages} in '
            'roi_head: give one per stage, or a single one for all'
        )
    return list(value)

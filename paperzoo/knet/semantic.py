"""Semantic segmentation: any decode head's classes, refined as kernels."""

from collections.abc import Sequence
from typing import Any

from mmengine.model import BaseModule, ModuleList
from mmseg.registry import MODELS as MMSEG_MODELS
from mmseg.utils import SampleList
from torch import Tensor, nn

from paperzoo.errors import UserError
from paperzoo.knet.update_head import KNetKernelUpdateHead, is_mmsegs
from paperzoo.registry import MODELS

Config = dict[str, Any]

# Where mmseg's class has other defaults than ours.
_MMSEG_DEFAULTS: Config = {
    'num_classes': 150,
    'num_mask_fcs': 3,
    'feat_transform_cfg': None,
}


@MODELS.register_module()
class KNetSemanticHead(BaseModule):
    """Takes the class weights of a decode head as kernels, and updates them in stages.

    It takes the arguments of mmseg's `IterativeDecodeHead`, loads its weights, and
    gives its numbers. `threshold`, `sampler`, `out_channels` and the losses are those
    of `kernel_generate_head`.

    Args:
        num_stages: Number of stages.
        kernel_generate_head: Arguments of the decode head whose features, classes and
            class weights the stages start from; `FCNHead`, `PSPHead`, `ASPPHead`,
            `UPerHead`, or another one whose `forward` is `cls_seg` of
            `_forward_feature`.
        kernel_update_head: Arguments of each stage's `KNetKernelUpdateHead`, or of
            mmseg's `KernelUpdateHead`, which it replaces; one for all, or a list.
        init_cfg: Initial weights.

    Raises:
        UserError: If the numbers of stages differ, or the decode head's `forward` is
            more than `cls_seg` of `_forward_feature`.

    Example:
        >>> fcn = {'type': 'mmseg.FCNHead', 'in_channels': 8, 'channels': 8}
        >>> fcn['num_classes'] = 3
        >>> stage = {'in_channels': 8, 'out_channels': 8, 'num_classes': 3}
        >>> len(KNetSemanticHead(2, fcn, stage).kernel_update_head)
        2

    Paper: knet "K-Net"
    Differs: mmseg never initialises its stages as the authors intended; here they are.
        With one output channel a softmax over channels would be 1 everywhere, so a
        sigmoid groups the pixels.
    """

    def __init__(
        self,
        num_stages: int,
        kernel_generate_head: Config,
        kernel_update_head: Config | Sequence[Config],
        *,
        init_cfg: Config | list[Config] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if isinstance(kernel_update_head, dict):
            stages = [kernel_update_head] * num_stages
        else:
            stages = list(kernel_update_head)
        if len(stages) != num_stages:
            raise UserError(
                f'kernel_update_head has {len(stages)} entries, but '
                f'num_stages={num_stages}: give one per stage, or a single one for all'
            )
        self.num_stages = num_stages
        self.kernel_generate_head = MMSEG_MODELS.build(kernel_generate_head)
        _check_forward(self.kernel_generate_head)
        for name in ('align_corners', 'num_classes', 'out_channels', 'threshold'):
            setattr(self, name, getattr(self.kernel_generate_head, name))
        self.ignore_index = self.kernel_generate_head.ignore_index
        self.input_transform = self.kernel_generate_head.input_transform
        self.kernel_update_head = ModuleList(self._stage(config) for config in stages)

    def _stage(self, config: Config) -> KNetKernelUpdateHead:
        several = self.kernel_generate_head.out_channels > 1
        grouping = 'softmax' if several else 'sigmoid'
        semantic = {'grouping': grouping, 'with_cls': False}
        config = {'type': KNetKernelUpdateHead, **semantic, **config}
        if is_mmsegs(config['type'], 'KernelUpdateHead'):
            config = _MMSEG_DEFAULTS | config | {'type': KNetKernelUpdateHead}
        return MODELS.build(config)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor | list[Tensor]:
        """Return the last stage's class logits; in training those of all stages.

        Args:
            inputs: The backbone's feature maps.
        """
        head = self.kernel_generate_head
        features = head._forward_feature(inputs)
        masks = head.cls_seg(features)
        kernels = head.conv_seg.weight.expand(features.size(0), -1, -1, -1, -1)
        stages = [masks]
        for stage in self.kernel_update_head:
            _, masks, kernels = stage(features, kernels, masks)
            stages.append(masks)
        return stages if self.training else masks

    def loss(
        self,
        inputs: Sequence[Tensor],
        batch_data_samples: SampleList,
        train_cfg: Config | None = None,
    ) -> dict[str, Tensor]:
        """Return the losses of a batch.

        Args:
            inputs: The backbone's feature maps.
            batch_data_samples: With `gt_sem_seg`.
            train_cfg: Not used.
        """
        return self.loss_by_feat(self(inputs), batch_data_samples)

    def loss_by_feat(
        self, seg_logits: Sequence[Tensor], batch_data_samples: SampleList
    ) -> dict[str, Tensor]:
        """Return each stage's losses, with `.s{i}` added to their names.

        Args:
            seg_logits: Class logits of each stage, the decode head's first.
            batch_data_samples: With `gt_sem_seg`.
        """
        return {
            f'{key}.s{stage}': value
            for stage, logits in enumerate(seg_logits)
            for key, value in self.kernel_generate_head.loss_by_feat(
                logits, batch_data_samples
            ).items()
        }

    def predict(
        self,
        inputs: Sequence[Tensor],
        batch_img_metas: list[dict[str, Any]],
        test_cfg: Config | None = None,
    ) -> Tensor:
        """Return class logits at the size of the padded images.

        Args:
            inputs: The backbone's feature maps.
            batch_img_metas: What is known of each image.
            test_cfg: Not used.
        """
        return self.predict_by_feat(self(inputs), batch_img_metas)

    def predict_by_feat(
        self, seg_logits: Tensor, batch_img_metas: list[dict[str, Any]]
    ) -> Tensor:
        """Return class logits at the size of the padded images.

        Args:
            seg_logits: The last stage's class logits.
            batch_img_metas: What is known of each image.
        """
        return self.kernel_generate_head.predict_by_feat(seg_logits, batch_img_metas)


def _check_forward(head: nn.Module) -> None:
    """Refuse a decode head that does more than classify its features."""
    owner = next(kind for kind in type(head).__mro__ if 'forward' in vars(kind))
    if '_forward_feature' not in vars(owner):
        raise UserError(
            f'KNetSemanticHead(kernel_generate_head={type(head).__name__}): the '
            'forward of this head is not cls_seg(_forward_feature), so kernels cannot '
            'start from its classes; use FCNHead, PSPHead, ASPPHead or UPerHead'
        )

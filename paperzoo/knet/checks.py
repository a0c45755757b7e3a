"""What must fit together in the parts of K-Net, said before anything runs."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from paperzoo.knet.targets import GroundTruth
from paperzoo.utils.errors import UserError

if TYPE_CHECKING:
    from paperzoo.knet.detector import KNet
    from paperzoo.knet.iter_head import KNetKernelIterHead
    from paperzoo.knet.update_head import KNetKernelUpdateHead


def check_iter_head(head: 'KNetKernelIterHead') -> None:
    """Refuse stages that a detector cannot train.

    Args:
        head: The stages.

    Raises:
        UserError: If their classes differ from the head's, they have none, or their
            masks have another size than the initial ones.
    """
    if head.num_stages and head.assign_stages < 1:
        raise UserError(
            f'assign_stages={head.assign_stages} in roi_head: at least the first '
            'stage needs an assignment; set it to 1 or more'
        )
    classes = head.num_thing_classes, head.num_stuff_classes
    for stage in head.stages:
        found = stage.num_thing_classes, stage.num_stuff_classes
        if found != classes:
            raise UserError(
                f'mask_head has {found[0]} thing and {found[1]} stuff classes, '
                f'roi_head {classes[0]} and {classes[1]}: mend num_thing_classes and '
                'num_stuff_classes of roi_head.mask_head'
            )
        if stage.fc_cls is None:
            raise UserError(
                'mask_head has with_cls=False: the instances of a detector need '
                'classes; remove it from roi_head.mask_head'
            )
        if stage.feat_gather_stride != 1 and not _keeps_size(stage):
            raise UserError(
                f'mask_head has feat_gather_stride={stage.feat_gather_stride}: its '
                'masks would have another size than the initial ones, which learn the '
                'same targets; set it to 1, or to 2 with mask_transform_stride=2 and '
                'kernel_size=3 in feat_transform_cfg'
            )


def _keeps_size(stage: 'KNetKernelUpdateHead') -> bool:
    """Return whether masks that a stride of 2 halves are doubled again."""
    conv = getattr(stage.feat_transform, 'conv', None)
    # With a kernel of 1 the authors' padding adds a row and a column.
    return (
        conv is not None
        and conv.kernel_size == (3, 3)
        and stage.feat_gather_stride == stage.mask_transform_stride == 2
    )


def check_detector(model: 'KNet', things: int | None, stuff: int | None) -> None:
    """Refuse parts of a detector that do not fit each other.

    Args:
        model: The detector.
        things: Number of thing classes that it was given itself.
        stuff: Number of stuff classes that it was given itself.

    Raises:
        UserError: If they do not.
    """
    init_head, iter_head = model.kernel_init_head, model.kernel_iter_head
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
        _same(name, {key: value for key, value in found.items() if value is not None})
    for stage in iter_head.stages:
        size, width = init_head.conv_kernel_size, init_head.init_kernels.in_channels
        sizes = {'rpn_head': size, 'mask_head': stage.conv_kernel_size}
        _same('conv_kernel_size', sizes)
        _same('out_channels', {'rpn_head': width, 'mask_head': stage.out_channels})
    if init_head.cat_stuff_mask != (model.num_stuff_classes > 0):
        raise UserError(
            f'rpn_head has cat_stuff_mask={init_head.cat_stuff_mask} with '
            f'num_stuff_classes={model.num_stuff_classes}: set it to True exactly '
            'if there are stuff classes (panoptic)'
        )


def check_sizes(
    predicted: Mapping[str, Tensor], truth: GroundTruth, mask_assign_stride: int
) -> None:
    """Refuse predicted masks of another size than those of the objects.

    Args:
        predicted: Upsampled masks, (..., height, width), by the argument that
            sets their size.
        truth: That of any image.
        mask_assign_stride: That of the detector.

    Raises:
        UserError: If a size differs.
    """
    height, width = truth.masks.shape[-2:]
    for place, masks in predicted.items():
        if masks.shape[-2:] != (height, width):
            raise UserError(
                f'masks of {height} x {width} pixels are to be learnt '
                f'(mask_assign_stride={mask_assign_stride} of KNet), but those '
                f'predicted have {masks.size(-2)} x {masks.size(-1)} ({place}): set '
                'mask_assign_stride to the stride of the predicted masks, and pad '
                'images to a multiple of 32 (pad_size_divisor of the data preprocessor)'
            )


def _same(name: str, found: Mapping[str, int]) -> None:
    if len(set(found.values())) > 1:
        raise UserError(
            f'{name} differs between the parts of KNet: {dict(found)}; give them the '
            'same number'
        )

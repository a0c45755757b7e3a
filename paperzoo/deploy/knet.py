"""K-Net from pixels to instances or to one map of everything, a batch at once."""

from typing import Any

import torch
from torch import Tensor, nn

from paperzoo.deploy.inputs import Normalize, enlarged, rows_at
from paperzoo.knet.detector import KNet
from paperzoo.knet.panoptic import boxes_around, segment_scores, top_instances
from paperzoo.utils.masks import INSTANCE_OFFSET


class KNetGraph(nn.Module):
    """What instances and panoptic maps share: pixels in, classes and masks out.

    Args:
        model: The detector.
    """

    def __init__(self, model: KNet) -> None:
        super().__init__()
        self.model = model
        self.normalize = Normalize(model.data_preprocessor)
        self.settings: dict[str, Any] = {}

    def network(
        self, images: Tensor, image_size: Tensor, result_size: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return logits of classes (B, K, C), probabilities of masks (B, K, H, W).

        The arguments are those of `forward`.
        """
        scores, masks = self.model(self.normalize(images, image_size), mode='tensor')
        padded = (images.size(2), images.size(3))
        masks = enlarged(masks.sigmoid(), padded, image_size, result_size)
        return scores, masks


class KNetInstanceGraph(KNetGraph):
    """K-Net whose instances have one shape for every batch.

    Args:
        model: A K-Net for instances.

    Example:
        >>> import paperzoo, torch
        >>> from paperzoo.deploy.knet import KNetInstanceGraph
        >>> cfg = paperzoo.load_config('knet_tiny_shapes_instance')
        >>> graph = KNetInstanceGraph(paperzoo.build_model(cfg, 'cpu')).eval()
        >>> size, pixels = torch.tensor([60, 90]), torch.zeros(1, 3, 64, 96).byte()
        >>> graph(pixels, size, size)['masks'].shape
        torch.Size([1, 30, 60, 90])
    """

    def __init__(self, model: KNet) -> None:
        super().__init__(model)
        cfg = model.kernel_iter_head.test_cfg or {}
        self.settings = {
            'max_per_img': int(cfg.get('max_per_img', 100)),
            'mask_thr': float(cfg.get('mask_thr', 0.5)),
        }

    def forward(
        self, images: Tensor, image_size: Tensor, result_size: Tensor
    ) -> dict[str, Tensor]:
        """Return `boxes`, `scores`, `labels` and `masks` (B, K, h, w), the best first.

        Args:
            images: Pixels, (B, 3, H, W), uint8.
            image_size: Height and width of what is no padding.
            result_size: Height and width of the masks.
        """
        logits, masks = self.network(images, image_size, result_size)
        scores, labels, kernels = top_instances(logits, self.settings['max_per_img'])
        inside = masks > self.settings['mask_thr']
        return {
            'boxes': rows_at(boxes_around(inside), kernels),
            'scores': scores,
            'labels': labels,
            'masks': rows_at(inside, kernels),
        }


class KNetPanopticGraph(KNetGraph):
    """K-Net with the merge of its segments as tensors: no loop over kernels.

    Args:
        model: A panoptic K-Net.

    Example:
        >>> import paperzoo, torch
        >>> from paperzoo.deploy.knet import KNetPanopticGraph
        >>> cfg = paperzoo.load_config('knet_tiny_shapes_panoptic')
        >>> graph = KNetPanopticGraph(paperzoo.build_model(cfg, 'cpu')).eval()
        >>> size, pixels = torch.tensor([60, 90]), torch.zeros(1, 3, 64, 96).byte()
        >>> graph(pixels, size, size)['panoptic_seg'].shape
        torch.Size([1, 60, 90])
    """

    def __init__(self, model: KNet) -> None:
        super().__init__(model)
        cfg = model.kernel_iter_head.test_cfg or {}
        merge = cfg.get('merge_stuff_thing') or {}
        self.settings = {
            'instance_score_thr': float(merge.get('instance_score_thr', 0.3)),
            'overlap_thr': float(merge.get('overlap_thr', 0.6)),
            'filter_first': bool(merge.get('filter_first', False)),
        }

    def forward(
        self, images: Tensor, image_size: Tensor, result_size: Tensor
    ) -> dict[str, Tensor]:
        """Return `panoptic_seg`, label + 1000 * number of each pixel, (B, h, w).

        Args:
            images: Pixels, (B, 3, H, W), uint8.
            image_size: Height and width of what is no padding.
            result_size: Height and width of the map.
        """
        logits, masks = self.network(images, image_size, result_size)
        things = self.model.num_thing_classes
        proposals = self.model.kernel_iter_head.num_proposals
        scores, labels = segment_scores(logits.sigmoid(), proposals, things)
        classes = things + self.model.num_stuff_classes
        ids = merge_segments(scores, labels, masks, things, classes, **self.settings)
        return {'panoptic_seg': ids}


def merge_segments(
    scores: Tensor,
    labels: Tensor,
    masks: Tensor,
    num_thing_classes: int,
    num_classes: int,
    *,
    instance_score_thr: float,
    overlap_thr: float,
    filter_first: bool,
) -> Tensor:
    """Return the segments of images, (B, h, w).

    As `paperzoo.knet.panoptic.merge_panoptic`, where the arguments are explained, for a
    batch and without a decision in Python.

    Args:
        scores: Of the kernels, (B, K).
        labels: Their classes, (B, K).
        masks: Probabilities, (B, K, h, w).
        num_thing_classes: Number of thing classes.
        num_classes: Number of classes.
        instance_score_thr: Score that a thing must have.
        overlap_thr: Part of its mask that a segment must keep.
        filter_first: Things with a low score do not compete for pixels.

    Example:
        >>> import torch
        >>> from paperzoo.deploy.knet import merge_segments
        >>> masks = torch.tensor([[[[0.9, 0.9, 0.1]], [[0.2, 0.2, 0.8]]]])
        >>> settings = dict(instance_score_thr=0.3, overlap_thr=0.6, filter_first=False)
        >>> scores, labels = torch.tensor([[0.8, 0.7]]), torch.tensor([[1, 2]])
        >>> merge_segments(scores, labels, masks, 2, 3, **settings)
        tensor([[[   1,    1, 1002]]])
    """
    low = (labels < num_thing_classes) & (scores < instance_score_thr)
    weighted = scores[..., None, None] * masks
    if filter_first:
        weighted = weighted.masked_fill(low[..., None, None], -1.0)
    winner = weighted.argmax(1)
    area = (masks >= 0.5).sum((2, 3))
    kernel = torch.arange(scores.size(1), device=scores.device)
    won = (winner[:, None] == kernel[:, None, None]).sum((2, 3))
    kept = ~low & (won > 0) & (area > 0) & (won / area.clamp(min=1) >= overlap_thr)
    # The place of each kernel by falling score, of equals the first: no sort is needed.
    higher = scores[:, None] > scores[:, :, None]
    earlier = (scores[:, None] == scores[:, :, None]) & (kernel < kernel[:, None])
    number = ((higher | earlier) & kept[:, None]).sum(2)
    ids = torch.where(kept, labels + INSTANCE_OFFSET * number, num_classes)
    return ids.gather(1, winner.flatten(1)).view_as(winner)

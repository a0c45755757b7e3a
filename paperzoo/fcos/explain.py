"""What an FCOS detector does with one image, as named arrays; nothing is drawn here.

The head's own forward pass, assigner and losses are asked; the head does not know.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from paperzoo.errors import UserError
from paperzoo.fcos.assigner import FCOSRangeAssigner
from paperzoo.fcos.explain_detections import Candidates, Maps, candidates_of, maps_of
from paperzoo.fcos.explain_targets import Truth, truth_of
from paperzoo.fcos.head import FCOSHead


@dataclass(frozen=True)
class FCOSExplanation:
    """Everything; `truth` is None where the image has no annotations."""

    maps: Maps
    candidates: Candidates
    truth: Truth | None


@torch.no_grad()
def explain(model: nn.Module, sample: Any) -> FCOSExplanation:
    """Return what a detector with an FCOS head does with an image.

    Args:
        model: The detector, in evaluation mode.
        sample: `inputs` (1, 3, H, W), `data_sample` and `annotated`, of
            `paperzoo.explain.sample`.

    Raises:
        UserError: If the head has another assigner than FCOSRangeAssigner.
    """
    detector: Any = model
    head: FCOSHead = detector.bbox_head
    if not isinstance(head.assigner, FCOSRangeAssigner):
        raise UserError(
            f'model.bbox_head.assigner is {type(head.assigner).__name__}: what is '
            'explained here is FCOSRangeAssigner; leave out `assigner`'
        )
    maps = maps_of(head, detector.extract_feat(sample.inputs))
    shape = sample.data_sample.img_shape[:2]
    truth = None
    if sample.annotated:
        objects = sample.data_sample.gt_instances
        truth = truth_of(head, maps, objects.bboxes, objects.labels)
    return FCOSExplanation(maps, candidates_of(head, maps, shape), truth)

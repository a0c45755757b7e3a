"""What a file has found, in the fields of mmdet's and mmseg's data samples."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paperzoo.errors import UserError
from paperzoo.runtime.card import Card

Outputs = Mapping[str, NDArray]


class Fields(dict[str, Any]):
    """A dict whose keys are attributes too, as of mmengine's data elements.

    Example:
        >>> from paperzoo.runtime.sample import Fields
        >>> Fields(scores=[0.5]).scores
        [0.5]
    """

    def __getattr__(self, name: str) -> Any:
        """Return the value of a key."""
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def to_dict(self) -> dict[str, Any]:
        """Return a copy, whose keys may be set."""
        return dict(self)


# Of each task: the outputs that it has, by name, and their dimensions behind the first.
OUTPUTS = {
    'detection': {'boxes': 2, 'scores': 1, 'labels': 1},
    'instance': {'boxes': 2, 'scores': 1, 'labels': 1, 'masks': 3},
    'panoptic': {'panoptic_seg': 2},
    'semantic': {'sem_seg': 2},
}


def sample_of(outputs: Outputs, card: Card, size: tuple[int, int], file: str) -> Fields:
    """Return what a file has found in the first image of a call.

    Args:
        outputs: By name, as `OUTPUTS` lists them.
        card: Of the file.
        size: Height and width of the image.
        file: Its name, for messages.

    Raises:
        UserError: If outputs are missing, or of another shape than the card says.

    Example:
        >>> import numpy as np
        >>> from paperzoo.runtime.card import Card
        >>> from paperzoo.runtime.sample import sample_of
        >>> card = Card(task='semantic', model='EncoderDecoder', classes=('road',))
        >>> found = sample_of({'sem_seg': np.zeros((1, 2, 3))}, card, (2, 3), 'a.onnx')
        >>> found.pred_sem_seg.data.shape
        (1, 2, 3)
    """
    wanted = OUTPUTS[card.task]
    for name, dimensions in wanted.items():
        value = outputs.get(name)
        if value is None or value.ndim != dimensions + 1 or not len(value):
            raise UserError(
                f"'{file}' says it is for {card.task}, but its output '{name}' is "
                f'{"missing" if value is None else value.shape}'
            )
    if card.task in ('panoptic', 'semantic'):
        (name,) = wanted
        plane = outputs[name][:1].astype(np.int64)
        _same(plane.shape[1:], size, name, file)
        if card.task == 'panoptic':
            return Fields(ori_shape=size, pred_panoptic_seg=Fields(sem_seg=plane))
        return Fields(ori_shape=size, pred_sem_seg=Fields(data=plane))
    boxes, scores, labels = (outputs[key][0] for key in ('boxes', 'scores', 'labels'))
    _same(boxes.shape, (len(scores), 4), 'boxes', file)
    _same(labels.shape, scores.shape, 'labels', file)
    # Of fewer objects than places the rest has the score 0.
    there = scores > 0
    found = Fields(bboxes=boxes[there], scores=scores[there], labels=labels[there])
    if 'masks' in wanted:
        masks = outputs['masks'][0]
        _same(masks.shape, (len(scores), *size), 'masks', file)
        found['masks'] = masks[there].astype(bool)
    return Fields(ori_shape=size, pred_instances=found)


def _same(shape: tuple, wanted: tuple, name: str, file: str) -> None:
    if tuple(shape) != tuple(wanted):
        raise UserError(
            f"'{file}': its output '{name}' is {tuple(shape)}, not {tuple(wanted)}"
        )

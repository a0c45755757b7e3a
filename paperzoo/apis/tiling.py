"""Large images, piece by piece: objects are found in tiles and put together again."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paperzoo.apis.image_model import ImageModel
from paperzoo.apis.images import check_image_file, file_of, pixels_of
from paperzoo.apis.results import Result
from paperzoo.errors import UserError
from paperzoo.utils.masks import encode

Window = tuple[int, int, int, int]  # left, top, right, bottom
# Share of an object cut off by a tile's edge that a whole one has to cover.
_COVERED = 0.7


def windows(
    width: int, height: int, tile: tuple[int, int], overlap: float
) -> list[Window]:
    """Return tiles of one size that cover an image.

    Args:
        width: Of the image, in pixels.
        height: Of the image.
        tile: Width and height of a tile; one larger than the image is cut.
        overlap: Share of a tile that the next one repeats, at least.

    Raises:
        UserError: If a tile has no pixels, or the overlap is not from 0 to below 1.

    Example:
        >>> from paperzoo.apis.tiling import windows
        >>> windows(100, 40, (60, 60), 0.2)
        [(0, 0, 60, 40), (40, 0, 100, 40)]
    """
    if min(tile) < 1 or not 0 <= overlap < 1:
        raise UserError(
            f'tiles of {tile[0]} x {tile[1]} pixels with an overlap of {overlap:g}: '
            'give a size of at least 1 and an overlap from 0 to below 1'
        )
    columns = _starts(width, min(tile[0], width), overlap)
    rows = _starts(height, min(tile[1], height), overlap)
    return [
        (left, top, left + min(tile[0], width), top + min(tile[1], height))
        for top in rows
        for left in columns
    ]


def _starts(length: int, size: int, overlap: float) -> list[int]:
    step = max(1, int(size * (1 - overlap)))
    count = -(-(length - size) // step) + 1
    # Spread evenly, the last one at the end.
    return [round(n * (length - size) / max(1, count - 1)) for n in range(count)]


def predict_tiled(
    model: ImageModel,
    image: Any,
    tile: tuple[int, int],
    *,
    overlap: float = 0.2,
    batch_size: int = 1,
) -> Result:
    """Return what a model finds in the tiles of an image, as one result.

    What two tiles find is merged by the suppression of the model's own config; an
    object that an edge cuts off gives way to one that covers it. Scores of a semantic
    model are added up.

    Args:
        model: Of boxes, masks or semantic maps.
        image: As in a call of the model.
        tile: Width and height, in pixels.
        overlap: Share of a tile that the next one repeats; objects should fit into it.
        batch_size: How many tiles go through the model at once.

    Raises:
        UserError: If the image cannot be read, the tiles are none, or the model gives
            panoptic maps, whose segments cannot be put together, or is an exported
            file for semantic maps, which gives no scores.

    Example:
        >>> import numpy as np, paperzoo
        >>> from paperzoo.apis.inference import predictor_of
        >>> from paperzoo.apis.tiling import predict_tiled
        >>> cfg = paperzoo.load_config('fcos_tiny_shapes')
        >>> model = predictor_of(paperzoo.build_model(cfg, 'cpu'), cfg, {})
        >>> result = predict_tiled(model, np.zeros((200, 300, 3), np.uint8), (200, 200))
        >>> result.width, result.height
        (300, 200)
    """
    shown, pixels = _read(model, image)
    height, width = pixels.shape[:2]
    places = windows(width, height, tile, overlap)
    parts = [pixels[top:bottom, left:right] for left, top, right, bottom in places]
    found = model(parts, batch_size=batch_size)
    kind = found[0].sample
    if 'pred_panoptic_seg' in kind or not (
        {'pred_instances', 'pred_sem_seg'} & set(kind.keys())
    ):
        raise UserError(
            'tiles are for boxes, masks and semantic maps: the segments of panoptic '
            'maps cannot be put together. Without --tile the image is taken as a whole'
        )
    if 'pred_sem_seg' in kind and 'seg_logits' not in kind:
        raise UserError(
            f'{model!r} gives the class of each pixel, and no scores that could be '
            'added up where tiles overlap. Without --tile the image is taken as a whole'
        )
    merge = _merged_maps if 'pred_sem_seg' in kind else _merged_objects
    sample = merge(model, found, places, (height, width))
    return Result(sample, model.classes, shown, model.score, palette=model.palette)


def _read(model: ImageModel, image: Any) -> tuple[Any, NDArray[np.uint8]]:
    import mmcv

    file = file_of(image)
    if file is not None:
        check_image_file(file)
        return file, mmcv.imread(str(file))
    pixels = pixels_of(image)
    return pixels, pixels


def _merged_maps(
    model: ImageModel,
    found: Sequence[Result],
    places: Sequence[Window],
    shape: tuple[int, int],
) -> Any:
    import torch
    from mmengine.structures import PixelData

    classes = len(model.classes)
    total = torch.zeros(classes, *shape)
    for result, (left, top, right, bottom) in zip(found, places, strict=True):
        logits = result.sample.seg_logits.data
        if len(logits) != classes:  # one channel for two classes
            logits = torch.cat([-logits, logits])
        total[:, top:bottom, left:right] += logits.float().softmax(0)
    sample = found[0].sample.new()
    sample.set_metainfo({'ori_shape': shape})
    sample.pred_sem_seg = PixelData(data=total.argmax(0, keepdim=True))
    return sample


def _merged_objects(
    model: ImageModel,
    found: Sequence[Result],
    places: Sequence[Window],
    shape: tuple[int, int],
) -> Any:
    import torch
    from mmcv.ops import batched_nms
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    boxes, scores, labels, tiles = [], [], [], []
    for number, (result, place) in enumerate(zip(found, places, strict=True)):
        own = torch.as_tensor(result.boxes)
        boxes.append(own + torch.tensor([*place[:2], *place[:2]], dtype=own.dtype))
        scores.append(torch.as_tensor(result.scores))
        labels.append(torch.as_tensor(result.labels))
        tiles.append(torch.full((len(own),), number))
    box, score, label, tile = map(torch.cat, (boxes, scores, labels, tiles))
    whole = ~_replaced(box, label, tile, places, shape)
    numbers = whole.nonzero()[:, 0]
    chosen = numbers
    if len(numbers):  # mmcv's suppression wants something
        cfg = getattr(model, 'cfg', None)  # an exported file has none
        nms = _suppression(cfg.model if cfg else {})
        _, kept = batched_nms(box[numbers], score[numbers], label[numbers], nms)
        chosen = numbers[kept]
    merged = InstanceData(
        bboxes=box[chosen], scores=score[chosen], labels=label[chosen]
    )
    if found[0].masks is not None:
        merged.masks = _pasted(found, places, shape, chosen.tolist())
    return DetDataSample(pred_instances=merged, metainfo={'ori_shape': shape})


def _replaced(
    box: Any, label: Any, tile: Any, places: Sequence[Window], shape: tuple[int, int]
) -> Any:
    """Return which objects an edge cuts off, while another tile has them whole."""
    import torch

    windows = torch.tensor(places)[tile]
    height, width = shape
    inner = windows != torch.tensor([0, 0, width, height])
    cut = ((box - windows).abs() <= 2) & inner
    at_edge = cut.any(1)
    start = torch.maximum(box[:, None, :2], box[None, :, :2])
    end = torch.minimum(box[:, None, 2:], box[None, :, 2:])
    common = (end - start).clamp(min=0).prod(-1)
    area = (box[:, 2:] - box[:, :2]).prod(-1)
    covered = common >= _COVERED * area[:, None]
    other = (tile[:, None] != tile) & (label[:, None] == label)
    # Of two that cover each other, as at one and the same edge, neither gives way.
    larger = area > area[:, None]
    return at_edge & (covered & other & larger).any(1)


def _pasted(
    found: Sequence[Result],
    places: Sequence[Window],
    shape: tuple[int, int],
    chosen: Sequence[int],
) -> list[Any]:
    masks = []
    for result, (left, top, right, bottom) in zip(found, places, strict=True):
        for plane in result.masks if result.masks is not None else ():
            masks.append((plane, slice(top, bottom), slice(left, right)))
    pasted = []
    for number in chosen:
        plane, rows, columns = masks[number]
        whole = np.zeros(shape, bool)
        whole[rows, columns] = plane
        pasted.append(encode(whole))
    return pasted


def _suppression(spec: Any) -> dict[str, Any]:
    """Return the `nms` of a model's own `test_cfg`, or a common one."""
    test = spec.get('test_cfg') or {}
    for one in (test, test.get('rcnn') or {}):
        nms = one.get('nms')
        if isinstance(nms, dict) and 'iou_threshold' in nms:
            return dict(nms)
    return {'type': 'nms', 'iou_threshold': 0.5}

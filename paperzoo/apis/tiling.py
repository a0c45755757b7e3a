"""Large images, piece by piece: objects are found in tiles and put together again."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paperzoo.apis.image_model import ImageModel
from paperzoo.apis.images import file_of, pixels_of
from paperzoo.apis.results import Result
from paperzoo.errors import UserError
from paperzoo.runtime.sample import Fields
from paperzoo.utils.masks import INSTANCE_OFFSET, encode

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
    model are added up. Of panoptic maps a pixel takes the tile in which it lies
    farthest from an edge; things of one class in two tiles become one if they share
    half of the pixels that either has where the tiles overlap, and stuff is one segment
    a class.

    Args:
        model: Of boxes, masks, semantic or panoptic maps.
        image: As in a call of the model.
        tile: Width and height, in pixels.
        overlap: Share of a tile that the next one repeats; objects should fit into it.
        batch_size: How many tiles go through the model at once.

    Raises:
        UserError: If the image cannot be read, the tiles are none, or the model finds
            something else, or is an exported file for semantic maps, which gives no
            scores.

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
    pixels = pixels_of(image)
    height, width = pixels.shape[:2]
    places = windows(width, height, tile, overlap)
    parts = [pixels[top:bottom, left:right] for left, top, right, bottom in places]
    found = model(parts, batch_size=batch_size)
    kind = found[0].sample
    if not {'pred_instances', 'pred_sem_seg', 'pred_panoptic_seg'} & set(kind.keys()):
        raise UserError(
            f'{model!r}: tiles are for boxes, masks and maps. Without --tile the image '
            'is taken as a whole'
        )
    if 'pred_sem_seg' in kind and 'seg_logits' not in kind:
        raise UserError(
            f'{model!r} gives the class of each pixel, and no scores that could be '
            'added up where tiles overlap. Without --tile the image is taken as a whole'
        )
    merge = _merged_objects
    if 'pred_panoptic_seg' in kind:
        merge = _merged_segments
    elif 'pred_sem_seg' in kind:
        merge = _merged_maps
    sample = merge(model, found, places, (height, width))
    shown = file_of(image) or pixels
    return Result(sample, model.classes, shown, model.score, palette=model.palette)


def _merged_maps(
    model: ImageModel,
    found: Sequence[Result],
    places: Sequence[Window],
    shape: tuple[int, int],
) -> Any:
    import torch
    from mmengine.structures import PixelData

    channels = max(2, len(found[0].sample.seg_logits.data))
    total = torch.zeros(channels, *shape)
    for result, (left, top, right, bottom) in zip(found, places, strict=True):
        shares = _shares(model, result.sample.seg_logits.data.float())
        total[:, top:bottom, left:right] += shares
    sample = found[0].sample.new()
    sample.set_metainfo({'ori_shape': shape})
    sample.pred_sem_seg = PixelData(data=total.argmax(0, keepdim=True))
    return sample


def _shares(model: Any, scores: Any) -> Any:
    """Return what each class has of each pixel; the largest is its class."""
    import torch

    if len(scores) > 1:
        return scores.softmax(0)
    # Of two classes in one channel mmseg says how likely the second is.
    limit = torch.full_like(scores, model.model.decode_head.threshold)
    return torch.cat([limit, scores])


def _merged_segments(
    model: ImageModel,
    found: Sequence[Result],
    places: Sequence[Window],
    shape: tuple[int, int],
) -> Any:
    """Return one panoptic map of all tiles, as label + 1000 * number."""
    owner = _owners(places, shape)
    # Segments of all tiles are numbered on; a map of numbers for each tile.
    numbered = np.zeros(shape, np.int64)
    labels: list[int] = []
    things: list[bool] = []
    planes: list[NDArray] = []
    for number, (result, place) in enumerate(zip(found, places, strict=True)):
        own, segments = result.panoptic_seg, result.segments
        assert own is not None
        assert segments is not None
        plane = np.where(own > 0, own + len(labels), 0).astype(np.int64)
        labels += [one['label'] for one in segments]
        things += [one['is_thing'] for one in segments]
        planes.append(plane)
        mine = _at(owner, place) == number
        _at(numbered, place)[mine] = plane[mine]
    joined = _joined(
        planes, places, np.array([-1, *labels]), np.array([False, *things])
    )
    codes, count = np.full(len(joined), len(model.classes)), 0
    for number in np.unique(joined[np.unique(numbered)]).tolist():
        if number:
            count += things[number - 1]
            code = labels[number - 1] + INSTANCE_OFFSET * count * things[number - 1]
            codes[joined == number] = code
    plane = codes[numbered][None]
    return Fields(ori_shape=shape, pred_panoptic_seg=Fields(sem_seg=plane))


def _at(plane: NDArray, place: Window) -> NDArray:
    left, top, right, bottom = place
    return plane[top:bottom, left:right]


def _owners(places: Sequence[Window], shape: tuple[int, int]) -> NDArray[np.int64]:
    """Return for each pixel the tile in which it is farthest from an inner edge."""
    height, width = shape
    best = np.full(shape, -1.0)
    owner = np.zeros(shape, np.int64)
    for number, place in enumerate(places):
        left, top, right, bottom = place
        across, down = np.arange(left, right), np.arange(top, bottom)
        inside = np.minimum(
            np.minimum(
                across - left if left else np.full(len(across), np.inf),
                right - 1 - across if right < width else np.full(len(across), np.inf),
            )[None],
            np.minimum(
                down - top if top else np.full(len(down), np.inf),
                bottom - 1 - down if bottom < height else np.full(len(down), np.inf),
            )[:, None],
        )
        nearer = inside > _at(best, place)
        _at(best, place)[nearer] = inside[nearer]
        _at(owner, place)[nearer] = number
    return owner


def _joined(
    planes: Sequence[NDArray],
    places: Sequence[Window],
    labels: NDArray,
    things: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Return for each number of a segment the least of those that it is one with."""
    least = np.arange(len(labels))
    for label in np.unique(labels[~things]).tolist():
        alike = (labels == label) & ~things
        least[alike] = least[alike].min()
    for first, one in enumerate(places):
        for second in range(first):
            common = _overlap(one, places[second])
            if common is None:
                continue
            here, there = (
                _at(planes[k], _within(common, places[k])) for k in (first, second)
            )
            for number, other in _same_things(here, there, labels, things):
                least[least == least[number]] = least[other]
    return least


def _overlap(one: Window, other: Window) -> Window | None:
    left, top = max(one[0], other[0]), max(one[1], other[1])
    right, bottom = min(one[2], other[2]), min(one[3], other[3])
    return (left, top, right, bottom) if left < right and top < bottom else None


def _within(window: Window, place: Window) -> Window:
    left, top = place[:2]
    return window[0] - left, window[1] - top, window[2] - left, window[3] - top


def _same_things(
    here: NDArray, there: NDArray, labels: NDArray, things: NDArray[np.bool_]
) -> Iterator[tuple[int, int]]:
    """Yield pairs of things that share half of what either has here."""
    pairs, shared = np.unique(
        np.stack([here.ravel(), there.ravel()]), axis=1, return_counts=True
    )
    for (number, other), count in zip(pairs.T.tolist(), shared.tolist(), strict=True):
        if not things[number] or labels[number] != labels[other]:
            continue
        union = (here == number).sum() + (there == other).sum() - count
        if things[other] and 2 * count >= union:
            yield number, other


def _merged_objects(
    model: ImageModel,
    found: Sequence[Result],
    places: Sequence[Window],
    shape: tuple[int, int],
) -> Any:
    boxes, scores, labels, tiles = [], [], [], []
    for number, (result, place) in enumerate(zip(found, places, strict=True)):
        own: Any = result.boxes
        boxes.append(own + np.array([*place[:2], *place[:2]], own.dtype))
        scores.append(result.scores)
        labels.append(result.labels)
        tiles.append(np.full(len(own), number))
    box, score, label, tile = map(np.concatenate, (boxes, scores, labels, tiles))
    numbers = (~_replaced(box, label, tile, places, shape)).nonzero()[0]
    kept = _suppressed(model, box[numbers], score[numbers], label[numbers])
    chosen = numbers[kept]
    merged = Fields(bboxes=box[chosen], scores=score[chosen], labels=label[chosen])
    if found[0].masks is not None:
        merged['masks'] = _pasted(found, places, shape, chosen.tolist())
    return Fields(ori_shape=shape, pred_instances=merged)


def _suppressed(
    model: ImageModel, box: NDArray, score: NDArray, label: NDArray
) -> NDArray[np.int64]:
    """Return which objects the suppression of the model's own config leaves."""
    cfg = getattr(model, 'cfg', None)
    if cfg is None:  # an exported file: plain, with what its card says
        card = getattr(model, 'card', None)
        limit = card.settings.get('iou_threshold', 0.5) if card else 0.5
        return _plain_suppression(box, score, label, float(limit))
    if not len(box):  # mmcv's suppression wants something
        return np.zeros(0, np.int64)
    import torch
    from mmcv.ops import batched_nms

    given = (torch.from_numpy(one) for one in (box, score, label))
    _, kept = batched_nms(*given, _suppression(cfg.model))
    return kept.numpy()


def _plain_suppression(
    box: NDArray, score: NDArray, label: NDArray, limit: float
) -> NDArray[np.int64]:
    area = (box[:, 2:] - box[:, :2]).clip(0).prod(-1)
    rest = np.argsort(-score, kind='stable')
    kept = []
    while len(rest):
        best, rest = rest[0], rest[1:]
        kept.append(best)
        start = np.maximum(box[best, :2], box[rest, :2])
        end = np.minimum(box[best, 2:], box[rest, 2:])
        common = (end - start).clip(0).prod(-1)
        union = (area[best] + area[rest] - common).clip(1e-9)
        rest = rest[(common <= limit * union) | (label[rest] != label[best])]
    return np.array(kept, np.int64)


def _replaced(
    box: NDArray,
    label: NDArray,
    tile: NDArray,
    places: Sequence[Window],
    shape: tuple[int, int],
) -> NDArray[np.bool_]:
    """Return which objects an edge cuts off, while another tile has them whole."""
    windows = np.array(places)[tile]
    height, width = shape
    inner = windows != np.array([0, 0, width, height])
    at_edge = ((np.abs(box - windows) <= 2) & inner).any(1)
    start = np.maximum(box[:, None, :2], box[None, :, :2])
    end = np.minimum(box[:, None, 2:], box[None, :, 2:])
    common = (end - start).clip(0).prod(-1)
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

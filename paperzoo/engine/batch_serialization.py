"""Batches as plain tensors and containers, so that the checking loader reads them.

A checkpoint that names classes is refused by torch's check of pickles. Samples are
written as dicts that say what they were, and only structures of OpenMMLab's kinds are
made again from them, of classes that the model and its data have imported.
"""

from contextlib import suppress
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from mmengine.structures import BaseDataElement

_KIND = '__kind__'


def to_plain(value: Any) -> Any:
    """Return tensors, numbers, strings, lists, tuples and dicts with the same content.

    Args:
        value: A batch, or a part of one. What is not understood becomes its text.

    Example:
        >>> to_plain({'scale': np.float32(0.5), 'file': PurePath('a.jpg')})
        {'scale': 0.5, 'file': 'a.jpg'}
    """
    if isinstance(value, torch.Tensor):
        return value.detach().cpu()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, dict):
        return {key: to_plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [to_plain(inner) for inner in value]
    if isinstance(value, tuple):
        return tuple(to_plain(inner) for inner in value)
    return _tagged(value)


def _tagged(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype.kind in 'biuf':
        # A copy: torch shares memory, and warns about arrays that must not be written.
        return {_KIND: 'array', 'data': torch.from_numpy(value.copy())}
    if isinstance(value, BaseDataElement):
        return {
            _KIND: 'element',
            'class': _path(value),
            'meta': to_plain(dict(value.metainfo_items())),
            'data': to_plain(dict(value.items())),
        }
    name = type(value).__name__
    if name in ('HorizontalBoxes', 'RotatedBoxes', 'QuadriBoxes'):
        tensor = value.tensor.detach().cpu()
        return {_KIND: 'boxes', 'class': _path(value), 'data': tensor}
    if name in ('BitmapMasks', 'PolygonMasks'):
        size = [value.height, value.width]
        masks = to_plain(value.masks)
        return {_KIND: 'masks', 'class': _path(value), 'data': masks, 'size': size}
    return str(value) if isinstance(value, PurePath) else repr(value)


def _path(value: Any) -> str:
    return f'{type(value).__module__}.{type(value).__qualname__}'


def from_plain(value: Any) -> Any:
    """Return what `to_plain` was given.

    Args:
        value: What `to_plain` returned.

    Example:
        >>> from_plain(to_plain({'label': np.array([1, 2])}))
        {'label': array([1, 2])}
    """
    if isinstance(value, list):
        return [from_plain(inner) for inner in value]
    if isinstance(value, tuple):
        return tuple(from_plain(inner) for inner in value)
    if not isinstance(value, dict):
        return value
    kind = value.get(_KIND)
    if kind is None:
        return {key: from_plain(inner) for key, inner in value.items()}
    if kind == 'array':
        return value['data'].numpy()
    if kind == 'element':
        made = _class(value['class'], (BaseDataElement,))(
            metainfo=from_plain(value['meta'])
        )
        for name, inner in value['data'].items():
            made.set_field(from_plain(inner), name)
        return made
    if kind == 'boxes':
        from mmdet.structures.bbox import BaseBoxes

        return _class(value['class'], (BaseBoxes,))(value['data'])
    from mmdet.structures.mask import BitmapMasks, PolygonMasks

    masks = _class(value['class'], (BitmapMasks, PolygonMasks))
    return masks(from_plain(value['data']), *value['size'])


def _class(path: str, kinds: tuple[type, ...]) -> type:
    """Return the class of one of these kinds that has this path; none is imported."""
    for kind in kinds:
        if f'{kind.__module__}.{kind.__qualname__}' == path:
            return kind
        with suppress(ValueError):
            return _class(path, tuple(kind.__subclasses__()))
    raise ValueError(f'a batch cannot hold {path}')

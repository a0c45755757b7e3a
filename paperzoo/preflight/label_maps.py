"""Do label maps hold labels that the model knows? A look at some of them."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from mmseg.datasets import BaseSegDataset
from mmseg.datasets.transforms import LoadAnnotations

from paperzoo.errors import UserError
from paperzoo.preflight.datasets import DataSpec
from paperzoo.preflight.image_files import check_images, evenly_spaced
from paperzoo.preflight.issues import Issue

_LOOK_AT = 20


def reads_maps(data: DataSpec) -> bool:
    """Return whether a data set is one of images and label maps on this machine.

    Args:
        data: The data set.

    Example:
        >>> from mmseg.datasets import ADE20KDataset
        >>> reads_maps(DataSpec('train', {'data_root': 's3://bucket'}, ADE20KDataset))
        False
    """
    built: Any = data.built
    places = [
        data.spec.get('data_root'),
        *(data.spec.get('data_prefix') or {}).values(),
    ]
    return (
        isinstance(built, type)
        and issubclass(built, BaseSegDataset)
        and not any('://' in str(place) for place in places)
    )


def check_maps(data: DataSpec, model: Any) -> list[Issue]:
    """Check images and label maps of one data set.

    Args:
        data: The data set.
        model: Of the config; its heads may name labels that do not count.

    Example:
        >>> from mmseg.datasets import ADE20KDataset
        >>> spec = {'data_root': '/nowhere', 'data_prefix': {'img_path': 'images'}}
        >>> (issue,) = check_maps(DataSpec('train', spec, ADE20KDataset), model={})
        >>> issue.stops
        True
    """
    # mmengine cannot serialize an empty list.
    spec = {**_arguments(data.spec), 'pipeline': [], 'serialize_data': False}
    try:
        dataset: Any = data.built(**spec)
        total = len(dataset)
    except (UserError, FileNotFoundError) as error:
        return [Issue(f'{data.key}: {error}')]
    except TypeError:  # a class of its own kind
        return []
    prefix = f'{data.key}.data_prefix'
    if total == 0:
        text = (
            f"{data.key}: no image is found in '{dataset.data_prefix['img_path']}' "
            f"whose name ends in '{dataset.img_suffix}'\n"
            f'  --cfg-options {prefix}.img_path=FOLDER (relative to data_root), or '
            f'{data.key}.img_suffix=.png'
        )
        return [Issue(text)]
    infos = [dataset.get_data_info(index) for index in evenly_spaced(range(total), 200)]
    images = [Path(info['img_path']) for info in infos]
    issues = check_images(images, f'{prefix}.img_path')
    load = _loader(data.spec)
    if load is None or dataset.metainfo.get('classes') is None:
        return issues
    ignored = ignored_labels(model) | {dataset.ignore_index}
    return issues + _check_labels(dataset, infos, load, ignored, prefix)


def _check_labels(
    dataset: Any,
    infos: list[dict],
    load: LoadAnnotations,
    ignored: set[int],
    prefix: str,
) -> list[Issue]:
    """Return an issue for labels behind the last class, and one for unread maps."""
    count = len(dataset.metainfo['classes'])
    sample = evenly_spaced(infos, _LOOK_AT)
    seen: Counter[int] = Counter()
    example, unread = '', ''
    for info in sample:
        try:
            labels = set(np.unique(load(info)['gt_seg_map']).tolist())
        except OSError as error:
            unread = unread or f'{info["seg_map_path"]}: {error}'
            continue
        if foreign := {one for one in labels - ignored if one >= count}:
            seen.update(foreign)
            example = example or info['seg_map_path']
    key = f'{prefix}.seg_map_path'
    issues = []
    if unread:
        text = f'{key}: a label map cannot be read: {unread}\n  Put it there again.'
        issues.append(Issue(text))
    if seen:
        listed = ', '.join(map(str, sorted(seen)[:5]))
        more = ', ...' if len(seen) > 5 else ''
        text = (
            f'{key}: label maps hold {listed}{more}, but there are {count} classes '
            f'(labels 0 to {count - 1}; {", ".join(map(str, sorted(ignored)))} do not '
            f'count), such as {example}\n'
            '  If 0 is no class in them, set reduce_zero_label=True in all data sets; '
            'else correct the maps, or metainfo.classes and num_classes.'
        )
        issues.append(Issue(text))
    return issues


def _loader(spec: dict) -> LoadAnnotations | None:
    """Return mmseg's loader of label maps, if the pipeline has it."""
    for step in spec.get('pipeline') or ():
        if step['type'] in (
            'LoadAnnotations',
            'mmseg.LoadAnnotations',
            LoadAnnotations,
        ):
            return LoadAnnotations(**_arguments(step))
    return None


def _arguments(spec: dict) -> dict[str, Any]:
    return {key: value for key, value in spec.items() if key != 'type'}


def ignored_labels(node: Any) -> set[int]:
    """Return all values of `ignore_index` in nested dicts and lists.

    Args:
        node: A config, or a part of one.

    Example:
        >>> ignored_labels({'decode_head': [{'ignore_index': 255}, {'loss': {}}]})
        {255}
    """
    if isinstance(node, list | tuple):
        return set().union(*map(ignored_labels, node))
    if not isinstance(node, dict):
        return set()
    own = node.get('ignore_index')
    inner = set().union(*map(ignored_labels, node.values()))
    return inner | {own} if isinstance(own, int) else inner

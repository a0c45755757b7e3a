"""Are label maps maps of labels that the model knows? A raw look at some of them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
from mmseg.datasets import BaseSegDataset
from mmseg.datasets.transforms import LoadAnnotations

from paperzoo.data.formats.folder import image_size
from paperzoo.data.formats.semantic import LoadMappedAnnotations
from paperzoo.errors import UserError
from paperzoo.preflight.built_sets import build_bare
from paperzoo.preflight.datasets import DataSpec
from paperzoo.preflight.image_files import check_images, evenly_spaced
from paperzoo.preflight.issues import Example, Issue
from paperzoo.utils.wording import some

_LOOK_AT = 20
# With more classes than this some are rare, and not missed among few maps.
_MANY = 20


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
    dataset, issues = build_bare(data)
    if dataset is None:
        return issues
    total = len(dataset)
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
    load = _loader(data)
    mapped = isinstance(load, LoadMappedAnnotations)
    root = f'{data.key}.data_root'
    issues = check_images(images, root if mapped else f'{prefix}.img_path')
    if load is None or dataset.metainfo.get('classes') is None:
        return issues
    ignored = ignored_labels(model) | {dataset.ignore_index}
    sample = evenly_spaced(infos, _LOOK_AT)
    key = root if mapped else f'{prefix}.seg_map_path'
    if flaws := _check_raw(sample, load, key):
        return issues + flaws
    return issues + _check_labels(dataset, sample, load, ignored, key)


def _check_raw(sample: list[dict], load: LoadAnnotations, key: str) -> list[Issue]:
    """Return issues of maps that mmseg would misread: it takes 8 bits of anything."""
    flaws: dict[str, list[str]] = {}
    for info in sample:
        file = Path(info['seg_map_path'])
        try:
            if isinstance(load, LoadMappedAnnotations):
                plane = load(info)['gt_seg_map']  # any kind of map may be mapped
            else:
                plane = mmcv.imfrombytes(
                    file.read_bytes(), flag='unchanged', backend=load.imdecode_backend
                ).squeeze()
            size = image_size(Path(info['img_path']))
        except (OSError, UserError, ValueError, SyntaxError, AttributeError):
            continue  # said elsewhere
        for flaw, detail in _raw_flaws(plane, size):
            flaws.setdefault(flaw, []).append(f'{file}: {detail}')
    return [
        Issue(
            f'{key}: {len(where)} of {len(sample)} label maps that were looked at '
            f'{flaw.partition("|")[0]}, such as\n    {where[0]}\n'
            f'  {flaw.partition("|")[2]}'
        )
        for flaw, where in flaws.items()
    ]


def _raw_flaws(plane: np.ndarray, size: tuple[int, int]) -> list[tuple[str, str]]:
    if plane.ndim != 2:
        return [
            (
                'are coloured pictures, not labels|Write the label of each pixel as '
                'its grey value, or as the index of a palette; paperzoo init does so.',
                f'{plane.shape[-1]} channels',
            )
        ]
    found = []
    if plane.dtype != np.uint8 and plane.dtype != bool and plane.max() > 255:
        flaw = 'hold more than 8 bits, of which the upper are cut off'
        remedy = 'Write labels from 0 to 255.'
        found.append((f'{flaw}|{remedy}', f'{plane.dtype}, up to {plane.max()}'))
    if plane.shape[::-1] != size:
        flaw = 'have another size than their image'
        remedy = 'Give image and label map the same size.'
        detail = f'{plane.shape[1]} x {plane.shape[0]}, the image {size[0]} x {size[1]}'
        found.append((f'{flaw}|{remedy}', detail))
    return found


def _check_labels(
    dataset: Any,
    sample: list[dict],
    load: LoadAnnotations,
    ignored: set[int],
    key: str,
) -> list[Issue]:
    """Return issues for labels behind the last class, unread maps, missing classes."""
    names = dataset.metainfo['classes']
    pixels: Counter[int] = Counter()
    maps: Counter[int] = Counter()
    example: Example | None = None
    unread, map_file = '', ''
    for info in sample:
        try:
            labels = load(info)['gt_seg_map']
            values, counts = np.unique(labels, return_counts=True)
        except OSError as error:
            unread = unread or (
                f'a label map cannot be read: {info["seg_map_path"]}: {error}\n'
                '  Put it there again.'
            )
            continue
        except UserError as error:  # of a mapped one, with its file and the remedy
            unread = unread or str(error)
            continue
        pixels.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
        maps.update(values.tolist())
        behind = [one for one in values.tolist() if one >= len(names)]
        if example is None and (odd := sorted(set(behind) - ignored)):
            where = _around(np.isin(labels, odd))
            example = Example(Path(info['img_path']), where, f'label {odd[0]}')
            map_file = info['seg_map_path']
    unreads = [Issue(f'{key}: {unread}')] if unread else []
    seen = sorted(one for one in set(maps) - ignored if one >= len(names))
    if seen and example is not None:
        issue = _beyond(seen, len(names), ignored, map_file, key)
        return [*unreads, replace(issue, examples=(example,))]
    remedy = (
        'Label them, or take them out of the table of classes'
        if isinstance(load, LoadMappedAnnotations)
        else 'Labels must be the places in metainfo.classes, from 0'
    )
    return unreads or _absent(names, pixels, ignored, len(sample), key, remedy)


def _around(pixels: np.ndarray) -> tuple[float, ...]:
    """Return left, top, width and height of the pixels that are set."""
    rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
    left, top = float(columns[0]), float(rows[0])
    return left, top, float(columns[-1]) + 1 - left, float(rows[-1]) + 1 - top


def _beyond(
    seen: list[int], count: int, ignored: set[int], example: str, key: str
) -> Issue:
    return Issue(
        f'{key}: label maps hold {some(seen)}, but there are {count} classes '
        f'(labels 0 to {count - 1}; {", ".join(map(str, sorted(ignored)))} do not '
        f'count), such as {example}\n'
        '  If 0 is no class in them, set reduce_zero_label=True in all data sets; '
        'else correct the maps, or metainfo.classes and num_classes.'
    )


def _absent(
    names: Sequence[str],
    pixels: Counter[int],
    ignored: set[int],
    looked: int,
    key: str,
    remedy: str,
) -> list[Issue]:
    """Return a warning if classes occur nowhere, or nearly nothing counts."""
    total = max(pixels.total(), 1)
    absent = [name for label, name in enumerate(names) if not pixels[label]]
    void = {one: pixels[one] / total for one in sorted(ignored) if pixels[one]}
    most = max(void.values(), default=0)
    if not (absent and (len(names) <= _MANY or len(absent) == len(names))):
        absent = []
    if not absent and most <= 0.9:
        return []
    parts = [f'{some(absent)}: in none of {looked} maps'] if absent else []
    parts += [f'{one} (ignored) covers {share:.0%}' for one, share in void.items()]
    return [
        Issue(
            f'{key}: {"; ".join(parts)}\n  {remedy}; what is ignored is not learned.',
            stops=len(absent) == len(names),
        )
    ]


def _loader(data: DataSpec) -> LoadAnnotations | None:
    """Return the loader of label maps in the pipeline, if it is mmseg's or ours."""
    for kind, room in ((LoadAnnotations, 'mmseg'), (LoadMappedAnnotations, 'paperzoo')):
        step = data.step(kind, kind.__name__, f'{room}.{kind.__name__}')
        if step is not None:
            return kind(**{key: step[key] for key in step if key != 'type'})
    return None


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

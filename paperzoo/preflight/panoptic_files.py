"""Do the PNGs of a panoptic set hold the segments that its JSON names?"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from paperzoo.preflight.image_files import check_images, check_sizes, evenly_spaced
from paperzoo.preflight.issues import Issue

_LOOK_AT = 20


def check_panoptic(dataset: Any, key: str) -> list[Issue]:
    """Compare some PNGs of a built panoptic set with its annotations.

    Args:
        dataset: An mmdet `CocoPanopticDataset` with images.
        key: Its dotted key in the config.

    Example:
        >>> info = {'img_path': 'a.jpg', 'seg_map_path': '/nowhere/a.png', 'width': 4,
        ...         'height': 4, 'segments_info': [{'id': 7}]}
        >>> issues = check_panoptic([info], 'train')
        >>> issues[-1].text.partition(' panoptic')[0]
        'train.data_prefix.seg: 1 of 1'
    """
    infos = [dataset[k] for k in evenly_spaced(range(len(dataset)), 200)]
    files = [Path(info['img_path']) for info in infos]
    sizes = [(info['width'], info['height']) for info in infos]
    issues = check_images(files, f'{key}.data_prefix.img')
    stated = list(zip(files, sizes, strict=True))
    issues += check_sizes(stated, f'{key}.data_prefix.img', f'{key}.ann_file')
    if not infos[0].get('seg_map_path'):
        return issues
    sample = evenly_spaced(infos, _LOOK_AT)
    flaws: dict[str, list[str]] = {}
    for info in sample:
        flaw, detail = _flaw(info)
        if flaw:
            flaws.setdefault(flaw, []).append(f'{info["seg_map_path"]}{detail}')
    for flaw, where in flaws.items():
        examples = '\n'.join(f'    {one}' for one in where[:3])
        issues.append(
            Issue(
                f'{key}.data_prefix.seg: {len(where)} of {len(sample)} panoptic PNGs '
                f'that were looked at {flaw}, such as\n{examples}\n'
                '  A pixel holds the id of its segment as R + 256 G + 65536 B, 0 is '
                'void. Write JSON and PNG by one export.',
                stops=flaw != _UNLISTED or 2 * len(where) > len(sample),
            )
        )
    return issues


_MISSING = 'are missing or no pictures'
_KIND = 'are grey or of 16 bits'
_SIZE = 'have another size than the JSON says'
_EMPTY = 'do not hold a segment that the JSON lists'
_UNLISTED = 'hold segments that the JSON does not list, which count as void'


def _flaw(info: dict) -> tuple[str, str]:
    """Return what is wrong with a PNG, and the detail; '' for nothing."""
    plane = cv2.imread(info['seg_map_path'], cv2.IMREAD_UNCHANGED)
    if plane is None:
        return _MISSING, ''
    if plane.ndim != 3 or plane.dtype != np.uint8:
        return _KIND, f': {plane.dtype}, shape {plane.shape}'
    height, width = plane.shape[:2]
    if (width, height) != (info['width'], info['height']):
        return _SIZE, f': {width} x {height}, not {info["width"]} x {info["height"]}'
    blue, green, red = (plane[..., k].astype(np.int64) for k in range(3))
    held = set(np.unique(red + 256 * green + 65536 * blue).tolist())
    listed = {one['id'] for one in info['segments_info']}
    if empty := sorted(listed - held):
        return _EMPTY, f': segment {empty[0]}'
    if unlisted := sorted(held - listed - {0}):
        return _UNLISTED, f': segment {unlisted[0]}'
    return '', ''

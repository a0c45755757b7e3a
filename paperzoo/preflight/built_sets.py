"""What a data set says of itself when it is built: of any type, where mmengine's is."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.dataset import BaseDataset

from paperzoo.errors import UserError
from paperzoo.preflight.datasets import DataSpec
from paperzoo.preflight.image_files import check_images, check_sizes, evenly_spaced
from paperzoo.preflight.issues import Issue


def check_built(data: DataSpec) -> list[Issue]:
    """Build a data set without its pipeline and ask it.

    Args:
        data: The data set.

    Example:
        >>> from paperzoo.data.coco import CocoDataset
        >>> spec = {'data_root': '/nowhere', 'ann_file': 'a.json'}
        >>> (issue,) = check_built(DataSpec('train', spec, CocoDataset))
        >>> issue.text.partition(' (')[0]
        "train: data set not found: data_root='/nowhere'"
    """
    if '://' in f'{data.spec.get("data_root")} {data.spec.get("ann_file")}':
        return []  # not on this machine
    dataset, issues = build_bare(data)
    if dataset is None:
        return issues
    total = len(dataset)
    if total == 0:
        text = (
            f'{data.key}: the data set is empty\n'
            '  Are ann_file, data_prefix and filter_cfg right?'
        )
        return [Issue(text, stops='.datasets.' not in data.key)]
    if not isinstance(dataset, BaseDataset):
        return []  # it looks at its files itself
    if _is_panoptic(dataset):
        from paperzoo.preflight.panoptic_files import check_panoptic

        return check_panoptic(dataset, data.key)
    infos = [dataset.get_data_info(k) for k in evenly_spaced(range(total), 200)]
    return [*_image_issues(infos, data.key), *_label_issues(dataset, data)]


def build_bare(data: DataSpec) -> tuple[Any, list[Issue]]:
    """Return a data set without its pipeline, or None and what it says of itself.

    Args:
        data: The data set.

    Example:
        >>> build_bare(DataSpec('train', {'times': 2}, len))  # of an unknown kind
        (None, [])
    """
    spec = data.arguments
    if isinstance(data.built, type) and issubclass(data.built, BaseDataset):
        # mmengine cannot serialize an empty list.
        spec |= {'serialize_data': False, 'lazy_init': False, 'pipeline': []}
    try:
        dataset = data.built(**spec)
        len(dataset)
    except (UserError, FileNotFoundError) as error:
        return None, [Issue(f'{data.key}: {error}')]
    except Exception:
        return None, []  # a class of its own kind, whatever it needs
    return dataset, []


def _is_panoptic(dataset: BaseDataset) -> bool:
    try:
        from mmdet.datasets import CocoPanopticDataset
    except ModuleNotFoundError:
        return False
    return isinstance(dataset, CocoPanopticDataset)


def _image_issues(infos: list[dict], key: str) -> Iterator[Issue]:
    files = [Path(info['img_path']) for info in infos if info.get('img_path')]
    yield from check_images(files, f'{key}.data_prefix')
    stated = [
        (Path(info['img_path']), (info['width'], info['height']))
        for info in infos
        if info.get('img_path') and info.get('width') and info.get('height')
    ]
    yield from check_sizes(stated, f'{key}.data_prefix', 'the annotation')


def _label_issues(dataset: Any, data: DataSpec) -> Iterator[Issue]:
    """Yield what is wrong with the labels of objects, where there are any."""
    classes = list(dataset.metainfo.get('classes') or ())
    labels: Counter[int] = Counter()
    for number in range(len(dataset)):
        info = dataset.get_data_info(number)
        if 'instances' not in info:
            return
        labels.update(one.get('bbox_label', 0) for one in info['instances'])
    if not labels and not data.spec.get('test_mode'):
        yield Issue(
            f'{data.key}: none of {len(dataset)} images has an object of the classes '
            f'{classes[:5]}\n  Are metainfo.classes the names in the annotations?',
            stops='.datasets.' not in data.key,
        )
    elif classes and (beyond := [one for one in labels if one >= len(classes)]):
        yield Issue(
            f'{data.key}: objects have the label {max(beyond)}, but there are '
            f'{len(classes)} classes\n  Correct metainfo.classes.'
        )

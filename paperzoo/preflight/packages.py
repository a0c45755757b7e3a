"""Packages that some parts of mmdet and mmseg need and do not bring: found beforehand.

Most of these parts say so when they are built, each in its own way; some name a package
that does not exist, or only fail in the middle of the first step.
"""

from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from typing import Any, NamedTuple

from mmengine.config import Config
from packaging.version import Version

from paperzoo.preflight.config_lines import place_of
from paperzoo.preflight.issues import Issue


class Package(NamedTuple):
    """What has to be installed.

    Example:
        >>> from paperzoo.preflight.packages import Package
        >>> Package('lap', 'pip install lap').module
        'lap'
    """

    module: str
    command: str


_MMPRETRAIN = Package('mmpretrain', 'pip install mmpretrain')
_TRANSFORMERS = Package('transformers', "pip install 'transformers<5'")
_LAP = Package('lap', 'pip install lap')
_SKLEARN = Package('sklearn', 'pip install scikit-learn')
# By the name of the type, without a scope.
_NEEDS = {
    'BaseReID': _MMPRETRAIN,
    'LinearReIDHead': _MMPRETRAIN,
    'ReIDDataPreprocessor': _MMPRETRAIN,
    'BertModel': _TRANSFORMERS,
    'ByteTracker': _LAP,
    'OCSORTTracker': _LAP,
    'PAAHead': _SKLEARN,
    'LADHead': _SKLEARN,
    'BoxInstDataPreprocessor': Package('skimage', 'pip install scikit-image'),
    'MOTChallengeMetric': Package('motmetrics', 'pip install motmetrics'),
    'SORTTracker': Package('motmetrics', 'pip install motmetrics'),
    'Albu': Package('albumentations', 'pip install albumentations'),
    'InstaBoost': Package('instaboostfast', 'pip install instaboostfast'),
    'Detectron2Wrapper': Package(
        'detectron2',
        "pip install 'git+https://github.com/facebookresearch/detectron2.git'",
    ),
}
# The first version in which mmdet's calls are gone.
_TOO_NEW = {'transformers': '5'}


def check_packages(cfg: Config) -> list[Issue]:
    """Return an issue for each package that the model or its data need and that lacks.

    Args:
        cfg: The config.

    Example:
        >>> from paperzoo.preflight.packages import check_packages
        >>> check_packages(Config(dict(model=dict(type='FCOS'))))
        []
    """
    issues: dict[Package, Issue] = {}
    for part in ('model', 'train_dataloader', 'val_dataloader', 'val_evaluator'):
        for kind in types_in(cfg.get(part)):
            needed = _NEEDS.get(kind)
            if needed is None and kind.startswith('mmpretrain.'):
                needed = _MMPRETRAIN
            if needed is None:
                needed = _NEEDS.get(kind.rpartition('.')[2])
            if needed is None or needed in issues:
                continue
            if said := _lacks(needed.module):
                issues[needed] = Issue(
                    f'{kind} needs the package {needed.module}, {said}\n'
                    f'  in {place_of(cfg, kind.rpartition(".")[2])}\n'
                    f'  {needed.command}'
                )
    return list(issues.values())


def types_in(node: Any) -> Iterator[str]:
    """Yield the names of all types in nested dicts and lists.

    Args:
        node: A config, or a part of one.

    Example:
        >>> from paperzoo.preflight.packages import types_in
        >>> list(types_in(dict(model=dict(type='FCOS', neck=dict(type='FPN')))))
        ['FCOS', 'FPN']
    """
    if isinstance(node, dict):
        if 'type' in node:
            kind = node['type']
            yield kind if isinstance(kind, str) else getattr(kind, '__name__', '')
        node = list(node.values())
    if isinstance(node, list | tuple):
        for value in node:
            yield from types_in(value)


def _lacks(module: str) -> str:
    """Return why a package is of no use, '' if it is."""
    if find_spec(module) is None:
        return 'which is not installed'
    limit = _TOO_NEW.get(module)
    if limit:
        version = metadata.version(module)
        if Version(version) >= Version(limit):
            return f'older than version {limit}; {version} is installed'
    return ''

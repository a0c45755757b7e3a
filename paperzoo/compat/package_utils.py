"""mmengine's look at installed packages without `pkg_resources`.

Ailment: `is_installed`, `get_installed_path` and `package2module` of mmengine import
`pkg_resources`, which setuptools 82 removed; with it went `_base_ = 'mmdet::...'`,
`mmengine.hub.get_model` and the inferencers. For an editable install they answer with a
path that does not exist, and `from paperzoo.configs.fcos_r50_fpn import *` in a user's
config finds nothing, because a checkout has its configs beside the package.
Upstream thread: https://github.com/open-mmlab/mmcv/issues/3325 (the same import);
mmengine's main branch uses importlib, but was never released.
Delete when: the supported mmengine no longer imports `pkg_resources`.

They are replaced even where `pkg_resources` still exists: one behaviour, not two.
"""

import sys
from collections.abc import Callable
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path


def is_installed(package: str) -> bool:
    """Return whether `package`, a distribution or an importable module, is there."""
    try:
        metadata.distribution(package)
    except metadata.PackageNotFoundError:
        spec = find_spec(package)
        return spec is not None and spec.origin is not None
    return True


def get_installed_path(package: str) -> str:
    """Return the folder of the module that `package` is or installs.

    Raises:
        PackageNotFoundError: If no distribution and no module has this name.
        RuntimeError: If `package` is a namespace package, which has no single folder.
    """
    try:
        distribution = metadata.distribution(package)
    except metadata.PackageNotFoundError:
        if find_spec(package) is None:
            raise
        return _module_folder(package)
    folder = Path(str(distribution.locate_file(package)))
    if folder.exists():
        return _beside_configs(folder)
    module = package2module(package)
    folder = Path(str(distribution.locate_file(module)))
    # An editable install has its metadata in one place and its modules in another.
    return _beside_configs(folder) if folder.exists() else _module_folder(module)


def package2module(package: str) -> str:
    """Return the name of the (first) module that the distribution `package` installs.

    Raises:
        ValueError: If the distribution's metadata names no module.
    """
    distribution = metadata.distribution(package)
    modules = (distribution.read_text('top_level.txt') or '').split()
    if not modules:
        name = distribution.metadata['Name']
        owners = metadata.packages_distributions().items()
        modules = sorted(module for module, names in owners if name in names)
    if not modules:
        raise ValueError(f'can not infer the module name of {package}')
    return modules[0]


def _module_folder(module: str) -> str:
    spec = find_spec(module)
    if spec is None:
        raise metadata.PackageNotFoundError(module)
    if spec.origin is None:
        raise RuntimeError(f'{module} is a namespace package: it has no single folder')
    return _beside_configs(Path(spec.origin).parent)


def _beside_configs(folder: Path) -> str:
    """Return the folder to which mmengine appends `configs/NAME.py`."""
    checkout = folder.name == 'paperzoo' and not (folder / 'configs').exists()
    return str(folder.parent if checkout else folder)


def apply() -> None:
    """Replace the three functions in every module of mmengine that holds them."""
    if find_spec('mmengine') is None:
        return
    import mmengine.utils.package_utils as home

    for ours in (is_installed, get_installed_path, package2module):
        theirs = getattr(home, ours.__name__)
        _replace(theirs, ours)


def _replace(theirs: Callable, ours: Callable) -> None:
    """Replace a function wherever it was imported from its home by name."""
    for name, module in list(sys.modules.items()):
        if name.partition('.')[0] != 'mmengine':
            continue
        if getattr(module, ours.__name__, None) is theirs:
            setattr(module, ours.__name__, ours)

"""`pkgutil.find_loader` where Python no longer has it.

Ailment: mmengine's `mmcv_full_available` (called for every optimizer wrapper) and
mmcv's `check_ops_exist` call `pkgutil.find_loader`, which Python 3.14 removed.
Upstream thread: none; mmengine/utils/dl_utils/misc.py, mmcv/utils/ext_loader.py.
Delete when: the supported mmengine and mmcv use `importlib.util.find_spec`.
"""

import pkgutil
from importlib.util import find_spec
from typing import Any


def find_loader(fullname: str) -> Any:
    """Return the loader of the module `fullname`, or None if there is no module."""
    spec = find_spec(fullname)
    return None if spec is None else spec.loader


def apply() -> None:
    """Supply the function if it is missing and mmengine is there to call it."""
    if find_spec('mmengine') is not None and not hasattr(pkgutil, 'find_loader'):
        pkgutil.find_loader = find_loader

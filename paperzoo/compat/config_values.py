"""Lets mmdet's tools read a config that imports what it names.

Ailment: the tools that take `${key}` in a config (analyze_results, confusion_matrix,
print_config) copy every config as plain data; of one in MMEngine's newer style the copy
can no longer be written, and a Runner that writes it ends in a SyntaxError. What has no
`${` is given back as it is.
Upstream thread: none.
Delete when: mmdet's replace_cfg_vals keeps a config that was imported lazily.
"""

from functools import wraps
from typing import Any

from paperzoo.utils.when_imported import when_imported


def apply() -> None:
    """Mend mmdet's function, whoever imports it."""
    when_imported('mmdet.utils.replace_cfg_vals', _mend)


def _mend(module: Any) -> None:
    own = module.replace_cfg_vals

    @wraps(own)
    def replace_cfg_vals(ori_cfg: Any) -> Any:
        return own(ori_cfg) if '${' in str(ori_cfg._cfg_dict) else ori_cfg

    module.replace_cfg_vals = replace_cfg_vals

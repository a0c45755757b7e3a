"""All that is wrong with a config and its data, without running anything."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paperzoo.apis.training import config_to_train
from paperzoo.errors import UserError

if TYPE_CHECKING:
    from mmengine.config import Config

    from paperzoo.preflight.issues import Issue


def check(
    config: 'str | Path | Config',
    *,
    cfg_options: Mapping[str, Any] | None = None,
    work_dir: str | Path | None = None,
) -> 'list[Issue]':
    """Return what is wrong with a config and its data, errors first.

    Args:
        config: A path or a bare name, or what `load_config` gives.
        cfg_options: Overrides by dotted key.
        work_dir: Where a training would write.

    Raises:
        UserError: If there is no such config.

    Example:
        >>> from paperzoo.apis.check import check
        >>> options = {'model.bbox_head.num_classes': 8}
        >>> (issue,) = check('fcos_tiny_shapes', cfg_options=options)
        >>> issue.text.partition(',')[0]
        'model.bbox_head.num_classes = 8'
    """
    from paperzoo.preflight.issues import Issue
    from paperzoo.preflight.run import preflight
    from paperzoo.preflight.spelling import check_config

    cfg = config_to_train(config, cfg_options, work_dir)
    try:
        check_config(cfg)
    except UserError as error:
        return [Issue(str(error))]  # with wrong names nothing else is understood
    return sorted(preflight(cfg, ('train', 'val', 'test')), key=_warnings_last)


def _warnings_last(issue: 'Issue') -> bool:
    return not issue.stops

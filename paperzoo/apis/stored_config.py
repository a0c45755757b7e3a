"""The config that a checkpoint holds, read as data: nothing of it is ever run.

MMEngine stores a config as the text of a Python file, and would run it. A checkpoint
may come from anywhere, so here the text is parsed as assignments of literals, and of it
only what a prediction needs is kept. A type is what a registry holds under its name:
the text cannot name anything else, nor have anything imported but parts of OpenMMLab's
packages and of paperzoo. Weights to start from are left out, for the checkpoint brings
them all.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from paperzoo.apis.stack import check_stack
from paperzoo.compat.literals import read_literals
from paperzoo.compat.registered_types import needed_parts, scope_of
from paperzoo.errors import UserError

if TYPE_CHECKING:
    from mmengine.config import Config


def stored_config(meta: Mapping[str, Any], checkpoint: str) -> 'Config':
    """Return what a prediction needs of the config that a checkpoint holds.

    These are `model`, `data_preprocessor`, `default_scope`, `test_pipeline`, and of the
    data loaders the data sets' pipelines and class names.

    Args:
        meta: Of the checkpoint.
        checkpoint: Its file, for messages.

    Raises:
        UserError: If the checkpoint holds no config, or one that is more than literals
            or names a type that no registry holds.

    Example:
        >>> from paperzoo.apis.stored_config import stored_config
        >>> text = "model = dict(type='mmdet.FCOS', bbox_head=dict(num_classes=7))"
        >>> stored_config({'cfg': text}, 'epoch_1.pth').model.bbox_head.num_classes
        7
    """
    from mmengine.config import Config

    text = meta.get('cfg') or meta.get('config')
    if not isinstance(text, str):
        raise UserError(
            f"the checkpoint '{checkpoint}' holds no config: give the one that it was "
            'trained with, config=FILE (a copy lies beside the checkpoints of a '
            'training)'
        )
    try:
        given = read_literals(text)
        scope = scope_of(given)
        check_stack(scope)
        kept = needed_parts(given, scope)
        # The only hook that a prediction follows; what else there is, is not looked at.
        if 'ChannelsLastHook' in str(given.get('custom_hooks')):
            kept['custom_hooks'] = [{'type': 'paperzoo.ChannelsLastHook'}]
        return Config(kept)
    except Exception as error:  # Anything: the text may come from anywhere.
        said = str(error) or type(error).__name__
        raise UserError(
            f"the config in the checkpoint '{checkpoint}' is not used: {said}. Nothing "
            'of it was run. If you have the config, give it: config=FILE'
        ) from error

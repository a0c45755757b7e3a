"""Is the OpenMMLab stack there, do its versions fit? One message says what to do."""

from importlib import import_module, metadata

from paperzoo.errors import UserError

REPAIR = "pip install 'paperzoo[lite]'"
_MORE = 'All that is installed, and what else is wrong with it: paperzoo doctor'

# What each scope needs, in the order in which they import each other.
_NEEDED = {
    'mmengine': ('mmengine',),
    'mmdet': ('mmengine', 'mmcv', 'mmdet'),
    'mmseg': ('mmengine', 'mmcv', 'mmseg'),
}


def check_stack(scope: str | None = None) -> None:
    """Raise one message if a package that a scope needs is missing or does not fit.

    Args:
        scope: The `default_scope` of a config; others than mmdet and mmseg need
            only mmengine.

    Raises:
        UserError: It names the package, what is installed, and the repairing command.

    Example:
        >>> from paperzoo.apis.stack import check_stack
        >>> check_stack('mmdet')
    """
    for package in _NEEDED.get(scope or 'mmengine', ('mmengine',)):
        try:
            import_module(package)
        except ModuleNotFoundError as error:
            if (error.name or '').partition('.')[0] != package:
                raise
            raise UserError(
                f'{package} is not installed (a config with default_scope='
                f"'{scope or 'mmengine'}' needs it). Repair: {REPAIR}\n{_MORE}"
            ) from error
        except AssertionError as error:
            # mmdet and mmseg assert the versions of mmcv and mmengine when imported.
            raise UserError(
                f'{package} refuses the installed versions ({_installed()}): {error}\n'
                f'Repair: {REPAIR}\n{_MORE}'
            ) from error


def _installed() -> str:
    dists = ('torch', 'mmengine', 'mmcv', 'mmcv-lite', 'mmdet', 'mmsegmentation')
    found = []
    for dist in dists:
        try:
            found.append(f'{dist} {metadata.version(dist)}')
        except metadata.PackageNotFoundError:
            continue
    return ', '.join(found)

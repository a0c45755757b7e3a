"""A config that does not build for a misspelt name ends in one message."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from traceback import walk_tb

from mmengine.config import Config

from paperzoo.errors import UserError
from paperzoo.preflight.config_lines import place_of
from paperzoo.preflight.packages import check_packages
from paperzoo.preflight.registered_names import KnownNames
from paperzoo.preflight.signatures import accepted_arguments
from paperzoo.preflight.spelling import check_config, did_you_mean, nearest

_REFUSED = re.compile(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'")
# Whose classes refuse an argument for a reason; code of a user's own is his to see.
_STACK = ('mmengine', 'mmcv', 'mmdet', 'mmseg', 'torch', 'paperzoo')
_RUNNERS = ('mmengine.runner.runner', 'mmengine.runner._flexible_runner')
_BUILDS = ('build_', 'register_', 'from_cfg', 'setup_env', '_check', 'set_randomness')


@contextmanager
def spelling_explained(cfg: Config) -> Iterator[None]:
    """Look for misspelt names only when something of a config does not build.

    Args:
        cfg: The config from which something is built inside the context.

    Raises:
        UserError: If building failed, and a package that is not installed, a misspelt
            name, or a value that a class of the stack refuses, explains it.

    Example:
        >>> from mmengine.config import Config
        >>> cfg = Config({'optim_wrapper': {'optimizer': {'type': 'AdmW'}}})
        >>> try:
        ...     with spelling_explained(cfg):
        ...         raise KeyError('AdmW')
        ... except UserError as error:
        ...     print(str(error).partition('.type')[2].partition('.')[0])
         = 'AdmW' is no known name
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if lacking := check_packages(cfg):
            raise UserError(lacking[0].text) from error
        check_config(cfg)
        if message := _refused_argument(cfg, str(error)) or _not_built(cfg, error):
            raise UserError(message) from error
        raise


@contextmanager
def building_explained(cfg: Config) -> Iterator[None]:
    """Explain what cannot be built while something runs; other errors are left alone.

    MMEngine builds loaders, loops and schedulers only when a training begins.

    Args:
        cfg: The config of what runs inside the context.

    Raises:
        UserError: If something of the config did not build.

    Example:
        >>> with building_explained(Config()):
        ...     pass
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if message := _not_built(cfg, error):
            check_config(cfg)
            raise UserError(message) from error
        raise


def _not_built(cfg: Config, error: Exception) -> str | None:
    """Return a message if a class of the stack does not take what a config gives it.

    None if the error comes from elsewhere: from code of the user's own, whose traceback
    he needs, or from what has been built.
    """
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    place = frames[-1].f_globals.get('__name__', '') if frames else ''
    if place.partition('.')[0] not in _STACK:
        return None
    named = ''
    building = False
    for frame in frames:
        code, module = frame.f_code, frame.f_globals.get('__name__', '')
        if code.co_name == 'build_from_cfg' and module.startswith('mmengine'):
            building = True
            made = frame.f_locals.get('obj_type') or frame.f_locals.get('obj_cls')
            named = getattr(made, '__name__', None) or str(made or named)
        elif module in _RUNNERS:
            building |= code.co_name.startswith(_BUILDS)
    if not building:
        return None
    text = ' '.join(str(error).split())[:400]
    what = f'{named} cannot be built' if named else 'something cannot be built'
    return (
        f'{what}: {type(error).__name__}: {text}\n'
        f'  in {place_of(cfg, named.rpartition(".")[2])}'
    )


def _refused_argument(cfg: Config, text: str) -> str | None:
    """Return a message if a class refused an argument, as of a dict without a type."""
    found = _REFUSED.search(text)
    if found is None:
        return None
    owner, name = found.groups()
    names = KnownNames(cfg.get('default_scope') or 'mmengine', {'paperzoo'})
    takes: set[str] = set()
    for scope in names.scopes.values():
        for built in scope.get(owner, ()):
            takes |= accepted_arguments(built) or set()
    return (
        f"{owner} takes no argument '{name}'{did_you_mean(nearest(name, takes, 0.65))}"
        f'\n  in {place_of(cfg, name)}'
    )

"""A config that does not build for a misspelt name ends in one message."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.config import Config

from paperzoo.errors import UserError
from paperzoo.preflight.config_lines import place_of
from paperzoo.preflight.registered_names import KnownNames
from paperzoo.preflight.signatures import accepted_arguments
from paperzoo.preflight.spelling import check_config, did_you_mean, nearest

_REFUSED = re.compile(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'")


@contextmanager
def spelling_explained(cfg: Config) -> Iterator[None]:
    """Look for misspelt names only when something of a config does not build.

    Args:
        cfg: The config from which something is built inside the context.

    Raises:
        UserError: If building failed and a misspelt name explains it.

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
        check_config(cfg)
        if message := _refused_argument(cfg, str(error)):
            raise UserError(message) from error
        raise


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

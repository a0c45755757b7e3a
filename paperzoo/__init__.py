"""paperzoo: papers as MMEngine components. Importing it loads neither torch nor mm*."""

from importlib import import_module

import lazy_loader

from paperzoo.startup import attach

__version__ = '0.2.0'

# Names and their files are in __init__.pyi: each is imported when it is asked for.
_named, _names, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    if name == 'explain':  # a room, which is called like the function in it
        return import_module('paperzoo.explain')
    return _named(name)


def __dir__() -> list[str]:
    return [*_names(), 'explain']


attach()

"""paperzoo: papers as MMEngine components. Importing it loads neither torch nor mm*."""

import lazy_loader

from paperzoo.startup import attach

__version__ = '0.1.0'

# Names and their files are in __init__.pyi: each is imported when it is asked for.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

attach()

import paperzoo.explain.api as _explain

from . import attention as attention
from . import can as can
from . import dmf as dmf
from . import fcos as fcos
from . import feat as feat
from . import knet as knet
from .apis.build import build_model as build_model
from .apis.config import load_config as load_config
from .apis.export import export as export
from .apis.inference import load as load
from .apis.training import train as train

# A room that is called like the function in it.
explain = _explain.explain
__version__: str

"""Metrics: what a trained model is measured by, and the results that it gives.

Some of the metrics need mmdet, others do not.
"""

import lazy_loader

# Names and their files are in __init__.pyi: each is imported when it is asked for.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""Pages that answer what a paper's reader asks about a model and an image of his.

    report = paperzoo.explain('fcos_tiny_shapes', 'data/shapes/val', checkpoint='w.pth')
    report.save('report.html')

A paper's folder has two parts: `trace.py` records arrays while the model's own
methods run, and `page.py` says what they mean (`sections`). One renderer, in `html/`,
draws all pages: the next paper's page is a folder and a line in `PAGES`.

Files: api.py, `explain` itself; several.py, many models on one sample, where a paper's
`page_several.py` draws them; pages.py, which page is whose; recording.py, calls of
methods; sample.py, an image as the model gets it; hook.py, pictures during a training;
marks.py, points and boxes of several pages; html/, figures, pixels, the HTML file.
"""

import sys
from types import ModuleType
from typing import Any

import lazy_loader

# Names and their files are in __init__.pyi: each is imported when it is asked for.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


class _Room(ModuleType):
    """A room that is called like the function in it."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Explain; see `paperzoo.explain.api.explain`."""
        return self.explain(*args, **kwargs)


sys.modules[__name__].__class__ = _Room

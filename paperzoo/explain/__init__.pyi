from .api import Report as Report
from .api import explain as explain
from .api import explain_beside as explain_beside
from .pages import ITEM_PAGES as ITEM_PAGES
from .pages import LAYERS as LAYERS
from .pages import PAGES as PAGES
from .pages import page_of as page_of
from .pages import sections as sections

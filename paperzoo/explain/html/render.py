"""From sections to one HTML file that needs no network.

Every text goes through Jinja2's autoescape, numbers for the hover lie in attributes,
and the page's security policy allows this one script only: a class called `<script>`
stays a name.
"""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from latex2mathml.converter import convert
from markupsafe import Markup

from paperzoo import __version__
from paperzoo.explain.html.report import Section
from paperzoo.explain.html.views import Views, gradient
from paperzoo.utils.files import write_text

_TEMPLATES = Path(__file__).parent / 'templates'


def write_report(title: str, sections: Sequence[Section], path: Path) -> Path:
    """Write a page; return its path.

    Args:
        title: Of the page.
        sections: What it shows, from top to bottom.
        path: Where it goes; an earlier file is replaced.

    Raises:
        UserError: If the file cannot be written; an earlier one is still there.

    Example:
        >>> import tempfile
        >>> from paperzoo.explain.html.report import Table
        >>> table = Table(['stage', 'value'], [['1', 0.5]])
        >>> path = Path(tempfile.mkdtemp()) / 'page.html'
        >>> write_report('A page', [Section('Losses', '', [table])], path).name
        'page.html'
    """
    return write_text(path, render(title, sections))


def render(title: str, sections: Sequence[Section]) -> str:
    """Return a page as HTML; arguments are those of `write_report`.

    Example:
        >>> from paperzoo.explain.html.report import Table
        >>> section = Section('Losses', '', [Table(['stage', 'value'], [['1', 0.5]])])
        >>> '<title>A page</title>' in render('A page', [section])
        True
    """
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = (_TEMPLATES / 'report.js').read_text(encoding='utf-8')
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    views = Views()
    shown = [
        {
            'title': section.title,
            'text': section.text,
            'source': section.source,
            'equation': _mathml(section.equation),
            'figures': [views.of(figure) for figure in section.figures],
        }
        for section in sections
    ]
    page = environment.get_template('report.html').render(
        title=title,
        sections=shown,
        images=views.images,
        version=__version__,
        script=Markup(script),
        digest=digest,
        style=Markup((_TEMPLATES / 'report.css').read_text(encoding='utf-8')),
        gradient=gradient(),
    )
    return page.lstrip()


def _mathml(equation: str) -> Markup:
    """Return an equation for the browser; it is written by us, not by a user."""
    return Markup(convert(equation, display='block') if equation else '')

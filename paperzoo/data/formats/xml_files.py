"""What formats in XML share: files that declare nothing, texts and numbers in them."""

import math
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat


def parse_xml(content: bytes) -> Element:
    """Return the root of an XML file that declares nothing.

    Args:
        content: Of the file.

    Raises:
        ValueError: If `content` is no XML, or has a document type: entities that expand
            without end, or read other files, can be declared only there.

    Example:
        >>> from paperzoo.data.formats.xml_files import parse_xml
        >>> parse_xml(b'<annotation><filename>a.jpg</filename></annotation>')[0].text
        'a.jpg'
    """
    builder = TreeBuilder()
    parser = expat.ParserCreate()

    def refuse(*_: object) -> None:
        raise ValueError('the XML file declares a document type, which is not read')

    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.StartElementHandler = lambda tag, attributes: builder.start(tag, attributes)
    parser.EndElementHandler = lambda tag: builder.end(tag)
    parser.CharacterDataHandler = lambda text: builder.data(text)
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise ValueError(f'no XML ({error})') from error
    return builder.close()


def text_in(node: Element, path: str) -> str:
    """Return the text of the first element that a path leads to, or `''`.

    Args:
        node: Where the path begins.
        path: Names of elements, such as `'size/width'`.

    Example:
        >>> from paperzoo.data.formats.xml_files import parse_xml, text_in
        >>> text_in(parse_xml(b'<object><name> cat </name></object>'), 'name')
        'cat'
    """
    return (node.findtext(path) or '').strip()


def number_of(text: str, name: str, default: float | None = None) -> float:
    """Return a number.

    Args:
        text: What the file has in its place.
        name: Of the place, for the message.
        default: What no text stands for; None refuses it.

    Raises:
        ValueError: If `text` is no finite number.

    Example:
        >>> from paperzoo.data.formats.xml_files import number_of
        >>> number_of('12.5', 'xmin'), number_of('', 'rotation', default=0.0)
        (12.5, 0.0)
    """
    text = text.strip()
    if not text:
        if default is None:
            raise ValueError(f'it has no {name}')
        return default
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f'{name} is {text!r}, no number')
    return number

"""Let the API show the examples of docstrings: ours begin with `Example:`."""

import re
from typing import Any

import griffe


class Examples(griffe.Extension):
    """Names the section as the parser of the site knows it."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rename the section of an object's docstring."""
        if obj.docstring:
            obj.docstring.value = re.sub(
                r'^( *)Example:$',
                r'\1Examples:',
                obj.docstring.value,
                flags=re.MULTILINE,
            )

    def on_attribute_instance(self, *, attr: griffe.Attribute, **_: Any) -> None:
        """Leave out the stub's `explain`: it would hide the room of that name."""
        if attr.path == 'paperzoo.explain' and attr.parent:
            attr.parent.del_member('explain')

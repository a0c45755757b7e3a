"""Modules are mended when they are imported, whatever finds them."""

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import find_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from paperzoo.utils.when_imported import when_imported


class Editable:
    """Finds a package that lies on no path, as that of `pip install -e`."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def find_spec(self, fullname: str, *_: Any) -> ModuleSpec | None:
        if fullname != self.file.stem:
            return None
        return spec_from_loader(fullname, SourceFileLoader(fullname, str(self.file)))


def test_a_package_on_no_path_is_mended_when_it_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / 'paperzoo_tries_this.py'
    file.write_text('value = 1')
    monkeypatch.setattr(sys, 'meta_path', [*sys.meta_path, Editable(file)])
    mended: list[ModuleType] = []
    when_imported(file.stem, mended.append)
    assert find_spec(file.stem) is not None
    assert mended == []
    assert [import_module(file.stem)] == mended
    assert mended[0].value == 1

"""`paperzoo serve` in a process of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import paperzoo

ROOT = Path(paperzoo.__file__).parents[1]


class Served(NamedTuple):
    """A page of a running process.

    Attributes:
        url: Of the page.
        process: The server.
        folder: Where it keeps its own folder.
        model: What it was started with.
        image: To upload.
    """

    url: str
    process: subprocess.Popen
    folder: Path
    model: Path
    image: Path


def start(folder: Path, *arguments: str | Path) -> tuple[subprocess.Popen, str]:
    """Start a server; return it and the address that it says."""
    (folder / 'tmp').mkdir()
    process = subprocess.Popen(
        [sys.executable, '-W', 'ignore', '-m', 'paperzoo', 'serve', *arguments]
        + ['--port', '0'],
        cwd=folder,
        env={
            **os.environ,
            'PYTHONPATH': str(ROOT),
            'OMP_NUM_THREADS': '1',
            'TMPDIR': str(folder / 'tmp'),
            # What would open it further.
            'GRADIO_ALLOWED_PATHS': '/',
            'GRADIO_SHARE': 'True',
            'GRADIO_ANALYTICS_ENABLED': 'True',
            # A proxy that is not there: nothing may be asked for.
            'https_proxy': 'http://127.0.0.1:9',
            'http_proxy': 'http://127.0.0.1:9',
        },
        stdout=subprocess.PIPE,
        stderr=(folder / 'stderr.txt').open('w'),
        text=True,
    )
    for line in process.stdout or ():
        if found := re.search(r'http://\S+', line):
            return process, found[0]
    process.wait()
    pytest.fail((folder / 'stderr.txt').read_text()[-3000:])

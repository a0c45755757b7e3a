"""A page that is served, for the tests that ask it and for those that look at it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from checkpoints import write_checkpoint
from served_pages import Served, start

import paperzoo
from paperzoo.data.paths import ensure_generated


@pytest.fixture(scope='session')
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A small FCOS with random weights that keeps all boxes, alone in its file."""
    pytest.importorskip('gradio', reason='no gradio here')
    folder = tmp_path_factory.mktemp('served')
    cfg = paperzoo.load_config('fcos_tiny_shapes', {'model.test_cfg.score_thr': 0.0})
    file = write_checkpoint(cfg, folder / 'w.pth')
    image = Path(ensure_generated('data/shapes/val')) / '000004.jpg'
    process, url = start(folder, file, '--max-upload-mb', '1', '--device', 'cpu')
    yield Served(url, process, folder, file, image)
    process.kill()
    process.wait()
    process.stdout.close()

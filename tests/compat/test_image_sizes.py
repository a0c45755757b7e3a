"""Pictures that would fill the memory are not decoded."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from bombs import write_bomb


@pytest.mark.parametrize('own', [None, '1000'])
def test_opencv_takes_no_more_than_pillow(tmp_path: Path, own: str | None) -> None:
    """In a process of its own: OpenCV reads its limit when it is imported."""
    file = write_bomb(tmp_path / 'a.png', 100 if own else 20_000)
    code = (
        'import paperzoo, mmengine, mmcv, sys\n'
        'try: mmcv.imread(sys.argv[1])\n'
        'except Exception as error: sys.exit(str(error))\n'
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith('OPENCV')}
    if own:
        environment['OPENCV_IO_MAX_IMAGE_PIXELS'] = own
    done = subprocess.run(
        [sys.executable, '-c', code, str(file)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert 'CV_IO_MAX_IMAGE_PIXELS' in done.stderr

"""Uploads: whole images of common formats and of a bearable size, nothing else."""

from pathlib import Path

import pytest
from bombs import write_bomb
from PIL import Image

from paperzoo.apis.images import ImageError
from paperzoo.serve import uploads
from paperzoo.serve.uploads import check_upload


@pytest.mark.parametrize('ending', ['jpg', 'png', 'bmp', 'tif', 'webp'])
def test_images_are_taken_whatever_they_are_called(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f'a.{ending}'
    Image.new('RGB', (40, 30)).save(file)
    check_upload(file)
    check_upload(file.rename(tmp_path / 'image'))


@pytest.mark.parametrize('ending', ['eps', 'gif', 'ico', 'pdf', 'ppm', 'tga'])
def test_formats_that_others_would_run_are_refused(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f'a.{ending}'
    Image.new('RGB', (40, 30)).save(file)
    # Its name does not help it.
    with pytest.raises(ImageError, match='no JPEG, PNG, BMP, TIFF or WEBP image'):
        check_upload(file.rename(tmp_path / 'a.jpg'))


def test_bombs_and_damaged_files(tmp_path: Path, monkeypatch) -> None:
    for side in (6000, 60_000):  # the second one is too large for Pillow, too
        with pytest.raises(ImageError, match='up to 25 million pixels'):
            check_upload(write_bomb(tmp_path / 'bomb.png', side))
    whole = tmp_path / 'a.jpg'
    Image.effect_noise((200, 200), 90).save(whole)
    cut = tmp_path / 'cut.jpg'
    cut.write_bytes(whole.read_bytes()[:-300])
    with pytest.raises(ImageError, match='cut off'):
        check_upload(cut)
    (tmp_path / 'empty.png').touch()
    with pytest.raises(ImageError, match=r"'empty\.png': it is no JPEG"):
        check_upload(tmp_path / 'empty.png')
    monkeypatch.setattr(uploads, 'MOST_PIXELS', 200 * 200)
    check_upload(whole)

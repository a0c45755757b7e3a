"""explain: which samples, what is written, and what is refused."""

import json
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from paperzoo.apis.build import build_model
from paperzoo.apis.config import find_config
from paperzoo.data.paths import ensure_generated
from paperzoo.errors import UserError
from paperzoo.tools import explain

NARROW = ['model.backbone.base_channels=8', 'model.neck.in_channels=[8,16,32,64]']


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """The weights of a narrow FCOS as they are at the start."""
    cfg = Config.fromfile(str(find_config('fcos_tiny_shapes')))
    for option in NARROW:
        key, _, value = option.partition('=')
        cfg.merge_from_dict({key: json.loads(value)})
    torch.manual_seed(0)
    file = tmp_path / 'w.pth'
    torch.save({'state_dict': build_model(cfg, 'cpu').state_dict()}, file)
    return file


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: object) -> None:
    command = ['explain', *map(str, arguments), '--device', 'cpu']
    monkeypatch.setattr(sys, 'argv', command)
    monkeypatch.chdir(folder)
    explain.main()


def test_a_page_of_two_images_and_none_is_replaced(
    checkpoint: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    foreign = tmp_path / 'a <b>.jpg'
    foreign.write_bytes(
        Path(ensure_generated('data/shapes/val/000002.jpg')).read_bytes()
    )
    (tmp_path / 'report.html').write_text('mine')
    run(
        monkeypatch,
        tmp_path,
        *('fcos_tiny_shapes', checkpoint, 'data/shapes/val/000004.jpg', foreign),
        *('--score-thr', 0, '--cfg-options', *NARROW),
    )
    said = capsys.readouterr()
    assert 'report_2.html' in said.out
    assert 'images: 2' in said.err
    assert (tmp_path / 'report.html').read_text() == 'mine'
    html = (tmp_path / 'report_2.html').read_text(encoding='utf-8')
    assert 'fcos_tiny_shapes on 000004.jpg, a &lt;b&gt;.jpg' in html
    assert html.count('000004.jpg: Whose loss is it?') == 2  # contents and title
    assert 'a &lt;b&gt;.jpg: Whose loss' not in html
    assert 'a &lt;b&gt;.jpg: Which boxes does the suppression remove?' in html
    assert '<b>.jpg' not in html
    assert len(html) < 10e6


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ([], 'give one or more files'),
        (['--item', 1], 'give one or more files'),
        (['nowhere.jpg'], "'nowhere.jpg' is no image"),
        (['nowhere.jpg', '--out', 'page.pdf'], 'must end in .html'),
    ],
)
def test_what_is_refused(
    checkpoint: Path, tmp_path: Path, monkeypatch, arguments: list, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        run(
            monkeypatch,
            tmp_path,
            *('fcos_tiny_shapes', checkpoint, *arguments, '--cfg-options', *NARROW),
        )
    assert not list(tmp_path.glob('*.html'))


def test_a_bad_image_costs_no_other(
    checkpoint: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    (tmp_path / 'cut.jpg').write_bytes(b'\xff\xd8')
    good = 'data/shapes/val/000004.jpg'
    run(
        monkeypatch,
        tmp_path,
        *('fcos_tiny_shapes', checkpoint, good, tmp_path / 'cut.jpg'),
        *('--cfg-options', *NARROW),
    )
    assert capsys.readouterr().err.count('cut.jpg is left out: empty, cut off') == 1
    html = (tmp_path / 'report.html').read_text(encoding='utf-8')
    assert '000004.jpg: Which boxes does the suppression remove?' in html
    assert 'Which images are left out?' in html
    assert 'empty, cut off or no image' in html
    with pytest.raises(UserError, match=r'cut\.jpg'):
        run(
            monkeypatch,
            tmp_path,
            *('fcos_tiny_shapes', checkpoint, tmp_path / 'cut.jpg'),
            *('--cfg-options', *NARROW),
        )
    assert not (tmp_path / 'report_2.html').exists()


def test_a_picture_that_only_its_decoder_refuses(
    checkpoint: Path, tmp_path: Path, monkeypatch
) -> None:
    # Its end is there, so that no look at the file tells.
    (tmp_path / 'flat.png').write_bytes(
        b'\x89PNG\r\n\x1a\n\0\0\0\4IDATxxxxxxxx\0\0\0\0IEND\xaeB`\x82'
    )
    with pytest.raises(UserError, match=r'flat\.png.*: it is no image'):
        run(
            monkeypatch,
            tmp_path,
            *('fcos_tiny_shapes', checkpoint, tmp_path / 'flat.png'),
            *('--cfg-options', *NARROW),
        )

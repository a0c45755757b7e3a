"""The commands of docs/own_data.md run as they stand, on a few small pictures."""

import glob
import re
import shlex
import sys
from importlib import import_module
from pathlib import Path

import labelled_folders as made
import pytest
import torch

from paperzoo.errors import UserError

DOCS = Path(__file__).parents[1] / 'docs'


def commands(page: str) -> list[list[str]]:
    """Return the commands of a page's shell blocks, as words."""
    text = (DOCS / page).read_text('utf-8')
    blocks = re.findall(r'^```bash\n(.*?)^```', text, re.M | re.S)
    lines = ''.join(blocks).splitlines()
    assert all(line.startswith('paperzoo ') for line in lines)
    return [shlex.split(line)[1:] for line in lines]


def test_both_languages_have_the_same_commands() -> None:
    assert commands('own_data.md') == commands('own_data.zh-CN.md')


def test_the_pages_and_the_help_name_all_models(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from paperzoo.apis.own_data import MODELS
    from paperzoo.tools import init

    names = {name: None for of_task in MODELS.values() for name in of_task}
    for page in ('own_data.md', 'own_data.zh-CN.md'):
        assert f'`--model {"|".join(names)}`' in (DOCS / page).read_text('utf-8')
    monkeypatch.setattr(sys, 'argv', ['init', '--help'])
    with pytest.raises(SystemExit):
        init.parse_args()
    said = ' '.join(capsys.readouterr().out.split())
    assert f'{", ".join(names)}, or a config' in said


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with pictures and, where the page says to place them, weights."""
    from mmdet.models import ResNet

    made.write_yolo(tmp_path / 'my_pictures', made.scenes(4, splits=('train', 'val')))
    made.write_classes(tmp_path / 'my_classes', classes=6, images=3)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    place = tmp_path / 'torch/hub/checkpoints/resnet50-0676ba61.pth'
    place.parent.mkdir(parents=True)
    torch.save(ResNet(50).state_dict(), place)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    name, *rest = words
    tool = import_module(f'paperzoo.tools.{name.replace("-", "_")}')
    rest = [part for one in rest for part in (sorted(glob.glob(one)) or [one])]
    monkeypatch.setattr(sys, 'argv', [name, *rest])
    if name == 'check':  # it always ends with an exit code
        with pytest.raises(SystemExit, match=r'^0$'):
            tool.main()
        return
    tool.main()


def test_init_prints_what_the_page_says(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    page = commands('own_data.md')
    for words in page:
        if words[0] == 'init':
            run(words, monkeypatch)
        else:
            monkeypatch.setattr(sys, 'argv', words)
            import_module(f'paperzoo.tools.{words[0]}').parse_args()
    said = capsys.readouterr().out
    assert 'resnet50-0676ba61.pth' in said
    printed = [line.strip() for line in said.splitlines() if line.startswith('  pap')]
    wanted = [' '.join(['paperzoo', *words]) for words in page[1:7]]
    assert [one.replace(f'{home}/', '') for one in printed[:6]] == wanted
    with pytest.raises(UserError, match='exists already'):
        run(page[0], monkeypatch)


@pytest.mark.slow
def test_the_commands_run(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = commands('own_data.md')
    trained = False
    for words in page:
        if words[0] == 'train' and trained:  # the others differ in options only
            monkeypatch.setattr(sys, 'argv', words)
            import_module('paperzoo.tools.train').parse_args()
            continue
        if words[0] == 'train':
            trained = True
            words = [*words, '--epochs', '1', '--cfg-options', 'log_level=WARNING']
            for split in ('train', 'val'):
                words += [
                    f'{split}_dataloader.num_workers=0',
                    f'{split}_dataloader.persistent_workers=False',
                ]
        run(words, monkeypatch)
    for file in ('cells_results.json', 'browse/page.jpg', 'analysis/confusion.png'):
        assert (home / file).is_file()
    assert (home / 'predictions/predictions.json').is_file()

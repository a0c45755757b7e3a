"""Own pictures in each format: what init prints runs as it is printed."""

import json
import shlex
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / 'benchmarks'))

import own_data  # noqa: E402  (of the benchmarks: it writes real pictures in a format)

SIZES = {'train': 8, 'val': 4}
CHARACTERS = 24  # characters for training and for the test, of 136 and 106


def shorten(folder: Path) -> None:
    """Leave some of the characters and of their images."""
    for split in ('train', 'test'):
        place = folder / split
        for number, one in enumerate(sorted(place.iterdir())):
            for image in sorted(one.iterdir())[0 if number >= CHARACTERS else 6 :]:
                image.unlink()
            if number >= CHARACTERS:
                one.rmdir()
        table = folder / f'{split}.csv'
        if table.is_file():
            head, *rows = table.read_text().splitlines()
            kept = [one for one in rows if (folder / one.partition(',')[0]).is_file()]
            table.write_text('\n'.join([head, *kept]))


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize('name', own_data.FORMATS)
def test_the_commands_as_printed(
    name: str, tmp_path: Path, real_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    own_data.write(name, real_data, tmp_path / 'data', SIZES)
    if name in own_data.CHARACTERS:
        shorten(tmp_path / 'data')
    log = tmp_path / 'log.txt'
    model = own_data.FORMATS[name][0]
    own_data.shell(
        f'paperzoo init data -o mine.py --model {model} --from-scratch', tmp_path, log
    )
    said = log.read_text().partition('Next:\n')[2].splitlines()
    commands = [line.strip() for line in said if line.startswith('  paperzoo ')]
    verbs = [shlex.split(one)[1] for one in commands]
    assert [one for one in verbs if one != 'browse'] == [
        *('check', 'train', 'test', 'analyze', 'predict')
    ]
    for verb, command in zip(verbs, commands, strict=True):
        if verb == 'train':
            command += ' --epochs 1'
        own_data.shell(command, tmp_path, log)  # ends the test if one fails
    key = own_data.FORMATS[name][2]
    assert own_data.metric(tmp_path, 'mine', key) >= 0
    found = json.loads((tmp_path / 'predictions/predictions.json').read_text())
    assert found['images']
    assert not found['failed']
    assert (tmp_path / 'analysis/confusion.png').is_file()

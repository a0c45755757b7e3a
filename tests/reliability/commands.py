"""Every command, every kind of trouble, and how each of the pairs must end.

`table` gives what docs/reliability.md shows; test_commands.py runs the pairs.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reliability import mutations

NOBODY = 65534
MESSAGE, GOES_ON = 'message', 'goes on'
BEGIN = '<!-- table of tests/reliability/commands.py -->'
END = '<!-- end of the table -->'


@dataclass
class Case:
    """A command in a folder of its own, which a kind of trouble changes.

    Attributes:
        folder: Where the config, the images and so on lie.
        command: Name of the command, a key of COMMANDS.
        config: The config.
        out: The folder into which the command writes.
        options: More arguments, at the end.
        task: What the server is told besides.
        names: One of these must be in the message.
    """

    folder: Path
    command: str
    config: Path
    out: Path
    options: list[str] = field(default_factory=list)
    task: dict[str, Any] = field(default_factory=dict)
    names: tuple[str, ...] = ()

    def arguments(self) -> list[str]:
        """Return the command line."""
        given = COMMANDS[self.command]
        named = {
            'config': self.config,
            'weights': self.folder / 'w.pth',
            'images': self.folder / 'images',
            'results': self.folder / 'results.json',
            'authors': self.folder / 'authors.pth',
            'data': self.folder / 'data',
            'out': self.out,
        }
        return [one.format(**named) for one in given] + self.options


DEVICE = ('--device', 'cpu')
COMMANDS: dict[str, tuple[str, ...]] = {
    'train': ('train', '{config}', '--work-dir', '{out}'),
    'test': ('test', '{config}', '{weights}', '--work-dir', '{out}'),
    'test --out': (
        *('test', '{config}', '{weights}', '--work-dir', '{out}_work'),
        *('--out', '{out}/results.json'),
    ),
    'predict': (
        'predict',
        '{config}',
        '{weights}',
        '{images}',
        *DEVICE,
        '--out',
        '{out}',
    ),
    'explain': (
        *('explain', '{config}', '{weights}', '{images}'),
        *(*DEVICE, '--out', '{out}/page.html'),
    ),
    'analyze': ('analyze', '{results}', '--out', '{out}'),
    'browse': ('browse', '{config}', '--number', '2', '--out', '{out}'),
    'print-config': ('print-config', '{config}', '-o', '{out}/whole.py'),
    'benchmark': (
        *('benchmark', '{config}', '--warm-up', '1', '--repeats', '1', *DEVICE),
        *('--size', '64', '64', '--threads', '1', '--out', '{out}/speed.json'),
    ),
    'init': ('init', '{data}', '-o', '{out}/mine.py'),
    'fcos-convert': ('fcos-convert', '{authors}', '{out}/ours.pth'),
    'fcos-targets': (
        *('fcos-targets', '{config}', '--max-images', '2'),
        *('--out', '{out}/targets.json', '--picture', '{out}/levels.png'),
    ),
    'export': (
        'export',
        '{config}',
        '{weights}',
        '--format',
        'torch',
        '-o',
        '{out}/m.pt2',
    ),
    'check': ('check', '{config}', '--work-dir', '{out}'),
    'doctor': ('doctor',),
}
ALL = tuple(COMMANDS)
CONFIG = tuple(name for name, given in COMMANDS.items() if '{config}' in given)
WEIGHTS = tuple(name for name, given in COMMANDS.items() if '{weights}' in given)
READS = (*WEIGHTS, 'fcos-convert')
WRITES = tuple(name for name in ALL if name not in ('check', 'doctor'))
BUILDS = (*WEIGHTS, 'train', 'benchmark')
ANNOTATED = ('train', 'test', 'test --out', 'browse', 'fcos-targets', 'check')
IMAGES = ('predict', 'explain', 'analyze')


@dataclass(frozen=True)
class Kind:
    """A kind of trouble.

    Attributes:
        name: As in the table.
        group: The part of the table.
        commands: Those that can meet it.
        change: Makes the trouble.
        ends: MESSAGE or GOES_ON; or a dict of those that differ from MESSAGE.
    """

    name: str
    group: str
    commands: tuple[str, ...]
    change: Callable[[Case], None]
    ends: str | dict[str, str] = MESSAGE

    def end(self, command: str) -> str:
        """Return how a command must end."""
        if isinstance(self.ends, str):
            return self.ends
        return self.ends.get(command, MESSAGE)


def text(
    content: str | bytes, *names: str, file: str = 'bad.py'
) -> Callable[[Case], None]:
    """Let the config be a file with a content."""

    def change(case: Case) -> None:
        case.config = case.folder / file
        data = content.encode() if isinstance(content, str) else content
        case.config.write_bytes(
            data.replace(b'TOY', os.fsencode(case.folder / 'toy.py'))
        )
        case.names = names or (file,)

    return change


def options(*given: str, name: str = '') -> Callable[[Case], None]:
    """Add `--cfg-options`."""

    def change(case: Case) -> None:
        case.options += ['--cfg-options', *given]
        case.names = (name or given[0].partition('=')[0],)

    return change


def seen(key: str, value: str) -> Callable[[Case], None]:
    """Add an option whose trouble is seen in something else, such as a layer."""

    def change(case: Case) -> None:
        case.options += ['--cfg-options', f'{key}={value}']
        case.names = ('paperzoo',)

    return change


BASE = "_base_ = ['TOY']\n"


def cyclic(case: Case) -> None:
    """Let two configs inherit each other."""
    for one, other in (('bad.py', 'worse.py'), ('worse.py', 'bad.py')):
        (case.folder / one).write_text(f"_base_ = ['{other}']\n")
    case.config, case.names = case.folder / 'bad.py', ('worse.py',)


def a_folder(case: Case) -> None:
    """Let the config be a folder."""
    case.config = case.folder / 'images'
    case.names = (str(case.config),)


def missing(case: Case) -> None:
    """Let the config be missing."""
    case.config, case.names = case.folder / 'no_such.py', ('no_such.py',)


GONE = """from mmengine.config import read_base
with read_base():
    from .gone import *
"""
IMPORTS = "custom_imports = dict(imports=['no_such_module'])\n"
STEPS = 'test_dataloader = dict(dataset=dict(pipeline=dict(_delete_=True, a=1)))\n'
CAT = "test_dataloader = dict(dataset=dict(metainfo=dict(classes=('cat'))))\n"
PERSIST = (
    'train_dataloader.persistent_workers=True',
    'train_dataloader.num_workers=0',
)
CONFIGS = [
    ('syntax error', text('a = 1\nmodel = dict(type=\n', 'line 2')),
    ('wrong indent', text('a = 1\n  b = 2\n', 'line 2')),
    ('unknown name', text(f'{BASE}work_dir = no_such_name\n', 'line 2')),
    ('not UTF-8', text(b'a = 1\nb = "caf\xe9"\n', 'line 2')),
    ('missing base', text("_base_ = ['gone.py']\n", 'gone.py')),
    ('missing base of pure Python', text(GONE, 'gone.py')),
    ('cyclic base', cyclic),
    ('broken JSON', text('{"model": \n}', 'line 2', file='bad.json')),
    ('broken YAML', text('a: 1\nb: [1\n', 'bad.yml', file='bad.yml')),
    ('unknown ending', text('', 'bad.txt', file='bad.txt')),
    ('a folder', a_folder),
    ('missing', missing),
    ('missing `custom_imports`', text(f'{BASE}{IMPORTS}', 'no_such_module')),
    ('odd `custom_imports`', text(f'{BASE}custom_imports = 3\n', 'custom_imports')),
    ('`max_epochs` a text', options("train_cfg.max_epochs='three'")),
    ('0 epochs', options('train_cfg.max_epochs=0')),
    ('-1 epochs', options('train_cfg.max_epochs=-1')),
    ('`batch_size` 0', options('train_dataloader.batch_size=0')),
    ('learning rate a text', options('optim_wrapper.optimizer.lr=1e-3x')),
    ('model a text', text(f"{BASE}model = 'FCOS'\n", 'model')),
    ('pipeline a dict', text(f'{BASE}{STEPS}', 'test_dataloader.dataset.pipeline')),
    ('one class without its comma', text(f'{BASE}{CAT}', 'classes')),
    ('workers that persist, but none', options(*PERSIST, name='persistent_workers')),
    ('option without a value', options('model')),
    ('option into a number', options('train_cfg.max_epochs.x=1')),
    ('option behind a list', options('test_dataloader.dataset.pipeline.99.type=A')),
]


def in_the_way(case: Case) -> None:
    """Let a file lie in the place of the folder that is written to."""
    case.out.parent.mkdir(parents=True, exist_ok=True)
    (case.folder / 'file').write_text('mine')
    case.out = case.folder / 'file' / 'out'
    case.names = ('file',)


def read_only(case: Case) -> None:
    """Let the folder not be writable."""
    closed = case.folder / 'closed'
    closed.mkdir()
    as_nobody(case)
    closed.chmod(0o555)
    case.out, case.names = closed / 'out', ('closed',)


def at(place: Callable[[Path], Path], *names: str) -> Callable[[Case], None]:
    """Let the output go to another place, made from the case's folder."""

    def change(case: Case) -> None:
        case.out, case.names = place(case.folder), names

    return change


def linked(target: str) -> Callable[[Path], Path]:
    """Put a link in the place of the folder."""

    def make(folder: Path) -> Path:
        (folder / 'inner').mkdir()
        (folder / 'link').symlink_to(target)
        return folder / 'link' if target == 'inner' else folder / 'link' / 'out'

    return make


def pipe(folder: Path) -> Path:
    """Put a pipe in the place of the folder."""
    os.mkfifo(folder / 'pipe')
    return folder / 'pipe' / 'out'


def deep(folder: Path) -> Path:
    """Return a folder that is not there, in folders that are not."""
    return folder / 'a' / 'b' / 'c' / 'out'


def environment(**given: str) -> Callable[[Case], None]:
    """Set variables; `FOLDER` in a value is the case's folder."""

    def change(case: Case) -> None:
        (case.folder / 'file').write_text('')
        case.task['environment'] = {
            name: value.replace('FOLDER', str(case.folder))
            for name, value in given.items()
        }

    return change


def as_nobody(case: Case) -> None:
    """Run as another user, to whom permissions apply, with a place to write to."""
    if os.getuid() == 0:
        case.task['uid'] = NOBODY
        case.task.setdefault('environment', {})['HOME'] = str(case.folder / 'home')
        (case.folder / 'home').mkdir()
        os.chown(case.folder / 'home', NOBODY, NOBODY)


def full(case: Case) -> None:
    """Let no file grow beyond 300 bytes."""
    case.task['file_size'] = 300
    case.names = ('File too large', 'out')


def closed_cwd(case: Case) -> None:
    """Let the working directory not be writable, but all that is named."""
    as_nobody(case)
    cwd = case.folder / 'cwd'
    cwd.mkdir(mode=0o555)
    writable(case)
    case.task['cwd'] = str(cwd)
    environment = case.task.setdefault('environment', {})
    environment['PAPERZOO_CACHE'] = str(case.out.parent)


def writable(case: Case) -> None:
    """Let anybody write to the output."""
    case.out = case.folder / 'open' / 'out'
    case.out.parent.mkdir(exist_ok=True)
    case.out.parent.chmod(0o777)


def homeless(case: Case) -> None:
    """Let the user have neither a home nor an entry, as under `docker --user`."""
    writable(case)
    case.task['unset'] = ['HOME', 'USER', 'LOGNAME', 'PAPERZOO_CACHE']
    case.task['cwd'] = str(case.out.parent)
    if os.getuid() == 0:
        case.task['uid'] = 54321


def terminal(encoding: str) -> Callable[[Case], None]:
    """Let stdout and stderr take few letters, and a name have others."""

    def change(case: Case) -> None:
        case.task['encoding'] = encoding
        odd_folder(case, '网格')

    return change


def odd_folder(case: Case, name: str) -> None:
    """Let everything lie in a folder with an odd name."""
    moved = case.folder / name
    moved.mkdir()
    for one in list(case.folder.iterdir()):
        if one != moved:
            one.rename(moved / one.name)
    case.folder = moved
    case.config, case.out = moved / case.config.name, moved / 'out'
    _same_images(case)


def no_utf8(case: Case) -> None:
    """Let everything lie in a folder whose name is no UTF-8."""
    odd_folder(case, os.fsdecode(b'caf\xe9'))


def full_stdout(case: Case) -> None:
    """Let nothing be printed."""
    case.task['stdout'] = '/dev/full'
    case.names = ('No space left',)


def bad_images(case: Case) -> None:
    """Put bad images beside the good ones."""
    import cv2
    import numpy as np

    images = case.folder / 'images'
    whole = next(images.glob('*.jpg')).read_bytes()
    (images / 'cut.jpg').write_bytes(whole[: len(whole) // 2])
    (images / 'empty.png').write_bytes(b'')
    (images / 'text.jpg').write_text('no image')
    (images / 'dangling.jpg').symlink_to('nowhere')
    os.mkfifo(images / 'pipe.jpg')
    cv2.imwrite(str(images / 'flat.png'), np.zeros((1, 3000, 3), np.uint8))
    case.names = ('text.jpg', 'pipe.jpg')
    if case.command != 'analyze':
        case.names += ('cut.jpg', 'empty.png', 'dangling.jpg', 'flat.png')
    _same_images(case, *case.names[:2])


def only_bad_images(case: Case) -> None:
    """Leave two bad images only."""
    shutil.rmtree(case.folder / 'images')
    (case.folder / 'images').mkdir()
    for name in ('empty.png', 'text.jpg'):
        (case.folder / 'images' / name).write_text('')
    case.names = ('empty.png', 'predictions.json')


def _same_images(case: Case, *first: str) -> None:
    """Let the results be of the images that are there, some first."""
    file = case.folder / 'results.json'
    results = json.loads(file.read_text())
    images = case.folder / 'images'
    names = [str(images / one) for one in first] + sorted(
        map(str, images.glob('*.jpg'))
    )
    for number, image in enumerate(results['images']):
        image['file_name'] = names[number % len(names)]
    file.write_text(json.dumps(results))


def weights(content: bytes | None, *names: str) -> Callable[[Case], None]:
    """Let the checkpoint be something else."""

    def change(case: Case) -> None:
        for name in ('w.pth', 'authors.pth'):
            file = case.folder / name
            whole = file.read_bytes()
            file.unlink()
            if content is not None:
                file.write_bytes(
                    whole[: len(whole) // 2] if content == b'half' else content
                )
        case.names = names or ('w.pth', 'authors.pth')

    return change


def results(content: str) -> Callable[[Case], None]:
    """Let the file of results be something else."""

    def change(case: Case) -> None:
        (case.folder / 'results.json').write_text(content)
        case.names = ('results.json',)

    return change


def no_data(case: Case) -> None:
    """Let the folder of data be empty."""
    shutil.rmtree(case.folder / 'data')
    (case.folder / 'data').mkdir()
    case.names = ('data',)


KINDS = [
    *(Kind(name, 'the config', CONFIG, change) for name, change in CONFIGS),
    Kind('no model', 'the config', BUILDS, text('a = 1\n', 'model')),
    Kind('a file in the place of a folder', 'the disk', WRITES, in_the_way),
    Kind('a folder that may not be written', 'the disk', WRITES, read_only),
    Kind('a full disk', 'the disk', WRITES, full),
    *(
        Kind(f'{name} in the place of a folder', 'the disk', WRITES, at(place, said))
        for name, place, said in (
            ('a device', lambda folder: Path('/dev/null/out'), '/dev/null'),
            ('a pipe', pipe, 'pipe'),
            ('a link to nowhere', linked('nowhere/below'), 'link'),
            ('a link to itself', linked('link'), 'link'),
            ('a name that is too long', lambda folder: folder / ('x' * 300), 'xxx'),
        )
    ),
    Kind('a link to a folder', 'the disk', WRITES, at(linked('inner')), GOES_ON),
    Kind('folders that are not there', 'the disk', WRITES, at(deep), GOES_ON),
    Kind('an output that takes nothing', 'the terminal', ALL, full_stdout),
    Kind('only ASCII', 'the terminal', ALL, terminal('ascii'), GOES_ON),
    Kind('only Latin-1', 'the terminal', ALL, terminal('latin1'), GOES_ON),
    Kind(
        *('a terminal without lines and letters', 'the terminal', ALL),
        environment(TERM='dumb', COLUMNS='0', LINES='0', LC_ALL='xx_YY'),
        GOES_ON,
    ),
    *(
        Kind(name, 'the system', ALL, environment(**given), GOES_ON)
        for name, given in (
            ('a home that is a file', {'HOME': 'FOLDER/file'}),
            ('a home that is not there', {'HOME': '/nowhere/home'}),
            ('no temporary folder', {'TMPDIR': '/nowhere/tmp'}),
            ('a folder of matplotlib that is a file', {'MPLCONFIGDIR': 'FOLDER/file'}),
        )
    ),
    Kind('names that are no UTF-8', 'the system', ALL, no_utf8, GOES_ON),
    Kind('a closed working directory', 'the system', ALL, closed_cwd, GOES_ON),
    Kind('a user without home and name', 'the system', ALL, homeless, GOES_ON),
    *(
        Kind(f'checkpoint {name}', 'what is read', READS, weights(content))
        for name, content in (
            *(('missing', None), ('empty', b'')),
            *(('cut', b'half'), ('a text', b'x' * 99)),
        )
    ),
    *(
        Kind(
            f'`{key}` {what}',
            'a value of the config',
            CONFIG,
            options(f'{key}={value}'),
        )
        for key, (what, value) in mutations.FIELDS.items()
    ),
    *(
        Kind(f'`{key}={value}`', 'a value of the config', ('train',), seen(key, value))
        for key, value in mutations.TRAINED.items()
    ),
    *(
        Kind(
            *(f'annotation file: {name}', 'annotations', ANNOTATED, change),
            # The truth of a test may lie with a server.
            {'test': GOES_ON, 'test --out': GOES_ON}
            if name == 'no annotations'
            else MESSAGE,
        )
        for name, change in mutations.annotations().items()
    ),
    *(
        Kind(f'image: {name}', 'images', IMAGES[:2], change)
        for name, change in mutations.images().items()
    ),
    *(
        Kind(
            *(f'checkpoint: {name}', 'checkpoints', READS, change),
            # The converter knows no model to compare with.
            {'fcos-convert': GOES_ON} if name in mutations.UNKNOWING else MESSAGE,
        )
        for name, change in mutations.checkpoints().items()
    ),
    Kind('some images bad', 'what is read', IMAGES, bad_images, GOES_ON),
    Kind('all images bad', 'what is read', IMAGES[:2], only_bad_images),
    Kind('results no JSON', 'what is read', ('analyze',), results('{')),
    Kind('results of another kind', 'what is read', ('analyze',), results('[1]')),
    Kind('no data in the folder', 'what is read', ('init',), no_data),
]


def table() -> str:
    """Return what docs/reliability.md shows: how each command meets each kind."""
    signs = {MESSAGE: '✗', GOES_ON: '✓'}
    pairs = sum(len(kind.commands) for kind in KINDS)
    rows = [f'{len(KINDS)} kinds of trouble, {pairs} pairs with a command:', '']
    rows += [f'| | {" | ".join(COMMANDS)} |', '|---|' + ':-:|' * len(COMMANDS)]
    group = ''
    for kind in KINDS:
        if kind.group != group:
            group = kind.group
            rows.append(f'| **{group}** |' + ' |' * len(COMMANDS))
        cells = [
            signs[kind.end(name)] if name in kind.commands else '' for name in COMMANDS
        ]
        rows.append(f'| {kind.name} | {" | ".join(cells)} |')
    return '\n'.join(rows)


def write_table(docs: Path) -> None:
    """Put the table into a document, between its two marks."""
    before, begin, rest = docs.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    docs.write_text(f'{before}{begin}\n{table()}\n{END}{after}')


if __name__ == '__main__':
    write_table(Path(sys.argv[1]))

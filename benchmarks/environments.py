"""Build environments of other Pythons and packages, and run the same commands in each.

python benchmarks/environments.py FOLDER [NAME ...]

Each environment is a folder below FOLDER, made where it is not there; paperzoo is
installed into it from the last commit, each time. What cannot be had here, an
interpreter or a version, is written down as such. The commands are those of a first
user; the training is one epoch on the built-in set. `--drop` removes an environment,
some gigabytes, when its commands have run.
"""

import argparse
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, NamedTuple

from _shared import commit

from paperzoo.utils.files import write_json, write_text
from paperzoo.utils.run_info import run_info

ROOT = Path(__file__).parents[1]
RESULT = ROOT / 'benchmarks' / 'results' / 'environments.json'
PICTURE = ROOT / 'docs' / 'images' / 'demo.jpg'
SECONDS = 1500
WHAT = 'The commands of a first user in environments of other Pythons and packages'


class Environment(NamedTuple):
    """A Python, and what is installed in it beside or in place of `paperzoo[lite]`."""

    python: str
    packages: tuple[str, ...]


LITE = 'SOURCE[lite]'
FORKS = ('onedl-mmengine', 'onedl-mmcv', 'onedl-mmdetection', 'onedl-mmsegmentation')
ENVIRONMENTS = {
    'torch 2.6': Environment('python3.11', (LITE, 'torch==2.6.0')),
    'newest of all': Environment('python3.11', (LITE, 'openmim', 'setuptools')),
    'Python 3.12': Environment('python3.12', (LITE,)),
    'Python 3.13': Environment('python3.13', (LITE,)),
    'Python 3.14': Environment('python3.14', (LITE,)),
    'maintained forks': Environment('python3.11', ('SOURCE', *FORKS, 'ftfy', 'regex')),
}
WORK = 'fcos_tiny_shapes work/epoch_1.pth'
COMMANDS = {
    'doctor': 'paperzoo doctor',
    'print-config': 'paperzoo print-config knet_r50_fpn_panoptic',
    'train': 'paperzoo train fcos_tiny_shapes --epochs 1 --work-dir work',
    'test': f'paperzoo test {WORK}',
    'predict': f'paperzoo predict {WORK} {PICTURE} --out pictures',
    'explain': f'paperzoo explain {WORK} {PICTURE} --out explain.html',
    'mim': 'mim --version',
}
SHOWN = ('torch', 'numpy', 'opencv-python', 'setuptools', 'mmcv-lite', 'onedl-mmcv')


def build(folder: Path, wanted: Environment, source: Path) -> str:
    """Make an environment; return what went wrong, '' if nothing."""
    python = shutil.which(wanted.python)
    # pyenv leaves a command of that name for an interpreter that is not chosen.
    if python is None or subprocess.run([python, '--version']).returncode:
        return f'{wanted.python} is not installed here'
    packages = [
        package.replace('SOURCE', str(source.absolute())) for package in wanted.packages
    ]
    install = [str(folder / 'bin/python'), '-m', 'pip', 'install', '-q']
    commands = [[*install, '--no-deps', '--force-reinstall', str(source)]]
    if not (folder / 'made').exists():
        commands = [
            [python, '-m', 'venv', '--clear', str(folder)],
            [*install, *packages],
        ]
    for command in commands:
        run = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
        if run.returncode:
            return (run.stderr.strip().splitlines() or ['failed'])[-1][:300]
    (folder / 'made').touch()
    return ''


def committed(folder: Path) -> Path:
    """Lay out the last commit: a build in the work tree would leave files there."""
    source = folder.absolute() / 'source'
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir(parents=True)
    archive = subprocess.run(
        ['git', '-C', str(ROOT), 'archive', 'HEAD'], capture_output=True, check=True
    )
    subprocess.run(['tar', '-x', '-C', str(source)], input=archive.stdout, check=True)
    return source


def versions(folder: Path) -> dict[str, str]:
    """Return the versions of what is installed, and of Python itself."""
    python = str(folder / 'bin/python')
    command = [python, '-m', 'pip', 'list', '--format', 'json']
    listed = json.loads(subprocess.check_output(command, text=True))
    found = {one['name'].lower(): one['version'] for one in listed}
    own = subprocess.check_output([python, '--version'], text=True).split()[1]
    return {'python': own} | {name: found[name] for name in SHOWN if name in found}


def run_commands(folder: Path) -> dict[str, dict[str, Any]]:
    """Return how long each command took, and how it ended if not well."""
    found = {}
    place = folder / 'work_here'
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    path = f'{folder / "bin"}{os.pathsep}{os.environ["PATH"]}'
    clean = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
    for name, command in COMMANDS.items():
        begun = time.monotonic()
        program = folder / 'bin' / command.split()[0]
        if not program.exists():
            continue
        try:
            run = subprocess.run(
                [str(program), *command.split()[1:]],
                cwd=place,
                env={**clean, 'PATH': path, 'OMP_NUM_THREADS': '1'},
                capture_output=True,
                text=True,
                timeout=SECONDS,
            )
        except subprocess.TimeoutExpired:
            ended = f'more than {SECONDS} seconds'
        else:
            said = (run.stderr.strip() or run.stdout.strip()).splitlines()
            ended = 'ok' if run.returncode == 0 else (said or ['?'])[-1][:300]
        found[name] = {
            'ended': ended,
            'seconds': round(time.monotonic() - begun, 1),
        }
    return found


def table(record: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    lines = [
        '# The same commands in other environments',
        '',
        'The training is one epoch; its checkpoint is tested and predicts.',
        '',
        f'| environment | versions | commit | {" | ".join(COMMANDS)} |',
        f'| --- | --- | --- | {" | ".join("---" for _ in COMMANDS)} |',
    ]
    for name, one in record['environments'].items():
        if one['cannot']:
            lines.append(
                f'| {name} | not built: {one["cannot"]} |' + ' |' * (len(COMMANDS) + 1)
            )
            continue
        shown = ', '.join(f'{key} {value}' for key, value in one['versions'].items())
        ends = [one['commands'].get(each, {}).get('ended', '-') for each in COMMANDS]
        lines.append(f'| {name} | {shown} | {one["commit"]} | {" | ".join(ends)} |')
    return '\n'.join(lines) + '\n'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('folder', type=Path)
    parser.add_argument('names', nargs='*', default=list(ENVIRONMENTS))
    parser.add_argument('--drop', action='store_true')
    parser.add_argument('--out', type=Path, default=RESULT)
    args = parser.parse_args()
    found: dict[str, Any] = {}
    if args.out.exists():
        found = json.loads(args.out.read_text())['environments']
    source = committed(args.folder)
    for name in args.names:
        folder = args.folder.absolute() / name.replace(' ', '_')
        cannot = build(folder, ENVIRONMENTS[name], source)
        found[name] = {'cannot': cannot, 'versions': {}, 'commands': {}}
        found[name]['commit'] = commit()
        if not cannot:
            found[name].update(versions=versions(folder), commands=run_commands(folder))
        record = {
            'what': WHAT,
            'data': 'built-in Shapes',
            'commit': commit(),
            **run_info(),
        }
        record['environments'] = found
        write_json(args.out, record, replace=True)
        write_text(args.out.with_suffix('.md'), table(record))
        print(name, found[name])
        if args.drop:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == '__main__':
    main()

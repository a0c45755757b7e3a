"""Run mmdet's or mmseg's own unit tests on this stack, and say why what fails fails.

python benchmarks/upstream_tests.py CHECKOUT [PART ...]

CHECKOUT is a checkout or an unpacked sdist of theirs, PART a folder or file in its
`tests` (all of `test_models`, if none). mmseg's tests are in its sdist:

    pip download mmsegmentation==1.2.2 --no-deps --no-binary :all: \
        --no-build-isolation && tar xzf mmsegmentation-1.2.2.tar.gz

The tests are copied into a folder of their own and run against the installed packages,
each folder in a process with limits of time and memory. What asks for a GPU runs on
the CPU. What fails is tried again without that, and with the remedies left out.
"""

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import suppress
from importlib import metadata
from itertools import groupby
from pathlib import Path
from typing import Any

from _shared import commit
from _stock_models import PACKAGES, folder_of
from stock_configs import PACKAGES_NAMED

from paperzoo.utils.files import write_json, write_text
from paperzoo.utils.run_info import run_info

HERE = Path(__file__).parent
RESULT = HERE / 'results' / 'upstream_tests.json'
SECONDS = 1800
MEMORY = 10 << 30
REMEDIES = ('-p', 'paperzoo.compat')
ON_CPU = ('--cuda-is-cpu',)
WHAT = (
    "mmdet's and mmseg's own unit tests on mmcv-lite with paperzoo's remedies and ops, "
    'on a CPU'
)
# Faults of the tests or packages themselves, by what they say.
UPSTREAM: dict[str, str] = {}
# A package that is missing, where `stock_configs` has no name for what the error says.
PACKAGE = re.compile(
    r"No module named '([\w.]+)'|pip install (\w[\w.-]*)|(\w+) is not installed"
)
LACKS = ('No module named', 'pip install', 'not installed', 'import custom modules')
NETWORK = ('URLError', 'ConnectionError', 'HTTPError', 'urlopen', 'huggingface.co')
NO_FILE = re.compile(r"(?:No such file|does not exist|FileNotFoundError).*?([\w./-]+)'")

Case = dict[str, Any]
Outcome = tuple[str, str]


def laid_out(checkout: Path, package: str, folder: Path) -> Path:
    """Copy the tests; link what is installed to where a checkout has it."""
    shutil.copytree(checkout / 'tests', folder / 'tests')
    (folder / 'configs').symlink_to(folder_of(package))
    (folder / package).symlink_to(folder_of(package).parents[1])
    return folder


def run_tests(folder: Path, files: list[str], *options: str) -> dict[str, Outcome]:
    """Run files of tests; return what became of each test, and what its error says.

    What ends the process, or takes too long, is such an outcome; the files behind it
    are run in the next process.
    """
    lines = folder / 'outcomes.jsonl'
    own = ['-q', '-W', 'ignore', '-p', 'no:cacheprovider', '-p', '_upstream_plugin']
    own += ['--continue-on-collection-errors', '--outcomes', str(lines)]
    path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get('PYTHONPATH')])])
    offline = {'HF_HUB_OFFLINE': '1', 'OMP_NUM_THREADS': '1', 'PYTHONPATH': path}
    found: dict[str, Outcome] = {}
    while files:
        lines.write_text('')
        with suppress(subprocess.TimeoutExpired):
            subprocess.run(
                [sys.executable, '-m', 'pytest', *own, *options, *files],
                cwd=folder,
                env={**os.environ, **offline},
                capture_output=True,
                timeout=SECONDS,
                preexec_fn=_limit,
            )
        for line in lines.read_text().splitlines():
            name, outcome, said = json.loads(line)
            if outcome != 'begun' or name not in found:
                found[name] = outcome, said
        cut = [name for name, (outcome, _) in found.items() if outcome == 'begun']
        if not found:
            cut = [files[0]]
        for name in cut:
            found[name] = 'failed', 'the process was killed, or took too long'
        files = files[files.index(cut[-1].partition('::')[0]) + 1 :] if cut else []
    return found


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))


def reason(said: str) -> tuple[str, str]:
    """Return the kind of a failure, and its cause in words.

    Example:
        >>> reason("ModuleNotFoundError: No module named 'timm'")
        ('package', 'timm')
    """
    for text, why in UPSTREAM.items():
        if text in said:
            return 'upstream', why
    if any(text in said for text in LACKS):
        known = [name for text, name in PACKAGES_NAMED.items() if text in said]
        found = PACKAGE.search(said)
        name = next(filter(None, found.groups())).partition('.')[0] if found else said
        return 'package', ', '.join(known) or name
    if any(word in said for word in NETWORK):
        return 'network', 'weights or data from the network'
    file = NO_FILE.search(said)
    if file:
        return 'file', f'{Path(file[1]).name} is not shipped'
    return 'ours', said


def try_files(folder: Path, files: list[str]) -> list[Case]:
    """Run files of tests; try what fails without the GPU's stand-in, and bare."""
    tests = run_tests(folder, files, *REMEDIES, *ON_CPU)
    failed = {name: said for name, (what, said) in tests.items() if what == 'failed'}
    again = sorted({name.partition('::')[0] for name in failed})
    no_gpu = run_tests(folder, again, *REMEDIES)
    bare = run_tests(folder, again)
    cases = []
    for file in files:
        own = {k: one for k, one in tests.items() if k.partition('::')[0] == file}
        case: Case = {
            'file': file,
            'passed': sum(what == 'passed' for what, _ in own.values()),
            'skipped': Counter(s for what, s in own.values() if what == 'skipped'),
            'failed': [],
        }
        for name in own.keys() & failed.keys():
            kind, why = reason(failed[name])
            if no_gpu.get(name, ('failed', ''))[0] != 'failed':
                kind, why = 'gpu', 'needs a GPU'
            what, said = bare.get(name, ('failed', 'its file cannot be imported'))
            without = f'{what} {said}'.strip()
            case['failed'].append(
                {'test': name, 'kind': kind, 'why': why, 'said': failed[name]}
                | {'without_remedies': without}
            )
        case['failed'].sort(key=lambda one: one['test'])
        cases.append(case)
    return cases


def counts(cases: list[Case]) -> dict[str, int]:
    """Return how many tests passed, were skipped, and failed of what kind."""
    kinds = Counter(one['kind'] for case in cases for one in case['failed'])
    return {
        'files': len(cases),
        'passed': sum(case['passed'] for case in cases),
        'skipped': sum(sum(case['skipped'].values()) for case in cases),
        'failed': sum(kinds.values()),
        **{f'failed_{kind}': number for kind, number in sorted(kinds.items())},
    }


def table(record: dict[str, Any]) -> str:
    """Return a line for each folder of tests: how many passed, why the others not."""
    lines = ["# mmdet's and mmseg's own tests", '', record['what'] + '.', '']
    for package, one in record['packages'].items():
        total = one['counts']
        lines += [
            f'## {package}: {total["passed"]} passed, {total["skipped"]} skipped, '
            f'{total["failed"]} failed',
            '',
            f'{total["files"]} files of tests from {one["source"]}; commit '
            f'{one["commit"]}.',
            '',
            '| folder | files | passed | skipped | failed |',
            '| --- | --- | --- | --- | --- |',
        ]
        folders: dict[str, list[Case]] = {}
        for case in one['files']:
            folders.setdefault(_folder_of(case['file']), []).append(case)
        for folder, cases in sorted(folders.items()):
            lines.append(_line(folder, cases))
        lines.append('')
    return '\n'.join(lines)


def _line(folder: str, cases: list[Case]) -> str:
    own = counts(cases)
    skipped: Counter[str] = sum((Counter(case['skipped']) for case in cases), Counter())
    failed = Counter(
        f'{KINDS[one["kind"]]} {one["why"]}'.strip()
        for case in cases
        for one in case['failed']
    )
    cells = [
        f'{sum(found.values())}: {_words(found)}' if found else ''
        for found in (skipped, failed)
    ]
    return f'| {folder} | {own["files"]} | {own["passed"]} | {" | ".join(cells)} |'


KINDS = {
    'package': 'needs',
    'upstream': "upstream's fault:",
    'network': 'needs',
    'file': '',
    'gpu': '',
    'ours': 'ours:',
}


def _words(found: Counter[str]) -> str:
    texts = [
        f'{text[:160].replace("|", "/")} ({number})'
        for text, number in sorted(found.items())
    ]
    return '; '.join(texts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('checkout', type=Path)
    parser.add_argument('parts', nargs='*', default=['test_models'])
    parser.add_argument('--package', choices=PACKAGES, default='mmseg')
    parser.add_argument('--out', type=Path, default=RESULT)
    args = parser.parse_args()
    packages: dict[str, Any] = {}
    if args.out.exists():
        packages = json.loads(args.out.read_text())['packages']
    before = packages.get(args.package, {'files': []})['files']
    done = {case['file']: case for case in before}
    with tempfile.TemporaryDirectory() as place:
        folder = laid_out(args.checkout, args.package, Path(place))
        found = [path for part in args.parts for path in _files(folder, part)]
        found.sort(key=_folder_of)
        for part, files in groupby(found, _folder_of):
            tried = try_files(folder, list(files))
            done |= {case['file']: case for case in tried}
            print(part, counts(tried), flush=True)
            cases = [done[name] for name in sorted(done)]
            dist = 'mmsegmentation' if args.package == 'mmseg' else args.package
            packages[args.package] = {
                'source': args.checkout.absolute().name,
                'installed': metadata.version(dist),
                'commit': commit(),
                'counts': counts(cases),
                'files': cases,
            }
            record: dict[str, Any] = {
                'what': WHAT,
                'data': "the tests' own",
                'commit': commit(),
            }
            record |= {**run_info(), 'packages': packages}
            write_json(args.out, record, replace=True)
            write_text(args.out.with_suffix('.md'), table(record))


def _folder_of(file: str) -> str:
    return str(Path(file).parent)


def _files(folder: Path, part: str) -> list[str]:
    place = folder / 'tests' / part
    files = [place] if place.is_file() else sorted(place.rglob('test_*.py'))
    return [str(file.relative_to(folder)) for file in files]


if __name__ == '__main__':
    main()

"""Measure on a GPU, within eight minutes, what was built without one; one JSON.

PAPERZOO_DATA=FOLDER_OF_bccd_AND_coco100 python benchmarks/gpu.py

| section | what |
| --- | --- |
| tests | the tests marked `gpu` |
| fcos | FCOS R50 beside mmdet's: head, training step, inference; three precisions |
| graphs | network, training step and episode as CUDA graphs beside themselves |
| ops | nms, RoIAlign, deformable convolution beside compiled ones |
| knet | K-Net's semantic head beside mmseg's; the instance model |
| dmf | DMF's evaluation beside all pairs; its training step |
| fcos_compiled | FCOS R50 under torch.compile, beside mmdet's and beside eager |
| trainings | bccd and coco100, side by side, as long as there is time |

Each section is a process of its own with a share of the time. What fails, or does not
fit into its share, is recorded with what was measured before it, and the others go on;
what a section leaves over goes to the next ones. Without a GPU the whole runs with
--device cpu --tiny: its numbers say nothing then.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
# Shares of the whole time, in the order of what matters most.
SHARES = {
    'tests': 50,
    'fcos': 70,
    'graphs': 35,
    'ops': 35,
    'knet': 45,
    'dmf': 25,
    'fcos_compiled': 100,
    'trainings': 120,
}
# To stop a process, to write the file.
RESERVE = 5.0


def run_section(
    name: str, options: list[str], seconds: float, folder: Path
) -> dict[str, Any]:
    """Return what a section came to in a process of its own.

    Args:
        name: Of the section.
        options: `--device`, `--tiny`, `--data` as they were given.
        seconds: After these the process is stopped.
        folder: For what it says and measures.
    """
    rows, said = folder / f'{name}.jsonl', folder / f'{name}.txt'
    command = [sys.executable, __file__, '--section', name, '--rows', str(rows)]
    begin = time.monotonic()
    with said.open('w') as output:
        process = subprocess.Popen(
            [*command, '--end', str(time.time() + seconds), *options],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code: int | None = process.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
        stop(process)
    record: dict[str, Any] = {
        'outcome': {None: 'out of time', 0: 'done'}.get(code, 'failed'),
        'seconds': round(time.monotonic() - begin, 1),
        'rows': read_rows(rows),
    }
    if code:
        record['error'] = said.read_text()[-1500:]
    return record


def stop(process: subprocess.Popen) -> None:
    """End a process and all that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def read_rows(file: Path) -> dict[str, Any]:
    """Return the rows that a section has written; the last may be half a line."""
    found: dict[str, Any] = {}
    for line in file.read_text().splitlines() if file.is_file() else ():
        try:
            found.update(json.loads(line))
        except ValueError:
            continue
    return found


def measure(name: str, options: argparse.Namespace) -> None:
    """Write the rows of a section, one by one, as soon as each is known."""
    from _gpu_sections import SECTIONS, Setting

    setting = Setting(options.device, options.tiny, options.end)
    with Path(options.rows).open('a') as rows:
        for row, run in SECTIONS[name](setting):
            try:
                result = run()
            except Exception as error:  # Anything: the other rows are worth as much.
                first = (str(error).splitlines() or [''])[0][:300]
                result = {'failed': f'{type(error).__name__}: {first}'}
            print(row, result, flush=True)
            rows.write(json.dumps({row: result}) + '\n')
            rows.flush()


def measure_all(names: list[str], options: argparse.Namespace) -> dict[str, Any]:
    """Return what the sections came to, in the time that there is."""
    begin = time.monotonic()
    given = ['--device', options.device, *(['--tiny'] if options.tiny else [])]
    given += ['--data', options.data] if options.data else []
    found, shares = {}, 0
    total = sum(SHARES[name] for name in names)
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            shares += SHARES[name]
            end = begin + (options.seconds - RESERVE) * shares / total
            left = max(0.0, end - time.monotonic())
            found[name] = run_section(name, given, left, Path(folder))
            print(name, json.dumps(found[name], indent=1), flush=True)
    return found


def default_device() -> str:
    """Return `'cuda'` if there is a GPU, else `'cpu'`."""
    import torch

    return 'cuda' if torch.cuda.is_available() else 'cpu'


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return the command line, by default this process's."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--out', type=Path, default=ROOT / 'benchmarks/results/gpu.json'
    )
    parser.add_argument('--data', help='folder of the data sets, else $PAPERZOO_DATA')
    parser.add_argument('--device', choices=['cpu', 'cuda'])
    parser.add_argument('--tiny', action='store_true', help='sizes for a trial')
    parser.add_argument('--seconds', type=float, default=480, help='for the whole')
    parser.add_argument('--only', nargs='+', choices=SHARES, default=list(SHARES))
    parser.add_argument('--section', choices=SHARES, help=argparse.SUPPRESS)
    parser.add_argument('--rows', help=argparse.SUPPRESS)
    parser.add_argument('--end', type=float, default=0.0, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    args.device = args.device or default_device()
    return args


def main(arguments: list[str] | None = None) -> None:
    args = parse_args(arguments)
    if args.data:
        os.environ['PAPERZOO_DATA'] = str(Path(args.data).absolute())
    if args.section:
        measure(args.section, args)
        return
    sections = measure_all([name for name in SHARES if name in args.only], args)
    from _shared import commit

    from paperzoo.utils.files import write_json
    from paperzoo.utils.run_info import run_info

    record = {
        'what': 'training, inference, operators and tests on one device, ours beside '
        'peers in turns',
        'data': 'random images, features and boxes; trainings on bccd and coco100',
        'tiny': args.tiny,
        'sections': sections,
        'commit': commit(),
        **run_info(),
    }
    print(f'Written: {write_json(args.out, record)}')


if __name__ == '__main__':
    main()

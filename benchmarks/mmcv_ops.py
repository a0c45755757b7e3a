"""Time our stand-ins for mmcv's compiled ops beside the compiled ones, and compare.

python benchmarks/mmcv_ops.py --out benchmarks/results/mmcv_ops_cpu.json

Needs compiled mmcv. Both sides run through mmcv's own Python wrappers, in turns; only
the module that these call is exchanged, so nothing but the op differs.
"""

import argparse
import ctypes
import gc
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from _mmcv_box_cases import Case, Results
from _mmcv_cases import CASES
from _shared import commit, take_turns

from paperzoo.compat.mmcv_ext import NAME, StandIn, bound_ops
from paperzoo.utils.files import write_json
from paperzoo.utils.run_info import run_info

PEER = 'compiled'
OURS = 'stand-in'
OPS = bound_ops()


@contextmanager
def stand_in(file: str, ops: Mapping[str, Callable] = OPS) -> Iterator[None]:
    """Let one file of `mmcv.ops` call our ops."""
    module: Any = import_module(f'mmcv.ops.{file}')
    compiled = module.ext_module
    module.ext_module = SimpleNamespace(**ops)
    try:
        yield
    finally:
        module.ext_module = compiled


def sides(case: Case) -> dict[str, Callable[[], Results]]:
    """Return ours and the peer's way to the same results, the inputs equal."""
    ours = case.make()
    peer = case.peer() if case.peer else case.make()

    def run() -> Results:
        with stand_in(case.file):
            return ours()

    return {OURS: run, PEER: peer}


def share_of_wrapper(case: Case, repeats: int) -> float:
    """Return the time of mmcv's wrapper, whose op does nothing, to that of the peer.

    What the wrapper needs by itself, fresh memory filled with zeros, bounds every op.
    """
    run, peer = case.make(), sides(case)[PEER]
    names = [name for name in OPS if name.startswith(case.file)]

    def wrapper() -> Results:
        with stand_in(case.file, {name: lambda *_, **__: None for name in names}):
            return run()

    return take_turns({'no op': wrapper, PEER: peer}, repeats)['ratio']


def differences(ours: Results, peer: Results) -> dict[str, Any]:
    """Return the largest difference per result; of integers, how many differ."""
    found: dict[str, Any] = {}
    for name, wanted in peer.items():
        actual = ours[name]
        if actual.shape != wanted.shape:
            found[name] = (
                f'shape {tuple(actual.shape)} instead of {tuple(wanted.shape)}'
            )
        elif wanted.is_floating_point():
            largest = (actual - wanted).abs().nan_to_num(0).amax().item()
            found[name] = {
                'largest': largest,
                'of_at_most': wanted.abs().nan_to_num(0).amax().item(),
                'nan_differ': int((actual.isnan() != wanted.isnan()).sum()),
            }
        else:
            found[name] = {
                'differ': int((actual != wanted).sum()),
                'of': wanted.numel(),
            }
    return found


def _kib(key: str) -> int:
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))


def peak_mib(run: Callable[[], Results]) -> float:
    """Return by how much one run raises the resident memory.

    The C library first gives back what earlier runs have freed.
    """
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before = _kib('VmRSS')
    Path('/proc/self/clear_refs').write_text('5')  # forgets the peak so far
    results = run()
    return round((_kib('VmHWM') - before) / 1024, 1) if results else 0.0


def measure(name: str, repeats: int) -> dict[str, Any]:
    pair = sides(CASES[name])
    found = differences(pair[OURS](), pair[PEER]())  # also warms up
    peaks = {side: peak_mib(run) for side, run in pair.items()}
    row = {
        'case': name,
        'compared_with': CASES[name].against,
        **take_turns(pair, repeats, 0, 3.0, loop=0.02),
        'peak_mib': peaks,
    }
    print(f'{name}: ratio {row["ratio"]}, {row["seconds"]}, {peaks} MiB', flush=True)
    if CASES[name].file == 'roi_align':  # writes into what the wrapper has made
        row['ratio_of_wrapper'] = share_of_wrapper(CASES[name], repeats)
    return {**row, 'differences': found}


def largest_difference(found: dict[str, Any]) -> str:
    """Return the largest difference of a case, for the table."""
    if any(isinstance(one, str) or one.get('nan_differ') for one in found.values()):
        return 'shapes or NaN differ'
    floats = [one for one in found.values() if 'largest' in one]
    others = sum(one['differ'] for one in found.values() if 'differ' in one)
    if not floats:
        return f'{others} decisions'
    relative = max(one['largest'] / max(1.0, one['of_at_most']) for one in floats)
    return f'{relative:.1g}' + (f', {others} decisions' if others else '')


def headline(record: dict[str, Any]) -> str:
    """Return where and when the table was measured, and how to read it."""
    versions = ', '.join(
        f'{dist} {record["versions"][dist]}'
        for dist in ('python', 'torch', 'mmcv', 'mmdet', 'numpy')
        if dist in record['versions']
    )
    return f"""# The stand-ins for mmcv's ops beside their peers

{record['device']}; {versions}; {record['date']}, commit {record['commit']}.
Large pages for all of torch: {'yes' if record['large_pages'] else 'no'}.

Time below 1: ours is faster; the median over the turns, and their range; what takes
less than 20 ms is run in a loop. The largest difference is relative to the largest
number of the peer's result, or to 1; of indices, how many differ. MiB: by how much a
run raises the memory. `roi_pool` and `softmax_focal_loss` are not here: mmcv has no
compiled version of them for a CPU to compare with.

"""


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as Markdown; differences are relative to the largest value."""
    lines = [
        '| case | compared with | time, ours / peer | of the turns '
        '| largest difference | MiB, ours | MiB, peer |',
        '| --- | --- | --- | --- | --- | --- | --- |',
    ]
    for row in rows:
        peaks = row['peak_mib']
        low, high = row['ratio_range']
        lines.append(
            f'| {row["case"]} | {row["compared_with"]} | {row["ratio"]} | '
            f'{low} to {high} | {largest_difference(row["differences"])} | '
            f'{peaks[OURS]} | {peaks[PEER]} |'
        )
    return '\n'.join(lines) + '\n'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', default='benchmarks/results/mmcv_ops_cpu.json')
    parser.add_argument('--only', default='', help='cases whose name starts with this')
    parser.add_argument('--repeats', type=int, default=9)
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if isinstance(import_module(NAME), StandIn):
        sys.exit(f'{NAME} is our stand-in: install compiled mmcv to compare with it')
    names = [name for name in CASES if name.startswith(args.only)]
    rows = [measure(name, args.repeats) for name in names]
    record = {
        'what': 'our stand-ins for ops of mmcv and their peers, in turns, one process',
        'data': 'random images; boxes clustered around random objects',
        'ratio': 'time of the stand-in / of the peer, median over the turns',
        # An option of torch, read before its first allocation.
        'large_pages': os.environ.get('THP_MEM_ALLOC_ENABLE') == '1',
        'cases': rows,
        'commit': commit(),
        **run_info(),
    }
    file = write_json(Path(args.out), record)
    file.with_suffix('.md').write_text(headline(record) + table(rows))
    print(f'Written: {file} and its table')


if __name__ == '__main__':
    main()

"""Try the stock configs of mmdet and mmseg: one training step and one prediction each.

python benchmarks/stock_configs.py

Of every folder one config for each combination of types that its models name. Each
runs in a process of its own, with limits of time and memory. What has run is kept in
the result file: the command goes on where it stopped, `--again` repeats what failed.
With `--only-packages` it repeats what lacked a package, in an environment with them.
`--join FILE` takes over what another run found, of packages that it had and this lacks.
"""

import argparse
import json
import multiprocessing
import os
import resource
import signal
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from _shared import commit
from _stock_models import PACKAGES, batch, chosen, folder_of, shrink
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.model import BaseModel, revert_sync_batchnorm
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS, init_default_scope

from paperzoo.errors import UserError
from paperzoo.utils.files import write_json, write_text
from paperzoo.utils.run_info import run_info

RESULT = Path(__file__).parent / 'results' / 'stock_configs.json'
MEMORY = 12 << 30
# Of the processor, so that a busy machine stops nothing; what waits may take longer.
SECONDS = 200
WAIT = 10 * SECONDS
WHAT = (
    'Stock configs of mmdet and mmseg on a CPU: a training step and a prediction with '
    'random weights on two random images'
)
# Faults of the packages themselves, by what they say: the same with compiled mmcv.
UPSTREAM = {
    'FileNotFoundError': 'a base that is named with a wrong path, or is not shipped',
    'CascadeRPNHead.__init__() missing': 'the config has arguments of mmdet 2',
    'past_key_value': 'its layers call transformers as releases before 4.57 were',
    'force_grad_on_level': "the config has an argument that mmdet's FPN never had",
    'matrix contains invalid': 'without its checkpoint a cost is not finite',
    'inconsistent with step sign': 'masks of boxes outside the image cannot be pasted',
}
# What is missing, by what the error says.
PACKAGES_NAMED = {
    'mmpretrain': 'mmpretrain',
    'requires timm': 'timm',
    'transformers': 'transformers<5',
    'sklearn': 'scikit-learn',
    'skimage': 'scikit-image',
    'lap is': 'lap',
    'motmetrics': 'motmetrics',
    'Detectron2': 'detectron2 (not on PyPI)',
    'VPD': 'the LDM code of Stable Diffusion (not on PyPI)',
    'fairscale': 'fairscale',
}

Case = dict[str, Any]


def try_config(case: Case) -> tuple[str, str]:
    """Return the step that failed, '' if none, and what the error says."""
    step = 'read'
    try:
        file = folder_of(case['package']) / case['config']
        cfg = Config.fromfile(str(file))
        cfg.setdefault('default_scope', case['package'])
        init_default_scope(cfg.default_scope)
        step = 'build'
        torch.manual_seed(0)
        model = revert_sync_batchnorm(MODELS.build(shrink(cfg)))
        step = 'train'
        only_predicts = 'zeroshot' in case['config']
        with suppress(UntrainedError):
            if not only_predicts:
                train(model, batch(cfg, cfg.model, training=True))
        step = 'predict'
        model.eval()
        with torch.no_grad():
            # One image, as in validation: guided anchoring takes no more.
            data = batch(cfg, cfg.model, training=False)
            model.test_step({key: value[:1] for key, value in data.items()})
    except (Exception, SystemExit) as error:
        where = ''
        if not isinstance(error, UserError):
            last = traceback.extract_tb(error.__traceback__)[-1]
            place = '/'.join(Path(last.filename).parts[-3:])
            where = f' ({place}:{last.lineno})'
        said = ' '.join(str(error).split())[:400]
        return step, f'{type(error).__name__}: {said}{where}'
    return '', ''


def train(model: BaseModel, data: dict[str, Any]) -> None:
    """Take one step of stochastic gradient descent, if the model has any weight."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.SGD(weights or [torch.zeros(1)], lr=1e-6)
    model.train()
    for name in ('epoch', 'iter'):  # as a runner does
        MessageHub.get_current_instance().update_info(name, 0)
    try:
        model.train_step(data, OptimWrapper(optimizer))
    except NotImplementedError as error:
        if 'firstly' in str(error):
            raise UntrainedError from error
        raise


class UntrainedError(Exception):
    """A tracker says that its parts are trained elsewhere."""


def _child(case: Case, pipe: Any) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 5))
    torch.set_num_threads(1)
    # Some configs name another one, as seen from mmdet's own folder.
    os.chdir(folder_of(case['package']).parent)
    pipe.send(try_config(case))


def in_process(case: Case) -> Case:
    """Return a case with its outcome, found in a process of its own."""
    context = multiprocessing.get_context('fork')
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(case, theirs))
    begun = time.monotonic()
    process.start()
    theirs.close()
    step, said = 'memory', 'the process died'
    with suppress(EOFError):
        if ours.poll(WAIT):
            step, said = ours.recv()
        else:
            step, said = 'time', f'more than {WAIT} seconds'
    process.join(5)
    if process.is_alive():
        process.kill()
        process.join()
    if process.exitcode == -signal.SIGXCPU:
        step, said = 'time', f'more than {SECONDS} seconds of the processor'
    found = {'step': step, 'said': said} | outcome(step, said)
    took = round(time.monotonic() - begun, 1)
    found |= {'commit': commit(), 'torch': torch.__version__}
    return {**case, **found, 'seconds': took}


def outcome(step: str, said: str) -> dict[str, str]:
    """Return what became of a case, and why: of a package, of upstream's own fault."""
    if not step:
        return {'outcome': 'runs', 'why': ''}
    for text, why in UPSTREAM.items():
        if text in said:
            return {'outcome': 'upstream', 'why': why}
    lacks = said.startswith(
        ('ModuleNotFoundError', 'ImportError', 'AssertionError: To')
    )
    if lacks or 'pip install' in said or 'mim install' in said:
        named = [name for text, name in PACKAGES_NAMED.items() if text in said]
        return {'outcome': 'package', 'why': ', '.join(named) or said}
    return {'outcome': 'fails', 'why': f'{step}: {said}'}


def preload() -> None:
    """Import what every case needs, once: the processes begin with it."""
    from mmdet.utils import register_all_modules as mmdet_modules
    from mmseg.utils import register_all_modules as mmseg_modules

    mmdet_modules(init_default_scope=False)
    mmseg_modules(init_default_scope=False)


def sweep(cases: list[Case], keep: Callable[[list[Case]], None]) -> None:
    """Run what has no outcome yet; hand all cases over after each."""
    for number, case in enumerate(cases):
        if 'outcome' in case:
            continue
        cases[number] = in_process(case)
        keep(cases)
        one = cases[number]
        said = f'{one["config"]}: {one["outcome"]} {one["why"][:200]}'
        print(f'{one["seconds"]:6.1f} s  {said}')


def wanted(cases: list[Case], again: bool, only_packages: bool) -> list[Case]:
    """Forget the outcomes that are to be found anew; what was lacking is kept."""
    new = ('rank', 'config', 'folder', 'package', 'stands_for', 'needs')
    for number, case in enumerate(cases):
        lacks = case.get('outcome') == 'package'
        if lacks:
            case['needs'] = case['why']
        if (again and case.get('outcome') != 'runs') or (only_packages and lacks):
            cases[number] = {key: case[key] for key in new if key in case}
    return cases


def joined(cases: list[Case], others: list[Case]) -> list[Case]:
    """Return cases with what another run found, unless that lacked a package.

    What needed a package once needs it still: it is the run's environment that has it.
    """
    names = ('package', 'config')
    found = {tuple(one[name] for name in names): one for one in others}
    result = []
    for case in cases:
        other = found.get(tuple(case[name] for name in names), {})
        had = other.get('outcome', 'package') != 'package' or 'outcome' not in case
        taken = other if had and other else case
        needs = [one['needs'] for one in (case, other) if 'needs' in one]
        if case.get('outcome') == 'package' and taken is other:
            needs.append(case['why'])
        result.append(taken | ({'needs': needs[-1]} if needs else {}))
    return result


def counts(cases: list[Case]) -> dict[str, dict[str, int]]:
    """Return for each package how many configs and whole folders run."""
    found = {}
    for package in PACKAGES:
        own = [case for case in cases if case['package'] == package]
        folders: dict[str, list[Case]] = {}
        for case in own:
            folders.setdefault(case['folder'], []).append(case)
        ran = [case for case in own if case.get('outcome') == 'runs']
        found[package] = {
            'configs': len(own),
            'configs_run': len(ran),
            'stand_for': sum(case['stands_for'] for case in own),
            'folders': len(folders),
            'folders_run': len({case['folder'] for case in ran}),
            'whole_folders_run': sum(
                all(case.get('outcome') == 'runs' for case in each)
                for each in folders.values()
            ),
        }
    return found


def table(record: dict[str, Any]) -> str:
    """Return a line for each folder: what was tried, what runs, what stops the rest."""
    lines = ['# Stock configs of mmdet and mmseg', '', record['what'] + '.', '']
    for package, one in counts(record['cases']).items():
        lines += [
            f'## {package}: {one["folders_run"]} of {one["folders"]} folders run, '
            f'{one["configs_run"]} of {one["configs"]} configs',
            '',
            f'The configs stand for {one["stand_for"]}: one for each combination of a '
            'folder and the types that its models name.',
            '',
            '| folder | run | with | what stops the others | commit |',
            '| --- | --- | --- | --- | --- |',
        ]
        folders: dict[str, list[Case]] = {}
        for case in record['cases']:
            if case['package'] == package:
                folders.setdefault(case['folder'], []).append(case)
        for folder, cases in sorted(folders.items()):
            ran = [case for case in cases if case.get('outcome') == 'runs']
            extra = sorted({case['needs'] for case in ran if 'needs' in case})
            reasons = {'package': 'needs', 'upstream': "upstream's fault:"}
            rest = {
                f'{reasons.get(case["outcome"], "")} {case["why"]}'.strip()
                for case in cases
                if case.get('outcome', 'runs') != 'runs'
            }
            stops = '; '.join(sorted(text.replace('|', '/')[:160] for text in rest))
            commits = sorted({case.get('commit', '') for case in cases} - {''})
            cells = [', '.join(extra), stops, ', '.join(commits)]
            lines.append(
                f'| {folder} | {len(ran)} of {len(cases)} | {" | ".join(cells)} |'
            )
        lines.append('')
    return '\n'.join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--again', action='store_true')
    parser.add_argument('--only-packages', action='store_true')
    parser.add_argument('--join', type=Path, metavar='FILE')
    parser.add_argument('--folder', help='try the configs of one folder, keep nothing')
    parser.add_argument('--out', type=Path, default=RESULT)
    args = parser.parse_args()
    warnings.simplefilter('ignore')
    if not args.join:
        preload()
    if args.folder:
        cases = [case for package in PACKAGES for case in chosen(package, args.folder)]
        sweep(cases, lambda cases: None)
        return
    if args.out.exists():
        cases = json.loads(args.out.read_text())['cases']
    else:
        cases = [case for package in PACKAGES for case in chosen(package)]
        cases.sort(key=lambda case: case['rank'])

    begun = {'what': WHAT, 'data': 'random images', 'commit': commit(), **run_info()}

    def keep(cases: list[Case]) -> None:
        record = begun | {'counts': counts(cases), 'cases': cases}
        write_json(args.out, record, replace=True)
        write_text(args.out.with_suffix('.md'), table(record))

    if args.join:
        keep(joined(cases, json.loads(args.join.read_text())['cases']))
        return
    keep(cases)
    sweep(wanted(cases, args.again, args.only_packages), keep)


if __name__ == '__main__':
    main()

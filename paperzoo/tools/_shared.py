"""What the scripts share: finding a config, one-message errors, a record of the run."""

import argparse
import difflib
import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from paperzoo.errors import UserError

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.runner import Runner

# A spawned process begins by importing the script. Next it unpickles its task, say a
# data set of mmdet.
if '__mp_main__' in sys.modules:
    import paperzoo.compat  # noqa: F401


def one_message(main: Callable[[], None]) -> None:
    """Run `main`; a `UserError` ends the program as one message without a traceback."""
    try:
        main()
    except UserError as error:
        sys.exit(f'\npaperzoo: {error}')
    finally:
        # A bar that still runs would draw over the message.
        if bars := sys.modules.get('paperzoo.engine.progress'):
            bars.stop_all()


def config_folders() -> list[Path]:
    """Return the folders that hold configs: paperzoo's, mmdet's and mmseg's."""
    here = Path(__file__).parents[1]
    folders = [here / 'configs', here.parent / 'configs']
    for package in ('mmdet', 'mmseg'):
        spec = importlib.util.find_spec(package)
        if spec and spec.origin:
            folders.append(Path(spec.origin).parent / '.mim' / 'configs')
    return [folder for folder in folders if folder.is_dir()]


def find_config(name: str) -> Path:
    """Return the file of a config given as a path or as a bare name.

    Args:
        name: A path, or a base name of a config of paperzoo, mmdet or mmseg, with or
            without `.py`.

    Raises:
        UserError: If there is none; it names the nearest ones.
    """
    if Path(name).is_file():
        return Path(name)
    base = Path(name).name.removesuffix('.py') + '.py'
    known: dict[str, Path] = {}
    for folder in config_folders():
        for file in sorted(folder.rglob('*.py')):
            known.setdefault(file.name, file)
        if base in known:
            return known[base]
    near = difflib.get_close_matches(base, known, n=3)
    hint = f' Did you mean {" or ".join(near)}?' if near else ''
    raise UserError(
        f"config '{name}' is neither a file nor the name of a config of paperzoo, "
        f"mmdet or mmseg.{hint} All of paperzoo's: mim search paperzoo"
    )


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that every script on a config takes."""
    from mmengine.config import DictAction

    parser.add_argument('config', help='config file, or the bare name of one')
    parser.add_argument('--work-dir', help='where logs, checkpoints and results go')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override settings: train_cfg.max_epochs=2 model.backbone.init_cfg=None',
    )
    parser.add_argument(
        '--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none'
    )
    # torchrun's predecessor, which mim uses, passes --local-rank.
    parser.add_argument('--local-rank', '--local_rank', type=int, default=0)


def load_config(args: argparse.Namespace) -> 'Config':
    """Return the config that the command line asks for, with its overrides.

    Raises:
        UserError: If there is no such config, or the OpenMMLab stack does not fit.
    """
    from paperzoo.compat.stack import check_stack

    check_stack()
    import paperzoo.compat  # noqa: F401  (before any config imports mmdet)

    path = find_config(args.config)
    # A config may name modules of the project that it lies in, as under `python -m`.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    from mmengine.config import Config

    cfg = Config.fromfile(str(path))
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    check_stack(cfg.get('default_scope'))
    cfg.launcher = args.launcher
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    if args.work_dir:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / path.stem)
    return cfg


def build_runner(cfg: 'Config', *, strict: bool) -> 'Runner':
    """Return the runner of a config, with a bar of its progress in a terminal.

    Args:
        cfg: The config, complete.
        strict: Whether the checkpoint that it loads must fit the model exactly.

    Raises:
        UserError: If it cannot be built for a misspelt name.
    """
    from mmengine.registry import RUNNERS
    from mmengine.runner import Runner

    from paperzoo.engine.build_errors import spelling_explained
    from paperzoo.engine.progress import ProgressBarHook

    with spelling_explained(cfg):
        runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    runner.register_hook(ProgressBarHook())
    if not strict:
        return runner
    load = runner.load_checkpoint

    def load_strictly(filename: str, *args: object, **kwargs: object) -> dict:
        # MMEngine only warns, and goes on with random weights.
        kwargs['strict'] = True
        try:
            return load(filename, *args, **kwargs)
        except RuntimeError as error:
            if 'do not match exactly' not in str(error) and 'size mismatch' not in str(
                error
            ):
                raise
            raise UserError(mismatch_message(filename, str(error))) from error

    runner.load_checkpoint = load_strictly
    return runner


def mismatch_message(checkpoint: str, detail: str, lines: int = 6) -> str:
    """Return the message for a checkpoint that belongs to another model.

    Args:
        checkpoint: The checkpoint's file.
        detail: What MMEngine says about the keys.
        lines: How many lines of the detail to keep.
    """
    rows = [row[:300] for row in detail.splitlines() if row.strip()]
    return (
        f"checkpoint '{checkpoint}' belongs to another model:\n  "
        + '\n  '.join(rows[1 : lines + 1])
        + '\nGive the config that it was trained with (a copy lies beside it), or the '
        'checkpoint that belongs to this config. To start a training from the weights '
        'that do fit: --cfg-options load_from=CHECKPOINT'
    )

"""What the scripts share: arguments of a config, one-message errors, a bar."""

import argparse
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from paperzoo.apis.config import load_config
from paperzoo.apis.progress import track as track  # other scripts show it, too
from paperzoo.errors import UserError

if TYPE_CHECKING:
    from mmengine.config import Config


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


def config_of(args: argparse.Namespace) -> 'Config':
    """Return the config that the command line asks for, with its overrides.

    Args:
        args: With what `add_config_arguments` adds.

    Raises:
        UserError: If there is no such config, or the OpenMMLab stack does not fit.
    """
    cfg = load_config(args.config, args.cfg_options, work_dir=args.work_dir)
    cfg.launcher = args.launcher
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return cfg

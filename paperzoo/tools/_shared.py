"""What the scripts share: arguments of a config, one-message errors, a bar."""

import argparse
import math
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from paperzoo.apis.config import load_config
from paperzoo.errors import UserError
from paperzoo.utils.messages import one_message as one_message
from paperzoo.utils.progress import track as track  # other scripts show it, too

if TYPE_CHECKING:
    from mmengine.config import Config

    from paperzoo.apis.image_model import ImageModel


class Overrides(argparse.Action):
    """Reads `KEY=VALUE` as mmengine does, or says which of them it cannot read."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Add the settings to those of an earlier `--cfg-options`."""
        from mmengine.config import DictAction

        options = dict(getattr(namespace, self.dest) or {})
        for given in values:
            key, equals, value = given.partition('=')
            if not key or not equals:
                raise UserError(
                    f"{option_string} '{given}': write KEY=VALUE, such as "
                    'train_cfg.max_epochs=2'
                )
            try:
                options[key] = DictAction._parse_iterable(value)
            except (AssertionError, ValueError, IndexError) as error:
                raise UserError(f"{option_string} '{given}': {error}") from error
            except RecursionError as error:
                raise UserError(
                    f'{option_string} {key}: its value has too many brackets in each '
                    'other'
                ) from error
        setattr(namespace, self.dest, options)


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Return the command line: options stand anywhere, and no value is empty.

    Args:
        parser: Of the script.
    """
    args = parser.parse_intermixed_args()
    for action in parser._actions:
        if _has_empty(getattr(args, action.dest, None)):
            # An unset shell variable; as a path it would be the current folder.
            parser.error(str(argparse.ArgumentError(action, 'it is empty')))
    return args


def _has_empty(value: Any) -> bool:
    return any(map(_has_empty, value)) if isinstance(value, list) else value == ''


def bounded(
    kind: type[int] | type[float], least: int, most: float = math.inf
) -> Callable[[str], float]:
    """Return the type of an option that takes a number within bounds."""
    end = 'on' if most == math.inf else f'to {most}'
    wanted = f'a {"whole " if kind is int else ""}number from {least} {end}'

    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"'{text}': it must be {wanted}")
        return value

    return read


def add_config_arguments(
    parser: argparse.ArgumentParser, *, needed: bool = True
) -> None:
    """Add the arguments that every script on a config takes.

    Args:
        parser: Of the script.
        needed: Whether there must be a config.
    """
    number: dict[str, Any] = {} if needed else {'nargs': '?'}
    parser.add_argument('config', help='config file, or the bare name of one', **number)
    parser.add_argument('--work-dir', help='where logs, checkpoints and results go')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=Overrides,
        metavar='KEY=VALUE',
        help='override settings: train_cfg.max_epochs=2 model.test_cfg.score_thr=0.1',
    )
    parser.add_argument(
        '--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none'
    )
    # torchrun's predecessor, which mim uses, passes --local-rank.
    parser.add_argument('--local-rank', '--local_rank', type=int, default=0)


def add_precision(parser: argparse.ArgumentParser, default: str | None) -> None:
    """Add the option of who predicts or tests."""
    parser.add_argument(
        '--precision',
        choices=['float32', 'auto', 'bfloat16', 'float16'],
        default=default,
        help='auto: bfloat16 where the device computes in it (see paperzoo doctor)',
    )


def add_support(parser: argparse.ArgumentParser) -> None:
    """Add the option that `fit` takes."""
    parser.add_argument(
        '--support',
        metavar='DIR',
        help='few-shot models: a folder of images for each class, or with a CSV file',
    )


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


def fit(model: 'ImageModel', support: str | None) -> None:
    """Show a few-shot model its classes.

    Args:
        model: As `load` gives it.
        support: A folder with a folder of images for each class.

    Raises:
        UserError: If a few-shot model has no such folder, or another model has one.
    """
    if support:
        model.fit(support)
    elif model.needs_support:
        raise UserError(
            f'{model!r} learns its classes from a few images: --support FOLDER, with a '
            'folder for each class'
        )

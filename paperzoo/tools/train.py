"""Train a model from a config: paperzoo's, mmdet's or mmseg's."""

import argparse
from typing import TYPE_CHECKING

from paperzoo.errors import UserError
from paperzoo.tools._shared import (
    add_config_arguments,
    build_runner,
    load_config,
    one_message,
)

if TYPE_CHECKING:
    from mmengine.config import Config


def parse_args() -> argparse.Namespace:
    """Return the command line, with mmdet's option names."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate from base_batch_size to the real batch size',
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from a checkpoint, by default the last one in the work dir',
    )
    return parser.parse_args()


def apply_options(cfg: 'Config', args: argparse.Namespace) -> None:
    """Write the training options into the config.

    Raises:
        UserError: If the config has no base batch size to scale by.
    """
    if args.amp:
        use_amp(cfg)
    if args.auto_scale_lr:
        if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
            raise UserError(
                f'{cfg.filename}: --auto-scale-lr needs the batch size that the '
                'learning rate was set for: auto_scale_lr=dict(base_batch_size=16)'
            )
        cfg.auto_scale_lr.enable = True
    if args.resume:
        cfg.resume = True
        cfg.load_from = None if args.resume == 'auto' else args.resume


def use_amp(cfg: 'Config') -> None:
    """Train in mixed precision: float16 on a GPU, bfloat16 on a CPU."""
    from mmengine.device import is_cuda_available

    if is_cuda_available():
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
        return
    cfg.optim_wrapper.type = 'paperzoo.Bf16OptimWrapper'
    cfg.optim_wrapper.pop('loss_scale', None)
    # Without it bfloat16 convolutions are slower than those of float32.
    hooks = [*(cfg.get('custom_hooks') or []), {'type': 'paperzoo.ChannelsLastHook'}]
    cfg.custom_hooks = hooks


def main() -> None:
    """Train."""
    args = parse_args()
    cfg = load_config(args)
    apply_options(cfg, args)
    # Weights to start from (load_from without resume) may come from another model.
    strict = bool(cfg.get('resume'))
    build_runner(cfg, strict=strict).train()


if __name__ == '__main__':
    one_message(main)

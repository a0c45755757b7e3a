"""Train a model from a config: paperzoo's, mmdet's or mmseg's."""

import argparse
from typing import TYPE_CHECKING

from paperzoo.apis.build import build_runner
from paperzoo.apis.vis_backends import BACKENDS, add_backend
from paperzoo.tools._shared import add_config_arguments, config_of, one_message
from paperzoo.utils.errors import UserError

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.runner import Runner


def parse_args() -> argparse.Namespace:
    """Return the command line, with mmdet's option names."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision')
    parser.add_argument(
        '--compile',
        nargs='?',
        const='inductor',
        metavar='BACKEND',
        help='torch.compile for backbone, neck and heads, each by itself',
    )
    parser.add_argument(
        '--vis',
        action='append',
        choices=BACKENDS,
        default=[],
        help='also log to TensorBoard, Weights & Biases or MLflow',
    )
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
    parser.add_argument(
        '--no-preflight',
        action='store_true',
        help='do not look at config, data and work dir before the training',
    )
    parser.add_argument(
        '--no-finite-check',
        action='store_true',
        help='go on when the loss is NaN or infinite',
    )
    parser.add_argument(
        '--replay',
        metavar='FILE',
        help='only run the step again whose loss was not finite',
    )
    return parser.parse_args()


def apply_options(cfg: 'Config', args: argparse.Namespace) -> None:
    """Write the training options into the config.

    Raises:
        UserError: If the config has no base batch size to scale by.
    """
    if args.amp:
        use_amp(cfg)
    from paperzoo.engine.compile import use_compile

    options = {'backend': args.compile} if args.compile else cfg.get('compile', False)
    use_compile(cfg, options)
    for name in args.vis:
        add_backend(cfg, name)
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


def look_first(cfg: 'Config') -> None:
    """Look for what would fail later, or teach the model the wrong thing.

    Raises:
        UserError: If there is something.
    """
    from paperzoo.preflight.run import check_before_training
    from paperzoo.preflight.spelling import check_config

    check_config(cfg, '(Without these checks: --no-preflight)')
    check_before_training(cfg)


def watch(runner: 'Runner', args: argparse.Namespace) -> None:
    """Let the training stop at a loss that is no number, or before a full disk.

    Raises:
        UserError: If there is no room for checkpoints.
    """
    from paperzoo.engine.finite_loss import FiniteLossHook
    from paperzoo.preflight.run import check_space

    named = any(isinstance(hook, FiniteLossHook) for hook in runner.hooks)
    if not (named or args.no_finite_check):
        runner.register_hook(FiniteLossHook())
    # A strategy (FSDP) builds the model only when the training begins.
    if not args.no_preflight and not isinstance(runner.model, dict):
        check_space(runner)


def main() -> None:
    """Train."""
    args = parse_args()
    cfg = config_of(args)
    apply_options(cfg, args)
    # Weights to start from (load_from without resume) may come from another model.
    strict = bool(cfg.get('resume'))
    from paperzoo.engine.random_state import adopt_seed, make_resumable

    adopt_seed(cfg)
    if not (args.no_preflight or args.replay):
        look_first(cfg)
    runner = build_runner(cfg, strict=strict)
    if args.replay:
        from paperzoo.engine.finite_loss import replay

        print(replay(runner, args.replay))
        return
    make_resumable(runner)
    watch(runner, args)
    runner.train()


if __name__ == '__main__':
    one_message(main)

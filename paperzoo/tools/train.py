"""Train a model from a config: paperzoo's, mmdet's or mmseg's."""

import argparse

from paperzoo.apis.training import replay_step, set_training_options, train
from paperzoo.apis.vis_backends import BACKENDS
from paperzoo.tools._shared import add_config_arguments, config_of, one_message, parse


def parse_args() -> argparse.Namespace:
    """Return the command line, with mmdet's option names."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision')
    parser.add_argument(
        '--cache-images',
        action='store_true',
        help='keep the decoded training images in memory, as far as there is room',
    )
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
        '--epochs', type=int, metavar='N', help='length; the schedule moves along'
    )
    parser.add_argument(
        '--batch-size',
        type=int,
        metavar='N',
        help='of each process; the schedule moves along, the rate by --auto-scale-lr',
    )
    parser.add_argument('--lr', type=float, metavar='X', help='learning rate')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate from base_batch_size to the real batch size',
    )
    parser.add_argument(
        '--from-scratch',
        action='store_true',
        help='begin at random weights: nothing is downloaded, nothing frozen',
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const=True,
        default=False,
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
    return parse(parser)


def main() -> None:
    """Train."""
    args = parse_args()
    cfg = config_of(args)
    set_training_options(
        cfg,
        amp=args.amp,
        compile_backend=args.compile,
        vis=args.vis,
        epochs=args.epochs,
        batch_size=args.batch_size,
        lr=args.lr,
        auto_scale_lr=args.auto_scale_lr,
        from_scratch=args.from_scratch,
        resume=args.resume,
        cache_images=args.cache_images,
        cfg_options=args.cfg_options,
    )
    if args.replay:
        print(replay_step(cfg, args.replay))
        return
    train(cfg, preflight=not args.no_preflight, finite_check=not args.no_finite_check)


if __name__ == '__main__':
    one_message(main)

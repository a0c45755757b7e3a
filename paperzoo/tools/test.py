"""Test a checkpoint: metrics, also as a JSON file, and pictures on request."""

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from paperzoo.apis.build import build_runner
from paperzoo.tools._shared import add_config_arguments, config_of, one_message
from paperzoo.utils.errors import UserError

if TYPE_CHECKING:
    from mmengine.config import Config


def parse_args() -> argparse.Namespace:
    """Return the command line, with mmdet's option names."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    parser.add_argument('checkpoint', help='checkpoint file or URL')
    parser.add_argument(
        '--out',
        metavar='FILE.json',
        help='also write predictions and truth, for analyze; a name in .pkl '
        "gives mmengine's pickle of the raw predictions",
    )
    parser.add_argument(
        '--show-dir',
        metavar='DIR',
        help='write pictures and one page of them: ground truth beside prediction',
    )
    parser.add_argument('--show-images', type=int, default=24, metavar='N')
    parser.add_argument('--show-score', type=float, default=0.3, metavar='SCORE')
    parser.add_argument(
        '--no-preflight',
        action='store_true',
        help='do not look for misspelt types and arguments before the test',
    )
    return parser.parse_args()


def apply_options(cfg: 'Config', args: argparse.Namespace) -> None:
    """Write the test options into the config.

    Raises:
        UserError: If `--out` is neither a JSON nor a pickle file.
    """
    cfg.load_from = args.checkpoint
    cfg.resume = False
    # The Runner dumps the config by its file name: the training's dump stays as it was.
    file = Path(cfg.filename)
    object.__setattr__(cfg, '_filename', str(file.with_stem(f'{file.stem}_test')))
    if args.show_dir:
        hook = dict(
            type='paperzoo.PicturePageHook',
            out_dir=args.show_dir,
            max_images=args.show_images,
            score_thr=args.show_score,
        )
        cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), hook]
    if args.out:
        if args.out.endswith('.json'):
            dump = dict(type='paperzoo.DumpRecords', out_file=args.out)
        elif args.out.endswith(('.pkl', '.pickle')):
            dump = dict(type='DumpResults', out_file_path=args.out)
        else:
            raise UserError(f"--out '{args.out}' must end in .json or .pkl")
        cfg.test_evaluator = [*as_list(cfg.test_evaluator), dump]


def as_list(evaluator: object) -> list:
    """Return the metrics of an evaluator config as a list."""
    return list(evaluator) if isinstance(evaluator, list | tuple) else [evaluator]


def main() -> None:
    """Test."""
    args = parse_args()
    cfg = config_of(args)
    if not args.no_preflight:
        from paperzoo.preflight.spelling import check_config

        check_config(cfg, '(Without this check: --no-preflight)')
    apply_options(cfg, args)
    runner = build_runner(cfg, strict=True)
    start = time.time()
    metrics = runner.test()

    from paperzoo.utils.files import write_json
    from paperzoo.utils.run_info import checkpoint_record, run_record

    record = {
        'metrics': metrics,
        'images': len(runner.test_dataloader.dataset),
        'config': args.config,
        'cfg_options': args.cfg_options or {},
        **checkpoint_record(args.checkpoint),
        'seconds': round(time.time() - start, 1),
        **run_record(),
    }
    if runner.rank == 0:
        file = write_json(Path(runner.log_dir) / 'test_metrics.json', record)
        for name, value in metrics.items():
            print(f'{name}: {value}')
        print(f'Metrics, versions and checkpoint hash: {file.absolute()}')


if __name__ == '__main__':
    one_message(main)

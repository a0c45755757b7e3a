"""Measure a config's inference: latency, throughput, parameters, FLOPs, memory."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paperzoo.tools._shared import add_config_arguments, config_of, one_message, parse
from paperzoo.utils.files import refuse_unwritable, write_json

if TYPE_CHECKING:
    from mmengine.config import Config


def parse_args() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    parser.add_argument(
        '--size',
        type=int,
        nargs=2,
        metavar=('WIDTH', 'HEIGHT'),
        help="of the images; by default the scale of the test pipeline's Resize",
    )
    parser.add_argument('--batch-size', type=int, default=1)
    parser.add_argument('--device', help="'cpu', 'cuda'; the GPU if there is one")
    parser.add_argument('--threads', type=int, help="torch's, on the CPU")
    parser.add_argument(
        '--amp', action='store_true', help='float16 on a GPU, bfloat16 on a CPU'
    )
    parser.add_argument('--channels-last', action='store_true')
    parser.add_argument(
        '--fuse',
        action='store_true',
        help='folded batch norms, channels last',
    )
    parser.add_argument(
        '--compile', action='store_true', help='backbone, neck and head, each alone'
    )
    parser.add_argument(
        '--exported',
        nargs='+',
        default=[],
        metavar='FILE',
        help='files of paperzoo export to measure beside it, by turns, image by image',
    )
    parser.add_argument(
        '--checkpoint', help='file, work dir or URL; by default random weights'
    )
    parser.add_argument('--warm-up', type=int, default=3, metavar='N')
    parser.add_argument('--repeats', type=int, default=20, metavar='N')
    parser.add_argument(
        '--out', metavar='FILE.json', help='default: benchmark.json in the work dir'
    )
    return parse(parser)


def beside(
    args: argparse.Namespace, cfg: 'Config', model: Any, meta: dict[str, Any]
) -> dict[str, Any]:
    """Return the times of the model and of its exported files, and print them."""
    from paperzoo.apis.benchmark import image_size, side_by_side
    from paperzoo.apis.exported import ExportedModel
    from paperzoo.apis.inference import Predictor
    from paperzoo.runtime.sessions import open_session

    name = 'compiled' if args.compile else 'eager'
    models: dict[str, Any] = {name: Predictor(model, cfg, meta)}
    for file in args.exported:
        models[file] = ExportedModel(open_session(file, args.threads))
    size = image_size(cfg, tuple(args.size) if args.size else None)
    counts = {'warm_up': args.warm_up, 'repeats': args.repeats}
    found = side_by_side(models, size, **counts)
    for name, value in found.items():
        print(f'{value["ms_median"]:9.2f} ms  {value["ratio"]:6.3f}  {name}')
    return found


def main() -> None:
    """Measure, print and write."""
    args = parse_args()
    from paperzoo.apis.benchmark import measure
    from paperzoo.apis.build import build_model, load_weights

    cfg = config_of(args)
    file = Path(args.out) if args.out else Path(cfg.work_dir) / 'benchmark.json'
    refuse_unwritable(file)
    model = build_model(cfg, args.device)
    meta = load_weights(model, args.checkpoint) if args.checkpoint else {}
    figures = measure(
        cfg,
        model=model,
        size=tuple(args.size) if args.size else None,
        batch_size=args.batch_size,
        device=args.device,
        threads=args.threads,
        amp=args.amp,
        channels_last=args.channels_last,
        fuse=args.fuse,
        compiled=args.compile,
        warm_up=args.warm_up,
        repeats=args.repeats,
    )

    from paperzoo.utils.run_info import checkpoint_info, run_info

    for name, value in figures.items():
        print(f'{name:22}{value}')
    if args.exported:
        figures['side_by_side'] = beside(args, cfg, model, meta)
    record = {
        'what': 'inference with pre- and post-processing, on random images',
        'config': args.config,
        'cfg_options': args.cfg_options or {},
        **figures,
        'amp': args.amp,
        'channels_last': args.channels_last,
        'fuse': args.fuse,
        'compile': args.compile,
        'repeats': args.repeats,
        **(checkpoint_info(args.checkpoint) if args.checkpoint else {}),
        **run_info(),
    }
    print(f'Written: {write_json(file, record).absolute()}')


if __name__ == '__main__':
    one_message(main)

"""Measure a config's inference: latency, throughput, parameters, FLOPs, memory."""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paperzoo.apis.build import build_model, default_device, load_weights
from paperzoo.apis.config import test_scale
from paperzoo.tools._shared import add_config_arguments, config_of, one_message
from paperzoo.utils.errors import UserError
from paperzoo.utils.run_info import peak_mib

if TYPE_CHECKING:
    from mmengine.config import Config
    from torch import nn


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
        '--compile', action='store_true', help='backbone, neck and head, each alone'
    )
    parser.add_argument('--checkpoint', help='weights; by default random ones')
    parser.add_argument('--warm-up', type=int, default=3, metavar='N')
    parser.add_argument('--repeats', type=int, default=20, metavar='N')
    parser.add_argument(
        '--out', metavar='FILE.json', help='default: benchmark.json in the work dir'
    )
    return parser.parse_args()


def image_size(cfg: 'Config', given: list[int] | None) -> tuple[int, int]:
    """Return the width and height of the images to measure with.

    Raises:
        UserError: If none is given and the test pipeline does not say one.
    """
    if given:
        width, height = given
    else:
        scale, _ = test_scale(cfg)
        if scale is None:
            raise UserError(
                f'{cfg.filename}: the test pipeline does not resize, so the size is '
                'yours to say: --size WIDTH HEIGHT'
            )
        width, height = scale
    if min(width, height) < 1:
        raise UserError(f'--size {width} {height}: both must be at least 1')
    return width, height


def make_batch(model: 'nn.Module', size: tuple[int, int], images: int) -> dict:
    """Return random images as the data loader gives them.

    Raises:
        UserError: If the model is neither of mmdet nor of mmseg.
    """
    import torch

    width, height = size
    generator = torch.Generator().manual_seed(0)
    inputs = [
        torch.randint(
            0, 256, (3, height, width), dtype=torch.uint8, generator=generator
        )
        for _ in range(images)
    ]
    cls = _sample_class(model)
    meta = dict(
        img_shape=(height, width),
        ori_shape=(height, width),
        pad_shape=(height, width),
        scale_factor=(1.0, 1.0),
        flip=False,
        img_id=0,
        img_path='',
    )
    return {'inputs': inputs, 'data_samples': [cls(metainfo=meta) for _ in inputs]}


def _sample_class(model: 'nn.Module') -> Any:
    packages = {cls.__module__.partition('.')[0] for cls in type(model).__mro__}
    if 'mmseg' in packages:
        from mmseg.structures import SegDataSample

        return SegDataSample
    if 'mmdet' in packages:
        from mmdet.structures import DetDataSample

        return DetDataSample
    raise UserError(
        f'model.type is {type(model).__name__}, no model of mmdet or mmseg: only these '
        'are measured'
    )


def milliseconds(
    step: Callable[[], Any], *, warm_up: int, repeats: int, device: str
) -> list[float]:
    """Return how long each call of `step` takes.

    Args:
        step: What is measured.
        warm_up: Calls before.
        repeats: Calls that count.
        device: Where it works; a GPU is waited for.
    """
    import torch

    times = []
    for turn in range(warm_up + repeats):
        begin = time.perf_counter()
        step()
        if device.startswith('cuda'):
            torch.cuda.synchronize(device)
        if turn >= warm_up:
            times.append(1000 * (time.perf_counter() - begin))
    return times


def summary(times: list[float], images: int) -> dict[str, float]:
    """Return the figures of the calls.

    Args:
        times: Milliseconds of each.
        images: Per call.
    """
    last = len(times) - 1
    median = statistics.median(times)
    return {
        'latency_ms_median': round(median, 2),
        'latency_ms_p90': round(sorted(times)[min(last, round(0.9 * last))], 2),
        'latency_ms_min': round(min(times), 2),
        'images_per_second': round(1000 * images / median, 2),
    }


def flops(step: Callable[[], Any]) -> int:
    """Return the floating-point operations of one call: two per multiply-add.

    Those of convolutions, matrix products and attention; others are not counted.
    """
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def prepare(model: Any, args: argparse.Namespace) -> None:
    """Compile the model and lay out its memory as the command line asks."""
    import torch

    if args.channels_last:
        model.to(memory_format=torch.channels_last)
    if args.compile:
        from paperzoo.engine.compile import check_options, compile_parts

        check_options({})
        compile_parts(model)


def step_on(model: Any, batch: dict, *, kind: str, amp: bool) -> Callable:
    """Return a function that runs the model on a batch once.

    Args:
        model: Of mmdet or mmseg.
        batch: See `make_batch`.
        kind: Of the device, `'cpu'` or `'cuda'`.
        amp: Half precision where autocast sees fit.
    """
    import torch

    half = torch.float16 if kind == 'cuda' else torch.bfloat16

    def step() -> Any:
        # The preprocessor may write into the lists.
        fresh = {key: list(value) for key, value in batch.items()}
        with torch.inference_mode(), torch.autocast(kind, half, enabled=amp):
            return model.test_step(fresh)

    return step


def measure(cfg: 'Config', args: argparse.Namespace) -> dict[str, Any]:
    """Return everything that is measured of a config."""
    import torch

    device = args.device or default_device()
    kind = device.partition(':')[0]
    if args.threads:
        torch.set_num_threads(args.threads)
    model = build_model(cfg, device)
    if args.checkpoint:
        load_weights(model, args.checkpoint)
    parameters = list(model.parameters())
    trainable = sum(p.numel() for p in parameters if p.requires_grad)
    # The counter follows gradients where a parameter is an input, in inference too.
    model.requires_grad_(False)
    size = image_size(cfg, args.size)
    # Counted before anything is compiled: the counter sees single operations.
    one = make_batch(model, size, images=1)
    operations = flops(step_on(model, one, kind=kind, amp=args.amp))
    prepare(model, args)
    batch = make_batch(model, size, args.batch_size)
    if kind == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
    times = milliseconds(
        step_on(model, batch, kind=kind, amp=args.amp),
        warm_up=args.warm_up,
        repeats=args.repeats,
        device=device,
    )
    return {
        'width_height': list(size),
        'batch_size': args.batch_size,
        **summary(times, args.batch_size),
        'parameters': sum(p.numel() for p in parameters),
        'trainable_parameters': trainable,
        'gflops_per_image': round(operations / 1e9, 3),
        **peak_mib(device),
    }


def main() -> None:
    """Measure, print and write."""
    args = parse_args()
    if min(args.batch_size, args.repeats) < 1 or args.warm_up < 0:
        raise UserError('--batch-size and --repeats are at least 1, --warm-up 0')
    cfg = config_of(args)
    figures = measure(cfg, args)

    from paperzoo.utils.files import write_json
    from paperzoo.utils.run_info import checkpoint_record, run_record

    for name, value in figures.items():
        print(f'{name:22}{value}')
    record = {
        'what': 'inference with pre- and post-processing, on random images',
        'config': args.config,
        'cfg_options': args.cfg_options or {},
        **figures,
        'amp': args.amp,
        'channels_last': args.channels_last,
        'compile': args.compile,
        'repeats': args.repeats,
        **(checkpoint_record(args.checkpoint) if args.checkpoint else {}),
        **run_record(),
    }
    file = Path(args.out) if args.out else Path(cfg.work_dir) / 'benchmark.json'
    print(f'Written: {write_json(file, record).absolute()}')


if __name__ == '__main__':
    one_message(main)

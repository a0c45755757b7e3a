"""How fast and how large a model is: latency, throughput, parameters, FLOPs, memory."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from paperzoo.apis.build import build_model, default_device
from paperzoo.apis.config import test_scale
from paperzoo.apis.fusing import fused
from paperzoo.errors import UserError
from paperzoo.utils.families import family
from paperzoo.utils.run_info import peak_mib

if TYPE_CHECKING:
    from mmengine.config import Config
    from torch import nn


def measure(
    cfg: 'Config',
    *,
    model: Any = None,
    size: tuple[int, int] | None = None,
    batch_size: int = 1,
    device: str | None = None,
    threads: int | None = None,
    amp: bool = False,
    channels_last: bool = False,
    fuse: bool = False,
    compiled: bool = False,
    warm_up: int = 3,
    repeats: int = 20,
) -> dict[str, Any]:
    """Measure inference with pre- and post-processing, on random images.

    Args:
        cfg: The config.
        model: Its model, if it is built already; it is frozen, and stays as it is
            measured. By default it is built, with random weights, with which few boxes
            are found.
        size: Width and height of the images; by default the scale of the test
            pipeline's `Resize`.
        batch_size: Images per call.
        device: Such as `'cpu'`; by default the GPU if there is one.
        threads: torch's, on the CPU; stays so.
        amp: Half precision where autocast sees fit: float16 on a GPU, else bfloat16.
        channels_last: Memory layout of weights and images.
        fuse: What `load(fuse=True)` does: folded batch norms, channels last.
        compiled: Compile backbone, neck and heads, each by itself.
        warm_up: Calls before those that count.
        repeats: Calls that count.

    Returns:
        The figures by name.

    Raises:
        UserError: If an argument is out of its range, no size of images is given or in
            the test pipeline, or the model is neither of mmdet nor of mmseg.

    Example:
        >>> from paperzoo.apis.benchmark import measure
        >>> from paperzoo.apis.config import load_config
        >>> cfg = load_config('fcos_tiny_shapes')
        >>> found = measure(cfg, size=(64, 32), repeats=1, warm_up=0, device='cpu')
        >>> found['parameters'], found['width_height']
        (1743783, [64, 32])
    """
    import torch

    if min(batch_size, repeats) < 1 or warm_up < 0:
        raise UserError('--batch-size and --repeats are at least 1, --warm-up 0')
    device = device or default_device()
    kind = device.partition(':')[0]
    if threads:
        torch.set_num_threads(threads)
    if model is None:
        model = build_model(cfg, device)
    width, height = image_size(cfg, size)
    sizes = _sizes(model, (width, height), kind=kind, amp=amp)
    if fuse:
        model = fused(model)
    _change(model, channels_last=channels_last, compiled=compiled)
    batch = make_batch(model, (width, height), batch_size)
    if kind == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
    times = milliseconds(
        step_on(model, batch, kind=kind, amp=amp),
        warm_up=warm_up,
        repeats=repeats,
        device=device,
    )
    return {
        'width_height': [width, height],
        'batch_size': batch_size,
        **summary(times, batch_size),
        **sizes,
        **peak_mib(device),
    }


def _sizes(
    model: Any, size: tuple[int, int], *, kind: str, amp: bool
) -> dict[str, float]:
    """Return parameters and FLOPs of a model that is as built; freeze it."""
    parameters = list(model.parameters())
    trainable = sum(p.numel() for p in parameters if p.requires_grad)
    # The counter follows gradients where a parameter is an input, in inference too.
    model.requires_grad_(False)
    # Counted before anything is compiled: the counter sees single operations.
    one = make_batch(model, size, images=1)
    operations = flops(step_on(model, one, kind=kind, amp=amp))
    return {
        'parameters': sum(p.numel() for p in parameters),
        'trainable_parameters': trainable,
        'gflops_per_image': round(operations / 1e9, 3),
    }


def _change(model: Any, *, channels_last: bool, compiled: bool) -> None:
    import torch

    if channels_last:
        model.to(memory_format=torch.channels_last)
    if compiled:
        from paperzoo.engine.compile import check_options, compile_parts

        check_options({})
        compile_parts(model)


def image_size(cfg: 'Config', given: tuple[int, int] | None) -> tuple[int, int]:
    """Return the width and height of the images to measure with.

    Args:
        cfg: The config.
        given: By the user, or None.

    Raises:
        UserError: If no size is given and the test pipeline does not say one, or a side
            is below 1.

    Example:
        >>> from paperzoo.apis.benchmark import image_size
        >>> from paperzoo.apis.config import load_config
        >>> image_size(load_config('fcos_tiny_shapes'), None)
        (256, 192)
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

    Args:
        model: Of mmdet or mmseg.
        size: Width and height.
        images: How many.

    Raises:
        UserError: If the model is neither of mmdet nor of mmseg.

    Example:
        >>> from torch import nn
        >>> from paperzoo.apis.benchmark import make_batch
        >>> make_batch(nn.Linear(1, 1), (4, 4), images=1)
        Traceback (most recent call last):
        paperzoo.errors.UserError: model.type is Linear, no model of mmdet ...
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
    if family(model) == 'mmseg':
        from mmseg.structures import SegDataSample

        return SegDataSample
    if family(model) == 'mmdet':
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

    Example:
        >>> from paperzoo.apis.benchmark import milliseconds
        >>> len(milliseconds(list, warm_up=1, repeats=3, device='cpu'))
        3
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

    Example:
        >>> from paperzoo.apis.benchmark import summary
        >>> summary([10.0, 12.0, 11.0], images=2)['images_per_second']
        181.82
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

    Args:
        step: What is called.

    Example:
        >>> import torch
        >>> from paperzoo.apis.benchmark import flops
        >>> flops(lambda: torch.ones(2, 3) @ torch.ones(3, 4))
        48
    """
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def step_on(model: Any, batch: dict, *, kind: str, amp: bool) -> Callable:
    """Return a function that runs the model on a batch once.

    Args:
        model: Of mmdet or mmseg.
        batch: See `make_batch`.
        kind: Of the device, `'cpu'` or `'cuda'`.
        amp: Half precision where autocast sees fit.

    Example:
        >>> from types import SimpleNamespace
        >>> from paperzoo.apis.benchmark import step_on
        >>> model = SimpleNamespace(test_step=lambda batch: len(batch['inputs']))
        >>> step_on(model, {'inputs': [1, 2]}, kind='cpu', amp=False)()
        2
    """
    import torch

    half = torch.float16 if kind == 'cuda' else torch.bfloat16

    def step() -> Any:
        # The preprocessor may write into the lists.
        fresh = {key: list(value) for key, value in batch.items()}
        with torch.inference_mode(), torch.autocast(kind, half, enabled=amp):
            return model.test_step(fresh)

    return step


def side_by_side(
    models: Mapping[str, Callable[[Any], Any]],
    size: tuple[int, int],
    *,
    warm_up: int = 3,
    repeats: int = 20,
) -> dict[str, dict[str, float]]:
    """Return how long models take for one image, from pixels to results, by turns.

    A slow spell of the machine hits all of them: the ratios are worth more than the
    times.

    Args:
        models: By name, as `paperzoo.load` gives them; the first is what the ratios
            refer to.
        size: Width and height of the image, which is random.
        warm_up: Turns before those that count.
        repeats: Turns that count.

    Returns:
        For each model `ms_median` and `ratio`.

    Example:
        >>> from paperzoo.apis.benchmark import side_by_side
        >>> side_by_side({'eager': len}, (4, 4), repeats=1)['eager']['ratio']
        1.0
    """
    import numpy as np

    width, height = size
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    times: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(warm_up + repeats):
        for name, model in models.items():
            begin = time.perf_counter()
            model(image)
            if turn >= warm_up:
                times[name].append(1000 * (time.perf_counter() - begin))
    medians = {name: statistics.median(values) for name, values in times.items()}
    first = next(iter(medians.values()))
    return {
        name: {'ms_median': round(value, 2), 'ratio': round(value / first, 3)}
        for name, value in medians.items()
    }

"""What `gpu.py` measures: each section yields its rows, named and yet to be run."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from xml.etree import ElementTree

import torch
from _shared import loss_lines, metrics_of, start, take_turns
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from torch import nn

from paperzoo.apis.config import find_config
from paperzoo.registry import MODELS

ROOT = Path(__file__).parents[1]
Row = tuple[str, Callable[[], dict[str, Any]]]
# With the epochs for which there may be time.
TRAININGS = {'bccd': ('fcos_r18_fpn_bccd', 18), 'coco100': ('fcos_r18_fpn_coco100', 48)}
TINY = {'shapes': ('fcos_tiny_shapes', 1)}
# What the test of a checkpoint takes.
TEST_SECONDS = 25.0
DTYPES = (torch.bfloat16, torch.float16, torch.float32)


@dataclass(frozen=True)
class Setting:
    """Where and how large.

    Attributes:
        device: `'cuda'` or `'cpu'`.
        tiny: Whether only to try that everything runs.
        end: When the section is stopped, on `time.time`'s clock.
    """

    device: str
    tiny: bool
    end: float

    def turns(self, pair: Mapping[str, Callable[[], Any]]) -> Callable[[], dict]:
        """Return what times two ways in turns; see `take_turns`."""
        if self.tiny:
            return partial(take_turns, pair, 1, 0)
        return partial(take_turns, pair, 9, 2, loop=0.01)

    def trainings(self) -> dict[str, list[str]]:
        """Return the arguments of `paperzoo train` by the data's name."""
        own = {
            'default_hooks.checkpoint.max_keep_ckpts': 1,
            'train_dataloader.num_workers': 0 if self.tiny else 6,
            'train_dataloader.persistent_workers': not self.tiny,
            'train_cfg.val_interval': 1000,
            **(
                {
                    'train_dataloader.dataset.indices': 4,
                    'default_hooks.logger.interval': 1,
                }
                if self.tiny
                else {}
            ),
        }
        options = ['--cfg-options', *(f'{key}={value}' for key, value in own.items())]
        options += [] if self.tiny else ['--amp']
        return {
            name: [config, '--from-scratch', '--epochs', str(epochs), *options]
            for name, (config, epochs) in (TINY if self.tiny else TRAININGS).items()
        }

    def config(self, name: str, tiny: str) -> Config:
        """Return one of paperzoo's configs."""
        cfg = Config.fromfile(str(find_config(tiny if self.tiny else name)))
        init_default_scope(cfg.default_scope)
        return cfg


def cast(device: str, dtype: torch.dtype) -> torch.autocast:
    """Return autocast to a precision; it does nothing for float32."""
    return torch.autocast(device, dtype, enabled=dtype != torch.float32)


def name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix('torch.')


def tests(setting: Setting) -> Iterator[Row]:
    """The tests that need a GPU; without one they are counted as skipped."""

    def run() -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder, 'report.xml')
            command = ['pytest', '-q', '-m', 'gpu', 'tests/test_gpu.py']
            said = subprocess.run(
                [sys.executable, '-m', *command, f'--junitxml={report}'],
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=False,
            )
            suite = ElementTree.parse(report).getroot()[0]
        counts = {k: int(suite.attrib[k]) for k in ('tests', 'failures', 'skipped')}
        counts['errors'] = int(suite.attrib['errors'])
        failed = [one for one in said.stdout.splitlines() if one.startswith('FAILED')]
        return {**counts, **({'failed_tests': failed} if failed else {})}

    yield 'marked gpu', run


def fcos(setting: Setting) -> Iterator[Row]:
    """FCOS with our head beside mmdet's: head alone, training step, inference."""
    from fcos_speed import head_cases, model_cases

    built, images, size = fcos_models(setting)
    for case, pair in head_cases(built, images, size, setting.device).items():
        yield f'{case}, {images} images', setting.turns(pair)
    for dtype in DTYPES:
        cases = model_cases(built, images, size, setting.device, dtype)
        for case, pair in cases.items():
            yield f'{case}, {name_of(dtype)}, {images} images', setting.turns(pair)


def fcos_models(setting: Setting) -> tuple[dict[str, Any], int, tuple[int, int]]:
    """Return both models, and the number and size of images."""
    from fcos_speed import CONFIG, models

    register_all_modules()
    if setting.tiny:
        tiny = Path(find_config('fcos_tiny_shapes'))
        return models(setting.device, tiny), 1, (64, 96)
    return models(setting.device, CONFIG), 8, (800, 1216)


def fcos_compiled(setting: Setting) -> Iterator[Row]:
    """The same under torch.compile, beside mmdet's, and beside itself without it."""
    from fcos_speed import model_cases

    from paperzoo.engine.compile import compile_parts

    backend = 'eager' if setting.tiny else 'inductor'
    eager, images, size = fcos_models(setting)
    for dtype in (torch.bfloat16, torch.float32):
        compiled = fcos_models(setting)[0]
        for model in compiled.values():
            compile_parts(model, backend=backend)
        cases = [
            model_cases(models, images, size, setting.device, dtype)
            for models in (compiled, eager)
        ]
        for case, pair in cases[0].items():
            name = f'{case}, {name_of(dtype)}, {images} images'
            yield f'{name}, both compiled', setting.turns(pair)
            beside = {'compiled': pair['ours'], 'eager': cases[1][case]['ours']}
            yield f'{name}, ours', setting.turns(beside)


def graphed(run: Callable[[], Any], device: str) -> Callable[[], Any]:
    """Return what replays a call as a CUDA graph; on a CPU the call itself.

    Args:
        run: Always works on the same tensors, and never waits for the GPU.
        device: Where.
    """
    if device == 'cpu':
        return run
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # what is set up in a first call is not recorded
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def graphs(setting: Setting) -> Iterator[Row]:
    """What runs as a CUDA graph: without waits, on tensors of fixed shapes."""
    from dmf_speed import ours
    from fcos_speed import model_cases

    def beside_itself(run: Callable[[], Any]) -> dict[str, Any]:
        graph = graphed(run, setting.device)
        return setting.turns({'CUDA graph': graph, 'eager': run})()

    built, images, size = fcos_models(setting)
    for count in (1, images):
        pixels = torch.randn(count, 3, *size, device=setting.device)
        pixels = pixels.to(memory_format=torch.channels_last)

        @torch.inference_mode()
        def network(pixels: torch.Tensor = pixels) -> None:
            with cast(setting.device, torch.bfloat16):
                built['ours'].eval()._forward(pixels)

        yield (
            f'FCOS network, bfloat16, {count} images',
            partial(beside_itself, network),
        )
    yield (
        "DMF's scores of an episode",
        partial(beside_itself, partial(ours, *dmf_episode(setting))),
    )
    steps = model_cases(built, images, size, setting.device, torch.bfloat16)
    # mmdet's last: its targets wait for the GPU, and a failed recording may end all.
    for name, run in steps['training step'].items():
        yield (
            f'FCOS training step of {name}, bfloat16, {images} images',
            partial(beside_itself, run),
        )


def ops(setting: Setting) -> Iterator[Row]:
    """Operators beside compiled ones, with equal results."""
    from _gpu_ops import Pair, compare, pairs

    def compared(pair: Pair) -> dict[str, Any]:
        compare(pair)
        return setting.turns(pair)()

    for name, pair in pairs(setting.device, setting.tiny):
        yield name, partial(compared, pair)


def knet(setting: Setting) -> Iterator[Row]:
    """The semantic head beside mmseg's, the assigner, and the instance model."""
    from knet_speed import assigner_cases, head_cases, heads

    register_all_modules()
    side, images = (2, 1) if setting.tiny else (64, 4)
    for case, pair in head_cases(
        heads(setting.device), side, images, setting.device
    ).items():
        yield case, setting.turns(pair)
    for case, pair in assigner_cases(setting.device).items():
        yield case, setting.turns(pair)
    cfg = setting.config('knet_r50_fpn_instance', 'knet_tiny_shapes_instance')
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model).to(setting.device)
    size, images = ((64, 96), 1) if setting.tiny else ((800, 1216), 2)
    classes = cfg.model.roi_head.num_thing_classes
    batch = mask_samples(images, size, classes, setting.device)
    pixels = torch.randn(images, 3, *size, device=setting.device)
    for case, step in two_precisions(setting, model, pixels, batch).items():
        yield f'instance, {case}, {images} images', setting.turns(step)


def mask_samples(
    images: int, size: tuple[int, int], classes: int, device: str
) -> list[DetDataSample]:
    """Return samples of 10 rectangular masks each."""
    from fcos_speed import samples

    batch = samples(images, size, device, classes)
    for sample in batch:
        objects = sample.gt_instances[:10]
        masks = torch.zeros(10, *size, dtype=torch.uint8)
        for mask, box in zip(masks, objects.bboxes.round().int().tolist(), strict=True):
            left, top, right, bottom = box
            mask[top : max(bottom, top + 1), left : max(right, left + 1)] = 1
        sample.gt_instances = InstanceData(
            bboxes=objects.bboxes,
            labels=objects.labels,
            masks=BitmapMasks(masks.numpy(), *size),
        )
    return batch


def two_precisions(
    setting: Setting, model: nn.Module, pixels: torch.Tensor, batch: list
) -> dict[str, dict[str, Callable[[], Any]]]:
    """Return a training step and an inference, each in bfloat16 and in float32."""
    found: Any = model

    def train(dtype: torch.dtype) -> None:
        found.train()
        with cast(setting.device, dtype):
            total, _ = found.parse_losses(found.loss(pixels, batch))
        total.backward()
        found.zero_grad()

    @torch.inference_mode()
    def infer(dtype: torch.dtype) -> None:
        found.eval()
        with cast(setting.device, dtype):
            found.predict(pixels, [sample.clone() for sample in batch])

    return {
        case: {name_of(dtype): partial(run, dtype) for dtype in DTYPES[::2]}
        for case, run in (('training step', train), ('inference', infer))
    }


def dmf_episode(setting: Setting) -> tuple[Any, Any]:
    """Return DMF and the maps of an episode."""
    from dmf_speed import build, episode

    width, groups, size = (40, 4, 5) if setting.tiny else (640, 64, 11)
    model = build(width, groups, setting.device)
    return model, episode(width, size, setting.device)


def dmf(setting: Setting) -> Iterator[Row]:
    """The evaluation of an episode beside all pairs; a training step."""
    from dmf_speed import WAYS_TO_SCORE

    given = dmf_episode(setting)
    yield (
        'evaluation of an episode',
        setting.turns({n: partial(f, *given) for n, f in WAYS_TO_SCORE.items()}),
    )
    cfg = setting.config('dmf_resnet12', 'dmf_tiny_glyphs')
    model = MODELS.build(cfg.model).to(setting.device).train()
    data = cfg.train_dataloader.dataset
    episodes, side = (1, 28) if setting.tiny else (4, 84)
    labels = torch.arange(data.ways).repeat_interleave(data.shots)
    labels = labels.expand(episodes, -1)
    made = torch.randint(0, 256, (*labels.shape, 3, side, side), dtype=torch.uint8)
    parts = {'': made, '_label': labels, '_class': labels}
    batch = model.data_preprocessor(
        {f'{p}{k}': v for p in ('support', 'query') for k, v in parts.items()}, True
    )

    def step(dtype: torch.dtype) -> None:
        with cast(setting.device, dtype):
            total, _ = model.parse_losses(model(**batch, mode='loss'))
        total.backward()
        model.zero_grad()

    runs = {name_of(dtype): partial(step, dtype) for dtype in DTYPES[::2]}
    yield f'training step, {episodes} episodes', setting.turns(runs)


def trainings(setting: Setting) -> Iterator[Row]:
    """Small real trainings, side by side; what is not finished in time is stopped."""
    if setting.device == 'cpu':
        os.environ['CUDA_VISIBLE_DEVICES'] = ''
    with tempfile.TemporaryDirectory(prefix='paperzoo_gpu_') as folder:
        works = {name: Path(folder, name) for name in setting.trainings()}
        running = {
            name: start(works[name], 'train', *arguments)
            for name, arguments in setting.trainings().items()
        }
        for name, process in running.items():
            yield name, partial(trained, process, works[name], setting)


def trained(process: subprocess.Popen, work: Path, setting: Setting) -> dict[str, Any]:
    """Wait for a training, then test what it has come to."""
    try:
        code = process.wait(max(1.0, setting.end - TEST_SECONDS - time.time()))
    except subprocess.TimeoutExpired:
        code = None
        process.terminate()
        process.wait()
    output = (work / 'output.txt').read_text()
    if code or not (work / 'last_checkpoint').is_file():
        raise RuntimeError(' '.join(output[-280:].split()) or 'no checkpoint in time')
    lines = loss_lines(work)
    cut = ['--cfg-options', 'test_dataloader.dataset.indices=2'] if setting.tiny else []
    (config,) = work.glob('*.py')  # as it was trained
    checkpoint = (work / 'last_checkpoint').read_text()
    tested = start(work / 'test', 'test', str(config), checkpoint, *cut)
    if tested.wait():
        raise RuntimeError((work / 'test' / 'output.txt').read_text()[-280:])
    return {
        'finished': code == 0,
        'epochs': lines[-1]['epoch'],
        'seconds_per_step': round(median(one['time'] for one in lines), 4),
        'share_of_waiting_for_data': round(
            sum(one['data_time'] for one in lines) / sum(one['time'] for one in lines),
            3,
        ),
        'first_and_last_loss': [round(lines[k]['loss'], 3) for k in (0, -1)],
        'metrics': metrics_of(work / 'test'),
    }


SECTIONS: dict[str, Callable[[Setting], Iterator[Row]]] = {
    one.__name__: one
    for one in (tests, fcos, graphs, ops, knet, dmf, fcos_compiled, trainings)
}

"""Exported files beside their models: do they agree, how fast are they, how light.

For trained weights of small models: exports each as ONNX, OpenVINO and torch.export
with free sizes; compares what they find in images of the test set with the model
(`export_parity.json`), measures all of them by turns (`export_speed.json`), and how
long and with how much memory `paperzoo predict` runs on one image from a cold start,
with the file and with config and checkpoint (`export_start.json`).

    python benchmarks/export.py fcos_tiny_shapes=epoch_18.pth ... --images 64
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from _shared import commit

import paperzoo
from paperzoo.apis.export import export, image_card
from paperzoo.apis.export_check import compare, dataset_images
from paperzoo.apis.exported import ExportedModel
from paperzoo.apis.images import pixels_of
from paperzoo.apis.inference import Predictor, load
from paperzoo.deploy.formats import session_of
from paperzoo.preflight.image_files import evenly_spaced
from paperzoo.runtime.card import FORMATS
from paperzoo.runtime.sessions import open_session
from paperzoo.utils.files import write_json
from paperzoo.utils.run_info import checkpoint_info, run_info

RESULTS = Path(__file__).parent / 'results'


def parse_args() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('models', nargs='+', metavar='CONFIG=CHECKPOINT')
    parser.add_argument('--images', type=int, default=64)
    parser.add_argument('--repeats', type=int, default=5, help='turns over the images')
    parser.add_argument('--formats', nargs='+', default=list(FORMATS), choices=FORMATS)
    parser.add_argument(
        '--start-only', action='store_true', help='measure only the cold start'
    )
    parser.add_argument('--out', default=str(RESULTS))
    return parser.parse_args()


def predictors(
    name: str, checkpoint: str, folder: Path, formats: list[str]
) -> dict[str, Any]:
    """Return the model and its files, ready to be called, by format."""
    cfg = paperzoo.load_config(name)
    found: dict[str, Any] = {'eager': load(checkpoint, cfg, device='cpu', score=0.0)}
    assert isinstance(found['eager'], Predictor)
    card = image_card(found['eager'], None, dynamic=True)
    for kind in formats:
        file = folder / f'{name}{FORMATS[kind]}'
        print(name, kind, export(checkpoint, file, cfg, dynamic=True), flush=True)
        if kind == 'torch':
            session = session_of(file, kind, card)
        else:
            session = open_session(file, threads=1)
        found[kind] = ExportedModel(session, score=0.0)
    # The card of a torch file is not read back: the others' is complete.
    if 'torch' in found:
        found['torch'].card = found['onnx'].card
    return found


def speed(models: dict[str, Any], images: list[Any], repeats: int) -> dict[str, Any]:
    """Return milliseconds an image, and the ratio to eager, measured by turns."""
    times: dict[str, list[float]] = {kind: [] for kind in models}
    for turn in range(repeats + 1):
        for kind, model in models.items():
            start = time.perf_counter()
            for image in images:
                model(image)
            if turn:  # the first one warms up
                times[kind].append(1000 * (time.perf_counter() - start) / len(images))
    medians = {kind: statistics.median(values) for kind, values in times.items()}
    return {
        kind: {
            'ms_per_image': round(value, 2),
            'ratio_to_eager': round(value / medians['eager'], 3),
        }
        for kind, value in medians.items()
    }


def cold(command: list[str], repeats: int = 3) -> dict[str, float]:
    """Return seconds, those of the processor, and the peak MiB, from a cold start."""
    script = (
        'import resource, subprocess, sys\n'
        'subprocess.run(sys.argv[1:], check=True, capture_output=True)\n'
        'used = resource.getrusage(resource.RUSAGE_CHILDREN)\n'
        'print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)\n'
    )
    seconds, processor, memory = [], [], []
    for _ in range(repeats):
        begin = time.perf_counter()
        done = subprocess.run(
            [sys.executable, '-c', script, *command],
            check=True,
            capture_output=True,
            text=True,
        )
        seconds.append(time.perf_counter() - begin)
        used, peak = map(float, done.stdout.split())
        processor.append(used)
        memory.append(peak)
    return {
        'seconds': round(min(seconds), 2),
        'cpu_seconds': round(min(processor), 2),
        'peak_mib': round(min(memory)),
    }


def start(arguments: list[str], folder: Path) -> dict[str, float]:
    """Return what `paperzoo predict` takes from a cold start."""
    out = ['--out', str(folder / 'predictions')]
    return cold([sys.executable, '-m', 'paperzoo', 'predict', *arguments, *out])


def beside(file: Path, name: str, checkpoint: str, image: Path) -> dict[str, Any]:
    """Return what a prediction takes with a file, and with config and checkpoint."""
    found: dict[str, Any] = {
        'exported': start([str(file), str(image)], file.parent),
        'checkpoint': start([name, checkpoint, str(image)], file.parent),
    }
    found['ratios'] = {
        key: round(found['exported'][key] / found['checkpoint'][key], 3)
        for key in ('seconds', 'cpu_seconds', 'peak_mib')
    }
    return found


def floors() -> dict[str, Any]:
    """Return what the packages take that no prediction with a file can do without."""
    imports = {
        'python': 'pass',
        'numpy': 'import numpy',
        'numpy and OpenCV': 'import cv2',
        'numpy and onnxruntime': 'import onnxruntime',
        'numpy, OpenCV and onnxruntime': 'import cv2, onnxruntime',
    }
    return {name: cold([sys.executable, '-c', code]) for name, code in imports.items()}


def limits(alone: dict[str, float], begun: dict[str, Any]) -> dict[str, Any]:
    """Return the least ratios that the imports of the packages leave."""
    keys = ('seconds', 'cpu_seconds', 'peak_mib')
    return {
        'what': 'numpy, OpenCV and onnxruntime alone, imported and nothing run, beside '
        'a prediction with config and checkpoint: no ratio can be below',
        **{
            name: {key: round(alone[key] / found['checkpoint'][key], 3) for key in keys}
            for name, found in begun.items()
        },
    }


def write(args: argparse.Namespace, weights: dict[str, Any], *tables: Any) -> None:
    """Write what has been measured so far."""
    ways = {
        'load_average': [round(value, 1) for value in os.getloadavg()],
        'threads': 1,
        'data': f'{args.images} validation images of Shapes, 320 x 240',
        'commit': commit(),
        'weights': weights,
        **run_info(),
    }
    whats = {
        'parity': 'exported files beside their model, free sizes, score 0',
        'speed': 'an image with pre- and post-processing, by turns',
        'start': 'paperzoo predict of one image from a cold start',
    }
    for (kind, what), values in zip(whats.items(), tables, strict=True):
        if not values:
            continue
        if kind == 'start':
            ways['imports_alone'] = alone = floors()
            ways['what_limits'] = limits(alone[list(alone)[-1]], values)
        file = Path(args.out, f'export_{kind}.json')
        write_json(file, {'what': what, 'models': values, **ways}, replace=True)
        print(f'Written: {file}')


def main() -> None:
    """Measure and write."""
    args = parse_args()
    torch.set_num_threads(1)
    parity: dict[str, Any] = {}
    fast: dict[str, Any] = {}
    begun: dict[str, Any] = {}
    weights = {}
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for one in args.models:
            name, _, checkpoint = one.partition('=')
            weights[name] = checkpoint_info(checkpoint)
            models = predictors(name, checkpoint, folder, args.formats)
            cfg = models['eager'].cfg
            files = evenly_spaced(dataset_images(cfg, args.images), args.images)
            if args.start_only:
                file = folder / f'{name}.onnx'
                begun[name] = beside(file, name, checkpoint, files[0])
                write(args, weights, {}, {}, begun)
                continue
            images = [pixels_of(file) for file in files]
            parity[name] = {
                kind: vars(compare(models['eager'], model, images))
                for kind, model in models.items()
                if kind != 'eager'
            }
            fast[name] = speed(models, images[:16], args.repeats)
            file = folder / f'{name}.onnx'
            begun[name] = beside(file, name, checkpoint, files[0])
            print(name, parity[name], fast[name], begun[name], sep='\n', flush=True)
            write(args, weights, parity, fast, begun)


if __name__ == '__main__':
    main()

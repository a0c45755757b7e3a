"""COCO evaluation: FastCocoMetric beside mmdet's CocoMetric, and other evaluators.

python benchmarks/coco_eval.py --out benchmarks/results/coco_eval.json

Truth and results are made at the density of COCO val2017: 7.36 objects of 80 classes
per image, 100 results per image. Evaluators that are not installed are left out:
pip install ultrafast-pycocotools vernier pyarrow hotcoco
With --only-metric the table of evaluators stays as the file has it. The whole metrics
are compared by the processor's seconds, which hold on a machine with other work.
"""

import argparse
import contextlib
import io
import json
import os
import tempfile
import time
from collections.abc import Callable
from importlib import import_module, metadata
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from _shared import commit
from mmdet.evaluation import CocoMetric
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from paperzoo.evaluation.coco import FastCocoMetric
from paperzoo.utils.files import write_json
from paperzoo.utils.run_info import run_info

WIDTH, HEIGHT, CLASSES, OBJECTS = 640, 480, 80, 36781 / 5000
NAMES = tuple(f'class {label}' for label in range(CLASSES))
EVALUATORS = {
    'pycocotools': ('pycocotools.cocoeval', 'COCOeval'),
    'faster-coco-eval': ('faster_coco_eval.core', 'COCOeval_faster'),
    'ultrafast-pycocotools': ('ultrafast_pycocotools', 'COCOeval'),
    'vernier': ('vernier', 'COCOeval'),
    'hotcoco': ('hotcoco', 'COCOeval'),
}


def random_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    """Return boxes as x, y, width, height, with COCO's mix of small and large."""
    sides = np.exp(rng.normal(4.0, 1.0, (count, 2))).clip(4, (WIDTH - 1, HEIGHT - 1))
    start = rng.random((count, 2)) * (np.array((WIDTH, HEIGHT)) - sides)
    return np.concatenate([start, sides], axis=1).round(2)


def moved(rng: np.random.Generator, boxes: np.ndarray, by: float) -> np.ndarray:
    """Return boxes near the given ones, inside the image."""
    noise = rng.normal(0, by, boxes.shape) * boxes[:, [2, 3, 2, 3]]
    noisy = boxes + noise
    noisy[:, 2:] = noisy[:, 2:].clip(2, None)
    end = np.minimum(noisy[:, :2] + noisy[:, 2:], (WIDTH, HEIGHT))
    start = noisy[:, :2].clip(0, (WIDTH - 2, HEIGHT - 2))
    return np.concatenate([start, (end - start).clip(1)], axis=1)


def octagons(boxes: np.ndarray) -> list[dict]:
    """Return the run lengths of an octagon in each box."""
    x, y, w, h = (boxes[:, [k]] for k in range(4))
    across = np.array([0.3, 0.7, 1, 1, 0.7, 0.3, 0, 0])
    down = np.array([0, 0, 0.3, 0.7, 1, 1, 0.7, 0.3])
    points = np.stack([x + across * w, y + down * h], axis=-1).reshape(len(boxes), 16)
    return [
        coco_mask.frPyObjects([polygon], HEIGHT, WIDTH)[0]
        for polygon in points.tolist()
    ]


def as_text(rle: dict) -> dict:
    return {'size': list(rle['size']), 'counts': rle['counts'].decode()}


def make(images: int, found: int, masks: bool, seed: int) -> tuple[dict, list[dict]]:
    """Return a truth in COCO's format and results as a detector gives them."""
    rng = np.random.default_rng(seed)
    annotations: list[dict[str, Any]] = []
    results = []
    for image in range(images):
        boxes = random_boxes(rng, rng.poisson(OBJECTS))
        labels = rng.integers(0, CLASSES, len(boxes))
        for box, label, rle in zip(boxes, labels, octagons(boxes), strict=True):
            annotations.append(
                {
                    'id': len(annotations) + 1,
                    'image_id': image,
                    'category_id': int(label) + 1,
                    'bbox': box.tolist(),
                    'area': float(coco_mask.area(rle)),
                    'iscrowd': int(rng.random() < 0.01),
                    'segmentation': as_text(rle),
                }
            )
        results.append({'img_id': image, **detect(rng, boxes, labels, found, masks)})
    return {
        'images': [{'id': k, 'width': WIDTH, 'height': HEIGHT} for k in range(images)],
        'categories': [{'id': k + 1, 'name': name} for k, name in enumerate(NAMES)],
        'annotations': annotations,
    }, results


def detect(
    rng: np.random.Generator,
    boxes: np.ndarray,
    labels: np.ndarray,
    found: int,
    masks: bool,
) -> dict[str, Any]:
    """Return results around the objects of an image, and elsewhere."""
    near = min(found, 6 * len(boxes))
    which = rng.integers(0, max(len(boxes), 1), near)
    elsewhere = random_boxes(rng, found - near)
    own = np.concatenate([moved(rng, boxes[which], 0.15), elsewhere])
    own_labels = rng.integers(0, CLASSES, found)
    right = rng.random(near) < 0.8
    own_labels[:near][right] = labels[which][right]
    result = {
        'bboxes': np.concatenate([own[:, :2], own[:, :2] + own[:, 2:]], axis=1),
        # Of two digits: equal scores are where evaluators differ first.
        'scores': rng.random(found).round(2),
        'labels': own_labels,
    }
    return {**result, 'masks': [as_text(r) for r in octagons(own)]} if masks else result


def coco_results(results: list[dict], kind: str) -> list[dict]:
    """Return results as a list in COCO's format."""
    rows = []
    for result in results:
        corners = result['bboxes']
        boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1)
        for k, box in enumerate(boxes.tolist()):
            row = {
                'image_id': result['img_id'],
                'category_id': int(result['labels'][k]) + 1,
                'score': float(result['scores'][k]),
            }
            # As in mmdet: with a box beside it, a mask would get the box's area.
            if kind == 'bbox':
                row['bbox'] = box
            else:
                row['segmentation'] = result['masks'][k]
            rows.append(row)
    return rows


def evaluator_run(
    name: str, ann_file: Path, results: list[dict], kind: str
) -> Callable[[], Any]:
    """Return a function that evaluates once and returns the evaluator."""
    module, attribute = EVALUATORS[name]
    cls = getattr(import_module(module), attribute)
    # hotcoco and ultrafast read only data sets of their own classes.
    own = {'hotcoco': 'load_res', 'ultrafast-pycocotools': 'loadRes'}
    with contextlib.redirect_stdout(io.StringIO()):
        if name in own:
            truth = import_module(module).COCO(str(ann_file))
            found = getattr(truth, own[name])(results)
        else:
            truth = COCO(str(ann_file))
            found = truth.loadRes(results)

    def run() -> Any:
        with contextlib.redirect_stdout(io.StringIO()):
            evaluator = cls(truth, found, kind)
            evaluator.params.maxDets = [100, 300, 1000]
            evaluator.evaluate()
            evaluator.accumulate()
            evaluator.summarize()
        return evaluator

    return run


def compare_evaluators(
    names: list[str], ann_file: Path, results: list[dict], kind: str, repeats: int
) -> list[dict]:
    """Return the time of each evaluator and how far it is from pycocotools.

    Reading truth and results is not timed.
    """
    rows = coco_results(results, kind)
    table: list[dict[str, Any]] = []
    runs = {}
    for name in names:
        copies = json.loads(json.dumps(rows))  # evaluators write into their input
        runs[name] = evaluator_run(name, ann_file, copies, kind)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    last = {}
    for _ in range(repeats):
        for name, run in list(runs.items()):
            begin = time.perf_counter()
            try:
                last[name] = run()
            except (TypeError, ValueError) as error:
                table.append({'evaluator': name, 'refuses': f'{error}'[:200]})
                del runs[name]
                continue
            seconds[name].append(time.perf_counter() - begin)
    for name in runs:
        table.append(row(name, seconds, last))
        print(table[-1], flush=True)
    return table


def row(name: str, seconds: dict[str, list[float]], last: dict[str, Any]) -> dict:
    """Return what is said of an evaluator beside pycocotools."""
    pairs = zip(seconds[name], seconds['pycocotools'], strict=True)
    ratios = [peer / own for own, peer in pairs]
    peer = last['pycocotools']
    stats = np.asarray(last[name].stats, float)[: len(peer.stats)]
    precision = np.asarray(last[name].eval['precision'])
    return {
        'evaluator': name,
        'version': metadata.version(name),
        'seconds': round(median(seconds[name]), 3),
        'times_as_fast_as_pycocotools': round(median(ratios), 1),
        'range': [round(min(ratios), 1), round(max(ratios), 1)],
        'largest_difference_of_a_stat': float(abs(stats - peer.stats).max()),
        'largest_difference_of_precision': float(
            abs(precision - peer.eval['precision']).max()
        ),
    }


def metric_run(
    cls: type[CocoMetric], ann_file: Path, results: list[dict], kinds: list[str]
) -> Callable[[], dict[str, float]]:
    """Return a function that runs a whole metric on the results."""
    metric = cls(ann_file=str(ann_file), metric=kinds, classwise=True)
    metric.dataset_meta = {'classes': NAMES}

    def run() -> dict[str, float]:
        metric.results = [({}, dict(result)) for result in results]
        with contextlib.redirect_stdout(io.StringIO()):
            return metric.compute_metrics(metric.results)

    return run


def compare_metrics(
    ann_file: Path, results: list[dict], kind: str, repeats: int
) -> dict[str, Any]:
    """Return the seconds of both whole metrics in turns, and whether they agree."""
    pair = {
        cls.__name__: metric_run(cls, ann_file, results, [kind])
        for cls in (FastCocoMetric, CocoMetric)
    }
    numbers = {}
    wall: dict[str, list[float]] = {name: [] for name in pair}
    used: dict[str, list[float]] = {name: [] for name in pair}
    for _ in range(repeats):
        for name, run in pair.items():
            begin, begin_used = time.perf_counter(), time.process_time()
            numbers[name] = run()
            wall[name].append(time.perf_counter() - begin)
            used[name].append(time.process_time() - begin_used)
    ratios = [a / b for a, b in zip(*used.values(), strict=True)]
    return {
        'seconds': {name: round(median(own), 2) for name, own in wall.items()},
        'cpu_seconds': {name: round(median(own), 2) for name, own in used.items()},
        'ratio': round(median(ratios), 3),
        'ratio_range': [round(min(ratios), 3), round(max(ratios), 3)],
        'every_printed_digit_equal': same(*numbers.values()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--images', type=int, default=5000)
    parser.add_argument('--found', type=int, default=100, help='results per image')
    parser.add_argument('--metric', nargs='+', default=['bbox', 'segm'])
    parser.add_argument('--evaluators', nargs='+', choices=EVALUATORS)
    parser.add_argument('--only-metric', action='store_true')
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--out', default='benchmarks/results/coco_eval.json')
    args = parser.parse_args()
    names = args.evaluators or [name for name in EVALUATORS if installed(name)]
    truth, results = make(args.images, args.found, 'segm' in args.metric, args.seed)
    with tempfile.TemporaryDirectory() as folder:
        ann_file = Path(folder) / 'truth.json'
        ann_file.write_text(json.dumps(truth))
        whole, evaluators = {}, {}
        for kind in args.metric:
            if not args.only_metric:
                evaluators[kind] = compare_evaluators(
                    names, ann_file, results, kind, args.repeats
                )
            whole[kind] = compare_metrics(ann_file, results, kind, args.repeats)
            print(kind, whole[kind], flush=True)
    record = {
        'what': f'COCO evaluation of {args.images} images, {args.found} results each',
        'data': 'random boxes and octagons at the density of COCO val2017',
        'turns': args.repeats,
        'whole_metric': whole,
        **alone(evaluators, Path(args.out)),
        'load_average': [round(one, 1) for one in os.getloadavg()],
        'commit': commit(),
        **run_info(),
    }
    print(f'Written: {write_json(Path(args.out), record)}')


def alone(evaluators: dict[str, list[dict]], out: Path) -> dict[str, Any]:
    """Return the table of evaluators: what was measured, else what the file holds."""
    if evaluators:
        info = {key: run_info()[key] for key in ('date', 'device')}
        return {
            'evaluator_alone': evaluators,
            'evaluator_alone_measured': {'commit': commit(), **info},
        }
    before = json.loads(out.read_text())
    info = {key: before[key] for key in ('commit', 'date', 'device')}
    return {
        'evaluator_alone': before['evaluator_alone'],
        'evaluator_alone_measured': before.get('evaluator_alone_measured', info),
    }


def installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def same(one: dict[str, float], other: dict[str, float]) -> bool:
    """Return whether two dicts of rounded numbers are equal, NaN to NaN."""
    return one.keys() == other.keys() and bool(
        np.array_equal(list(one.values()), list(other.values()), equal_nan=True)
    )


if __name__ == '__main__':
    main()

"""What a user waits for, from a cold start, beside mmdet's own tools where they can.

python benchmarks/felt.py --out benchmarks/results/felt_cpu.json
python benchmarks/felt.py --only first_prediction export

| what | ours | mmdet's |
| --- | --- | --- |
| epoch_... | one epoch, `paperzoo train` | `tools/train.py` with its head |
| first_prediction | `paperzoo predict` of an image | `DetInferencer` |
| predictions | the same of 100 images | the same |
| first_step | `paperzoo train` of a single step | `tools/train.py` with its head |
| test | `paperzoo test` of 100 images | `tools/test.py` |
| check_coco | `paperzoo check` of a set of COCO's size | |
| export | `paperzoo export` to ONNX, compared with the model | |
| demo | what `make demo` runs, without the installation | |

Each is a process of its own; ours and mmdet's take turns. The ratios are of the
processor's seconds, user and system: on a machine with other work these hold, the
seconds of the clock beside them do not. mmdet's tools run with `paperzoo.compat`,
without which they do not import on mmcv-lite; that spares them imports, too. How long
an evaluation of 5000 images takes is in coco_eval.json.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

from _shared import commit
from fcos_training import MMDET
from mmengine.config import Config

from paperzoo.apis.config import find_config
from paperzoo.utils.files import write_json
from paperzoo.utils.run_info import run_info

FCOS = 'fcos_tiny_shapes'
SMALL = (
    FCOS,
    'knet_tiny_shapes_instance',
    'knet_tiny_shapes_panoptic',
    'knet_tiny_shapes_semantic',
    'dmf_tiny_glyphs',
    'protonet_tiny_glyphs',
    'can_tiny_glyphs',
    'feat_tiny_glyphs',
)
OURS = (sys.executable, '-m', 'paperzoo')
INFERENCE = """
import sys
import paperzoo.compat
from mmdet.apis import DetInferencer
config, checkpoint, out, *images = sys.argv[1:]
inferencer = DetInferencer(config, checkpoint, device='cpu', show_progress=False)
inferencer(images, out_dir=out, no_save_pred=False, pred_score_thr=0.3)
"""
SCRIPT = """
import runpy, sys
import paperzoo.compat
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')
"""
Command = tuple[str, ...]


@dataclass(frozen=True)
class Wait:
    """One thing to wait for.

    Attributes:
        ours: Commands, one after the other; those of each turn get a folder.
        turns: How often.
        peer: mmdet's command, if it can do this.
    """

    ours: Callable[[Path], list[Command]]
    turns: int
    peer: Callable[[Path], list[Command]] | None = None


def mmdet_tool(name: str, *arguments: str) -> Command:
    """Return the command of one of mmdet's scripts, from its wheel."""
    spec = find_spec('mmdet')
    assert spec is not None
    assert spec.origin is not None
    tool = Path(spec.origin).parent / '.mim' / 'tools' / name
    return (sys.executable, '-c', SCRIPT, str(tool), *arguments)


def timed(commands: list[Command], folder: Path) -> tuple[float, float]:
    """Return the seconds of the clock and of the processor of some commands.

    Args:
        commands: Run one after the other.
        folder: Where they run, and what they say goes.

    Raises:
        SystemExit: If one fails.
    """
    wall = used = 0.0
    folder.mkdir(parents=True)
    for command in commands:
        begin = time.perf_counter()
        with (folder / 'output.txt').open('w') as output:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, 'OMP_NUM_THREADS': '1'},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said = (folder / 'output.txt').read_text()[-2000:]
            raise SystemExit(f'{" ".join(command)}:\n{said}')
        wall += time.perf_counter() - begin
        used += usage.ru_utime + usage.ru_stime
    return wall, used


def measure(name: str, wait: Wait, folder: Path) -> dict[str, Any]:
    """Return what one thing takes, in turns with the peer."""
    ways = {'paperzoo': wait.ours} | ({'mmdet': wait.peer} if wait.peer else {})
    seconds: dict[str, list[tuple[float, float]]] = {who: [] for who in ways}
    for turn in range(wait.turns):
        for who, commands in ways.items():
            place = folder / f'{name}_{who}_{turn}'
            seconds[who].append(timed(commands(place), place))
    row: dict[str, Any] = {'turns': wait.turns}
    for key, index in (('seconds', 0), ('cpu_seconds', 1)):
        row[key] = {
            who: round(median(one[index] for one in own), 2)
            for who, own in seconds.items()
        }
    if wait.peer:
        pairs = zip(seconds['paperzoo'], seconds['mmdet'], strict=True)
        ratios = [ours[1] / theirs[1] for ours, theirs in pairs]
        row['ratio'] = round(median(ratios), 3)
        row['ratio_range'] = [round(min(ratios), 3), round(max(ratios), 3)]
    else:
        used = [one[1] for one in seconds['paperzoo']]
        row['cpu_seconds_range'] = [round(min(used), 2), round(max(used), 2)]
    return row


def waits(checkpoint: Path, folder: Path, coco_images: int) -> dict[str, Wait]:
    """Return all things to wait for.

    Args:
        checkpoint: Of FCOS with either head: their weights have the same names.
        folder: For configs and data.
        coco_images: How many images the set of COCO's size has.
    """
    theirs = mmdet_config(folder)
    saved = str(checkpoint)
    images = sorted(shapes().glob('val/*.jpg'))[:100]

    def predict(count: int, place: Path) -> list[Command]:
        files = map(str, images[:count])
        return [(*OURS, 'predict', FCOS, saved, *files, '--out', str(place / 'out'))]

    def infer(count: int, place: Path) -> list[Command]:
        given = (theirs, saved, str(place / 'out'), *map(str, images[:count]))
        return [(sys.executable, '-c', INFERENCE, *given)]

    return {
        **{f'epoch_{name}': epoch(name, theirs) for name in SMALL},
        'first_prediction': Wait(partial(predict, 1), 5, partial(infer, 1)),
        'predictions': Wait(partial(predict, 100), 5, partial(infer, 100)),
        'first_step': first_step(theirs),
        'test': Wait(
            lambda at: [(*OURS, 'test', FCOS, saved, '--work-dir', str(at / 'w'))],
            5,
            lambda at: [mmdet_tool('test.py', theirs, saved, '--work-dir', str(at))],
        ),
        'check_coco': Wait(partial(check_coco, folder, coco_images), 3),
        'export': Wait(
            lambda at: [(*OURS, 'export', FCOS, saved, '-o', str(at / 'model.onnx'))], 5
        ),
        'demo': Wait(demo, 1),
    }


def epoch(name: str, theirs: str) -> Wait:
    """Return one training epoch of a model from its start, beside mmdet's of FCOS."""

    def ours(place: Path) -> list[Command]:
        once = ('--epochs', '1', '--work-dir', str(place / 'work'))
        return [(*OURS, 'train', name, *once)]

    def peer(place: Path) -> list[Command]:
        once = ('--cfg-options', 'train_cfg.max_epochs=1', 'train_cfg.val_interval=1')
        work = ('--work-dir', str(place / 'work'))
        return [mmdet_tool('train.py', theirs, *work, *once)]

    return Wait(ours, 1, peer if name == FCOS else None)


def first_step(theirs: str) -> Wait:
    """Return a training of one batch that neither validates nor saves."""
    short = (
        'train_cfg.max_epochs=1',
        'train_cfg.val_begin=9',
        'train_dataloader.dataset.indices=8',
        'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False',
        'default_hooks.checkpoint.interval=9',
        'default_hooks.checkpoint.save_last=False',
    )

    def ours(place: Path) -> list[Command]:
        work = ('--work-dir', str(place / 'work'))
        return [(*OURS, 'train', FCOS, *work, '--cfg-options', *short)]

    def peer(place: Path) -> list[Command]:
        work = ('--work-dir', str(place / 'work'))
        return [mmdet_tool('train.py', theirs, *work, '--cfg-options', *short)]

    return Wait(ours, 5, peer)


def imports(command: Command, folder: Path) -> dict[str, float]:
    """Return the seconds of the imports of a command, by package, the longest."""
    begun = (command[0], '-X', 'importtime', *command[1:])
    timed([begun], folder)
    seconds: dict[str, float] = defaultdict(float)
    for line in (folder / 'output.txt').read_text().splitlines():
        if found := re.match(r'import time: +(\d+) \| +\d+ \| +(\w+)', line):
            seconds[found[2]] += int(found[1]) / 1e6
    longest = sorted(seconds.items(), key=lambda one: -one[1])[:8]
    return {name: round(own, 2) for name, own in longest}


def demo(place: Path) -> list[Command]:
    """Return the commands of `make demo`."""
    work, last = place / 'work', str(place / 'work' / 'epoch_18.pth')
    shown = ('--work-dir', str(work), '--show-dir', str(place / 'pictures'))
    image = str(shapes() / 'val' / '000004.jpg')
    return [
        (*OURS, 'train', FCOS, '--work-dir', str(work)),
        (*OURS, 'test', FCOS, last, *shown),
        (*OURS, 'explain', FCOS, last, image, '--out', str(place / 'explain.html')),
    ]


def shapes() -> Path:
    """Return the folder of the built-in set, made if need be."""
    from paperzoo.apis.build import build_dataset
    from paperzoo.apis.config import load_config

    cfg = load_config(FCOS)
    dataset = build_dataset(cfg, 'val', cfg.val_dataloader.dataset)
    return Path(dataset.get_data_info(0)['img_path']).parents[1]


def mmdet_config(folder: Path) -> str:
    """Write the config with mmdet's head as text; return its file."""
    cfg = Config.fromfile(str(find_config(FCOS)))
    cfg.merge_from_dict(MMDET)
    # DetInferencer asks for the palette of the visualizer, and so for its data set.
    file = folder / 'mmdet_fcos.py'
    cfg.dump(str(file))
    return str(file)


def check_coco(folder: Path, count: int, _: Path) -> list[Command]:
    """Make a set of COCO's size, once; return the check of it."""
    root = folder / 'coco_size'
    if not root.is_dir():
        make_coco(root, count)
    splits = ('train', 'val', 'test')
    options = [f'{one}_dataloader.dataset.data_root={root}' for one in splits]
    options += [f'{one}_dataloader.dataset.ann_file=all.json' for one in splits]
    options += [f'{one}_dataloader.dataset.data_prefix.img=images/' for one in splits]
    options += [
        f'{one}_evaluator.ann_file={root / "all.json"}' for one in ('val', 'test')
    ]
    return [(*OURS, 'check', 'fcos_r50_fpn', '--cfg-options', *options)]


def make_coco(root: Path, count: int) -> None:
    """Write annotations of random boxes, and images: few files under many names."""
    from coco_eval import make
    from mmdet.datasets import CocoDataset
    from PIL import Image

    (root / 'images').mkdir(parents=True)
    truth, _ = make(count, 0, masks=False, seed=0)
    names = CocoDataset.METAINFO['classes']
    for category, name in zip(truth['categories'], names, strict=True):
        category['name'] = name
    for image in truth['images']:
        image['file_name'] = f'{image["id"]:012}.jpg'
        # A file can have some ten thousand names.
        file = root / f'{image["id"] // 10_000}.jpg'
        if not file.exists():
            Image.new('RGB', (640, 480)).save(file)
        os.link(file, root / 'images' / image['file_name'])
    (root / 'all.json').write_text(json.dumps(truth))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', type=Path, default='benchmarks/results/felt_cpu.json')
    parser.add_argument('--only', nargs='+', metavar='NAME', help='keep the other rows')
    parser.add_argument('--checkpoint', type=Path, help='of FCOS; else of one epoch')
    parser.add_argument('--turns', type=int, help='instead of the number of each')
    parser.add_argument('--coco-images', type=int, default=118287)
    args = parser.parse_args()
    rows = {}
    if args.only and args.out.is_file():
        rows = json.loads(args.out.read_text())['rows']
    with tempfile.TemporaryDirectory(prefix='paperzoo_felt_') as name:
        folder = Path(name)
        checkpoint = (args.checkpoint or first_checkpoint(folder)).absolute()
        every = waits(checkpoint, folder, args.coco_images)
        for what in args.only or every:
            wait = every[what]
            if args.turns:
                wait = Wait(wait.ours, args.turns, wait.peer)
            load = [round(one, 1) for one in os.getloadavg()]
            rows[what] = {
                **measure(what, wait, folder),
                'load_average_before': load,
                'commit': commit(),
            }
            if what == 'first_step':
                (command,) = wait.ours(folder / 'imports')
                rows[what]['import_seconds'] = imports(command, folder / 'imports')
            print(what, rows[what], flush=True)
            write(args.out, rows)


def first_checkpoint(folder: Path) -> Path:
    """Train FCOS for an epoch."""
    place = folder / 'first'
    timed(epoch(FCOS, '').ours(place), place)
    return place / 'work' / 'epoch_1.pth'


def write(out: Path, rows: dict[str, Any]) -> None:
    """Write the rows that are known so far."""
    record = {
        'what': 'what a user waits for, from a cold start of the process; ratios of '
        "the processor's seconds, ours / mmdet's",
        'data': 'Shapes, 320 x 240; for check_coco random boxes in 640 x 480',
        'threads': 1,
        'rows': rows,
        'commit': commit(),
        **run_info(),
    }
    print(f'Written: {write_json(out, record, replace=True)}')


if __name__ == '__main__':
    main()

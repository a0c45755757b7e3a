"""Where trained small K-Nets lose the objects of Shapes: masks or classes?

python benchmarks/knet_limits.py --out benchmarks/results/knet_limits.json \
    --work panoptic=FOLDER/0_0 instance=FOLDER2/0_0 semantic=FOLDER3/0_0

The folders are work dirs of knet_training.py (`--keep`). For each object it asks
whether a kernel's mask overlaps it by an IoU above a half, and whether the best class
of all such kernels is the object's; of a semantic model, how much of all shapes' pixels
is seen as any shape, and how much of that as the right one. On the test images and on
as many that were trained on: what is missed there was not learnt, not forgotten. Rows
of tasks that are not given stay as they are in the file.
"""

import argparse
import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _shared import commit
from mmengine.config import Config
from mmengine.runner import Runner
from mmseg.models import EncoderDecoder
from pycocotools.coco import COCO
from torch import Tensor

from paperzoo.apis.build import build_model, load_weights
from paperzoo.data.paths import ensure_generated
from paperzoo.data.shapes import STUFF_CLASSES, THING_CLASSES
from paperzoo.knet import KNet
from paperzoo.knet.pasting import Sizes, enlarged_blocks
from paperzoo.utils.files import write_json
from paperzoo.utils.run_info import run_info

IMAGES = 100
SMALL = 32**2


@torch.no_grad()
def predictions(
    model: KNet, cfg: Config, split: str
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield image id, class probabilities and masks of the kernels for things."""
    loader = cfg.test_dataloader.to_dict()
    for key in ('ann_file', 'data_prefix'):
        loader['dataset'][key] = cfg[f'{split}_dataloader'].dataset[key]
    loader['dataset'].update(indices=IMAGES, test_mode=True)
    things, kernels = model.num_thing_classes, model.kernel_init_head.num_proposals
    for batch in Runner.build_dataloader(loader):
        batch = model.data_preprocessor(batch)
        samples = batch['data_samples']
        scores, masks = model(**batch, mode='tensor')
        for sample, score, mask in zip(samples, scores, masks, strict=True):
            meta = sample.metainfo
            sizes = Sizes(
                meta['batch_input_shape'], meta['img_shape'], meta['ori_shape']
            )
            blocks = enlarged_blocks(mask[:kernels], sizes)
            found = torch.cat([block > 0.5 for _, block in blocks])
            yield meta['img_id'], score[:kernels, :things].sigmoid(), found


def fates(model: KNet, cfg: Config, coco: COCO, split: str) -> dict[str, Any]:
    """Return how many objects of a split are segmented, and named."""
    order = {number: label for label, number in enumerate(sorted(coco.cats))}
    names = [coco.cats[number]['name'] for number in order]
    named = np.zeros((len(names), len(names) + 1), dtype=int)
    sizes = {
        size: {'objects': 0, 'segmented': 0, 'named': 0} for size in ('small', 'larger')
    }
    kernels = 0
    for image, scores, masks in predictions(model, cfg, split):
        for truth in coco.imgToAnns[image]:
            mask = torch.from_numpy(coco.annToMask(truth)).bool()
            common = (masks & mask).sum(dim=(1, 2))
            fits = common > 0.5 * (masks | mask).sum(dim=(1, 2))
            kernels += int(fits.sum())
            label = order[truth['category_id']]
            best = int(scores[fits].amax(dim=0).argmax()) if fits.any() else len(names)
            named[label, best] += 1
            counts = sizes['small' if mask.sum() < SMALL else 'larger']
            counts['objects'] += 1
            counts['segmented'] += int(fits.any())
            counts['named'] += int(best == label)
    total = {
        key: sum(counts[key] for counts in sizes.values()) for key in sizes['small']
    }
    return {
        **total,
        'segmented_share': round(total['segmented'] / total['objects'], 3),
        'named_share_of_segmented': round(
            total['named'] / max(total['segmented'], 1), 3
        ),
        'kernels_per_segmented_object': round(kernels / max(total['segmented'], 1), 2),
        'by_size': sizes,
        'rows': names,
        'columns': [*names, 'not segmented'],
        'named_as': named.tolist(),
    }


@torch.no_grad()
def pixel_fates(model: EncoderDecoder, cfg: Config, split: str) -> dict[str, Any]:
    """Return how many pixels of shapes are seen as a shape, and as the right one."""
    loader = cfg.test_dataloader.to_dict()
    loader['dataset']['data_prefix'] = cfg[f'{split}_dataloader'].dataset.data_prefix
    loader['dataset']['indices'] = IMAGES
    things, number = len(THING_CLASSES), len(THING_CLASSES + STUFF_CLASSES)
    seen = torch.zeros(number, number, dtype=torch.long)
    for batch in Runner.build_dataloader(loader):
        for sample in model.test_step(batch):
            truth = sample.gt_sem_seg.data.flatten()
            pairs = truth * number + sample.pred_sem_seg.data.flatten()
            seen += pairs.bincount(minlength=number**2).view(number, number)
    shapes = seen[:things, :things]
    either = seen.sum() - seen[things:, things:].sum()
    return {
        'iou_of_shapes_as_one_class': round(float(shapes.sum() / either), 3),
        'named_share_of_segmented': round(float(shapes.trace() / shapes.sum()), 3),
        'rows': list(THING_CLASSES + STUFF_CLASSES),
        'columns': list(THING_CLASSES + STUFF_CLASSES),
        'pixels_seen_as': seen.tolist(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--work', nargs='+', required=True, metavar='TASK=FOLDER')
    parser.add_argument('--out', type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    root = Path(ensure_generated('data/shapes'))
    truths = {}
    for split, name in (('test', 'val'), ('train', 'train')):
        with contextlib.redirect_stdout(io.StringIO()):
            truths[split] = COCO(str(root / f'annotations/instances_{name}.json'))
    rows = []
    for given in args.work:
        task, _, folder = given.partition('=')
        cfg = Config.fromfile(f'{folder}/given.py')
        model: Any = build_model(cfg, 'cpu')
        load_weights(model, Path(folder, 'last_checkpoint').read_text())
        for split, coco in truths.items():
            if task == 'semantic':
                found = pixel_fates(model, cfg, split)
            else:
                found = fates(model, cfg, coco, split)
            row = {
                'task': task,
                'seed': cfg.randomness.seed,
                'images': split,
                'commit': commit(),
                **found,
            }
            print({key: row[key] for key in row if isinstance(row[key], str | float)})
            rows.append(row)
    if args.out.exists():
        given = {row['task'] for row in rows}
        earlier = json.loads(args.out.read_text())['models']
        rows += [row for row in earlier if row['task'] not in given]
    record = {
        'what': 'objects, or pixels of them, that are segmented, and that are named',
        'data': f'Shapes: {IMAGES} test and as many training images, synthetic',
        'models': rows,
        'commit': commit(),
        **run_info(),
    }
    write_json(args.out, record).replace(args.out)
    print(f'Written: {args.out}')


if __name__ == '__main__':
    main()

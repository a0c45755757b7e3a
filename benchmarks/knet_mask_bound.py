"""What perfect masks of a low resolution come to on Shapes: a bound of the training.

python benchmarks/knet_mask_bound.py --out benchmarks/results/knet_mask_bound.json

Each object's true mask is brought to the size at which K-Net learns it and back to the
image's, bilinearly both times as K-Net does, thresholded at a half and scored as a
prediction.
"""

import argparse
import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _shared import commit
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch.nn import functional as F

from paperzoo.data.paths import ensure_generated
from paperzoo.utils.files import write_json
from paperzoo.utils.run_info import run_info


def coarse(
    mask: np.ndarray, image: tuple[int, int], stride: int
) -> list[dict[str, Any]]:
    """Return a mask that went through an image of some size, at a stride of it."""
    there = torch.from_numpy(mask)[None, None].float()
    there = F.interpolate(there, image)  # as mmdet resizes masks: to the nearest
    small = (image[0] // stride, image[1] // stride)
    for size in (small, image, mask.shape):
        there = F.interpolate(there, size, mode='bilinear')
    found = (there[0, 0] > 0.5).numpy().astype(np.uint8)
    return coco_mask.encode(np.asfortranarray(found))


def bound(coco: COCO, image: tuple[int, int], stride: int) -> dict[str, float]:
    """Return the segm APs of true masks at a resolution."""
    found = [
        {
            'image_id': truth['image_id'],
            'category_id': truth['category_id'],
            'segmentation': coarse(coco.annToMask(truth), image, stride),
            'score': 1.0,
        }
        for truth in coco.anns.values()
        if not truth['iscrowd']
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        scoring = COCOeval(coco, coco.loadRes(found), 'segm')
        scoring.evaluate()
        scoring.accumulate()
        scoring.summarize()
    kinds = ('', '_50', '_75', '_s', '_m', '_l')
    return {
        f'segm_mAP{kind}': round(float(value), 3)
        for kind, value in zip(kinds, scoring.stats, strict=False)
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', type=Path, required=True)
    args = parser.parse_args()
    root = Path(ensure_generated('data/shapes'))
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(root / 'annotations' / 'instances_val.json'))
    rows = []
    for image in ((192, 256), (240, 320)):
        for stride in (2, 4, 8):
            found = bound(coco, image, stride)
            rows.append({'image': list(image), 'mask_stride': stride, **found})
            print(rows[-1])
    record = {
        'what': 'segm AP of true masks brought to a low resolution and back',
        'data': 'Shapes: 100 test images of 320x240, synthetic',
        'rows': rows,
        'commit': commit(),
        **run_info(),
    }
    print(f'Written: {write_json(args.out, record)}')


if __name__ == '__main__':
    main()

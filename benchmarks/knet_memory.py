"""Memory that K-Net takes for the instances of one large photo.

python benchmarks/knet_memory.py --out benchmarks/results/knet_memory_cpu.json

100 random masks at a quarter of 800 x 1200 pixels, each with one class that scores,
are enlarged to 4000 x 6000: as the default chooses (run-length codes), and as a tensor
(`rle_masks=False`). Each way runs in a process of its own, whose peak is measured.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from _shared import commit
from knet_speed import peak_mib
from torch.nn import functional as F

from paperzoo.knet.panoptic import MAX_MASK_MIB, instance_results
from paperzoo.knet.pasting import Sizes
from paperzoo.utils.files import write_json
from paperzoo.utils.run_info import run_info

PHOTO = (4000, 6000)
SIZES = Sizes((800, 1216), (800, 1200), PHOTO)
KERNELS = 100
WAYS: dict[str, bool | None] = {'default': None, 'tensor': False}


def logits() -> tuple[torch.Tensor, torch.Tensor]:
    """Return class logits with one high class per kernel, and smooth random masks."""
    torch.manual_seed(0)
    classes = torch.full((KERNELS, 80), -20.0)
    classes[torch.arange(KERNELS), torch.randint(0, 80, (KERNELS,))] = 3.0
    coarse = 4 * torch.randn(1, KERNELS, 10, 15)
    return classes, F.interpolate(coarse, (200, 304), mode='bilinear')[0]


def measure(rle: bool | None) -> dict[str, Any]:
    """Return peak and kind of the result of one way."""
    classes, masks = logits()
    found: list[Any] = []
    with torch.inference_mode():
        peak = peak_mib(
            lambda: found.append(instance_results(classes, masks, SIZES, rle=rle))
        )
    kind = 'run lengths' if isinstance(found[0].masks, list) else 'tensor'
    return {'peak_mib': peak, 'kind': kind, 'instances': len(found[0])}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', type=Path, required=True)
    args = parser.parse_args()
    rows = {}
    for name, rle in WAYS.items():
        with ProcessPoolExecutor(1, get_context('spawn')) as pool:
            rows[name] = pool.submit(measure, rle).result()
        print(name, rows[name], flush=True)
    record = {
        'what': 'peak memory of the instances of one photo above that of the logits',
        'data': f'{KERNELS} random masks of 200x304, enlarged to {PHOTO[0]}x{PHOTO[1]}',
        'bound_mib': 2048,
        'max_mask_mib': MAX_MASK_MIB,
        'rows': rows,
        'commit': commit(),
        **run_info(),
    }
    print(f'Written: {write_json(args.out, record)}')


if __name__ == '__main__':
    main()

"""Instances of K-Net: masks enlarged where there is something, beside whole masks.

python benchmarks/knet_pasting.py --out benchmarks/results/knet_pasting_cpu.json

100 discs of 10 to 70 pixels at a quarter of 800 x 1200 pixels, enlarged to that size.
"""

import argparse
from pathlib import Path

import torch
from _shared import commit, take_turns

from paperzoo.knet import panoptic
from paperzoo.knet.pasting import Sizes
from paperzoo.utils.files import write_json
from paperzoo.utils.run_info import run_info

SIZES = Sizes((800, 1216), (800, 1200), (800, 1200))
NUMBER = 100


def discs() -> torch.Tensor:
    """Return mask logits that fall off from the discs' edges."""
    torch.manual_seed(0)
    rows, columns = torch.arange(200.0)[:, None], torch.arange(304.0)
    y, x = (
        torch.rand(2, NUMBER, 1, 1) * torch.tensor([200.0, 304.0])[:, None, None, None]
    )
    radius = 5 + 30 * torch.rand(NUMBER, 1, 1)
    return radius - ((rows - y).square() + (columns - x).square()).sqrt()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--repeats', type=int, default=9)
    args = parser.parse_args()
    masks, kernels = discs(), torch.arange(NUMBER)
    rows = {}
    for kind, rle in (('tensor', False), ('run lengths', True)):
        given = masks, kernels, SIZES, 0.5, rle
        pair = {
            'pasted': lambda given=given: panoptic._pasted_masks(*given),
            'whole': lambda given=given: panoptic._enlarged_masks(*given),
        }
        found = {name: way() for name, way in pair.items()}
        rows[kind] = take_turns(pair, args.repeats)
        if rle:
            differ = sum(
                one != other
                for one, other in zip(
                    found['pasted'][0], found['whole'][0], strict=True
                )
            )
            rows[kind]['masks_that_differ'] = differ
        else:
            rows[kind]['pixels_that_differ'] = int(
                (found['pasted'][0] != found['whole'][0]).sum()
            )
        print(kind, rows[kind], flush=True)
    record = {
        'what': 'seconds for the masks and boxes of one image; ratio: pasted to whole',
        'data': f'{NUMBER} discs of 10 to 70 pixels at 200x304, enlarged to 800x1200',
        'rows': rows,
        'threads': torch.get_num_threads(),
        'commit': commit(),
        **run_info(),
    }
    print(f'Written: {write_json(args.out, record)}')


if __name__ == '__main__':
    main()

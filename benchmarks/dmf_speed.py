"""Time DMF's evaluation on cached maps beside batched pairs with torchdiffeq's rk4.

python benchmarks/dmf_speed.py --out benchmarks/results/dmf_speed_cpu.json

The peer makes the map of every query-class pair and works on all of them at once; both
have the same weights and give the same scores. The two take turns, so that a slow spell
of the machine hits both; ratios are medians over the turns. Peak memory on a CPU is
that of a process of its own, less what it had before the episode.
"""

import argparse
import multiprocessing
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from _shared import commit, take_turns
from mmcv.ops import deform_conv2d
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close
from torchdiffeq import odeint

from paperzoo.dmf import AdaptiveAlignment, DMFClassifier, DynamicMetaFilter, ResNet12
from paperzoo.utils.files import write_json
from paperzoo.utils.run_info import run_info

WAYS, SHOTS, PER_CLASS = 5, 1, 15
Episode = tuple[Tensor, Tensor, Tensor]


def build(width: int, groups: int, device: str) -> DMFClassifier:
    """Return the model; its backbone is not used but in the row `embedding`."""
    torch.manual_seed(0)
    model = DMFClassifier(
        {'type': ResNet12, 'widths': (width // 10, width // 4, width // 2, width)},
        meta_filter={'type': DynamicMetaFilter, 'groups': groups},
        alignment={'type': AdaptiveAlignment, 'solver': 'rk4'},
        feat_channels=width,
    )
    return model.to(device).eval()


def episode(width: int, size: int, device: str) -> Episode:
    """Return random maps of supports, their labels, and maps of queries."""
    torch.manual_seed(1)

    def maps(number: int) -> Tensor:
        normal = torch.randn(number, width, size, size, device=device)
        return F.leaky_relu(normal, 0.1)

    labels = torch.arange(WAYS, device=device).repeat_interleave(SHOTS)
    return maps(WAYS * SHOTS), labels, maps(WAYS * PER_CLASS)


@torch.inference_mode()
def ours(model: DMFClassifier, data: Episode) -> Tensor:
    """Return the scores of the queries."""
    support, label, query = data
    return model.predict_from_feats(support[None], label[None], query[None], WAYS)[0]


@torch.inference_mode()
def all_pairs(model: DMFClassifier, data: Episode) -> Tensor:
    """Return the scores by the map of every pair, aligned by torchdiffeq."""
    support, _, query = data
    support = support.unflatten(0, (WAYS, SHOTS)).mean(1)
    count = len(query)
    x = query[:, None].expand(-1, WAYS, -1, -1, -1).flatten(0, 1)
    s = support.expand(count, -1, -1, -1, -1).flatten(0, 1)
    meta = model.meta_filter
    assert meta is not None
    assert meta.offset_conv is not None
    offsets = meta.offset_conv(torch.cat((x, s), dim=1))
    # mmcv asks for a divisor of the batch as the last argument, im2col_step.
    sampled = deform_conv2d(
        s, offsets, meta.filter_conv.weight, 1, 1, 1, 1, 1, False, WAYS
    )
    rates = sampled.sigmoid()[:, :, None]

    def flow(_: Tensor, state: Tensor) -> Tensor:
        grouped = state.unflatten(1, (meta.groups, -1))
        return (grouped * rates).flatten(1, 2).relu()

    time = torch.tensor([0.0, 1.0], device=x.device)
    aligned = odeint(flow, x, time, method='rk4')[-1]
    weights = F.normalize(support, dim=1).mean(dim=(2, 3))
    scores = torch.einsum('qkchw,kc->qk', aligned.unflatten(0, (count, WAYS)), weights)
    return scores / (x.size(-1) * x.size(-2))


WAYS_TO_SCORE: dict[str, Callable[[DMFClassifier, Episode], Tensor]] = {
    'ours': ours,
    'all pairs': all_pairs,
}


def peak_mib(name: str, width: int, groups: int, size: int) -> int:
    """Return by how much the peak memory of a fresh process grows in an episode."""
    model, data = build(width, groups, 'cpu'), episode(width, size, 'cpu')
    before = memory('VmRSS')
    WAYS_TO_SCORE[name](model, data)
    return (memory('VmHWM') - before) >> 10


def memory(kind: str) -> int:
    """Return a number of KiB that Linux reports of this process.

    Not what `resource` reports: a child inherits its parent's peak.
    """
    for line in Path('/proc/self/status').read_text(encoding='ascii').splitlines():
        if line.startswith(kind):
            return int(line.split()[1])
    raise RuntimeError(f'/proc/self/status has no {kind}')


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--width', type=int, default=640, help='channels of the maps')
    parser.add_argument('--groups', type=int, default=64)
    parser.add_argument('--size', type=int, default=11, help='side of the maps')
    parser.add_argument('--repeats', type=int, default=9)
    args = parser.parse_args()
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    model = build(args.width, args.groups, device)
    data = episode(args.width, args.size, device)
    difference = assert_equal(ours(model, data), all_pairs(model, data))
    row: dict[str, Any] = take_turns(
        {name: partial(f, model, data) for name, f in WAYS_TO_SCORE.items()},
        args.repeats,
    )
    row['episodes_per_second'] = {
        name: round(1 / seconds, 2) for name, seconds in row['seconds'].items()
    }
    if device == 'cpu':
        context = multiprocessing.get_context('spawn')
        row['peak_mib'] = {}
        for name in WAYS_TO_SCORE:
            with context.Pool(1) as pool:
                size = (name, args.width, args.groups, args.size)
                row['peak_mib'][name] = pool.apply(peak_mib, size)
    print(row)
    record = {
        'what': 'DMF: scores of one episode on cached maps, ours beside all pairs',
        'data': f'random maps, {WAYS}-way {SHOTS}-shot, {PER_CLASS} queries per class',
        'maps': [args.width, args.size, args.size],
        'groups': args.groups,
        'greatest_difference_of_scores': difference,
        'rows': {'evaluation of one episode': row},
        'commit': commit(),
        **run_info(),
    }
    print(f'Written: {write_json(args.out, record)}')


def assert_equal(one: Tensor, other: Tensor) -> float:
    """Return the greatest difference; it may only be one of rounding."""
    assert_close(one, other, rtol=1e-4, atol=1e-4)
    return float((one - other).abs().max())


if __name__ == '__main__':
    main()

"""Time K-Net's semantic head beside mmseg's, and its assigner beside mmdet's.

python benchmarks/knet_speed.py --out benchmarks/results/knet_speed_cpu.json

Both heads have the same weights and inputs, both assigners the same costs and, which is
checked, the same assignments. They take turns, so that a slow spell of the machine hits
both; ratios are medians over the turns.
"""

import argparse
import ctypes
import gc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from _shared import commit, take_turns
from mmdet.models.task_modules import HungarianAssigner
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData, PixelData
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from paperzoo.apis.config import find_config
from paperzoo.knet import MaskHungarianAssigner
from paperzoo.registry import MODELS
from paperzoo.utils.files import write_json
from paperzoo.utils.run_info import run_info

OURS = 'knet_r50_fcn_semantic'
MMSEG = 'knet-s3_r50-d8_fcn_8xb2-adamw-80k_ade20k-512x512'
SIZE = (200, 304)
Timed = Callable[[], Any]


def heads(device: str) -> dict[str, BaseDecodeHead]:
    """Return both semantic heads with equal weights, without dropout."""
    built = {}
    for name, config in (('ours', OURS), ('mmseg', MMSEG)):
        cfg = Config.fromfile(str(find_config(config))).model.decode_head
        init_default_scope('mmseg')
        torch.manual_seed(0)
        built[name] = revert_sync_batchnorm(MODELS.build(cfg)).to(device)
    built['ours'].load_state_dict(built['mmseg'].state_dict(), strict=True)
    for head in built.values():
        for part in head.modules():
            if isinstance(part, nn.modules.dropout._DropoutNd):
                part.p = 0.0
    return built


def head_cases(
    built: dict[str, BaseDecodeHead], side: int, images: int, device: str
) -> dict[str, dict[str, Timed]]:
    """Return forward and training step of the heads, whole and without their FCN."""
    torch.manual_seed(1)
    backbone = torch.randn(images, 2048, side, side, device=device)
    features = torch.randn(images, 512, side, side, device=device)
    masks = torch.randn(images, 150, side, side, device=device)
    kernels = torch.randn(images, 150, 512, 1, 1, device=device)
    labels = torch.randint(0, 150, (images, 1, 8 * side, 8 * side), device=device)
    batch = [SegDataSample(gt_sem_seg=PixelData(data=label)) for label in labels]

    def stages(head: BaseDecodeHead) -> Tensor:
        mask, kernel = masks, kernels
        for stage in head.kernel_update_head:
            *_, mask, kernel = ordered(stage(features, kernel, mask))
        return mask

    @torch.inference_mode()
    def forward(head: BaseDecodeHead, run: Callable) -> None:
        run(head.eval())

    def step(head: BaseDecodeHead, loss: Callable[[BaseDecodeHead], Tensor]) -> None:
        loss(head.train()).backward()
        head.zero_grad()

    def whole_loss(head: BaseDecodeHead) -> Tensor:
        losses = head.loss([backbone] * 4, batch, {})
        return sum(value for key, value in losses.items() if 'loss' in key)

    cases: dict[str, dict[str, Timed]] = {}
    for name, head in built.items():
        for case, run in {
            'whole head, forward': lambda h=head: forward(
                h, lambda g: g([backbone] * 4)
            ),
            'whole head, training step': lambda h=head: step(h, whole_loss),
            'three stages, forward': lambda h=head: forward(h, stages),
            'three stages, training step': lambda h=head: step(
                h, lambda g: stages(g).square().mean()
            ),
        }.items():
            cases.setdefault(case, {})[name] = run
    return cases


def ordered(output: tuple) -> tuple[Tensor, Tensor]:
    """Return masks and kernels of a stage: ours puts the classes, or None, first."""
    return output[-2:]


class PlainMaskCost:
    """The mask cost, term by term as in the paper; mmdet has none.

    Args:
        weight: What the cost is multiplied by.
    """

    def __init__(self, weight: float = 1.0) -> None:
        self.weight = weight

    def __call__(
        self,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
        *_: Any,
        **__: Any,
    ) -> Tensor:
        """Return the weighted cost, (predictions, objects)."""
        pred = pred_instances.masks.flatten(1).sigmoid()
        mask = gt_instances.masks.flatten(1).float()
        right = pred @ mask.T + (1 - pred) @ (1 - mask).T
        return -self.weight * right / pred.size(1)


def assigners() -> dict[str, Any]:
    """Return both assigners with K-Net's three costs."""
    costs = [
        {'type': 'mmdet.FocalLossCost', 'weight': 2.0},
        {
            'type': 'mmdet.DiceCost',
            'weight': 4.0,
            'pred_act': True,
            'naive_dice': False,
        },
        {'type': PlainMaskCost, 'weight': 1.0},
    ]
    return {'ours': MaskHungarianAssigner(), 'mmdet': HungarianAssigner(costs)}


def objects(count: int, device: str) -> tuple[InstanceData, InstanceData]:
    """Return 100 random predictions and some objects, each an ellipse."""
    torch.manual_seed(count)
    preds = InstanceData(
        scores=torch.randn(100, 80, device=device),
        masks=torch.randn(100, *SIZE, device=device) * 2,
    )
    y, x = (torch.arange(n, device=device, dtype=torch.float32) for n in SIZE)
    at = torch.rand(count, 4, 1, 1, device=device)
    down = (y[:, None] / SIZE[0] - at[:, 0]) / (0.05 + 0.2 * at[:, 2])
    along = (x / SIZE[1] - at[:, 1]) / (0.05 + 0.2 * at[:, 3])
    masks = (down.square() + along.square() < 1).float()
    labels = torch.randint(0, 80, (count,), device=device)
    return preds, InstanceData(masks=masks, labels=labels)


def assigner_cases(device: str) -> dict[str, dict[str, Timed]]:
    """Return the assignment of 100 kernels to 10, 50 and 100 objects."""
    pair = assigners()
    cases: dict[str, dict[str, Timed]] = {}
    for count in (10, 50, 100):
        data = objects(count, device)
        found = {n: a.assign(*data, img_meta={}).gt_inds for n, a in pair.items()}
        if not torch.equal(found['ours'], found['mmdet']):
            raise SystemExit(
                f'the assignments to {count} objects differ: no comparison'
            )
        cases[f'assignment, 100 kernels, {count} objects'] = {
            n: partial(a.assign, *data, img_meta={}) for n, a in pair.items()
        }
    return cases


def peak_mib(run: Timed) -> int | None:
    """Return how much memory a call takes above what was taken; Linux, CPU only."""
    status, reset = Path('/proc/self/status'), Path('/proc/self/clear_refs')
    gc.collect()
    try:
        ctypes.CDLL('libc.so.6').malloc_trim(0)  # memory kept for reuse hides the need
        reset.write_text('5')  # the peak starts anew
    except OSError:
        return None

    def kib(key: str) -> int:
        (line,) = (s for s in status.read_text().splitlines() if s.startswith(key))
        return int(line.split()[1])

    before = kib('VmRSS')
    run()
    return max(0, kib('VmHWM') - before) >> 10


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--side', type=int, default=64, help='of the feature maps')
    parser.add_argument('--images', type=int, default=1)
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--seconds', type=float, default=20, help='at least, per case')
    args = parser.parse_args()
    register_all_modules()
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    cases = assigner_cases(device)
    cases |= head_cases(heads(device), args.side, args.images, device)
    rows: dict[str, Any] = {}
    for name, pair in cases.items():
        # A single turn of a short case says little on a shared machine.
        rows[name] = take_turns(pair, args.repeats, at_least=args.seconds)
        if device == 'cpu':
            rows[name]['peak_mib'] = {n: peak_mib(run) for n, run in pair.items()}
        print(name, rows[name], flush=True)
    record = {
        'what': "K-Net's semantic head (FCN, 512 channels, 150 classes) beside "
        "mmseg's, its assigner beside mmdet's; equal weights, costs and results",
        'data': f'random features of {args.side}x{args.side}, masks of '
        f'{SIZE[0]}x{SIZE[1]}',
        'images': args.images,
        'rows': rows,
        'commit': commit(),
        **run_info(),
    }
    print(f'Written: {write_json(args.out, record)}')


if __name__ == '__main__':
    main()

"""Time local self-attention beside ways that copy neighbourhoods, and a convolution.

python benchmarks/attention_local.py --out benchmarks/results/attention_local_cpu.json

All attentions have the same weights and, which is checked, the same results and
gradients. They take turns, so that a slow spell of the machine hits both; ratios are
medians over the turns, ours to the other's.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from _shared import commit, take_turns
from mmcv_ops import peak_mib
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from paperzoo.attention import LocalSelfAttention2d, relative_scores
from paperzoo.attention.windows import taps_inside
from paperzoo.utils.files import write_json
from paperzoo.utils.run_info import run_info

# Images, channels, side of the map, side of the neighbourhood.
CASES = ((1, 64, 64, 3), (1, 64, 64, 7), (2, 64, 64, 3), (2, 64, 64, 7))


class Unfolded(LocalSelfAttention2d):
    """The same layer with neighbourhoods of keys and values laid side by side."""

    def forward(self, x: Tensor) -> Tensor:
        """Return what the layer returns."""
        query, keys, values = (
            F.conv2d(x, weight) for weight in (self.query, self.key, self.value)
        )
        keys, values = (
            F.unfold(maps, self.kernel_size, padding=self.padding)
            .unflatten(1, (self.num_heads, -1, self.taps))
            .unflatten(-1, x.shape[-2:])
            for maps in (keys, values)
        )
        query = query.unflatten(1, (self.num_heads, -1))
        weights = self.shares(query, (query.unsqueeze(3) * keys).sum(2))
        return (weights.unsqueeze(2) * values).sum(3).flatten(1, 2)

    @property
    def taps(self) -> int:
        """Pixels of a neighbourhood."""
        return self.kernel_size[0] * self.kernel_size[1]

    def shares(self, query: Tensor, scores: Tensor) -> Tensor:
        """Return the softmax of scores (B, heads, taps, H, W) and of positions."""
        size = (query.size(-2), query.size(-1))
        scores = scores + relative_scores(query, self.rows, self.columns).flatten(2, 3)
        inside = taps_inside(size, self.padding, size, self.window, query.device)
        return scores.masked_fill(~inside.flatten(0, 1), -torch.inf).softmax(2)


class Shifted(Unfolded):
    """The same layer tap by tap, but with the gradients that autograd derives."""

    def forward(self, x: Tensor) -> Tensor:
        """Return what the layer returns."""
        query = F.conv2d(x, self.query).unflatten(1, (self.num_heads, -1))
        keys, values = (
            F.conv2d(x, weight, padding=self.padding).unflatten(1, (self.num_heads, -1))
            for weight in (self.key, self.value)
        )
        size = (x.size(-2), x.size(-1))
        scores = [(query * view).sum(2) for view in self.window.views(keys, size)]
        weights = self.shares(query, torch.stack(scores, 2))
        out = torch.zeros_like(query)
        for tap, view in enumerate(self.window.views(values, size)):
            out = out + weights[:, :, tap, None] * view
        return out.flatten(1, 2)


def step(layer: nn.Module, x: Tensor) -> list[Tensor]:
    """Return result and gradients of a layer."""
    out = layer(x)
    return [out, *torch.autograd.grad(out.square().sum(), [x, *layer.parameters()])]


def rows(
    case: tuple[int, int, int, int], repeats: int, device: str
) -> dict[str, dict[str, Any]]:
    """Return what one size of maps takes, forward and in training."""
    images, channels, side, k = case
    torch.manual_seed(0)
    x = torch.randn(images, channels, side, side, device=device, requires_grad=True)
    arguments: dict[str, Any] = {'padding': k // 2, 'bias': False}
    ours = LocalSelfAttention2d(channels, channels, k, **arguments).to(device)
    peers: dict[str, nn.Module] = {
        'unfold': Unfolded(channels, channels, k, **arguments).to(device),
        'autograd': Shifted(channels, channels, k, **arguments).to(device),
    }
    expected = step(ours, x)
    for peer in peers.values():
        peer.load_state_dict(ours.state_dict())
        for one, other in zip(step(peer, x), expected, strict=True):
            assert_close(one, other, rtol=1e-3, atol=1e-3)
    peers['convolution'] = nn.Conv2d(channels, channels, k, **arguments).to(device)
    found = {}
    for name, peer in peers.items():
        for what, run in (('forward', forward), ('training step', step)):
            pair: dict[str, Callable[[], Any]] = {
                'ours': partial(run, ours, x),
                name: partial(run, peer, x),
            }
            row = take_turns(pair, repeats)
            if device == 'cpu':
                row['peak_mib'] = {key: peak_mib(call) for key, call in pair.items()}
            title = (
                f'{what}, {images} x {channels} x {side} x {side}, {k} x {k}, {name}'
            )
            found[title] = row
            print(title, row, flush=True)
    return found


@torch.inference_mode()
def forward(layer: nn.Module, x: Tensor) -> list[Tensor]:
    """Return the result alone."""
    return [layer(x)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--repeats', type=int, default=5)
    args = parser.parse_args()
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    found: dict[str, Any] = {}
    for case in CASES:
        found |= rows(case, args.repeats, device)
    record = {
        'what': 'LocalSelfAttention2d with 8 heads beside the same layer with unfolded '
        "neighbourhoods, with autograd's gradients, and beside a convolution; "
        'equal weights and results, but for the convolution',
        'data': 'random maps: images x channels x height x width, neighbourhood',
        'rows': found,
        'commit': commit(),
        **run_info(),
    }
    print(f'Written: {write_json(args.out, record)}')


if __name__ == '__main__':
    main()

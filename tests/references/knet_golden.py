"""The authors' stored arrays, and how to compare ours with them."""

import copy
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from paperzoo.common import DiceLoss, FocalLoss
from paperzoo.knet import (
    DiceCost,
    FocalLossCost,
    KernelUpdater,
    KNet,
    KNetKernelInitHead,
    KNetKernelIterHead,
    KNetKernelUpdateHead,
    MaskBCELoss,
    MaskCost,
    MaskHungarianAssigner,
    RankLoss,
    SemanticFPNWrapper,
)
from paperzoo.registry import MODELS

GOLDEN = Path(__file__).parents[1] / 'data' / 'golden'
DTYPES = [torch.float64, torch.float32]
# A positional encoding is computed in single precision, whatever the model's.
ENCODED = 2e-5


class Feed(nn.Module):
    """A backbone whose feature maps are given."""

    x: Any = None

    def forward(self, _: Tensor) -> Any:
        return self.x


OURS = {
    'Feed': Feed,
    'KNet': KNet,
    'ConvKernelHead': KNetKernelInitHead,
    'KernelIterHead': KNetKernelIterHead,
    'KernelUpdateHead': KNetKernelUpdateHead,
    'KernelUpdator': KernelUpdater,
    'SemanticFPNWrapper': SemanticFPNWrapper,
    'SinePositionalEncoding': 'mmdet.SinePositionalEncoding',
    'MaskHungarianAssigner': MaskHungarianAssigner,
    'FocalLossCost': FocalLossCost,
    'DiceCost': DiceCost,
    'MaskCost': MaskCost,
    'FocalLoss': FocalLoss,
    'DiceLoss': DiceLoss,
}


def names(pattern: str) -> list[str]:
    found = sorted(path.stem for path in GOLDEN.glob(f'{pattern}.npz'))
    assert found
    return found


def translated(config: Any) -> Any:
    """The authors' config with our classes."""
    if isinstance(config, list):
        return [translated(entry) for entry in config]
    if not isinstance(config, dict):
        return config
    config = {key: translated(value) for key, value in config.items()}
    if config.get('type') == 'CrossEntropyLoss':
        config['type'] = MaskBCELoss if config['use_sigmoid'] else RankLoss
    elif 'type' in config:
        config['type'] = OURS.get(config['type'], config['type'])
    return config


class Golden:
    """One stored case, at one precision."""

    def __init__(self, name: str, dtype: torch.dtype, rtol: float = 2e-7) -> None:
        self.arrays = np.load(GOLDEN / f'{name}.npz')
        self.meta = json.loads(str(self.arrays['meta']))
        self.dtype = dtype
        self.rtol = rtol
        self.checked: set[str] = set()

    def __getitem__(self, key: str) -> Tensor:
        tensor = torch.from_numpy(self.arrays[key])
        return tensor.to(self.dtype) if tensor.is_floating_point() else tensor

    def __contains__(self, key: str) -> bool:
        return key in self.arrays

    def leaf(self, key: str) -> Tensor:
        return self[f'in:{key}'].requires_grad_()

    def levels(self) -> list[Tensor]:
        return [self.leaf(f'x{level}') for level in range(4)]

    def model(self, registry: Any = MODELS) -> Any:
        module = registry.build(translated(self.meta['hyper']))
        weights = {
            key[2:]: torch.from_numpy(self.arrays[key])
            for key in self.arrays.files
            if key.startswith('w:')
        }
        module.load_state_dict(weights, strict=True)
        # Which of our parameters has loaded which of theirs.
        tagged = copy.deepcopy(module)
        tagged.load_state_dict(
            {
                key: torch.full_like(value, number)
                for number, (key, value) in enumerate(weights.items())
            }
        )
        keys, params = list(weights), dict(module.named_parameters())
        self.params = {
            keys[int(value.flatten()[0])]: params[name]
            for name, value in tagged.named_parameters()
        }
        assert len(self.params) == len(keys)
        return module.to(self.dtype)

    def check(self, key: str, found: Tensor) -> None:
        expected = self[key]
        self.checked.add(key)
        if not expected.is_floating_point():
            assert_close(found.to(expected.dtype), expected, rtol=0, atol=0)
            return
        size = expected.abs().max().item() if expected.numel() else 0.0
        if self.dtype == torch.float64:
            atol = self.rtol * size + 1e-7
        else:
            rounding = self.meta['f32_vs_f64_maxabs'].get(key, 0.0)
            atol = 1e-5 * max(1.0, size) + 10 * rounding
        assert_close(
            found.detach().reshape(expected.shape), expected, rtol=0, atol=atol
        )

    def check_gradients(self, objective: Tensor, inputs: dict[str, Tensor]) -> None:
        named = {f'grad:{key}': leaf for key, leaf in inputs.items()}
        named |= {f'grad:w:{key}': param for key, param in self.params.items()}
        stored = [key for key in self.arrays.files if key.startswith('grad:')]
        gradients = torch.autograd.grad(
            objective, [named[key] for key in stored], materialize_grads=True
        )
        for key, gradient in zip(stored, gradients, strict=True):
            self.check(key, gradient)

    def all_checked(self, *prefixes: str, but: Iterable[str] = ()) -> None:
        stored = {key for key in self.arrays.files if key.startswith(prefixes)}
        assert stored - self.checked == set(but)
        assert self.checked

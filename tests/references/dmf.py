"""DMF in plain loops, written from the paper, and the authors' stored arrays."""

import zlib
from math import floor

import numpy as np
import torch
from references.knet_golden import Golden
from torch import Tensor, nn

from paperzoo.dmf import DMFClassifier, DynamicMetaFilter, ResNet12

TINY = {'type': ResNet12, 'widths': (4,), 'pools': (True,), 'drop_blocks': (True,)}


def bilinear(image: Tensor, y: float, x: float) -> Tensor:
    """The image (C, H, W) at a place between its pixels; zero outside."""
    total = torch.zeros_like(image[:, 0, 0])
    for row in (floor(y), floor(y) + 1):
        for column in (floor(x), floor(x) + 1):
            if 0 <= row < image.size(1) and 0 <= column < image.size(2):
                share = (1 - abs(y - row)) * (1 - abs(x - column))
                total = total + share * image[:, row, column]
    return total


def sampled_filter(support: Tensor, offset: Tensor, weight: Tensor) -> Tensor:
    """Deformable convolution of one map (C, H, W) with offsets (2 * taps, H, W)."""
    size = weight.size(-1)
    out = torch.zeros(weight.size(0), *support.shape[1:], dtype=support.dtype)
    for y in range(support.size(1)):
        for x in range(support.size(2)):
            for tap in range(size**2):
                dy, dx = offset[2 * tap : 2 * tap + 2, y, x].tolist()
                row, column = divmod(tap, size)
                place = y + row - size // 2 + dy, x + column - size // 2 + dx
                sample = bilinear(support, *place)
                out[:, y, x] += weight[:, :, row, column] @ sample
    return out


def filtered(x: Tensor, filters: Tensor) -> Tensor:
    """One map (C, H, W) filtered by (H, W, groups, taps), value by value."""
    channels, height, width = x.shape
    groups, taps = filters.shape[-2:]
    size = round(taps**0.5)
    out = torch.zeros_like(x)
    for c in range(channels):
        group = c // (channels // groups)
        for i in range(height):
            for j in range(width):
                for tap in range(taps):
                    row = i + tap // size - size // 2
                    column = j + tap % size - size // 2
                    if 0 <= row < height and 0 <= column < width:
                        out[c, i, j] += filters[i, j, group, tap] * x[c, row, column]
    return out


def hashed(name: str, shape: tuple[int, ...]) -> Tensor:
    """Numbers of unit variance that depend on the name alone (golden README)."""
    count = int(np.prod(shape))
    with np.errstate(over='ignore'):
        h = np.arange(1, count + 1, dtype=np.uint32) * np.uint32(2654435761)
        h += np.uint32(zlib.crc32(name.encode()))
        h ^= h >> np.uint32(15)
        h *= np.uint32(2246822519)
        h ^= h >> np.uint32(13)
        h *= np.uint32(3266489917)
        h ^= h >> np.uint32(16)
    numbers = (2 * (h / 2**32) - 1) * np.sqrt(3)
    return torch.from_numpy(numbers.astype(np.float32).reshape(shape))


def hashed_state(module: nn.Module, tag: str, theirs: dict[str, str]) -> None:
    """Fill a module with hashed weights; `theirs` has the authors' prefixes."""
    state = module.state_dict()
    for key, value in state.items():
        name = key
        for ours, other in theirs.items():
            name = name.replace(ours, other)
        if key.endswith('num_batches_tracked'):
            continue
        number = hashed(tag + name, tuple(value.shape))
        if value.dim() > 1:
            fan_in = value[0].numel()
            number *= torch.tensor(np.float32(np.sqrt(2 / fan_in)))
        elif key.endswith('running_mean'):
            number *= 0.1
        elif key.endswith('running_var'):
            number = 1 + 0.3 * number
        elif key.endswith('weight'):
            number = 1 + 0.1 * number
        else:
            number *= 0.05
        state[key] = number
    module.load_state_dict(state)


class DmfGolden(Golden):
    """One stored case of DMF, at one precision."""

    def classifier(self) -> DMFClassifier:
        hyper = self.meta['hyper']
        model = DMFClassifier(
            TINY,
            meta_filter={
                'type': DynamicMetaFilter,
                'groups': hyper['groups'],
                'kernel': hyper['kernel'],
                'official_kernel3': hyper['kernel'] == 3,
            },
            feat_channels=hyper['C'],
            num_classes=hyper['num_classes'],
            zero_pad_score=True,
        )
        # The state dict of the files has no backbone.
        model.backbone = nn.Identity()
        weights = {key[2:]: self[key] for key in self.arrays if key.startswith('w:')}
        if weights:
            model.load_state_dict(weights, strict=True)
        else:
            names = {
                'global_classifier': 'global_clasifier',
                'meta_filter.offset_conv': 'dw_gen.off_conv',
                'meta_filter.filter_conv': 'dw_gen.kernel_conv',
            }
            hashed_state(model, 'seed1206.', names)
        self.params = {
            'global_clasifier.weight': model.global_classifier.weight,
            'global_clasifier.bias': model.global_classifier.bias,
            'dw_gen.kernel_conv.weight': model.meta_filter.filter_conv.weight,
            'dw_gen.off_conv.weight': model.meta_filter.offset_conv.weight,
        }
        return model.to(self.dtype)

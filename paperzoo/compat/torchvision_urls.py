"""`torchvision://resnet50` without torchvision.

Ailment: mmengine imports torchvision to read the addresses of its weights, and the one
on PyPI does not work with a CPU build of torch; without it every config with a
`torchvision://` backbone ends in an ImportError.
Upstream thread: none; `get_torchvision_models` in mmengine/runner/checkpoint.py.
Delete when: mmengine reads the addresses without importing torchvision.

The classic names come from the table inside mmengine, the versioned ones
(`resnet50.imagenet1k_v2`, `ResNet50_Weights.IMAGENET1K_V2`) from the table below.
"""

import json
from importlib.util import find_spec
from pathlib import Path

_HOST = 'https://download.pytorch.org/models/'

# Hash of IMAGENET1K_V1 and, where it exists, IMAGENET1K_V2; the last is the default.
_HASHES = {
    'convnext_base': ['6075fbad'],
    'convnext_large': ['ea097f82'],
    'convnext_small': ['0c510722'],
    'convnext_tiny': ['983f1562'],
    'mobilenet_v2': ['b0353104', '7ebf99e0'],
    'mobilenet_v3_large': ['8738ca79', '5c1a4163'],
    'mobilenet_v3_small': ['047dcff4'],
    'resnet18': ['f37072fd'],
    'resnet34': ['b627a593'],
    'resnet50': ['0676ba61', '11ad3fa6'],
    'resnet101': ['63fe2227', 'cd907fc2'],
    'resnet152': ['394f9c45', 'f82ba261'],
    'resnext50_32x4d': ['7cdf4587', '1a0047aa'],
    'resnext101_32x8d': ['8ba56ff5', '110c445d'],
    'resnext101_64x4d': ['173b62eb'],
    'swin_b': ['68c6b09e'],
    'swin_s': ['5e29d889'],
    'swin_t': ['704ceda3'],
    'swin_v2_b': ['781e5279'],
    'swin_v2_s': ['637d8ceb'],
    'swin_v2_t': ['b137f0e2'],
    'vgg11': ['8a719046'],
    'vgg11_bn': ['6002323d'],
    'vgg13': ['19584684'],
    'vgg13_bn': ['abd245e5'],
    'vgg16': ['397923af'],
    'vgg16_bn': ['6c64b313'],
    'vgg19': ['dcbb9e9d'],
    'vgg19_bn': ['c79401a0'],
    'vit_b_16': ['c867db91'],
    'vit_b_32': ['d86f8d99'],
    'vit_l_16': ['852ce7e3'],
    'vit_l_32': ['c7638314'],
    'wide_resnet50_2': ['95faca4d', '9ba9bcbe'],
    'wide_resnet101_2': ['32ee1156', 'd733dc28'],
}


def get_torchvision_models() -> dict[str, str]:
    """Return the addresses of all known weights, by their name after the scheme."""
    import mmengine

    table = Path(mmengine.__file__).parent / 'hub' / 'torchvision_0.12.json'
    urls = {name: url for name, url in json.loads(table.read_text()).items() if url}
    for name, hashes in _HASHES.items():
        versions = [f'{_HOST}{name}-{digest}.pth' for digest in hashes]
        for number, url in enumerate(versions, start=1):
            urls[f'{name}.imagenet1k_v{number}'] = url
        urls[f'{name}.default'] = versions[-1]
    return urls


def apply() -> None:
    """Let mmengine read the addresses from here, wherever it holds the function."""
    if find_spec('mmengine') is None:
        return
    from mmengine import runner
    from mmengine.runner import checkpoint

    for module in (runner, checkpoint):
        module.get_torchvision_models = get_torchvision_models

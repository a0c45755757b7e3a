import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import mmengine
import pytest

from paperzoo.compat import torchvision_urls
from paperzoo.compat.checkpoints import torchvision_url
from paperzoo.compat.torchvision_urls import get_torchvision_models
from paperzoo.errors import UserError

_HOST = 'https://download.pytorch.org/models/'


@pytest.mark.skipif(find_spec('torchvision') is not None, reason='torchvision is here')
def test_the_ailment_mmengine_wants_torchvision_for_its_addresses():
    code = (
        'from mmengine.runner.checkpoint import CheckpointLoader\n'
        "CheckpointLoader.load_checkpoint('torchvision://resnet18')"
    )
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, timeout=120
    )
    assert "No module named 'torchvision'" in done.stderr


@pytest.mark.parametrize(
    ('name', 'file'),
    [
        ('resnet50', 'resnet50-0676ba61.pth'),
        ('resnet50.imagenet1k_v1', 'resnet50-0676ba61.pth'),
        ('resnet50.IMAGENET1K_V2', 'resnet50-11ad3fa6.pth'),
        ('resnet50.default', 'resnet50-11ad3fa6.pth'),
        ('ResNet50_Weights.IMAGENET1K_V1', 'resnet50-0676ba61.pth'),
        ('ResNeXt50_32X4D_Weights.DEFAULT', 'resnext50_32x4d-1a0047aa.pth'),
        ('MobileNet_V2_Weights.IMAGENET1K_V2', 'mobilenet_v2-7ebf99e0.pth'),
        ('Swin_T_Weights.IMAGENET1K_V1', 'swin_t-704ceda3.pth'),
        ('vgg16_bn.default', 'vgg16_bn-6c64b313.pth'),
    ],
)
def test_an_address_by_any_spelling(name, file):
    assert torchvision_url(name) == _HOST + file


def test_the_table_agrees_with_mmengines():
    folder = Path(mmengine.__file__).parent / 'hub'
    theirs = json.loads((folder / 'torchvision_0.12.json').read_text())
    both = torchvision_urls._HASHES.keys() & theirs.keys()
    urls = get_torchvision_models()
    assert len(both) == 20
    assert {name: urls[f'{name}.imagenet1k_v1'] for name in both} == {
        name: theirs[name] for name in both
    }
    assert all(url.startswith(_HOST) for url in urls.values())


def test_an_unknown_name_names_the_nearest():
    with pytest.raises(UserError, match=r"'torchvision://resnet5' .*resnet50'"):
        torchvision_url('resnet5')


def test_mmengine_reads_the_addresses_from_us():
    torchvision_urls.apply()
    torchvision_urls.apply()
    assert mmengine.runner.get_torchvision_models is get_torchvision_models
    assert mmengine.runner.checkpoint.get_torchvision_models is get_torchvision_models

"""Every FCOS config of mmdet with nothing changed but the head's type: its numbers.

Backbones are narrow and channels few; all else is what mmdet's files say.
"""

import copy
import functools
from pathlib import Path
from typing import Any

import mmdet
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData
from torch.testing import assert_close

FOLDER = Path(mmdet.__file__).parent / '.mim' / 'configs' / 'fcos'
CONFIGS = sorted(FOLDER.glob('*.py'))
SIZE = 96, 128


def test_the_list_is_complete() -> None:
    assert len(CONFIGS) == 12


def narrow(model: ConfigDict) -> ConfigDict:
    """Return the model of a config with an eighth of its channels."""
    backbone = model.backbone
    backbone.init_cfg = None
    if backbone.depth == 18:
        backbone.base_channels = 8
        model.neck.in_channels = [8, 16, 32, 64]
    else:
        backbone.update(depth=50, base_channels=8)
        model.neck.in_channels = [32, 64, 128, 256]
    if 'groups' in backbone:
        backbone.update(groups=4, base_width=4)
    model.neck.out_channels = 32
    model.bbox_head.update(in_channels=32, feat_channels=32, stacked_convs=2)
    return model


def pair(path: Path) -> tuple[Any, Any]:
    """Return mmdet's model and the same with our head and its weights, in float64."""
    theirs = narrow(Config.fromfile(str(path)).model)
    assert theirs.bbox_head.type == 'FCOSHead'
    ours = copy.deepcopy(theirs)
    ours.bbox_head.type = 'paperzoo.FCOSHead'
    with DefaultScope.overwrite_default_scope('mmdet'):
        torch.manual_seed(0)
        models = MODELS.build(theirs), MODELS.build(ours)
    models[0].init_weights()
    with torch.no_grad():
        models[0].bbox_head.conv_cls.bias.add_(3.0)
        models[0].bbox_head.conv_reg.bias.add_(1.0)
    models[1].load_state_dict(models[0].state_dict(), strict=True)
    return models[0].double(), models[1].double()


def batch() -> tuple[torch.Tensor, list[DetDataSample]]:
    """Return two images, the second without objects."""
    torch.manual_seed(0)
    samples = []
    for count in (6, 0):
        corner = torch.rand(count, 2, dtype=torch.float64) * 60
        size = 8 + torch.rand(count, 2, dtype=torch.float64) * 60
        sample = DetDataSample(
            metainfo={
                'img_shape': SIZE,
                'ori_shape': (48, 64),
                'batch_input_shape': SIZE,
                'scale_factor': (2.0, 2.0),
            }
        )
        sample.gt_instances = InstanceData(
            bboxes=torch.cat((corner, corner + size), dim=1),
            labels=torch.randint(0, 80, (count,)),
        )
        samples.append(sample)
    return torch.randn(2, 3, *SIZE, dtype=torch.float64), samples


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_only_the_type_changed(path: Path) -> None:
    models = pair(path)
    images, samples = batch()
    outputs, losses, gradients, found = [], [], [], []
    for model in models:
        model.train()
        outputs.append(model(images, mode='tensor'))
        losses.append(model.loss(images, samples))
        sum(losses[-1].values()).backward()
        gradients.append({n: p.grad for n, p in model.named_parameters()})
        with torch.no_grad():
            results = model.eval().predict(images, copy.deepcopy(samples))
        found.append([dict(r.pred_instances.items()) for r in results])
    # mmdet turns the distances into float32, ours stay in float64.
    close = functools.partial(assert_close, rtol=1e-5, atol=1e-5, check_dtype=False)
    close(outputs[1], outputs[0])
    close(losses[1], losses[0])
    close(gradients[1], gradients[0])
    assert min(len(result['scores']) for result in found[0]) > 0
    close(found[1], found[0])

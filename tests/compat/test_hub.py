"""mmengine's hub takes configs of paperzoo; a text config cannot inherit from them."""

from pathlib import Path

import mmengine.hub
import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope

from paperzoo.apis.config import load_config
from paperzoo.errors import UserError


@pytest.mark.parametrize('name', ['fcos_tiny_shapes.py', 'fcos/fcos_tiny_shapes'])
def test_a_config(name: str) -> None:
    found = mmengine.hub.get_config(f'paperzoo::{name}')
    assert found.pretty_text == load_config('fcos_tiny_shapes').pretty_text


def test_a_model() -> None:
    before = dict(DefaultScope._instance_dict)
    model = mmengine.hub.get_model('paperzoo::protonet_tiny_glyphs.py', meta_weight=0.5)
    assert type(model).__name__ == 'ProtoNet'
    assert model.training
    assert model.meta_weight == 0.5
    assert dict(DefaultScope._instance_dict) == before


def test_what_is_not_there() -> None:
    with pytest.raises(UserError, match='Did you mean fcos_tiny_shapes'):
        mmengine.hub.get_config('paperzoo::fcos_tiny_shape.py')
    with pytest.raises(UserError, match='publishes no weights'):
        mmengine.hub.get_model('paperzoo::fcos_tiny_shapes.py', pretrained=True)


def test_others_are_found_as_before() -> None:
    name = 'mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py'
    assert mmengine.hub.get_config(name).model.type == 'FCOS'
    with pytest.raises(AssertionError, match='does not support to load nobody'):
        mmengine.hub.get_config('nobody::a/b.py')


def test_a_text_config_cannot_inherit(tmp_path: Path) -> None:
    file = tmp_path / 'mine.py'
    file.write_text("_base_ = 'paperzoo::fcos/fcos_tiny_shapes.py'")
    with pytest.raises(AssertionError, match='does not support to load paperzoo'):
        Config.fromfile(file)

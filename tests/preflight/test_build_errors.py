"""What does not build for a misspelt name is explained; other errors stay."""

import re

import pytest
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from paperzoo.apis.config import find_config
from paperzoo.errors import UserError
from paperzoo.knet import KNetKernelUpdateHead
from paperzoo.preflight.build_errors import building_explained, spelling_explained


def tiny() -> Config:
    return Config.fromfile(str(find_config('knet_tiny_shapes_instance')))


@pytest.mark.skipif(
    hasattr(KNetKernelUpdateHead.__init__, '__wrapped__'),
    reason='the check of shapes wraps the constructors',
)
def test_an_argument_in_a_dict_without_a_type() -> None:
    cfg = tiny()
    cfg.model.roi_head.mask_head.num_ffn_fc = 3
    init_default_scope('mmdet')
    expected = "KNetKernelUpdateHead takes no argument 'num_ffn_fc'. Did you mean num_f"
    with pytest.raises(UserError, match=re.escape(expected)), spelling_explained(cfg):
        MODELS.build(cfg.model)


def test_a_misspelt_type() -> None:
    cfg = tiny()
    cfg.model.backbone.type = 'ResNett'
    with (
        pytest.raises(UserError, match=r'model\.backbone\.type.*Did you mean ResNet'),
        spelling_explained(cfg),
    ):
        raise KeyError('ResNett is not in the registry')


@pytest.mark.parametrize('error', [KeyError('size'), TypeError('no'), UserError('a')])
def test_other_errors_stay_as_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, spelling_explained(tiny()):
        raise error
    assert caught.value is error


@pytest.mark.parametrize(
    ('key', 'value', 'expected'),
    [
        ('backbone.depth', 17, 'ResNet cannot be built: KeyError.*invalid depth 17'),
        ('neck.type', 3, 'cannot be built: TypeError: .*type must be a str'),
    ],
)
def test_a_value_that_a_class_of_the_stack_refuses(
    key: str, value: object, expected: str
) -> None:
    cfg = tiny()
    cfg.merge_from_dict({f'model.{key}': value})
    init_default_scope('mmdet')
    for explained in (spelling_explained, building_explained):
        with pytest.raises(UserError, match=expected), explained(cfg):
            MODELS.build(cfg.model)


def test_an_error_in_a_class_of_the_users_own_keeps_its_place() -> None:
    class OwnBackbone:
        def __init__(self) -> None:
            raise ValueError('mine')

    cfg = Config({'model': {'type': OwnBackbone}})
    for explained in (spelling_explained, building_explained):
        with pytest.raises(ValueError, match='mine') as caught, explained(cfg):
            MODELS.build(cfg.model)
        assert not isinstance(caught.value, UserError)

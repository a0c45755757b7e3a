"""Packages that a config needs, found before it is built."""

from importlib import metadata

import pytest
from mmengine.config import Config

from paperzoo.apis.config import load_config
from paperzoo.errors import UserError
from paperzoo.preflight import packages
from paperzoo.preflight.build_errors import spelling_explained
from paperzoo.preflight.packages import check_packages
from paperzoo.preflight.run import preflight


@pytest.mark.parametrize(
    ('config', 'command'),
    [
        ('paa_r50_fpn_1x_coco', 'pip install scikit-learn'),
        ('glip_atss_swin-t_a_fpn_dyhead_pretrain_obj365', "'transformers<5'"),
        ('boxinst_r50_fpn_ms-90k_coco', 'pip install scikit-image'),
        ('reid_r50_8xb32-6e_mot17train80_test-mot17val20', 'install mmpretrain'),
    ],
)
def test_a_stock_config_is_told_what_to_install(config, command, monkeypatch):
    monkeypatch.setattr(packages, 'find_spec', lambda name: None)
    (issue,) = check_packages(load_config(config))
    assert command in issue.text
    assert 'which is not installed' in issue.text


def test_a_package_that_is_too_new(monkeypatch):
    monkeypatch.setattr(packages, 'find_spec', lambda name: True)
    cfg = Config({'model': {'language_model': {'type': 'BertModel'}}})
    for version, said in (('4.57.1', []), ('5.0.0', ['5.0.0 is installed'])):
        monkeypatch.setattr(metadata, 'version', lambda name, version=version: version)
        found = [issue.text for issue in check_packages(cfg)]
        assert len(found) == len(said)
        assert all(part in found[0] for part in said)


def test_nothing_is_said_of_what_is_installed(monkeypatch):
    monkeypatch.setattr(packages, 'find_spec', lambda name: True)
    assert check_packages(Config({'model': {'bbox_head': {'type': 'PAAHead'}}})) == []


def test_the_preflight_and_a_failing_build_say_it(monkeypatch, tmp_path):
    monkeypatch.setattr(packages, 'find_spec', lambda name: None)
    cfg = Config({'model': {'type': 'mmpretrain.Some'}, 'work_dir': str(tmp_path)})
    assert any('pip install mmpretrain' in issue.text for issue in preflight(cfg))
    with (
        pytest.raises(UserError, match='pip install mmpretrain'),
        spelling_explained(cfg),
    ):
        raise KeyError('mmpretrain.Some')

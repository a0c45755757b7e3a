"""Keys at the top that nothing reads: a slip of the pen, or a variable overridden."""

from pathlib import Path

import pytest
from mmengine.config import Config

from paperzoo.apis.config import load_config
from paperzoo.errors import UserError
from paperzoo.preflight.spelling import misspelt
from paperzoo.preflight.top_keys import nearest_key, refuse_unread


@pytest.mark.parametrize(
    ('key', 'near'),
    [
        ('optim_wraper', 'optim_wrapper'),
        ('train_dataloder', 'train_dataloader'),
        ('param_schedulers', 'param_scheduler'),
        ('default_hook', 'default_hooks'),
        ('val_evaluator_abs', None),
        ('Visualizer', None),
        ('train_pipeline', None),
        ('model', None),
    ],
)
def test_nearest_key(key: str, near: str | None) -> None:
    assert nearest_key(key) == near


def test_a_misspelt_key_of_a_file_is_named() -> None:
    cfg = load_config('fcos_tiny_shapes')
    cfg.optim_wraper = cfg.pop('optim_wrapper')
    (issue,) = misspelt(cfg)
    assert issue.text.startswith('optim_wraper: nothing reads it. Did you mean optim_')


def test_a_scope_that_there_is_not() -> None:
    cfg = load_config('fcos_tiny_shapes')
    cfg.default_scope = 'mmdett'
    assert any("default_scope = 'mmdett'" in one.text for one in misspelt(cfg))


def test_an_override_that_changes_nothing_is_refused() -> None:
    loader = dict(dataset=dict(data_root='a/'))
    cfg = Config(dict(data_root='a/', val_dataloader=loader))
    with pytest.raises(UserError, match=r'val_dataloader\.dataset\.data_root=\.\.\.'):
        refuse_unread(cfg, {'data_root': 'b/'})
    cfg = load_config('fcos_tiny_shapes')
    with pytest.raises(UserError) as error:
        refuse_unread(cfg, {'max_epochs': 2})
    assert str(error.value) == (
        "--cfg-options max_epochs=2: nothing reads 'max_epochs'. It is a variable that "
        'was used when the config was read. What was made of it: --cfg-options '
        'param_scheduler.1.end=... train_cfg.max_epochs=... train_cfg.val_interval=...'
        ' (paperzoo train --epochs 2 moves all that depends on it)'
    )
    cfg = Config(dict(data_root='a/', val_dataloader=loader))
    with pytest.raises(UserError, match="nothing reads 'mine'"):
        refuse_unread(cfg, {'mine.x': 3})
    refuse_unread(cfg, {'val_dataloader.batch_size': 2, 'tta_model.type': 'X'})
    cfg.custom_imports = dict(imports=['mine'])
    refuse_unread(cfg, {'mine.x': 3})


OWN = """
from mmdet.models import FCOS
from {module} import {name}
model = dict(type=FCOS)
custom_hooks = [dict(type={name})]
mine = 3
"""


@pytest.mark.parametrize('module', ['mmengine.hooks', 'not_imported_yet.hooks'])
def test_own_code_may_read_own_keys(module: str, tmp_path: Path) -> None:
    file = tmp_path / 'config.py'
    file.write_text(OWN.format(module=module, name='EMAHook'))
    cfg = Config.fromfile(str(file), import_custom_modules=False)
    if module.startswith('not'):
        refuse_unread(cfg, {'mine': 4})
        return
    with pytest.raises(UserError, match="nothing reads 'mine'"):
        refuse_unread(cfg, {'mine': 4})
    refuse_unread(cfg, {'mine': 4, 'custom_hooks.0.type': 'own.Hook'})
    refuse_unread(cfg, {'mine': 4, 'custom_hooks': [{'type': 'own.Hook'}]})
    with pytest.raises(UserError, match="nothing reads 'mine'"):
        refuse_unread(cfg, {'mine': 4, 'custom_hooks.0.type': 'paperzoo.X'})
    refuse_unread(Config({'mine': 3, 'default_scope': 'own'}), {'mine': 4})

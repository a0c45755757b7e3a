"""The common settings: what is refused, and that nothing right is."""

from typing import Any

import pytest
from mmengine.config import Config

from paperzoo.errors import UserError
from paperzoo.preflight.common_values import check_values, require


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('train_cfg.max_epochs', '3'),
        ('train_cfg.max_epochs', 0),
        ('train_cfg.max_epochs', -1),
        ('train_cfg.max_epochs', 2.5),
        ('train_cfg.max_epochs', float('nan')),
        ('train_cfg.max_epochs', float('inf')),
        ('train_cfg.max_epochs', True),
        ('train_cfg.max_iters', [10]),
        ('train_cfg.val_interval', 0),
        ('train_dataloader.batch_size', 0),
        ('val_dataloader.num_workers', -1),
        ('test_dataloader.dataset', 'coco'),
        ('test_dataloader.dataset.pipeline', {'type': 'Resize'}),
        ('test_dataloader.dataset.metainfo.classes', 'cat'),
        ('optim_wrapper.optimizer.lr', '1e-3'),
        ('optim_wrapper.optimizer.lr', float('nan')),
        ('optim_wrapper.clip_grad', 35),
        ('default_hooks.logger.interval', 0),
        ('custom_hooks', {'type': 'EMAHook'}),
        ('param_scheduler', 'cosine'),
        ('model', 'FCOS'),
        ('resume', 'epoch_3.pth'),
        ('work_dir', 3),
        ('log_level', 'info'),
        ('auto_scale_lr.base_batch_size', 'x'),
        ('auto_scale_lr.base_batch_size', 0),
        *(
            ('default_hooks.checkpoint.filename_tmpl', name)
            for name in ('same.pth', '{}{}.pth', '{x}.pth', '{1}.pth', '{.pth', '{:x}')
        ),
    ],
)
def test_what_cannot_be_used_is_named(key: str, value: Any) -> None:
    cfg = Config({})
    cfg.merge_from_dict({key: value})
    with pytest.raises(UserError) as caught:
        check_values(cfg)
    assert f'{key} = {value!r}: it must be' in str(caught.value)


def test_all_wrong_settings_come_in_one_message() -> None:
    cfg = Config({'train_cfg': {'max_epochs': 0}, 'model': 3})
    with pytest.raises(UserError) as caught:
        check_values(cfg)
    assert len(str(caught.value).splitlines()) == 2


def test_what_mmengine_takes_is_taken() -> None:
    check_values(
        Config(
            {
                'train_cfg': {'max_iters': 8e4, 'val_interval': 500},
                'log_level': 20,
                'param_scheduler': {'optimizer': [{'type': 'LinearLR'}]},
                'val_evaluator': [{'type': 'CocoMetric'}],
                'test_dataloader': [{'batch_size': 1}, {'batch_size': 2}],
                'optim_wrapper': {'clip_grad': None, 'optimizer': {'lr': 1}},
                'default_hooks': {'checkpoint': {'interval': -1}, 'logger': None},
                'randomness': {'seed': None},
                'val_dataloader': None,
                'custom_hooks': [],
                'work_dir': None,
            }
        )
    )


@pytest.mark.parametrize('name', ['epoch_{}.pth', '{:d}', 'step {0:06d}.pth', '{:03}'])
def test_names_with_a_number(name: str) -> None:
    hook = {'filename_tmpl': name}
    check_values(Config({'default_hooks': {'checkpoint': hook}}))


def test_workers_that_persist_but_none() -> None:
    loader = {'num_workers': 0, 'persistent_workers': True}
    with pytest.raises(UserError, match=r'val_dataloader\.persistent_workers=False'):
        check_values(Config({'val_dataloader': loader}))


def test_what_a_command_needs() -> None:
    cfg = Config({'model': {}, 'val_cfg': None})
    with pytest.raises(UserError, match=r'^config: val_cfg missing: a test needs'):
        require(cfg, 'model', 'val_cfg', what='a test')

"""Another length, batch size or rate: all that is counted moves along."""

import re
from typing import Any

import pytest
from mmengine.config import Config

from paperzoo.apis.config import config_folders, load_config
from paperzoo.apis.schedule import set_schedule
from paperzoo.apis.training import set_training_options
from paperzoo.errors import UserError


def test_a_config_of_epochs() -> None:
    cfg = load_config('fcos_r50_fpn')
    cfg.custom_hooks = [
        dict(type='EMAHook', begin_epoch=6),
        dict(type='EarlyStoppingHook', monitor='coco/bbox_mAP', patience=8),
    ]
    set_schedule(cfg, epochs=120)
    warm_up, steps = cfg.param_scheduler
    assert cfg.train_cfg.max_epochs == steps.end == 120
    assert steps.milestones == [80, 110]
    assert warm_up.end == 500  # it is long enough
    assert cfg.train_cfg.val_interval == 10
    assert cfg.default_hooks.checkpoint.interval == 10
    assert cfg.custom_hooks[0].begin_epoch == 60
    assert cfg.custom_hooks[1].patience == 8  # of validations, as many as before
    set_schedule(cfg, epochs=3)
    assert cfg.train_cfg.max_epochs == steps.end == 3
    assert steps.milestones == [2, 3]
    assert warm_up.end == 12  # a fortieth
    assert cfg.train_cfg.val_interval == cfg.default_hooks.checkpoint.interval == 1


def test_a_batch_of_another_size() -> None:
    """As many images: the warm-up in iterations moves, the epochs do not."""
    cfg = load_config('fcos_r50_fpn')
    batch = cfg.train_dataloader.batch_size
    set_schedule(cfg, batch_size=4 * batch)
    assert cfg.train_dataloader.batch_size == 4 * batch
    assert cfg.val_dataloader.batch_size == 1
    assert cfg.param_scheduler[0].end == 125
    assert cfg.param_scheduler[1].milestones == [8, 11]
    assert cfg.train_cfg.max_epochs == 12
    assert cfg.optim_wrapper.optimizer.lr == 0.01
    set_training_options(cfg, batch_size=batch, auto_scale_lr=True)
    assert cfg.param_scheduler[0].end == 500
    assert cfg.auto_scale_lr.enable


def test_a_config_of_iterations() -> None:
    cfg = load_config('knet_r50_fcn_semantic')
    batch = cfg.train_dataloader.batch_size
    set_schedule(cfg, batch_size=2 * batch)
    assert cfg.train_cfg.max_iters == cfg.param_scheduler[1].end == 40000
    assert cfg.train_cfg.val_interval == 4000
    assert cfg.default_hooks.checkpoint.interval == 4000
    assert cfg.param_scheduler[0].end == cfg.param_scheduler[1].begin == 500
    assert cfg.param_scheduler[1].milestones == [30000, 36000]


def test_epochs_of_a_config_of_iterations() -> None:
    cfg = load_config('fcos_tiny_shapes')
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=1000, val_interval=100)
    cfg.param_scheduler = [
        dict(type='LinearLR', by_epoch=False, begin=0, end=50),
        dict(type='PolyLR', by_epoch=False, begin=50, end=1000, eta_min=1e-5),
    ]
    cfg.train_dataloader.batch_size = 8  # 400 images
    set_schedule(cfg, epochs=4, batch_size=4, lr=0.1 * cfg.optim_wrapper.optimizer.lr)
    assert cfg.train_cfg.max_iters == cfg.param_scheduler[1].end == 400
    assert cfg.train_cfg.val_interval == 40
    assert cfg.param_scheduler[0].end == cfg.param_scheduler[1].begin == 20
    assert cfg.param_scheduler[1].eta_min == pytest.approx(1e-6)


def test_a_warm_up_is_as_long_as_it_was_or_a_tenth() -> None:
    for epochs, wanted in ((9, 50), (4, 40), (1, 10)):
        cfg = load_config('fcos_tiny_shapes')  # 400 images in batches of 4
        assert cfg.param_scheduler[0].end == 50
        assert cfg.train_cfg.max_epochs == 18
        set_schedule(cfg, epochs=epochs)
        assert cfg.param_scheduler[0].end == wanted


@pytest.mark.parametrize(
    ('options', 'why'),
    [
        (dict(epochs=0), '--epochs 0: it must be a number above zero'),
        (dict(batch_size=-1), '--batch-size -1'),
        (dict(lr=float('nan')), '--lr nan'),
        (dict(epochs=2), 'neither train_cfg.max_epochs nor train_cfg.max_iters'),
        (dict(batch_size=2), 'no train_dataloader.batch_size'),
        (dict(lr=0.1), 'no optim_wrapper.optimizer.lr'),
    ],
)
def test_what_has_no_place_is_said(options: dict[str, Any], why: str) -> None:
    with pytest.raises(UserError, match=why):
        set_schedule(Config(dict(model=dict(type='FCOS'))), **options)


OURS = [
    file
    for file in sorted(config_folders()[0].rglob('*.py'))
    if '_base_' not in file.parts
]


@pytest.mark.parametrize('file', OURS[::5], ids=lambda file: file.stem)
def test_the_schedules_of_our_configs_end_with_the_training(file: Any) -> None:
    """Each scheduler of a config that ended with the training ends with it again."""
    for epochs in (1, 7, 500):
        cfg = Config.fromfile(str(file))
        last = cfg.train_cfg.get('max_epochs')
        if last is None:
            continue
        count = len(cfg.param_scheduler)
        before = [one.get('end') == last for one in cfg.param_scheduler]
        set_schedule(cfg, epochs=epochs)
        assert cfg.train_cfg.max_epochs == epochs
        now = cfg.param_scheduler
        assert len(now) == count or (epochs == 1 and len(now) == count - 1)
        for ended, one in zip(before[-len(now) :], now, strict=True):
            begin, end = one.get('begin', 0), one.get('end', epochs)
            assert 0 <= begin < end
            if ended and one.get('by_epoch', True):
                assert end == epochs


def test_what_the_options_set_stays_as_it_is_given() -> None:
    """A list that is given whole, too, beside the hooks that other options add."""
    options = {
        'train_cfg.val_interval': 5,
        'param_scheduler.1.milestones': [30, 34],
        'default_hooks.checkpoint.interval': 36,
        'custom_hooks': [dict(type='EMAHook', begin_epoch=3)],
        'model.bbox_head.strides': [1],
    }
    cfg = load_config('fcos_r50_fpn', options)
    set_training_options(cfg, epochs=36, amp=True, cfg_options=options)
    assert cfg.train_cfg == dict(cfg.train_cfg, max_epochs=36, val_interval=5)
    assert cfg.param_scheduler[1].milestones == [30, 34]
    assert cfg.param_scheduler[1].end == 36
    assert cfg.default_hooks.checkpoint.interval == 36
    ours, *others = cfg.custom_hooks
    assert ours == options['custom_hooks'][0]
    assert others  # of mixed precision


def test_a_rate_of_the_options_is_not_scaled() -> None:
    options = {'param_scheduler.1.eta_min': 0.5}
    cfg = load_config('knet_tiny_shapes_instance', options)
    set_schedule(cfg, lr=0.1, cfg_options=options)
    assert cfg.param_scheduler[1].eta_min == 0.5


@pytest.mark.parametrize(
    ('options', 'set_to', 'message'),
    [
        ({'train_cfg.max_epochs': 5}, dict(epochs=3), 'train_cfg.max_epochs=5'),
        ({'train_cfg': dict(max_epochs=5)}, dict(epochs=3), 'train_cfg.max_epochs=5'),
        (
            {'train_dataloader.batch_size': 4},
            dict(batch_size=8),
            '--batch-size 8 and --cfg-options train_dataloader.batch_size=4',
        ),
        (
            {'optim_wrapper.optimizer.lr': 0.1},
            dict(lr=0.2),
            'set the same: leave one of them out',
        ),
    ],
)
def test_two_options_for_one_thing(
    options: dict[str, Any], set_to: dict[str, Any], message: str
) -> None:
    cfg = load_config('fcos_r50_fpn', options)
    before = cfg.pretty_text
    with pytest.raises(UserError, match=re.escape(message)):
        set_schedule(cfg, cfg_options=options, **set_to)
    assert cfg.pretty_text == before
    set_schedule(cfg, epochs=None, cfg_options=options)


@pytest.mark.parametrize(
    ('key', 'value', 'said'),
    [
        ('param_scheduler.0.end', 'x', "'x': it must be a number"),
        ('param_scheduler.0.type', None, 'None: it must be a name such as LinearLR'),
        ('param_scheduler.1.milestones', ['a'], "['a']: it must be a list of numbers"),
    ],
)
def test_what_cannot_move_is_named(key: str, value: Any, said: str) -> None:
    cfg = load_config('fcos_r50_fpn')
    cfg.merge_from_dict({key: value})
    with pytest.raises(UserError) as caught:
        set_schedule(cfg, epochs=1)
    assert str(caught.value).endswith(f'fcos_r50_fpn.py: {key} = {said}')


def test_what_is_no_scheduler_is_named() -> None:
    cfg = load_config('fcos_r50_fpn')
    cfg.param_scheduler = {'generator': 3}
    with pytest.raises(UserError, match='param_scheduler = 3: it must be a dict'):
        set_schedule(cfg, epochs=1)


def test_a_checkpoint_hook_without_an_interval_stays() -> None:
    cfg = load_config('fcos_r50_fpn', {'default_hooks.checkpoint.interval': None})
    set_schedule(cfg, epochs=1)
    assert cfg.default_hooks.checkpoint.interval is None


def test_more_epochs_than_can_be_counted() -> None:
    cfg = load_config('fcos_r50_fpn')
    with pytest.raises(UserError, match='from 1 to 1000000000'):
        set_schedule(cfg, epochs=10**30)

"""Class layers keep the rows of equal names; the rest begins anew, and it is said."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.registry import init_default_scope
from small_models import small_model
from torch import nn
from torch.testing import assert_close

from paperzoo.apis.build import build_runner
from paperzoo.apis.config import load_config
from paperzoo.apis.training import watch
from paperzoo.common import rename_keys
from paperzoo.engine.fine_tuning import fit_classes

NAMES = ('Traffic_Light', 'my own', 'person')
# Where the equal names stand in COCO's list of 80.
ROWS = {0: 9, 2: 0}


def coco_classes() -> tuple[str, ...]:
    from mmdet.datasets import CocoDataset

    return CocoDataset.METAINFO['classes']


def built(name: str, classes: int) -> Any:
    cfg = load_config(name)
    init_default_scope(cfg.default_scope)
    model = cfg.model
    if 'rpn_head' in model:
        model.rpn_head.num_classes = classes
        model.roi_head.num_thing_classes = classes
        model.roi_head.mask_head.num_classes = classes
    elif 'decode_head' in model:
        model.decode_head.kernel_generate_head.num_classes = classes
        model.decode_head.kernel_update_head.num_classes = classes
        model.auxiliary_head.num_classes = classes
    else:
        model.bbox_head.num_classes = classes
    return small_model(cfg)


def authors_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return K-Net's weights under the names of its authors' checkpoints."""
    renamed = dict(state)
    names = {'kernel_init_head': 'rpn_head', 'kernel_iter_head': 'roi_head'}
    rename_keys(renamed, '', names)
    rename_keys(renamed, 'roi_head.', {'stages': 'mask_head'})
    return renamed


CASES = {
    'fcos_r50_fpn': ['bbox_head.conv_cls'],
    'knet_r50_fpn_instance': [
        'kernel_init_head.conv_seg',
        *(f'kernel_iter_head.stages.{stage}.fc_cls' for stage in range(3)),
    ],
    'knet_r50_fcn_semantic': [
        'decode_head.kernel_generate_head.conv_seg',
        'auxiliary_head.conv_seg',
    ],
}


@pytest.mark.parametrize(
    ('name', 'meta'),
    [*zip(CASES, 3 * ['CLASSES'], strict=True), ('fcos_r50_fpn', 'dataset_meta')],
)
def test_rows_of_equal_names(name: str, meta: str) -> None:
    theirs, ours = built(name, 80), built(name, 3)
    state = {
        key: torch.randn_like(one) if one.is_floating_point() else one + 1
        for key, one in theirs.state_dict().items()
    }
    first = copy.deepcopy(ours.state_dict())
    classes = coco_classes()
    said = {'CLASSES': classes, 'dataset_meta': {'classes': classes}}
    checkpoint: dict[str, Any] = {
        'state_dict': authors_names(state) if name.startswith('knet') else state,
        'meta': {meta: said[meta]},
    }
    (line,) = fit_classes(ours, checkpoint, NAMES)
    assert line.startswith('class layers ')
    assert all(layer in line for layer in CASES[name])
    assert line.endswith('2 of 3 classes (Traffic_Light, person); begin anew: my own')
    ours.load_state_dict(checkpoint['state_dict'])  # strictly: nothing is left out
    now = ours.state_dict()
    layers = {f'{layer}.{key}' for layer in CASES[name] for key in ('weight', 'bias')}
    assert layers <= set(now)
    for key, value in now.items():
        if key not in layers:
            assert_close(value, state[key])
            continue
        for row, place in ROWS.items():
            assert_close(value[row], state[key][place])
        assert_close(value[1], first[key][1])


def test_equal_counts_of_other_names_change_places() -> None:
    model = torch.nn.ModuleDict({'fc_cls': torch.nn.Linear(2, 3)})
    state = {key: torch.randn_like(one) for key, one in model.state_dict().items()}
    meta = {'CLASSES': ('b', 'a', 'c')}
    checkpoint: dict[str, Any] = {'state_dict': dict(state), 'meta': meta}
    fit_classes(model, checkpoint, ('a', 'b', 'c'))
    for key, value in checkpoint['state_dict'].items():
        assert_close(value, state[key][[1, 0, 2]])
    checkpoint = {'state_dict': state, 'meta': meta}
    assert fit_classes(model, checkpoint, ('B', 'a', 'c')) == []
    assert checkpoint['state_dict'] is state


def test_background_and_anchors() -> None:
    """Two anchors of three classes, and a softmax with the background as last row."""
    for rows, wanted in ((6, [2, 9, 5, 8]), (4, [2, 9, 3])):
        own = 4 if rows == 6 else 3
        model = torch.nn.ModuleDict({'conv_cls': torch.nn.Conv2d(1, own, 1)})
        torch.nn.init.constant_(model['conv_cls'].bias, 9 if rows == 4 else 0)
        with torch.no_grad():
            model['conv_cls'].bias.copy_(torch.tensor([7.0, 9, 7, 8])[:own])
        state = {
            'conv_cls.weight': torch.zeros(rows, 1, 1, 1),
            'conv_cls.bias': torch.arange(float(rows)),
        }
        checkpoint = {'state_dict': state, 'meta': {'CLASSES': ('a', 'b', 'c')}}
        fit_classes(model, checkpoint, ('c', 'new'))
        assert checkpoint['state_dict']['conv_cls.bias'].tolist() == wanted


def test_without_names_all_begins_anew_and_it_is_said() -> None:
    model = torch.nn.ModuleDict({'fc_cls': torch.nn.Linear(2, 3)})
    state = {'fc_cls.weight': torch.zeros(80, 2), 'fc_cls.bias': torch.zeros(80)}
    checkpoint: dict[str, Any] = {'state_dict': state, 'meta': {}}
    (line,) = fit_classes(model, checkpoint, NAMES)
    assert line == (
        'of another shape, begin anew: fc_cls.weight, fc_cls.bias '
        '(it does not name its classes)'
    )
    checkpoint = {'state_dict': state, 'meta': {'CLASSES': ('x',) * 80}}
    (line,) = fit_classes(model, checkpoint, NAMES)
    assert line.endswith('none of its classes has a name of ours; all begin anew')


def test_a_training_begins_with_them(tmp_path: Path, capfd: Any) -> None:
    """Through the runner, averaged weights included."""
    cfg = load_config('fcos_tiny_shapes', work_dir=tmp_path / 'work')
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].dataset.indices = 4
        cfg[f'{split}_dataloader'].update(num_workers=0, persistent_workers=False)
    cfg.custom_hooks = [dict(type='EMAHook')]
    init_default_scope(cfg.default_scope)
    other = copy.deepcopy(cfg.model)
    other.bbox_head.num_classes = 80
    from paperzoo.registry import MODELS

    state = MODELS.build(other).state_dict()
    classes = ('rectangle', *(f'class {number}' for number in range(79)))
    file = tmp_path / 'coco.pth'
    torch.save({'state_dict': state, 'meta': {'CLASSES': classes}}, file)
    cfg.load_from = str(file)
    cfg.train_cfg.max_epochs = 1
    cfg.log_level = 'INFO'
    runner = build_runner(cfg, strict=False)
    watch(runner, preflight=False)
    seen = {}

    class StopError(Exception):
        pass

    def stop(*_: Any) -> None:
        hook = next(one for one in runner.hooks if type(one).__name__ == 'EMAHook')
        key = 'bbox_head.conv_cls.weight'
        seen['model'] = runner.model.state_dict()[key].clone()
        seen['mean'] = hook.ema_model.module.state_dict()[key].clone()
        raise StopError

    runner.call_hook = _after(runner.call_hook, 'before_train', stop)
    with pytest.raises(StopError):
        runner.train()
    assert_close(seen['model'][1], state['bbox_head.conv_cls.weight'][0])
    assert_close(seen['mean'], seen['model'])
    said = ''.join(capfd.readouterr())
    assert 'coco.pth: class layers bbox_head.conv_cls: rows kept of 1 of 7' in said
    assert 'size mismatch' not in said


def _after(call: Any, name: str, then: Any) -> Any:
    def called(hook: str, **arguments: Any) -> None:
        if hook == name:
            then()
        call(hook, **arguments)

    return called


def test_one_layer_under_several_names() -> None:
    def heads(layer: nn.Module) -> nn.ModuleList:
        return nn.ModuleList([nn.ModuleDict({'fc_cls': layer}) for _ in range(2)])

    model, before = heads(nn.Linear(1, 3)), heads(nn.Linear(1, 2))
    state, meta = before.state_dict(), {'CLASSES': ('cat', 'dog')}
    checkpoint = {'state_dict': state, 'meta': meta}
    said = fit_classes(model, checkpoint, ['dog', 'cow', 'cat'])
    assert said[0].startswith('class layers 0.fc_cls, 1.fc_cls: rows kept of 2 of 3')
    model.load_state_dict(checkpoint['state_dict'])
    assert_close(model[1].fc_cls.weight[[2, 0]], before[0].fc_cls.weight)

"""The config of a checkpoint: what may be in it, and that none of it is ever run."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import nn

import paperzoo
from paperzoo.apis.config import load_config
from paperzoo.apis.stored_config import stored_config
from paperzoo.compat.literals import read_literals
from paperzoo.compat.registered_types import RegisteredTypes
from paperzoo.errors import UserError

MODEL = "model = dict(type='mmdet.FCOS')\n"
TOUCH = 'import pathlib; pathlib.Path("it_ran").touch()'


def test_what_mmengine_writes_is_read_back() -> None:
    cfg = load_config('knet_tiny_shapes_panoptic')
    assert read_literals(cfg.pretty_text) == cfg.to_dict()


@pytest.mark.parametrize(
    'name',
    [
        'fcos_r50_fpn',
        'knet_r50_fpn_instance',
        'knet_r50_fcn_semantic',
        'fcos_r50-caffe_fpn_gn-head_1x_coco',  # of mmdet, with bare names
        'mask-rcnn_r50_fpn_1x_coco',  # RoIAlign, which is in no registry
        'knet-s3_r50-d8_fcn_8xb2-adamw-80k_ade20k-512x512',  # of mmseg
    ],
)
def test_the_stored_config_builds_the_same_model(name: str) -> None:
    cfg = load_config(name)
    stored = stored_config({'cfg': cfg.pretty_text}, 'a.pth')
    with torch.device('meta'):
        models = [paperzoo.build_model(one, 'meta') for one in (cfg, stored)]
    own, other = (
        {key: value.shape for key, value in model.state_dict().items()}
        for model in models
    )
    assert own == other


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('a = -1.5', -1.5),
        ('a = [(1,), {2}, None, True]', [(1,), {2}, None, True]),
        ("a = dict(b={'c-d': 'e' 'f'})", {'b': {'c-d': 'ef'}}),
        ('a = inf', float('inf')),
        ("'a docstring'\na = 1", 1),
        ("a = [set(), b'c']", [set(), b'c']),
    ],
)
def test_literals(text: str, value: Any) -> None:
    assert read_literals(text) == {'a': value}


HOSTILE = [
    TOUCH,
    f"__import__('os').system('{sys.executable} -c x')",
    f"a = __import__('subprocess').run(['python', '-c', '{TOUCH}'])",
    f"a = exec('''{TOUCH}''')",
    f"a = eval('''exec('{TOUCH}')''')",
    f'a = (lambda: exec({TOUCH!r}))()',
    f"a = f'''{{exec({TOUCH!r})}}'''",
    f'a = [exec({TOUCH!r}) for _ in [1]]',
    f'a = dict(b=exec({TOUCH!r}))',
    f'a = dict(**exec({TOUCH!r}))',
    f'a = {{**exec({TOUCH!r})}}',
    f'a = [*exec({TOUCH!r})]',
    f'a = dict(exec({TOUCH!r}))',
    f'a: exec({TOUCH!r}) = 1',
    f'a = 1 if exec({TOUCH!r}) else 2',
    f'@exec({TOUCH!r})\ndef f(): ...',
    f'class A(exec({TOUCH!r})): ...',
    f'def f(a=exec({TOUCH!r})): ...',
    f'(a := exec({TOUCH!r}))',
    f'a.b = exec({TOUCH!r})',
    f'a = b = exec({TOUCH!r})',
    "dict = 1\na = getattr(dict, 'b')",
    'a = -[exec]',
    "_base_ = ['other.py']",
    'from os import system',
    'with read_base():\n    from .a import *',
    'a = ' + '(' * 5000 + ')' * 5000,
    'a = ' + '-' * 100_000 + '1',
    'a = 1\x00',
    'a = {[]: 1}',
]


@pytest.mark.parametrize('text', HOSTILE)
def test_more_than_literals_is_refused_and_not_run(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for whole in (MODEL + text, text + '\n' + MODEL):
        with pytest.raises(UserError, match='config=FILE'):
            stored_config({'cfg': whole}, 'a.pth')
    assert list(tmp_path.iterdir()) == []


SYSTEM = "command='touch it_ran'"
TYPES = [
    f"model = dict(type='os.system', {SYSTEM})",
    f"model = dict(type='posix.system', {SYSTEM})",
    f"model = dict(type='subprocess.getoutput', cmd='touch it_ran')",  # noqa: F541
    f"model = dict(type='builtins.exec', source={TOUCH!r})",
    f"model = dict(type='exec', source={TOUCH!r})",
    "model = dict(type='marker.Runs')",
    "model = dict(type='marker')",
    "model = dict(type='mmdet.FCOS', backbone=dict(type='marker.Runs'))",
    "model = dict(type='mmdet.FCOS', list=[dict(a=(dict(type='marker.Runs'),))])",
    "model = dict(type='mmdet.FCOS', _scope_='marker')",
    "default_scope = 'marker'",
    "data_preprocessor = dict(type='marker.Runs')",
    "test_pipeline = [dict(type='marker.Runs')]",
    "test_dataloader = dict(dataset=dict(pipeline=[dict(type='marker.Runs')]))",
    # Functions of allowed packages that are in no registry of parts.
    f"model = dict(type='mmengine.utils.misc.import_module', name='marker')",  # noqa: F541
    "model = dict(type='mmengine.config.Config.fromstring', file_format='.py')",
    "model = dict(type='mmengine.runner.Runner')",
    "model = dict(type='mmengine.hooks.CheckpointHook')",
    "model = dict(type='torch.hub.load', repo_or_dir='.', source='local')",
    "model = dict(type='torch.load', f='a.pth', weights_only=False)",
    # What mmcv evaluates, and what mmdet runs as a config.
    "model = dict(type='mmdet.FCOS', test_cfg=dict(nms=dict(type='exec')))",
    f"model = dict(type='mmdet.FCOS', test_cfg=dict(nms=dict(type={TOUCH!r})))",
    "model = dict(type='mmdet.FCOS', nms=dict(type='os.system'))",
    "model = dict(type='mmdet.FCOS', roi_layer=dict(type='sys'))",
    f"model = dict(type='mmdet.FCOS', warp_mode={TOUCH!r})",
    "model = dict(type='mmdet.LAD', teacher_config='marker.py')",
    "model = dict(type='mmdet.LAD', teacher_config='marker::a.b')",
    "model = dict(type='mmdet.LAD', teacher_ckpt='a.PTH')",
]


@pytest.mark.parametrize('text', TYPES)
def test_a_type_is_what_a_registry_holds(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A module that could be imported, and would leave a trace.
    (tmp_path / 'marker.py').write_text(f'{TOUCH}\nclass Runs:\n    pass\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    whole = text if text.startswith('model') else f'{MODEL}{text}\n'
    with pytest.raises(UserError, match='Nothing of it was run'):
        stored_config({'cfg': whole}, 'a.pth')
    assert not (tmp_path / 'it_ran').exists()
    assert 'marker' not in sys.modules


def test_what_a_prediction_does_not_need_is_not_looked_at(tmp_path: Path) -> None:
    text = MODEL + (
        "runner_type = 'marker.Runs'\ncustom_hooks = [dict(type='marker.Runs')]\n"
        "visualizer = dict(type='marker.Runs')\n"
        "custom_imports = dict(imports=['marker'])"
    )
    assert set(stored_config({'cfg': text}, 'a.pth')) == {'default_scope', 'model'}


def test_custom_imports_are_named_where_a_type_is_unknown() -> None:
    text = (
        "custom_imports = dict(imports=['my_project.head'])\n"
        "model = dict(type='my_project.head.OwnHead')"
    )
    with pytest.raises(UserError, match=r"'my_project\.head'.*are not followed"):
        stored_config({'cfg': text}, 'a.pth')


def test_a_class_that_its_user_has_registered_is_found() -> None:
    @MODELS.register_module(name='PartOfATest')
    class Part(nn.Module):
        pass

    path = f'{Part.__module__}.{Part.__qualname__}'
    try:
        types = RegisteredTypes('mmdet')
        assert types.find(path, 'model.type') is Part
        assert types.find('PartOfATest', 'model.type') == 'PartOfATest'
    finally:
        MODELS.module_dict.pop('PartOfATest')


def test_weights_to_start_from_are_left_out() -> None:
    text = (
        "model = dict(type='mmdet.FCOS', pretrained='http://a/b.pth', backbone="
        "dict(type='mmdet.ResNet', init_cfg=dict(type='Pretrained', checkpoint='x')))"
    )
    model = stored_config({'cfg': text}, 'a.pth').model
    assert model.pretrained is None
    assert model.backbone.init_cfg is None


@pytest.mark.parametrize('meta', [{}, {'cfg': None}, {'cfg': {}}, {'cfg': 'a = 1'}])
def test_without_a_model_the_config_is_asked_for(meta: dict) -> None:
    with pytest.raises(UserError, match='config=FILE'):
        stored_config(meta, 'a.pth')


def test_a_checkpoint_of_plain_data_runs_nothing(tmp_path: Path) -> None:
    """In its own process, as a user would load it."""
    text = MODEL + f"a = __import__('pathlib').Path('it_ran').touch()"  # noqa: F541
    file = tmp_path / 'a.pth'
    for key in ('cfg', 'config'):
        meta = {key: text, 'dataset_meta': {'classes': ('a',)}}
        torch.save({'state_dict': {'w': torch.ones(1)}, 'meta': meta}, file)
        done = subprocess.run(
            [sys.executable, '-c', 'import paperzoo; paperzoo.load("a.pth")'],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert 'line 2 is more than names and values' in done.stderr
        assert not (tmp_path / 'it_ran').exists()


def test_the_control_it_would_run_through_mmengine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path('a.py').write_text("a = __import__('pathlib').Path('it_ran').touch()")
    Config.fromfile('a.py')  # what its fromstring does without our remedy
    assert (tmp_path / 'it_ran').exists()

"""Compiled part by part: the same numbers, from graphs that are really used."""

import inspect
import shutil
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mmseg.models  # noqa: F401
import pytest
import torch
from fake_runner import FakeRunner
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample
from small_models import samples, small_model
from torch import Tensor, nn
from torch.testing import assert_close

import paperzoo
from paperzoo.apis.config import config_folders
from paperzoo.engine import CompileHook
from paperzoo.engine.compile import compile_parts, parts, use_compile
from paperzoo.errors import UserError

RESNET = dict(
    depth=18,
    base_channels=4,
    num_stages=4,
    out_indices=(0, 1, 2, 3),
    norm_cfg=dict(type='BN'),
    style='pytorch',
)


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def detector() -> tuple[nn.Module, dict[str, Any]]:
    root = Path(paperzoo.__file__).parents[1] / 'configs'
    root = root if root.is_dir() else Path(paperzoo.__file__).parent / 'configs'
    cfg = Config.fromfile(str(root / 'fcos' / 'fcos_tiny_shapes.py')).model
    cfg.backbone.update(base_channels=4)
    cfg.neck.update(in_channels=[4, 8, 16, 32], out_channels=8)
    cfg.bbox_head.update(in_channels=8, feat_channels=8, stacked_convs=1)
    truth = InstanceData(
        bboxes=torch.tensor([[4.0, 4.0, 40.0, 50.0]]), labels=torch.tensor([2])
    )
    info = dict(img_shape=(64, 64), ori_shape=(64, 64), scale_factor=(1.0, 1.0))
    sample = DetDataSample(gt_instances=truth, metainfo=info)
    with DefaultScope.overwrite_default_scope('mmdet'):
        return MODELS.build(cfg), {'data_samples': [sample]}


def segmentor() -> tuple[nn.Module, dict[str, Any]]:
    head = dict(
        type='FCNHead', channels=8, num_classes=3, num_convs=1, dropout_ratio=0.0
    )
    cfg = dict(
        type='EncoderDecoder',
        backbone=dict(type='ResNet', **RESNET),
        decode_head=dict(in_channels=32, in_index=3, **head),
        auxiliary_head=[dict(in_channels=16, in_index=2, **head)],
        train_cfg={},
        test_cfg=dict(mode='whole'),
    )
    sample = SegDataSample(
        gt_sem_seg=PixelData(data=torch.arange(64 * 64).reshape(1, 64, 64) % 3),
        metainfo=dict(img_shape=(64, 64), ori_shape=(64, 64)),
    )
    with DefaultScope.overwrite_default_scope('mmseg'):
        return MODELS.build(cfg), {'data_samples': [sample]}


def knet(name: str) -> tuple[nn.Module, dict[str, Any]]:
    (path,) = config_folders()[0].rglob(f'{name}.py')
    cfg = Config.fromfile(str(path))
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = small_model(cfg)
    for part in model.modules():
        if isinstance(part, nn.modules.dropout._DropoutNd):
            part.p = 0.0
    return model, {'data_samples': samples(cfg, 1, 2)}


KNET = ['backbone', 'neck', 'kernel_init_head', 'kernel_iter_head']


def step(model: nn.Module, options: dict[str, Any]) -> dict[str, Tensor]:
    """Return losses and gradients."""
    torch.manual_seed(1)
    model.zero_grad()
    found = model(torch.randn(1, 3, 64, 64), mode='loss', **options)
    loss, values = model.parse_losses(found)
    loss.backward()
    grads = {name: value.grad for name, value in model.named_parameters()}
    return {**values, **grads}


@pytest.mark.parametrize(
    ('build', 'names'),
    [
        (detector, ['backbone', 'neck', 'bbox_head']),
        (segmentor, ['backbone', 'decode_head', 'auxiliary_head.0']),
        (lambda: knet('knet_r50_fpn_panoptic'), KNET),
        (
            lambda: knet('knet_r50_fcn_semantic'),
            ['backbone', 'decode_head', 'auxiliary_head'],
        ),
    ],
    ids=['detector', 'segmentor', 'panoptic', 'semantic'],
)
def test_losses_and_gradients_agree(build: Any, names: list[str]) -> None:
    torch.manual_seed(0)
    model, options = build()
    model.train()
    twin = deepcopy(model)
    keys = list(model.state_dict())
    graphs = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        graphs.append(graph)
        return graph.forward

    said: list[str] = []
    runner = FakeRunner(model=model, logger=SimpleNamespace(info=said.append))
    CompileHook(backend=backend).before_train(runner)
    assert f'Compiled: {", ".join(names)}.' in said[0]
    assert list(model.state_dict()) == keys
    compiled, plain = step(model, options), step(twin, options)
    assert len(graphs) >= len(names)
    assert_close(compiled, plain, rtol=1e-4, atol=1e-6)
    # Statistics moved in both alike.
    assert_close(model.state_dict(), twin.state_dict(), rtol=1e-5, atol=1e-6)


def test_another_compiler_and_no_graph_break() -> None:
    torch.manual_seed(0)
    model = nn.ModuleDict({'backbone': nn.Conv2d(3, 4, 3), 'neck': nn.Conv2d(4, 2, 1)})
    images = torch.randn(1, 3, 8, 8)
    plain = model['neck'](model['backbone'](images))
    compile_parts(model, backend='aot_eager', fullgraph=True)
    assert_close(model['neck'](model['backbone'](images)), plain)


def test_a_copy_runs_with_its_own_weights() -> None:
    model = nn.ModuleDict({'backbone': nn.Linear(2, 2)})
    compile_parts(model, backend='eager')
    copy = deepcopy(model)
    with torch.no_grad():
        copy['backbone'].weight.zero_()
        copy['backbone'].bias.fill_(3.0)
    ones = torch.ones(1, 2)
    assert copy['backbone'](ones).tolist() == [[3.0, 3.0]]
    assert model['backbone'](ones).tolist() != [[3.0, 3.0]]


def test_parts_of_lists_and_of_heads_with_heads() -> None:
    linear = nn.Linear(1, 1)
    roi_head = nn.ModuleDict(
        {
            'roi_extractor': nn.Identity(),
            'mask_head': nn.ModuleList([linear, deepcopy(linear)]),
            'bbox_head': deepcopy(linear),
        }
    )
    children = {'data_preprocessor': nn.Identity(), 'backbone': nn.Linear(1, 1)}
    model = nn.ModuleDict({**children, 'roi_head': roi_head})
    assert [name for name, _ in parts(model)] == [
        'backbone',
        'roi_head.mask_head.0',
        'roi_head.mask_head.1',
        'roi_head.bbox_head',
    ]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'backend': 'inducter'}, 'no such backend; it has .*inductor'),
        ({'mod': 'max-autotune'}, r"compile\.mod='max-autotune'.* it has .*mode"),
    ],
)
def test_unknown_options_are_named(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        CompileHook(**options)


def test_every_option_of_torch_is_taken() -> None:
    names = list(inspect.signature(torch.compile).parameters)[1:]
    assert {'fullgraph', 'dynamic', 'mode', 'options'} <= set(names)
    CompileHook(**{**dict.fromkeys(names), 'backend': 'eager'})


def test_without_a_compiler_there_is_one_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr('paperzoo.engine.compile.is_cuda_available', lambda: False)
    monkeypatch.setattr('paperzoo.engine.compile.Path.is_file', lambda self: True)
    monkeypatch.delenv('CXX', raising=False)
    monkeypatch.setattr('sys.platform', 'linux')
    found: list[str] = []
    monkeypatch.setattr(shutil, 'which', lambda name: found.append(name))
    for options in ({}, {'backend': 'inductor'}):
        with pytest.raises(UserError, match=r'no g\+\+ was found'):
            CompileHook(**options)
    assert found == ['g++', 'g++']
    CompileHook(backend='aot_eager')
    monkeypatch.setattr(shutil, 'which', lambda name: '/bin/' + name)
    CompileHook()
    monkeypatch.setattr('paperzoo.engine.compile.Path.is_file', lambda self: False)
    with pytest.raises(UserError, match=r'Python\.h'):
        CompileHook()
    monkeypatch.setattr('paperzoo.engine.compile.is_cuda_available', lambda: True)
    monkeypatch.setattr('paperzoo.engine.compile.find_spec', lambda name: None)
    with pytest.raises(UserError, match='pip install triton'):
        CompileHook()


@pytest.mark.parametrize(
    ('options', 'hooks'),
    [
        (False, [{'type': 'Other'}]),
        (True, [{'type': 'Other'}, {'type': 'paperzoo.CompileHook'}]),
        (
            {'backend': 'eager', 'dynamic': True},
            [
                {'type': 'Other'},
                {'type': 'paperzoo.CompileHook', 'backend': 'eager', 'dynamic': True},
            ],
        ),
    ],
)
def test_the_config_s_own_option_means_parts(options: Any, hooks: list[dict]) -> None:
    cfg = Config(dict(compile=options, custom_hooks=[{'type': 'Other'}]))
    use_compile(cfg, options)
    assert 'compile' not in cfg
    assert cfg.custom_hooks == hooks

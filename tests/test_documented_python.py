"""The Python examples of README and docs run as they stand."""

import json
from pathlib import Path
from typing import Any

import labelled_folders as made
import pytest
import torch
from checkpoints import write_checkpoint
from documented import ROOT, blocks, pages
from exported_files import write_few_shot
from PIL import Image

import paperzoo
from paperzoo.apis.export_check import Comparison
from paperzoo.attention import LocalSelfAttention2d
from paperzoo.fcos import FCOSHead
from paperzoo.registry import METRICS

# How many examples a page has; those of CONTRIBUTING are run by test_contributing.py.
PAGES = {
    'README.md': 4,
    'configs/fcos/README.md': 1,
    'docs/distributed.md': 1,
    'docs/drop_in.md': 8,
    'docs/explain.md': 2,
    'docs/export.md': 2,
    'docs/ops.md': 1,
    'docs/python.md': 4,
    'docs/quick_start.md': 1,
    'docs/tools.md': 1,
}


def run(page: str, number: int, **given: Any) -> dict[str, Any]:
    """Run one example of a page; return all names."""
    code = blocks(page, 'python')[number]
    exec(compile(code.text, str(code), 'exec'), given)
    return given


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go where an example finds its picture."""
    monkeypatch.chdir(tmp_path)
    Image.new('RGB', (80, 60), (90, 60, 30)).save('street.jpg')


def test_all_examples_are_known() -> None:
    found = {page: len(blocks(page, 'python')) for page in pages()}
    del found['CONTRIBUTING.md']
    assert {page: count for page, count in found.items() if count} == PAGES


@pytest.mark.parametrize(
    ('page', 'number'),
    [('README.md', 0), ('README.md', 1), ('configs/fcos/README.md', 0)],
)
def test_in_a_config_that_you_have(page: str, number: int) -> None:
    cfg = paperzoo.load_config('fcos_r50-caffe_fpn_gn-head_1x_coco')
    cfg.merge_from_dict({'model': run(page, number)['model']})
    cfg.model.backbone.init_cfg = None
    head = paperzoo.build_model(cfg, 'cpu').bbox_head
    assert isinstance(head, FCOSHead) == (number == 0)
    attention = [one for one in head.modules() if isinstance(one, LocalSelfAttention2d)]
    assert bool(attention) == (number == 1)


def test_a_model_and_its_results(monkeypatch: pytest.MonkeyPatch) -> None:
    run('README.md', 2)
    write_checkpoint('fcos_tiny_shapes', Path('work/epoch_18.pth'))
    shown: list[Any] = []
    monkeypatch.setattr(Image.Image, 'show', lambda picture: shown.append(picture))
    run('README.md', 3, paperzoo=paperzoo)
    assert [one.size for one in shown] == [(80, 60)]
    assert run('docs/python.md', 0)['result'].boxes.shape[1] == 4
    assert run('docs/quick_start.md', 0)['result'].boxes.shape[1] == 4


def test_few_shot() -> None:
    made.write_classes(Path('my_classes'), classes=5, images=2)
    write_checkpoint('protonet_tiny_glyphs', Path('work/epoch_95.pth'))
    Image.new('RGB', (60, 60)).save('query.jpg')
    result = run('docs/python.md', 1, paperzoo=paperzoo)['result']
    assert result.probabilities.sum() == pytest.approx(1, abs=1e-5)


def test_sequences() -> None:
    write_checkpoint('attention_tagging', Path('work/epoch_8.pth'))
    result = run('docs/python.md', 2, paperzoo=paperzoo)['result']
    assert result.probabilities.shape == (4, 2)


@pytest.mark.slow
def test_training() -> None:
    names = run('docs/python.md', 3, paperzoo=paperzoo)
    assert names['done'].checkpoint.name == 'epoch_2.pth'


@pytest.mark.slow
def test_an_exported_model() -> None:
    write_checkpoint('fcos_tiny_shapes', Path('work/epoch_18.pth'))
    assert run('docs/export.md', 0)['result'].boxes.shape[1] == 4
    assert Path('model.onnx').is_file()


def test_an_exported_few_shot_classifier() -> None:
    write_few_shot(Path('dmf.onnx'))
    made.write_classes(Path('my_classes'), classes=3, images=2)
    Image.new('RGB', (60, 60)).save('query.jpg')
    result = run('docs/export.md', 1, paperzoo=paperzoo)['result']
    assert result.probabilities.shape == (3,)


def test_the_figures_of_an_export() -> None:
    file = ROOT / 'benchmarks' / 'results' / 'export_parity.json'
    found = json.loads(file.read_text())['models']['fcos_tiny_shapes']['onnx']
    shown = ' '.join((ROOT / 'docs' / 'export.md').read_text('utf-8').split())
    assert f'Compared with the model: {Comparison(**found)}' in shown


# Of each config in docs/drop_in.md: what in the model is ours.
DROPPED_IN = {
    0: ('bbox_head', 'FCOSHead'),
    1: ('bbox_head.loss_cls', 'FocalLoss'),
    2: ('decode_head', 'KNetSemanticHead'),
    3: ('decode_head', 'KNetSemanticHead'),
    4: ('panoptic_head.assigner', 'MaskHungarianAssigner'),
    5: ('bbox_head.cls_convs.0.conv', 'LocalSelfAttention2d'),
    6: ('bbox_head', 'FCOSHead'),
}


@pytest.mark.parametrize('number', DROPPED_IN)
def test_a_config_of_yours(number: int) -> None:
    Path('mine.py').write_text(blocks('docs/drop_in.md', 'python')[number].text)
    cfg = paperzoo.load_config('mine.py')
    cfg.model.backbone.init_cfg = None
    cfg.model.pop('pretrained', None)
    part: Any = paperzoo.build_model(cfg, 'cpu')
    where, name = DROPPED_IN[number]
    for step in where.split('.'):
        part = part[0] if step == '0' else getattr(part, step)
    assert type(part).__name__ == name
    assert type(part).__module__.startswith('paperzoo.')


def test_explain() -> None:
    cfg = paperzoo.load_config('fcos_tiny_shapes')
    run('docs/explain.md', 0, model=paperzoo.build_model(cfg, 'cpu'), cfg=cfg)
    assert Path('report.html').is_file()
    (hook,) = run('docs/explain.md', 1)['custom_hooks']
    assert hook.pop('type')(**hook).interval == 2


def test_parts_of_configs() -> None:
    evaluator = run('docs/tools.md', 0)['val_evaluator']
    metric = METRICS.build({**evaluator, 'ann_file': None})
    assert metric.metrics == ['bbox', 'segm']
    from mmengine.registry import RUNNERS, STRATEGIES

    names = run('docs/distributed.md', 0)
    assert RUNNERS.get(names['runner_type']) is not None
    assert STRATEGIES.get(names['strategy']['type']) is not None


def test_ops() -> None:
    boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 8], [20, 20, 29, 29]])
    kept = run('docs/ops.md', 0, boxes=boxes, scores=torch.tensor([0.6, 0.9, 0.7]))
    assert kept['kept'].tolist() == [1, 2]

"""The Python examples of README and docs run as they stand."""

import json
import re
from pathlib import Path
from typing import Any

import labelled_folders as made
import pytest
import torch
from exported_files import write_few_shot
from PIL import Image

import paperzoo
from paperzoo.apis.export_check import Comparison
from paperzoo.attention import LocalSelfAttention2d
from paperzoo.fcos import FCOSHead
from paperzoo.registry import METRICS

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r'^```python\n(.*?)^```', re.MULTILINE | re.DOTALL)
# How many examples a page has; docs/export.md's first is run in apis/test_export.py.
PAGES = {
    'README.md': 4,
    'docs/distributed.md': 1,
    'docs/explain.md': 2,
    'docs/export.md': 2,
    'docs/ops.md': 1,
    'docs/python.md': 4,
    'docs/tools.md': 1,
}


def run(page: str, number: int, **given: Any) -> dict[str, Any]:
    """Run one example of a page; return all names."""
    code = BLOCK.findall((ROOT / page).read_text('utf-8'))[number]
    exec(compile(code, page, 'exec'), given)
    return given


def checkpoint(name: str, file: str) -> None:
    """Write a checkpoint with random weights, and the config in it."""
    cfg = paperzoo.load_config(name)
    weights = paperzoo.build_model(cfg, 'cpu').state_dict()
    Path(file).parent.mkdir(exist_ok=True)
    torch.save({'state_dict': weights, 'meta': {'cfg': cfg.pretty_text}}, file)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go where an example finds its picture."""
    monkeypatch.chdir(tmp_path)
    Image.new('RGB', (80, 60), (90, 60, 30)).save('street.jpg')


def test_all_examples_are_known() -> None:
    pages = [ROOT / 'README.md', *(ROOT / 'docs').rglob('*.md')]
    found = {
        page.relative_to(ROOT).as_posix(): len(BLOCK.findall(page.read_text('utf-8')))
        for page in pages
        if not page.stem.endswith('.zh-CN')
    }
    assert {page: count for page, count in found.items() if count} == PAGES


@pytest.mark.parametrize('number', [0, 1])
def test_in_a_config_that_you_have(number: int) -> None:
    cfg = paperzoo.load_config('fcos_r50-caffe_fpn_gn-head_1x_coco')
    cfg.merge_from_dict({'model': run('README.md', number)['model']})
    cfg.model.backbone.init_cfg = None
    head = paperzoo.build_model(cfg, 'cpu').bbox_head
    assert isinstance(head, FCOSHead) == (number == 0)
    attention = [one for one in head.modules() if isinstance(one, LocalSelfAttention2d)]
    assert bool(attention) == (number == 1)


def test_a_model_and_its_results(monkeypatch: pytest.MonkeyPatch) -> None:
    run('README.md', 2)
    checkpoint('fcos_tiny_shapes', 'work/epoch_18.pth')
    shown: list[Any] = []
    monkeypatch.setattr(Image.Image, 'show', lambda picture: shown.append(picture))
    run('README.md', 3, paperzoo=paperzoo)
    assert [one.size for one in shown] == [(80, 60)]
    assert run('docs/python.md', 0)['result'].boxes.shape[1] == 4


def test_few_shot() -> None:
    made.write_classes(Path('my_classes'), classes=5, images=2)
    checkpoint('protonet_tiny_glyphs', 'work/epoch_95.pth')
    Image.new('RGB', (60, 60)).save('query.jpg')
    result = run('docs/python.md', 1, paperzoo=paperzoo)['result']
    assert result.probabilities.sum() == pytest.approx(1, abs=1e-5)


def test_sequences() -> None:
    checkpoint('attention_tagging', 'work/epoch_8.pth')
    result = run('docs/python.md', 2, paperzoo=paperzoo)['result']
    assert result.probabilities.shape == (4, 2)


@pytest.mark.slow
def test_training() -> None:
    names = run('docs/python.md', 3, paperzoo=paperzoo)
    assert names['done'].checkpoint.name == 'epoch_2.pth'


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

"""The numbers in the documents equal the committed result files."""

import ast
import json
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / 'benchmarks' / 'results'


def test_shapes_numbers_are_those_of_the_result_file() -> None:
    record = json.loads((RESULTS / 'fcos_shapes.json').read_text())
    ours, peer = (
        record['mean_bbox_mAP'][head]
        for head in ('paperzoo.FCOSHead', 'mmdet.FCOSHead')
    )
    runs = {run['head']: [] for run in record['runs']}
    for run in record['runs']:
        runs[run['head']].append(run['bbox_mAP'])
    assert ours == round(
        sum(runs['paperzoo.FCOSHead']) / len(runs['paperzoo.FCOSHead']), 4
    )
    assert ours >= 0.40
    readme = (ROOT / 'configs' / 'fcos' / 'README.md').read_text()
    assert f"{ours:.3f} (mmdet's head: {peer:.3f})" in readme


def test_published_numbers_agree() -> None:
    """Metafile, README and the config's header give the same number of the authors."""
    folder = ROOT / 'configs' / 'fcos'
    models = yaml.safe_load((folder / 'metafile.yml').read_text())['Models']
    rows = (folder / 'README.md').read_text().splitlines()
    assert len(models) > 8
    for model in models:
        number = model['Results'][0]['Metrics']['box AP']
        header = ast.get_docstring(ast.parse((ROOT / model['Config']).read_text()))
        assert f'box AP {number} on COCO' in header
        (row,) = (row for row in rows if row.startswith(f'| [`{model["Name"]}`]'))
        assert f'| {number} |' in row


def test_every_result_says_what_it_was_measured_with() -> None:
    files = sorted(RESULTS.glob('*.json'))
    assert files
    for file in files:
        record = json.loads(file.read_text())
        for key in ('what', 'data', 'commit', 'versions', 'device', 'date'):
            assert record[key], f'{file.name} lacks {key}'

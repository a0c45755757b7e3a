"""The numbers in the documents equal the committed result files."""

import ast
import json
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / 'benchmarks' / 'results'


@pytest.mark.parametrize(
    ('config', 'file'),
    [('fcos_tiny_shapes', 'fcos_shapes'), ('fcos_r18_fpn_bccd', 'fcos_bccd')],
)
def test_fcos_numbers_are_those_of_the_result_file(config: str, file: str) -> None:
    record = json.loads((RESULTS / f'{file}.json').read_text())
    means = record['mean_bbox_mAP']
    for head, mean in means.items():
        own = [run['bbox_mAP'] for run in record['runs'] if run['head'] == head]
        assert mean == round(sum(own) / len(own), 4)
    ours, peer = means['paperzoo.FCOSHead'], means['mmdet.FCOSHead']
    assert ours >= 0.40
    folder = ROOT / 'configs' / 'fcos'
    rows = (folder / 'README.md').read_text().splitlines()
    (row,) = (row for row in rows if row.startswith(f'| [`{config}`]'))
    cells = [cell.strip() for cell in row.split('|')]
    assert cells[3].startswith(f'{ours:.3f}')
    assert cells[4].startswith(f'{peer:.3f}')
    header = ast.get_docstring(ast.parse((folder / f'{config}.py').read_text()))
    assert f'box AP {ours:.3f}' in header


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


def test_knet_learns_eight_images_by_heart() -> None:
    (run,) = json.loads((RESULTS / 'knet_overfit_instance.json').read_text())['runs']
    assert run['segm_mAP'] >= 0.9
    by_stage = [run['after_stage'][stage]['segm_mAP'] for stage in ('0', '1')]
    text = ' '.join((ROOT / 'configs/knet/README.md').read_text().split())
    said = (
        f'segm AP {run["segm_mAP"]:.3f}, {by_stage[0]:.3f} of it before the first '
        f'stage, {by_stage[1]:.3f} after it'
    )
    assert said in text


def test_the_fast_evaluation_is_equal_and_as_fast_as_the_document_says() -> None:
    record = json.loads((RESULTS / 'coco_eval.json').read_text())
    text = (ROOT / 'docs' / 'tools.md').read_text()
    for kind in ('bbox', 'segm'):
        whole = record['whole_metric'][kind]
        assert whole['every_printed_digit_equal']
        assert f' {whole["ratio"]} ' in text.replace('\n', ' ')
        for row in record['evaluator_alone'][kind]:
            if row.get('times_as_fast_as_pycocotools', 1.0) > 1.0:
                (line,) = (
                    x
                    for x in text.splitlines()
                    if x.startswith(f'| {row["evaluator"]} ')
                )
                assert f'{row["times_as_fast_as_pycocotools"]}' in line


def test_the_ops_give_what_the_compiled_ones_give() -> None:
    """And the README's claims of speed are those of the table."""
    record = json.loads((RESULTS / 'mmcv_ops_cpu.json').read_text())
    ratios: dict[str, list[float]] = {}
    for row in record['cases']:
        kind = row['case'].partition(',')[0].partition(' v')[0]
        if not row['case'].endswith('max'):
            ratios.setdefault(kind, []).append(row['ratio'])
        for found in row['differences'].values():
            assert found.get('differ', 0) == 0
            assert found.get('largest', 0) <= 1e-5 * max(
                1.0, found.get('of_at_most', 1)
            )
    claims = {
        'DCN': 'Deformable convolution is {} to {} times',
        'roi_align': '`roi_align` {} to {} times',
    }
    text = ' '.join((ROOT / 'README.md').read_text().split())
    for kind, claim in claims.items():
        low, high = 1 / max(ratios[kind]), 1 / min(ratios[kind])
        assert claim.format(round(low), round(high)) in text
    slowest = ratios['softnms']
    assert f'soft nms is {min(slowest):.0f} to {max(slowest):.0f} times slower' in text

"""The numbers in the documents equal the committed result files."""

import ast
import json
import re
from pathlib import Path
from typing import Any

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


def test_counts_of_stock_configs_are_those_of_the_result_file() -> None:
    record = json.loads((RESULTS / 'stock_configs.json').read_text())
    counts = record['counts']
    readme = (ROOT / 'README.md').read_text()
    said = ' '.join(
        readme.partition('<!-- stock configs')[2].split('<!-- end -->')[0].split()
    )
    for package, name in (('mmdet', 'mmdet'), ('mmseg', 'mmsegmentation')):
        own = [case for case in record['cases'] if case['package'] == package]
        ran = [case for case in own if case['outcome'] == 'runs']
        one = counts[package]
        assert one['configs'] == len(own)
        assert one['configs_run'] == len(ran)
        assert one['folders'] == len({case['folder'] for case in own})
        assert one['folders_run'] == len({case['folder'] for case in ran})
        text = f'{one["folders_run"]} of {one["folders"]} folders of {name}'
        assert f'{text} ({one["configs_run"]} of {one["configs"]} configs)' in said
        page = (ROOT / 'docs' / 'drop_in.md').read_text()
        assert f'{one["configs_run"]} of {one["configs"]}' in page
    # Every reason is named: a package, a fault of upstream.
    assert {case['outcome'] for case in record['cases']} <= {
        'runs',
        'package',
        'upstream',
    }


def test_counts_of_upstreams_tests_are_those_of_the_result_file() -> None:
    packages = json.loads((RESULTS / 'upstream_tests.json').read_text())['packages']
    said = ' '.join((ROOT / 'docs' / 'ops.md').read_text().split())
    for package, own in (('mmseg', "mmseg's own,"), ('mmdet', 'SOLOv2)')):
        one = packages[package]['counts']
        assert f'{own} {one["passed"]} tests pass and {one["failed"]} fail' in said
        failed = [
            each for file in packages[package]['files'] for each in file['failed']
        ]
        assert {each['kind'] for each in failed} <= {'package', 'network'}
    assert packages['mmdet']['counts']['files'] == 12


# Each small K-Net: its metric, how its README and header name and print it.
KNET = {
    'shapes_instance': ('segm_mAP', 'mask AP', '.3f'),
    'shapes_panoptic': ('PQ', 'PQ', '.1f'),
    'shapes_semantic': ('mIoU', 'mIoU', '.1f'),
    'camvid': ('mIoU', 'mIoU', '.1f'),
}


def knet_record(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / f'knet_{name}.json').read_text())


def knet_readme() -> list[str]:
    return (ROOT / 'configs/knet/README.md').read_text().splitlines()


@pytest.mark.parametrize('name', KNET)
def test_knet_numbers_are_those_of_the_result_file(name: str) -> None:
    metric, title, form = KNET[name]
    record = knet_record(name)
    (row,) = (row for row in knet_readme() if row.startswith(f'| [`knet_tiny_{name}`]'))
    for what, mean in record[f'mean_{metric}'].items():
        own = [run[metric] for run in record['runs'] if run['what'] == what]
        assert mean == round(sum(own) / len(own), 4)
        spread = record[f'stdev_{metric}'][what]
        said = f'{mean:{form}}' + (f' ± {spread:{form}}' if spread else '')
        assert said in row
    twin = 'fcn_tiny_camvid' if name == 'camvid' else f'knet_tiny_{name}_no_update'
    # The first two variants are these configs.
    configs = (f'knet_tiny_{name}', twin)
    for config, mean in zip(configs, record[f'mean_{metric}'].values(), strict=False):
        file = ROOT / 'configs/knet' / f'{config}.py'
        header = ' '.join(ast.get_docstring(ast.parse(file.read_text())).split())
        assert f'{title} {mean:{form}} on ' in header
    assert (RESULTS / f'knet_{name}.png').exists()


@pytest.mark.parametrize('name', [name for name in KNET if name != 'camvid'])
def test_knet_gains_by_its_stages(name: str) -> None:
    metric = KNET[name][0]
    runs = knet_record(name)['runs']
    for seed in {run['seed'] for run in runs}:
        own = {run['what']: run for run in runs if run['seed'] == seed}
        with_stages = own['3 stages']
        assert with_stages[metric] > own['no stages'][metric]
        assert with_stages['after_stage']['0'][metric] < with_stages[metric]
        if name == 'shapes_semantic':
            mmseg = own["mmseg's IterativeDecodeHead"][metric]
            assert with_stages[metric] > mmseg
            better = f'is {with_stages[metric] - mmseg:.1f} points of mIoU better than'
            assert better in ' '.join(knet_readme())
            assert with_stages[metric] > own['3 stages, half the epochs'][metric]


def test_knet_speeds_are_those_of_the_result_file() -> None:
    lines = knet_readme()
    (first,) = (n for n, line in enumerate(lines) if line.startswith('| what | ours'))
    rows = knet_record('speed_cpu')['rows']
    order = ('whole head', 'three stages', 'assignment')
    measured = [rows[key] for begin in order for key in rows if key.startswith(begin)]
    said = lines[first + 2 : first + 2 + len(rows)]
    for line, row in zip(said, measured, strict=True):
        cells = [cell.strip() for cell in line.split('|')[2:-1]]
        assert cells == [f'{row["ratio"]:.2f}', *map(str, row['peak_mib'].values())]
    # What is asked for: head and stages no slower, the assigner twice as fast.
    assert all(row['ratio'] <= 1 for row in measured[:4])
    assert all(row['ratio'] <= 0.5 for row in measured[4:])


def test_knet_trainings_took_as_long_as_the_readme_says() -> None:
    minutes = [
        run['seconds_per_step'] * run['curve'][-1][0] / 60
        for name in (*KNET, 'overfit_instance', 'overfit_panoptic')
        for run in knet_record(name)['runs']
    ]
    text = ' '.join(knet_readme())
    assert f'took {min(minutes):.0f} to {max(minutes):.0f} minutes, all but' in text
    file = ROOT / 'projects' / 'box_from_mask' / 'results.json'
    alone = json.loads(file.read_text())['shapes']['summary']
    seconds = alone['boxes around masks (K-Net)']['train_seconds_per_step']['mean']
    steps = knet_record('shapes_instance')['runs'][0]['curve'][-1][0]
    assert f'a step for instances takes {seconds:.2f} s' in text
    assert f'which makes {seconds * steps / 60:.0f} minutes' in text


def test_what_chance_makes_of_the_semantic_knet_is_measured() -> None:
    runs = knet_record('shapes_semantic_lower_lr')['runs']
    found: dict[str, list[str]] = {}
    for run in runs:
        found.setdefault(run['what'], []).append(f'{run["mIoU"]:.1f}')
    ours, mmsegs = (
        ' and '.join(found[what])
        for what in ('3 stages', "mmseg's IterativeDecodeHead")
    )
    assert f"two seeds came to {ours}, mmseg's to {mmsegs}" in ' '.join(knet_readme())


def test_knet_memory_is_that_of_the_result_file() -> None:
    record, text = knet_record('memory_cpu'), ' '.join(knet_readme())
    coded, tensor = (record['rows'][key]['peak_mib'] for key in ('default', 'tensor'))
    assert coded < record['bound_mib'] == 2048
    assert f'take {coded} MiB above the logits' in text
    assert f'`rle_masks=False`, they take {tensor} MiB' in text
    assert f'`max_mask_mib` ({record["max_mask_mib"]} by default' in text


@pytest.mark.parametrize(
    ('task', 'metric', 'least', 'form'),
    [('instance', 'segm_mAP', 0.9, '.3f'), ('panoptic', 'PQ', 90, '.1f')],
)
def test_knet_learns_eight_images_by_heart(
    task: str, metric: str, least: float, form: str
) -> None:
    name = f'overfit_{task}'
    (run,) = knet_record(name)['runs']
    assert run[metric] >= least
    after = [run['after_stage'][stage][metric] for stage in ('0', '1')]
    cells = ' | '.join(f'{value:{form}}' for value in (*after, run[metric]))
    assert any(f'| {cells} |' in row and f'knet_{name}' in row for row in knet_readme())


def test_knet_on_camvid_says_what_its_stages_bring() -> None:
    run, twin = knet_record('camvid')['runs']
    after = [found['mIoU'] for found in run['after_stage'].values()]
    first, one, two, three = (f'{value:.1f}' for value in (*after, run['mIoU']))
    assert run['mIoU'] < twin['mIoU'] + 1
    text = ' '.join(knet_readme())
    assert 'K-Net is no better than FCN' in text
    assert f'{first} before the first stage, {one}, {two} and {three} after' in text


def test_what_the_longer_schedule_is_worth_is_measured() -> None:
    shorter = knet_record('shapes_panoptic_18_epochs')
    assert {run['config'] for run in shorter['runs']} == {
        run['config'] for run in knet_record('shapes_panoptic')['runs']
    }
    said = f'came to PQ {shorter["mean_PQ"]["3 stages"]:.1f} ('
    assert said in ' '.join(knet_readme())


def test_what_limits_knet_on_camvid_is_measured() -> None:
    text = ' '.join(knet_readme())
    record = knet_record('camvid_limits')
    found = {name: f'{mean:.1f}' for name, mean in record['mean_mIoU'].items()}
    longer, fcn = found['twice the epochs'], found["mmseg's FCNHead, twice the epochs"]
    assert f'K-Net comes to {longer} and FCN to {fcn}' in text
    assert f'half the learning rate ({found["half the learning rate"]})' in text
    assert f'no auxiliary head ({found["no auxiliary head"]})' in text
    (run,) = (r for r in record['runs'] if r['what'] == 'twice the epochs')
    after = [f'{one["mIoU"]:.1f}' for one in run['after_stage'].values()]
    stages = '{} before the first and {}, {} and {} after each'
    assert stages.format(*after, longer) in text


def test_knet_stages_are_those_of_the_result_files() -> None:
    text = ' '.join(knet_readme())
    for name, form, rises, sentence in (
        (
            'shapes_instance',
            '.3f',
            True,
            'AP {} before the first, {}, {} and {} after',
        ),
        ('shapes_semantic', '.1f', True, 'mIoU {}, {}, {} and {}.'),
        ('shapes_panoptic', '.1f', False, 'PQ {}, {}, {} and {} with seed 0.'),
    ):
        metric, run = KNET[name][0], knet_record(name)['runs'][0]
        after = [*(run['after_stage'][key][metric] for key in '012'), run[metric]]
        assert sentence.format(*(f'{value:{form}}' for value in after)) in text
        assert (after == sorted(after)) == rises
        # "Most in its first stage".
        assert rises or after[1] - after[0] > 0.7 * (after[3] - after[0])


def test_knet_limits_are_those_of_the_result_file() -> None:
    rows = knet_record('limits')['models']
    text = ' '.join(knet_readme())

    def of(task: str, images: str) -> list[dict[str, Any]]:
        return [r for r in rows if (r['task'], r['images']) == (task, images)]

    def said(models: list[dict[str, Any]], part: str, whole: str) -> str:
        shares = [model[part] / model[whole] for model in models]
        return f'{100 * min(shares):.0f} % to {100 * max(shares):.0f} %'

    (test,) = of('instance', 'test')
    for model, part, whole, phrase in (
        (test, 'segmented', 'objects', 'of all test objects {} are segmented'),
        (test, 'named', 'segmented', 'and {} of these named rightly'),
        (test['by_size']['small'], 'segmented', 'objects', 'only {} are segmented'),
    ):
        assert phrase.format(f'{100 * model[part] / model[whole]:.0f} %') in text
    for images, phrase in (
        ('test', 'segment {} and name {} of these rightly'),
        ('train', 'trained on {} and {}.'),
    ):
        models = of('panoptic', images)
        assert len(models) == 2
        shares = [
            said(models, 'segmented', 'objects'),
            said(models, 'named', 'segmented'),
        ]
        assert phrase.format(*shares) in text
    (test,), (train,) = of('semantic', 'test'), of('semantic', 'train')
    named = [f'{100 * row["named_share_of_segmented"]:.0f} %' for row in (test, train)]
    assert f'(IoU {test["iou_of_shapes_as_one_class"]:.2f} of all shapes' in text
    assert f'but {named[0]} of these pixels get the right shape' in text
    assert f'and {named[1]} on training images' in text
    half = knet_record('shapes_semantic')['mean_mIoU']['3 stages, half the epochs']
    assert f'half as long comes to {half:.1f}.' in text
    (bound,) = (
        row['segm_mAP']
        for row in knet_record('mask_bound')['rows']
        if (row['image'], row['mask_stride']) == ([192, 256], 4)
    )
    assert f'come to AP {bound} (' in text


def test_scores_in_bfloat16_are_those_of_the_result_file() -> None:
    rows = {
        row['config']: row
        for row in json.loads((RESULTS / 'precision_cpu.json').read_text())['rows']
    }
    text = ' '.join((ROOT / 'docs' / 'distributed.md').read_text().split())
    for config, form, name in (
        ('fcos_tiny_shapes', '.3f', 'FCOS AP'),
        ('knet_tiny_shapes_panoptic', '.2f', 'K-Net PQ'),
        ('knet_tiny_camvid', '.2f', 'mIoU'),
    ):
        row = rows.pop(config)
        assert f'{name} {row["float32"]:{form}} and {row["bfloat16"]:{form}}' in text
    assert len(rows) == 4
    assert max(abs(row['difference']) for row in rows.values()) < 0.08
    assert 'four few-shot classifiers within 0.08 points' in text


DMF_NAMES = ('DMF', 'DMF without meta-filter', 'ProtoNet', 'nearest prototype')


def dmf_record(data: str) -> tuple[dict, dict[str, list[dict]]]:
    record = json.loads((RESULTS / f'dmf_{data}.json').read_text())
    runs: dict[str, list[dict]] = {name: [] for name in DMF_NAMES}
    for run in record['runs']:
        assert run['test_episodes'] == 2000
        runs[run['what']].append(run)
    return record, runs


@pytest.mark.parametrize('data', ['glyphs', 'omniglot'])
def test_dmf_numbers_are_those_of_the_result_file(data: str) -> None:
    record, runs = dmf_record(data)
    text = (ROOT / 'configs/dmf/README.md').read_text()
    (row,) = (line for line in text.splitlines() if f'dmf_{data}.json' in line)
    cells = [cell.strip() for cell in row.split('|')][2:6]
    for name, cell in zip(DMF_NAMES, cells, strict=True):
        own = [run['test_accuracy'] for run in runs[name]]
        mean = sum(own) / len(own)
        assert record['mean_accuracy'][name] == round(mean, 2)
        spread = record['stdev_of_seeds'][name] or runs[name][0]['test_ci95']
        assert cell == f'{record["mean_accuracy"][name]:.1f} ± {spread:.1f}'
        header = ROOT / f'configs/dmf/{DMF_CONFIGS[name]}_tiny_{data}.py'
        if name != 'DMF without meta-filter':
            said = ast.get_docstring(ast.parse(header.read_text()))
            assert f'accuracy {record["mean_accuracy"][name]:.1f} ' in said


DMF_CONFIGS = {
    'DMF': 'dmf',
    'DMF without meta-filter': 'dmf',
    'ProtoNet': 'protonet',
    'nearest prototype': 'nearest_prototype',
}


def test_dmf_beats_itself_without_filters_and_loses_to_protonet() -> None:
    text = ' '.join((ROOT / 'configs/dmf/README.md').read_text().split())
    leads, swapped = {}, {}
    for data in ('glyphs', 'omniglot'):
        record, runs = dmf_record(data)
        for name, pairs in record['lead_of_dmf_and_ci95_per_seed'].items():
            leads[data, name] = [lead for lead, _ in pairs]
            assert all(abs(lead) > interval for lead, interval in pairs)
        own = [r['accuracy_of_its_maps_with_scores_of_dmf'] for r in runs['ProtoNet']]
        swapped[data] = sum(own) / len(own)
        mean = record['mean_accuracy']['ProtoNet']
        assert f'{swapped[data]:.1f} instead of {mean:.1f} on' in text
    said = {
        'DMF without meta-filter': 'by {}, {} and {} points on Glyphs and by {}',
        'ProtoNet': 'ProtoNet leads by {}, {} and {} points on Glyphs and by {}',
    }
    for name, sentence in said.items():
        numbers = leads['glyphs', name] + leads['omniglot', name]
        sign = {lead > 0 for lead in numbers}
        assert sign == {name != 'ProtoNet'}
        assert sentence.format(*(f'{abs(n):.1f}' for n in numbers)) in text


def test_dmf_evaluation_is_as_fast_as_the_readme_says() -> None:
    record = json.loads((RESULTS / 'dmf_speed_cpu.json').read_text())
    assert record['greatest_difference_of_scores'] < 1e-4
    (row,) = record['rows'].values()
    assert row['ratio'] < 1 / 3
    rate, memory = row['episodes_per_second'], row['peak_mib']
    text = ' '.join((ROOT / 'configs/dmf/README.md').read_text().split())
    said = (
        f"{row['ratio']:.2f} of the time of all pairs at once with torchdiffeq's rk4, "
        f'{rate["ours"]:.1f} instead of {rate["all pairs"]:.2f} episodes a second, and '
        f'{memory["ours"]} instead of {memory["all pairs"]} MiB'
    )
    assert said in text


def test_local_attention_costs_what_the_readme_says() -> None:
    rows = json.loads((RESULTS / 'attention_local_cpu.json').read_text())['rows']
    text = ' '.join((ROOT / 'configs/attention/README.md').read_text().split())
    slower, ours, others = [], [], []
    for side in ('3 x 3', '7 x 7'):
        step = f'training step, 1 x 64 x 64 x 64, {side}'
        unfold, conv = rows[f'{step}, unfold'], rows[f'{step}, convolution']
        own, other = unfold['peak_mib'].values()
        said = f'{unfold["ratio"]:.2f} of the time and {own:.0f} instead of {other:.0f}'
        assert said in text
        slower.append(f'{conv["ratio"]:.1f}')
        ours.append(f'{conv["peak_mib"]["ours"]:.0f}')
        others.append(f'{conv["peak_mib"]["convolution"]:.0f}')
    parts = (' and '.join(numbers) for numbers in (slower, ours, others))
    assert '{} times as long, {} instead of {} MiB'.format(*parts) in text


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


def ops() -> list[dict]:
    return json.loads((RESULTS / 'mmcv_ops_cpu.json').read_text())['cases']


def ratios_of(
    begin: str, end: str = '', *, other_ends: tuple[str, ...] = ()
) -> list[float]:
    """Return ours / compiled of the cases whose names begin and end like this.

    Args:
        begin: Of the names.
        end: Of the names.
        other_ends: Of names that are left out.
    """
    return [
        row['ratio']
        for row in ops()
        if row['case'].startswith(begin)
        and row['case'].endswith(end)
        and not row['case'].endswith(other_ends)
    ]


def ratios_of_few_rois() -> list[float]:
    few = ('roi_align, 200', 'roi_align, 256')
    return [x for begin in few for x in ratios_of(begin, other_ends=('max',))]


def test_the_ops_give_what_the_compiled_ones_give() -> None:
    for row in ops():
        for found in row['differences'].values():
            assert found.get('differ', 0) == 0
            assert found.get('nan_differ', 0) == 0
            assert found.get('largest', 0) <= 1e-5 * max(
                1.0, found.get('of_at_most', 1)
            )


def test_the_readme_says_which_ops_are_faster_and_names_all_that_are_slower() -> None:
    text = ' '.join((ROOT / 'README.md').read_text().split())
    claims = {
        'Deformable convolution is {} to {} times': ratios_of('DCN'),
        'the mean of `roi_align` {} to {} times': ratios_of(
            'roi_align', other_ends=('max',)
        ),
    }
    for claim, ratios in claims.items():
        low, high = 1 / max(ratios), 1 / min(ratios)
        assert claim.format(round(low), round(high)) in text
    (said,) = re.findall(r"Slower than mmcv's are (.*?)\.(?: |$)", text)
    slower = {row['case']: row['ratio'] for row in ops() if row['ratio'] > 1}
    soft = [slower.pop(case) for case in list(slower) if case.startswith('softnms')]
    assert f'soft nms ({min(soft):.0f} to {max(soft):.0f} times' in said
    names = {
        'ms_deform_attn, 300 queries': '`ms_deform_attn` ({} times;',
        'ms_deform_attn, 300 queries, with backward': '; {} with backward)',
        'nms_match, 1000 boxes': '`nms_match` ({})',
        'roi_align, 200 RoIs 7 x 7, sampling 2, max': 'maximum of `roi_align` ({})',
        'nms, 1000 detections of 80 classes, IoU 0.6': '1000 boxes of 80 classes ({})',
        'nms, 1000 detections of one class, IoU 0.5': 'most of them suppressed ({})',
    }
    assert slower.keys() <= names.keys()
    for case, claim in names.items():
        if case in slower:
            assert claim.format(f'{slower[case]:.2f}') in said
        else:
            assert claim.partition('{')[0] not in said


@pytest.mark.parametrize(
    ('label', 'ratios'),
    [
        ('nms, 1000 boxes', ratios_of('nms, 1000 ')),
        ('nms, 5000 boxes', ratios_of('nms, 5000 ')),
        ('nms, 20000 boxes', ratios_of('nms, 20000 ')),
        ('`roi_align`, maximum', ratios_of('roi_align', 'max')),
        ('`roi_align`, mean, channels_last', ratios_of('roi_align', 'channels_last')),
        ('sigmoid focal loss', ratios_of('sigmoid_focal_loss')),
        ('`paperzoo.FocalLoss`', ratios_of('paperzoo.FocalLoss')),
        ('`ms_deform_attn`', ratios_of('ms_deform_attn')),
        ('`bbox_overlaps`', sorted(ratios_of('bbox_overlaps'))),
        ('`softnms`', ratios_of('softnms')),
        ('deformable convolution', ratios_of('DCN')),
        ('`nms_match`', ratios_of('nms_match')),
        (
            '`roi_align`, mean, 1000 RoIs',
            ratios_of('roi_align, 1000', other_ends=('channels_last',)),
        ),
        ('`roi_align`, mean, 200 or 256 RoIs', ratios_of_few_rois()),
    ],
)
def test_the_ratios_of_the_ops_are_the_measured_ones(
    label: str, ratios: list[float]
) -> None:
    lines = (ROOT / 'docs' / 'ops.md').read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f'| {label}'))
    cell = line.split('|')[2].strip()
    if ' to ' in cell:
        assert cell == f'{min(ratios):.2f} to {max(ratios):.2f}'
    else:
        assert re.findall(r'[\d.]+', cell) == [f'{ratio:.2f}' for ratio in ratios]


def test_what_bounds_roi_align_is_measured() -> None:
    text = ' '.join((ROOT / 'docs' / 'ops.md').read_text().split())
    rows = {row['case']: row for row in ops()}
    name = 'roi_align, 1000 RoIs 7 x 7, sampling 2'
    plain, moved = (
        round(1000 * rows[case]['seconds']['stand-in'])
        for case in (name, f'{name}, channels_last')
    )
    assert f'take {moved} instead of {plain} ms' in text
    box = ratios_of('roi_align, 1000', other_ends=('channels_last',))
    assert f"the time is {min(box):.2f} to {max(box):.2f} of compiled mmcv's" in text
    mask = rows['roi_align, 256 RoIs 14 x 14, sampling 0, with backward']
    few = rows['roi_align, 200 RoIs 7 x 7, sampling 2, aligned=False']
    test = rows['roi_align, 200 RoIs 14 x 14, sampling 0']
    assert f'is trained with, {mask["ratio"]:.2f}; with 200 of these ' in text
    assert f'as in a test, {test["ratio"]:.2f}; with 200 of 7 x 7, ' in text
    assert f'with 200 of 7 x 7, {few["ratio"]:.2f}.' in text
    wrapper = mask['ratio_of_wrapper']
    assert f"takes {wrapper} of compiled mmcv's time" in text
    beside = (mask['ratio'] - wrapper) / (1 - wrapper)
    assert f'both have to do beside it, ours takes {beside:.2f}.' in text
    (low, high), (low_test, high_test) = (x['ratio_range'] for x in (mask, test))
    assert f'{low} to {high} with 256 RoIs, and {low_test} to {high_test} ' in text


def test_what_large_pages_change_is_measured() -> None:
    text = ' '.join((ROOT / 'docs' / 'ops.md').read_text().split())
    file = RESULTS / 'mmcv_roi_align_cpu_large_pages.json'
    record = json.loads(file.read_text())
    assert record['large_pages']
    large, small = (
        {row['case']: row['ratio'] for row in rows} for rows in (record['cases'], ops())
    )
    mask = 'roi_align, 256 RoIs 14 x 14, sampling 0, with backward'
    fixed = 'roi_align, 200 RoIs 14 x 14, sampling 2, with backward'
    assert (
        f'takes {large[mask]:.2f} (256 RoIs of 14 x 14) and {large[fixed]:.2f} (200, '
        f"sampling 2) of compiled mmcv's time instead of {small[mask]:.2f} and "
        f'{small[fixed]:.2f};'
    ) in text
    test = 'roi_align, 200 RoIs 14 x 14, sampling 0'
    assert f'(200 of 14 x 14) it stays {large[test]:.2f} ' in text
    assert f'{large[test]:.2f}' == f'{small[test]:.2f}'


def test_the_aims_of_the_ops_are_reached_where_the_document_does_not_say_less() -> None:
    assert max(ratios_of('nms, 1000 ')) <= 1
    assert max(ratios_of('nms, 5000 ') + ratios_of('nms, 20000 ')) <= 0.5
    assert max(ratios_of('roi_align, 1000')) <= 0.1
    assert max(ratios_of('DCN')) <= 0.2
    assert max(ratios_of('paperzoo.FocalLoss')) <= 0.33
    assert max(ratios_of('sigmoid_focal_loss')) <= 0.33


def test_what_amp_and_compile_cost_on_a_cpu_is_measured() -> None:
    rows = json.loads((RESULTS / 'fcos_speed_cpu.json').read_text())['rows']
    seconds = {name: row['seconds']['ours'] for name, row in rows.items()}
    readme = ' '.join((ROOT / 'README.md').read_text().split())
    small = 'training step, {}, 320x416'
    amp = seconds[small.format('bfloat16')] / seconds[small.format('float32')]
    assert f'took {amp:.0f} times as long' in readme
    document = ' '.join((ROOT / 'docs' / 'distributed.md').read_text().split())
    step, inference = (
        seconds[f'{what}, float32, 800x1216, compiled']
        / seconds[f'{what}, float32, 800x1216']
        for what in ('training step', 'inference')
    )
    assert (
        f'took {step:.2f} times as long for a training step, and {inference:.2f} times'
        in document
    )


def test_own_data_is_no_worse_than_a_config_written_by_hand() -> None:
    record = json.loads((RESULTS / 'own_data.json').read_text())
    by_hand = record['by_hand']['cells']['coco/bbox_mAP']
    for name in ('coco', 'yolo', 'voc', 'labelme'):
        assert record['init'][name]['coco/bbox_mAP'] >= by_hand
    assert record['init']['masks']['mIoU'] >= record['by_hand']['streets']['mIoU']
    folders, tables = (record['init'][name] for name in ('class_folders', 'csv'))
    key = 'few_shot/test_accuracy'
    assert tables[key] == folders.get('seeds', [folders[key]])[0]  # the same images

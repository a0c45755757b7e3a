"""Tables, charts and pictures say what results.json says."""

import json
import re
from argparse import Namespace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from project_tools import PROJECTS, ROOT, load, project_record, report, run_projects

from paperzoo.errors import UserError

RUNS = [
    {'variant': 'plain', 'seed': 0, 'bbox_mAP': 0.40, 'parameters': 1200},
    {'variant': 'new', 'seed': 0, 'bbox_mAP': 0.43, 'parameters': 1300},
    {'variant': 'plain', 'seed': 1, 'bbox_mAP': 0.44, 'parameters': 1200},
    {'variant': 'new', 'seed': 1, 'bbox_mAP': 0.45, 'parameters': 1300},
]


def record(runs: list[dict]) -> dict[str, Any]:
    runs = [dict(run) for run in runs]
    return {
        'data': 'Shapes: few; no paper has these numbers',
        'summary': run_projects.summary(runs),
        'runs': runs,
        'commit': 'abc',
        'device': 'CPU: some',
    }


def test_summary() -> None:
    """The gain is that over the first variant with the same seed."""
    found = run_projects.summary([dict(run) for run in RUNS])
    assert found['plain']['bbox_mAP'] == {'mean': 0.42, 'stdev': 0.0283}
    assert found['plain']['bbox_mAP_gain'] == {'mean': 0.0, 'stdev': 0.0}
    assert found['new']['bbox_mAP_gain'] == {'mean': 0.02, 'stdev': 0.0141}
    assert found['new']['parameters'] == {'mean': 1300, 'stdev': 0.0}


def test_who_finds_nothing_has_an_ap_of_zero_in_every_column() -> None:
    runs = [dict(run, bbox_mAP_50=0.5) for run in RUNS]
    del runs[3]['bbox_mAP'], runs[3]['bbox_mAP_50']
    found = run_projects.summary(runs)
    assert found['new']['bbox_mAP_50']['mean'] == 0.25
    assert found['new']['bbox_mAP']['mean'] == 0.215
    assert found['new']['bbox_mAP_gain']['mean'] == round((0.03 - 0.44) / 2, 4)


def test_table() -> None:
    columns = ['bbox_mAP', 'bbox_mAP_gain', 'parameters', 'train_peak_mib']
    assert report.table(record(RUNS), columns).splitlines() == [
        '| variant | box AP | gain | parameters | MiB, training |',
        '| --- | --- | --- | --- | --- |',
        '| plain | 0.420 ± 0.028 | +0.000 ± 0.000 | 1,200 | - |',
        '| new | 0.440 ± 0.014 | +0.020 ± 0.014 | 1,300 | - |',
        '',
        'Shapes: few; no paper has these numbers. 2 seeds, mean ± standard deviation. '
        'Measured at abc on CPU: some.',
    ]


def test_one_seed_has_no_spread() -> None:
    rows = report.table(record(RUNS[:2]), ['bbox_mAP', 'bbox_mAP_gain'])
    assert '| new | 0.430 | +0.030 |' in rows
    assert '1 seed, no spread known' in rows


def test_readme_is_filled_between_markers_again_and_again(tmp_path: Path) -> None:
    readme = tmp_path / 'README.md'
    readme.write_text(
        'Before.\n<!-- table shapes: bbox_mAP -->\nold\nrows\n<!-- end -->\nBetween.\n'
        '<!-- table bccd: bbox_mAP -->\n<!-- end -->\nAfter.\n'
    )
    records = {'shapes': record(RUNS)}
    report.fill_readme(readme, records)
    text = readme.read_text()
    table = report.table(records['shapes'], ['bbox_mAP'])
    assert text == (
        f'Before.\n<!-- table shapes: bbox_mAP -->\n{table}\n\n'
        '![box AP of each variant and seed](results_shapes.png)\n\n'
        '![truth and the best predictions](predictions_shapes.jpg)\n'
        '<!-- end -->\nBetween.\n'
        '<!-- table bccd: bbox_mAP -->\nNot measured yet.\n<!-- end -->\nAfter.\n'
    )
    report.fill_readme(readme, records)
    assert readme.read_text() == text


def test_a_readme_without_place_or_with_a_wrong_column(tmp_path: Path) -> None:
    readme = tmp_path / 'README.md'
    readme.write_text('<!-- table bccd: bbox_mAP, speed -->\n<!-- end -->\n')
    with pytest.raises(UserError, match='no place for the results on shapes'):
        report.fill_readme(readme, {'shapes': record(RUNS)})
    with pytest.raises(UserError, match='no column speed'):
        report.fill_readme(readme, {'bccd': record(RUNS)})


def results_of(project: str) -> dict[str, dict[str, Any]]:
    return json.loads((PROJECTS / project / 'results.json').read_text())


def test_results_are_of_the_settings_and_the_code_that_are_here() -> None:
    for project in run_projects.PROJECTS:
        for data, measured in results_of(project).items():
            made = run_projects.made_of(project, data)
            assert {key: measured[key] for key in made} == made, f'{project} {data}'


def test_settings_and_code_of_a_project(tmp_path: Path) -> None:
    made = run_projects.made_of('smooth_targets', 'shapes')['settings']
    assert list(made) == list(run_projects.PROJECTS['smooth_targets'])
    assert made['voting'] == {
        'config': 'smooth_targets_shapes',
        'train_cfg.max_epochs': 9,
        'train_dataloader.batch_size': 4,
        'optim_wrapper.optimizer.lr': 0.002,
        'model.bbox_head.smooth_weight': 0.0,
        'model.bbox_head.voting': 0.6,
    }
    assert made['penalty']['model.bbox_head.voting'] is None

    def code() -> str:
        return project_record.code_sha256(tmp_path, 'shapes', ('shapes', 'bccd'))

    file, other = tmp_path / 'head.py', tmp_path / 'mine_bccd.py'
    file.write_text(
        '"""What."""\n\n\ndef f() -> int:\n    """Of\n    it."""\n    return 1\n'
    )
    first = code()
    file.write_text('# Why.\ndef f() -> int:\n    """Else."""\n    return 1\n')
    other.write_text('x = 1\n')
    assert code() == first
    file.write_text('def f() -> int:\n    return 2\n')
    assert code() != first


def made_record(seeds: list[int], **changed: Any) -> dict[str, Any]:
    runs = [
        {**run, 'seed': seed, 'commit': changed.get('commit', 'abc')}
        for seed in seeds
        for run in RUNS[:2]
    ]
    same = dict.fromkeys(project_record.SAME, 'same')
    return {**same, 'runs': runs, 'summary': run_projects.summary(runs), **changed}


def test_seeds_of_the_same_settings_are_put_together() -> None:
    """A seed alone, or the first of several, takes nothing away."""
    old, new = made_record([0, 1, 2]), made_record([1, 3], commit='def')
    for run in new['runs']:
        run['bbox_mAP'] += 0.1
    kept = project_record.together(old, new)
    assert kept is not None
    assert [(run['variant'], run['seed'], run['commit']) for run in kept['runs']] == [
        (variant, seed, 'def' if seed in (1, 3) else 'abc')
        for seed in (0, 1, 2, 3)
        for variant in ('plain', 'new')
    ]
    assert kept['commit'] == 'abc, def'
    assert kept['summary']['plain']['bbox_mAP']['mean'] == 0.45
    assert project_record.together(None, new) == new


@pytest.mark.parametrize('key', ['settings', 'code_sha256', 'device'])
def test_other_settings_replace_only_by_as_many_seeds(key: str) -> None:
    old = made_record([0, 1, 2])
    for older in (old, {name: part for name, part in old.items() if name != key}):
        few, enough = (made_record(s, **{key: 'other'}) for s in ([0, 1], [3, 4, 5]))
        assert project_record.together(older, few) is None
        assert project_record.together(older, few, fresh=True) == few
        assert project_record.together(older, enough) == enough


def test_records_and_pictures_of_a_run_are_kept_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not worth keeping leaves file and pictures as they are."""
    drawn: list[Path] = []
    monkeypatch.setattr(
        run_projects, 'draw_predictions', lambda found, file: drawn.append(file)
    )
    for seeds, code, fresh, kept_seeds, pictures in (
        ([0], 'one', False, {0}, 1),
        ([1], 'one', False, {0, 1}, 1),
        ([0], 'two', False, {0, 1}, 1),
        ([0], 'two', True, {0}, 2),
        ([1, 2], 'three', False, {1, 2}, 3),
    ):
        new = made_record(seeds, code_sha256=code)
        run_projects.keep(tmp_path, 'shapes', new, {}, fresh)
        records = json.loads((tmp_path / 'results.json').read_text())
        assert project_record.seeds_of(records['shapes']) == kept_seeds
        assert len(drawn) == pictures


def test_a_record_after_each_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_training(variants: dict, *_: Any) -> dict[str, Path]:
        return dict.fromkeys(variants, tmp_path)

    def no_test(work: Path, number: int, _: Any) -> tuple[dict[str, Any], Path]:
        return {'bbox_mAP': number / 10}, work

    monkeypatch.setattr(run_projects, 'train_all', no_training)
    monkeypatch.setattr(run_projects, 'tested', no_test)
    args = Namespace(project='smooth_targets', data='bccd', seeds=[4, 5])
    measured = run_projects.experiment(args, tmp_path)
    for seeds, (record, found) in zip(({4}, {4, 5}), measured, strict=True):
        assert project_record.seeds_of(record) == seeds
        assert set(found) == set(record['settings']) == set(record['summary'])
        assert all(run['commit'] == record['commit'] for run in record['runs'])
        assert set(project_record.SAME) <= set(record)


@pytest.mark.parametrize('project', run_projects.PROJECTS)
def test_readme_of_a_project_is_what_its_results_say(
    project: str, tmp_path: Path
) -> None:
    """Its columns exist; each marker has its record, and shows what it says."""
    text = (PROJECTS / project / 'README.md').read_text()
    records = results_of(project)
    copy = tmp_path / 'README.md'
    copy.write_text(text)
    report.fill_readme(copy, records)
    assert copy.read_text() == text
    columns = {m['data']: m['columns'] for m in report.MARKED.finditer(text)}
    assert set(columns) == {'shapes', 'bccd'} == set(records)
    assert all('train_minutes' in shown for shown in columns.values())
    for file in (PROJECTS / project).glob('*.py'):
        if 'Expect: ' in file.read_text():
            (row,) = re.findall(rf'^\| \[`{file.stem}`\]\({file.name}\) .*', text, re.M)
            if said := re.search(r'(\d+) epochs', row):
                assert int(said[1]) == load(file.stem).max_epochs


def said_and_measured(project: str, data: str) -> tuple[str, dict[str, Any]]:
    """The verdict of a project in one line, and the summary of its results."""
    text = (PROJECTS / project / 'README.md').read_text().partition('## Verdict')[2]
    return ' '.join(text.split()), results_of(project)[data]['summary']


def test_the_verdict_on_boxes_around_masks_follows_from_the_numbers() -> None:
    verdict, numbers = said_and_measured('box_from_mask', 'shapes')
    regressed, around = (row['bbox_mAP']['mean'] for row in numbers.values())
    assert f'come to AP {regressed:.2f}, those around masks to {around:.2f}' in verdict
    fcos, knet = numbers.values()
    # Classes ignored, every size, hidden or not.
    sizes, hidden = ['s', 'm', 'l'], ['largely', 'partly', 'whole']
    for of in ('', '_any_class', *(f'_{name}' for name in sizes + hidden)):
        boxes, masks = fcos[f'bbox_mAP{of}'], knet[f'bbox_mAP{of}']
        assert boxes['mean'] - masks['mean'] > boxes['stdev'] + masks['stdev']
    file = ROOT / 'benchmarks' / 'results' / 'knet_shapes_instance.json'
    end = json.loads(file.read_text())['mean_segm_mAP']['3 stages']
    assert f'come to [AP {end:.2f}]' in verdict
    assert end < regressed
    ious = [knet[f'box_iou_if_mask_{least}']['mean'] for least in (50, 70, 90)]
    said = 'its box has {:.2f} on the mean; from 0.7 on {:.2f}, from 0.9 on {:.2f}'
    assert said.format(*ious) in verdict
    check_longer_training(verdict, fcos)
    _, numbers = said_and_measured('box_from_mask', 'bccd')
    regressed, around = (row['bbox_mAP']['mean'] for row in numbers.values())
    assert f'AP {regressed:.2f} against {around:.2f}, one seed' in verdict
    fcos, knet = numbers.values()
    for keys in (sizes, hidden):
        means = [
            [row[f'bbox_mAP_{key}']['mean'] for key in keys] for row in (fcos, knet)
        ]
        left = [masks / boxes for boxes, masks in zip(*means, strict=True)]
        assert left[0] == min(left)
        assert max(left) < 1
        if keys == sizes:
            assert left == sorted(left)


def check_longer_training(verdict: str, fcos: dict[str, Any]) -> None:
    """What the verdict says of boxes around the masks of a K-Net trained longer."""
    file = PROJECTS / 'box_from_mask' / 'longer.json'
    longer = json.loads(file.read_text())['metrics']
    assert f'around them to {longer["bbox_mAP"]:.2f} ([numbers]' in verdict
    assert longer['bbox_mAP'] < fcos['bbox_mAP']['mean']
    better = []
    for size, name, form in (
        ('l', 'large', '.2f'),
        ('partly', 'partly hidden', '.2f'),
        ('largely', 'largely hidden', '.3f'),
    ):
        pair = longer[f'bbox_mAP_{size}'], fcos[f'bbox_mAP_{size}']['mean']
        assert pair[0] > pair[1]
        better.append(f'{name} {pair[0]:{form}} against {pair[1]:{form}}')
    assert f'({", ".join(better)})' in verdict
    for size in ('s', 'm', 'whole', 'any_class'):
        assert longer[f'bbox_mAP_{size}'] < fcos[f'bbox_mAP_{size}']['mean']
    assert f'boxes after {load("box_from_mask_fcos_shapes").max_epochs};' in verdict


@pytest.mark.parametrize('project', run_projects.PROJECTS)
def test_trainings_took_four_minutes_at_most(project: str) -> None:
    records = results_of(project)
    assert len(project_record.seeds_of(records['shapes'])) == 3
    for measured in records.values():
        assert max(run['train_minutes'] for run in measured['runs']) <= 4


@pytest.mark.parametrize('data', ['shapes', 'bccd'])
def test_both_kinds_of_boxes_were_trained_for_about_the_same_time(data: str) -> None:
    _, numbers = said_and_measured('box_from_mask', data)
    fcos, knet = (row['train_minutes']['mean'] for row in numbers.values())
    assert 0.75 < knet / fcos < 1 / 0.75


def test_the_verdict_on_smooth_targets_follows_from_the_numbers() -> None:
    verdict, numbers = said_and_measured('smooth_targets', 'shapes')
    plain, penalty = numbers['plain FCOS'], numbers['penalty']
    gains: dict[str, list[float]] = {}
    for run in results_of('smooth_targets')['shapes']['runs']:
        gains.setdefault(run['variant'], []).append(run['bbox_mAP_gain'])
    gain = numbers['voting']['bbox_mAP_gain']
    assert f'voting gains {gain["mean"]:.3f} ± {gain["stdev"]:.3f} AP' in verdict
    assert len(gains['voting']) == 3
    assert min(gains['voting']) > 0
    assert gain['mean'] < plain['bbox_mAP']['stdev']
    gain = penalty['bbox_mAP_gain']
    assert f'costs {-gain["mean"]:.3f} ± {gain["stdev"]:.3f} AP on Shapes' in verdict
    assert max(gains['penalty']) < 0
    for size, words in (('s', 'small objects gain'), ('l', 'large ones lose')):
        pair = [row[f'bbox_mAP_{size}']['mean'] for row in (plain, penalty)]
        assert f'{words} ({pair[0]:.3f} to {pair[1]:.3f})' in verdict
        assert (pair[0] < pair[1]) == (size == 's')
    _, numbers = said_and_measured('smooth_targets', 'bccd')
    gain = {name: row['bbox_mAP_gain']['mean'] for name, row in numbers.items()}
    assert f'on the blood cells {gain["voting"]:.3f}, one seed' in verdict
    assert f'On the blood cells it costs {-gain["penalty"]:.3f}' in verdict
    assert gain['penalty'] < 0 < gain['voting']


def test_the_verdict_on_local_attention_follows_from_the_numbers() -> None:
    verdict, numbers = said_and_measured('local_attention_tower', 'shapes')
    convolution, attention, mixture = numbers.values()
    for one, claim in ((mixture, 'second gains {}'), (attention, 'alone gains {}')):
        gain = one['bbox_mAP_gain']
        said = f'{gain["mean"]:.3f} ± {gain["stdev"]:.3f}'
        assert claim.format(said) in verdict
    apart: dict[str, list[float]] = {}
    for run in results_of('local_attention_tower')['shapes']['runs']:
        apart.setdefault(run['variant'], []).append(run['bbox_mAP'])
    plain, alone, mixed = apart.values()
    assert len(plain) == 3
    assert all(one > other for one, other in zip(mixed, plain, strict=True))
    gained = [one - other for one, other in zip(alone, plain, strict=True)]
    # "With one seed nothing", as far as two digits show.
    assert [round(gain, 2) > 0 for gain in gained].count(False) == 1
    for row in (attention, mixture):
        gains = {
            size: row[f'bbox_mAP_{size}']['mean']
            - convolution[f'bbox_mAP_{size}']['mean']
            for size in 'sml'
        }
        assert max(gains, key=lambda size: gains[size]) == 'l'
        for cost in ('parameters', 'gflops_per_image'):
            assert row[cost]['mean'] < convolution[cost]['mean']
    large = [row['bbox_mAP_l']['mean'] for row in numbers.values()]
    assert '(AP {:.2f}, {:.2f} and {:.2f})'.format(*large) in verdict
    slower = [
        row['train_seconds_per_step']['mean']
        / convolution['train_seconds_per_step']['mean']
        for row in (mixture, attention)
    ]
    assert 'takes {:.1f} times as long, of attention alone {:.1f}'.format(*slower) in (
        verdict
    )
    _, numbers = said_and_measured('local_attention_tower', 'bccd')
    _, attention, mixture = (row['bbox_mAP_gain']['mean'] for row in numbers.values())
    claim = f'mixture loses {-mixture:.3f} AP, attention alone {-attention:.3f}.'
    assert claim in verdict
    spans = [max(own) - min(own) for own in apart.values()]
    assert f'differ by up to {max(spans):.3f}' in verdict
    assert max(-mixture, -attention) < max(spans)


def test_variants_change_what_they_say() -> None:
    found = {}
    for name, variant in run_projects.PROJECTS['smooth_targets'].items():
        cfg = load(variant.config.format(data='shapes'))
        cfg.merge_from_dict(variant.train)
        cfg.merge_from_dict(variant.test)
        head = cfg.model.bbox_head
        found[name] = (head.smooth_weight > 0, head.voting is not None)
    assert found == {
        'plain FCOS': (False, False),
        'voting': (False, True),
        'penalty': (True, False),
        'penalty and voting': (True, True),
    }


def test_what_is_trained_alike_is_trained_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[list[float]] = []

    def no_training(
        configs: dict, seed: int, folder: Path, options: list[str]
    ) -> dict[str, Path]:
        trained.append([c.model.bbox_head.smooth_weight for c in configs.values()])
        return {key: folder / key for key in configs}

    monkeypatch.setattr(run_projects, 'train_side_by_side', no_training)
    variants = run_projects.PROJECTS['smooth_targets']
    works = run_projects.train_all(variants, 'smooth_targets', 'shapes', 0, tmp_path)
    assert trained == [[0.0, 1.0]]
    assert works['plain FCOS'] == works['voting'] != works['penalty']
    assert works['penalty'] == works['penalty and voting']


def test_numbers_of_a_training(tmp_path: Path) -> None:
    log = tmp_path / '2026' / 'vis_data' / 'scalars.json'
    log.parent.mkdir(parents=True)
    lines = [
        {'loss': 2.0, 'time': 0.5, 'step': 50},
        {'loss': 1.0, 'time': 0.3, 'step': 100},
        {'loss': 1.0, 'time': 0.4, 'step': 150},
        {'coco/bbox_mAP': 0.5, 'step': 150},
    ]
    log.write_text('\n'.join(map(json.dumps, lines)))
    (tmp_path / 'peak_memory.json').write_text('{"train_peak_mib": 700}')
    assert run_projects.of_training(tmp_path) == {
        'train_seconds_per_step': 0.4,
        'train_minutes': 1.0,
        'train_peak_mib': 700,
    }


def pixels(file: Path) -> np.ndarray:
    return np.asarray(cv2.imread(str(file)))


def test_chart_and_pictures(tmp_path: Path) -> None:
    report.draw_chart(record(RUNS), tmp_path / 'chart.png')
    page = pixels(tmp_path / 'chart.png').astype(int)
    # The dots of seed 0 are blue, those of seed 1 orange; all else is grey.
    blue = page[..., 0] - page[..., 2]
    assert (blue > 60).sum() > 20
    assert (blue < -60).sum() > 20
    photo = tmp_path / 'photo.png'
    cv2.imwrite(str(photo), np.full((40, 60, 3), 255, np.uint8))
    row = {'image_id': 1, 'category_id': 0, 'bbox': [5, 5, 30, 20]}
    other = {**row, 'score': 0.5}
    drawn = {}
    for score in (0.9, 0.1):
        found = {
            'images': [{'id': 1, 'file_name': str(photo)}],
            'annotations': [other, {**row, 'category_id': 3, 'score': score}],
            'truth': [row],
        }
        file = tmp_path / 'found.json'
        file.write_text(json.dumps(found))
        report.draw_predictions({'plain': file}, tmp_path / 'page.png')
        drawn[score] = pixels(tmp_path / 'page.png')
    # There is one object, so the best box is drawn, in its class's colour; here red.
    red = {
        score: (page[..., 2].astype(int) - page[..., 0] > 100).sum()
        for score, page in drawn.items()
    }
    assert red[0.9] > 50
    assert red[0.1] == 0

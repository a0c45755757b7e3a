"""The table of few-shot claims equals its result file."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / 'benchmarks' / 'results'


def test_few_shot_claims_are_those_of_the_result_file() -> None:
    record = json.loads((RESULTS / 'few_shot_claims.json').read_text())
    text = (RESULTS / 'few_shot_claims.md').read_text()
    assert {'glyphs', 'glyphs_cluttered'} <= set(record['results']['comparison'])
    for data, seeds in record['results']['comparison'].items():
        part = text.partition(f'## {record["data"][data]}\n')[2].partition('##')[0]
        names = {n for own in seeds.values() for n in own['5-way 1-shot']['accuracy']}
        assert {'DMF', 'FEAT', 'ProtoNet'} <= names
        for name in names:
            (row,) = (r for r in part.splitlines() if r.startswith(f'| {name} |'))
            cells = [cell.strip() for cell in row.split('|')][2:6]
            own = [
                seed['5-way 1-shot']['accuracy'][name][0]
                for seed in seeds.values()
                if name in seed['5-way 1-shot']['accuracy']
            ]
            assert int(cells[0]) == len(own)
            assert cells[1].partition(' ')[0] == f'{sum(own) / len(own):.1f}'
    for claims in record['verdicts'].values():
        for data, verdict in claims.items():
            assert f'- {data}: {verdict}.' in text
    # What the verdicts rest on: CAN has one weight for all channels, DMF has not.
    for seeds in record['results']['channels'].values():
        for own in seeds.values():
            assert own['share_of_variance_between_channels_of_a_position'] > 0.1
            assert own['the_same_for_can'] == 0


def test_headers_that_name_the_claims_are_of_configs_in_them() -> None:
    record = json.loads((RESULTS / 'few_shot_claims.json').read_text())
    measured = {
        f'{name.lower()}_tiny_{data}'
        for data, seeds in record['results']['comparison'].items()
        for own in seeds.values()
        for name in own['5-way 1-shot']['accuracy']
    }
    said = [
        file.stem
        for file in (ROOT / 'configs').rglob('*.py')
        if 'few_shot_claims.md' in file.read_text('utf-8')
    ]
    assert len(said) >= 5
    assert set(said) <= measured


@pytest.mark.parametrize('page', ['dmf.md', 'dmf.zh-CN.md'])
def test_the_numbers_of_the_pages_are_those_of_the_file(page: str) -> None:
    text = (ROOT / 'docs' / 'papers' / page).read_text('utf-8')
    said = text.partition('<!-- few-shot claims')[2].partition('<!-- end -->')[0]
    said = re.sub(r'\]\([^)]*\)', ']', said)
    number = r'(?<![\w.])-?\d+(?:\.\d+)?(?![\w])'
    found = re.findall(number, said)
    assert len(found) > 10
    known = re.findall(number, (RESULTS / 'few_shot_claims.md').read_text('utf-8'))
    assert set(found) <= set(known)


def test_what_sharper_scores_do_among_clutter_is_in_the_file() -> None:
    record = json.loads((RESULTS / 'few_shot_claims.json').read_text())
    seeds = record['results']['comparison']['glyphs_cluttered']
    found = [
        [
            f'{seeds[f"seed {n}"]["5-way 1-shot"]["accuracy"][name][0]:.1f}'
            for n in (0, 1)
        ]
        for name in ('DMF, scale 4', 'DMF')
    ]
    text = ' '.join((ROOT / 'configs' / 'dmf' / 'README.md').read_text().split())
    said = 'came to {} and {}, without to {} and {}.'
    assert said.format(*found[0], *found[1]) in text

"""A sample of the sweep of stock configs, each in a process of its own."""

import sys
from importlib import import_module
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / 'benchmarks'))
stock_configs = import_module('stock_configs')
stock_models = import_module('_stock_models')

SAMPLE = {
    'mmdet': [
        'carafe/faster-rcnn_r50_fpn-carafe_1x_coco.py',
        'cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py',
        'centernet/centernet_r18_8xb16-crop512-140e_coco.py',
        'crowddet/crowddet-rcnn_r50_fpn_8xb2-30e_crowdhuman.py',
        'dcnv2/mask-rcnn_r50-mdconv-c3-c5_fpn_1x_coco.py',
        'detr/detr_r50_8xb2-150e_coco.py',
        'dyhead/atss_r50_fpn_dyhead_1x_coco.py',
        'guided_anchoring/ga-faster-rcnn_r50-caffe_fpn_1x_coco.py',
        'htc/htc_r50_fpn_1x_coco.py',
        'reppoints/reppoints-moment_r50_fpn_1x_coco.py',
        'retinanet/retinanet_r18_fpn_1x_coco.py',
        'soft_teacher/soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.01-coco.py',
        'solov2/solov2_r50_fpn_1x_coco.py',
        'ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py',
        'yolox/yolox_tiny_8xb8-300e_coco.py',
    ],
    'mmseg': [
        'bisenetv2/bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024.py',
        'fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024.py',
        'pidnet/pidnet-s_2xb6-120k_1024x1024-cityscapes.py',
        'psanet/psanet_r50-d8_4xb2-40k_cityscapes-512x1024.py',
        'segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py',
    ],
}


@pytest.fixture(scope='module')
def loaded() -> None:
    stock_configs.preload()


@pytest.mark.slow
@pytest.mark.parametrize(
    ('package', 'config'),
    [(package, config) for package, each in SAMPLE.items() for config in each],
)
def test_trains_a_step_and_predicts(package: str, config: str, loaded: None) -> None:
    assert (stock_models.folder_of(package) / config).is_file()
    found = stock_configs.in_process({'package': package, 'config': config})
    assert found['outcome'] == 'runs', found['why']


def test_what_stops_a_config_is_named() -> None:
    outcome = stock_configs.outcome
    assert outcome('', '') == {'outcome': 'runs', 'why': ''}
    said = 'RuntimeError: lap is not installed, please install it by: pip install lap'
    assert outcome('build', said) == {'outcome': 'package', 'why': 'lap'}
    assert outcome('read', "FileNotFoundError: 'a.py'")['outcome'] == 'upstream'
    assert outcome('train', 'ValueError: no')['why'] == 'train: ValueError: no'


def test_a_record_is_counted_and_shown() -> None:
    def case(folder: str, outcome: str, **more: str) -> dict:
        own = {'package': 'mmdet', 'folder': folder, 'outcome': outcome, 'why': ''}
        return {**own, 'stands_for': 2, **more}

    cases = [
        case('a', 'runs'),
        case('a', 'package', why='lap'),
        case('b', 'upstream', why='a wrong path'),
        case('c', 'runs', needs='mmpretrain', commit='1a2b'),
    ]
    counts = stock_configs.counts(cases)['mmdet']
    assert counts['folders_run'] == 2
    assert counts['whole_folders_run'] == 1
    assert counts['stand_for'] == 8
    table = stock_configs.table({'what': 'A test', 'cases': cases})
    assert '| a | 1 of 2 |  | needs lap |  |' in table
    assert "| b | 0 of 1 |  | upstream's fault: a wrong path |  |" in table
    assert '| c | 1 of 1 | mmpretrain |  | 1a2b |' in table


def test_runs_of_two_environments_are_joined() -> None:
    def case(config: str, outcome: str, **more: str) -> dict:
        own = {'package': 'mmdet', 'config': config, 'outcome': outcome}
        return {**own, 'why': '', **more}

    here = [
        case('a', 'runs', needs='lap', commit='1'),
        case('b', 'package', why='mmpretrain', commit='1'),
        case('c', 'runs', commit='1'),
        case('d', 'package', why='VPD', commit='1'),
    ]
    there = [
        case('a', 'runs', commit='2'),
        case('b', 'runs', commit='2'),
        case('c', 'package', why='lap', commit='2'),
    ]
    assert stock_configs.joined(here, there) == [
        case('a', 'runs', needs='lap', commit='2'),
        case('b', 'runs', needs='mmpretrain', commit='2'),
        *here[2:],
    ]


def test_an_interrupted_sweep_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [{'config': 'a', 'outcome': 'runs'}, {'config': 'b'}]
    asked = []

    def in_process(one: dict) -> dict:
        asked.append(one['config'])
        return {**one, 'outcome': 'package', 'why': 'lap', 'seconds': 0.1}

    monkeypatch.setattr(stock_configs, 'in_process', in_process)
    stock_configs.sweep(cases, lambda cases: None)
    stock_configs.sweep(cases, lambda cases: None)
    assert asked == ['b']
    stock_configs.sweep(stock_configs.wanted(cases, False, True), lambda cases: None)
    assert asked == ['b', 'b']
    assert cases[1]['needs'] == 'lap'

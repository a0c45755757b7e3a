"""The stand-in for panopticapi."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from paperzoo.compat import panopticapi as stand_in

LOAD = """
from paperzoo.compat import panopticapi
ours = panopticapi.StandInFinder
sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, ours)]
from mmdet.datasets.transforms import LoadPanopticAnnotations
try:
    LoadPanopticAnnotations()
except ImportError as error:
    print(error)
panopticapi.apply()
print(LoadPanopticAnnotations().rgb2id((1, 1, 0)))
"""


def run(code: str, *arguments: str) -> subprocess.CompletedProcess:
    code = 'import sys\n' + code
    return subprocess.run(
        [sys.executable, '-c', code, *arguments], capture_output=True, text=True
    )


def test_mmdet_loads_panoptic_annotations_only_with_it() -> None:
    done = run(LOAD)
    assert done.returncode == 0, done.stderr
    without, with_it = done.stdout.splitlines()
    assert without.startswith('panopticapi is not installed')
    assert with_it == '257'


def test_an_installed_package_wins(tmp_path: Path) -> None:
    package = tmp_path / 'panopticapi'
    package.mkdir()
    (package / '__init__.py').write_text('')
    (package / 'utils.py').write_text('rgb2id = "installed"')
    code = (
        'sys.path.insert(0, sys.argv[1])\n'
        'from paperzoo.compat import panopticapi; panopticapi.apply()\n'
        'from panopticapi.utils import rgb2id; print(rgb2id)\n'
        'import panopticapi.evaluation'
    )
    done = run(code, str(tmp_path))
    assert done.stdout == 'installed\n'
    # No mixture of the two: what the installed one lacks is missing.
    assert "No module named 'panopticapi.evaluation'" in done.stderr


def test_applying_twice_adds_one_finder_and_imports_nothing_heavy() -> None:
    code = (
        'from paperzoo.compat.panopticapi import StandInFinder, apply\n'
        'before = set(sys.modules)\n'
        'apply(); apply()\n'
        'print(sum(isinstance(f, StandInFinder) for f in sys.meta_path))\n'
        'import panopticapi.utils, panopticapi.evaluation\n'
        'print(panopticapi.__spec__.name, sorted(set(sys.modules) - before))'
    )
    done = run(code)
    modules = ['panopticapi', 'panopticapi.evaluation', 'panopticapi.utils']
    assert done.stdout == f'1\npanopticapi {modules}\n', done.stderr


def test_id_of_a_colour() -> None:
    assert stand_in.rgb2id((1, 2, 3)) == 1 + 2 * 256 + 3 * 65536
    assert stand_in.id2rgb(197121) == [1, 2, 3]
    # 255 * 65536 overflows uint8: the picture must be widened first.
    white = np.full((1, 1, 3), 255, dtype=np.uint8)
    np.testing.assert_array_equal(stand_in.rgb2id(white), [[256**3 - 1]])


@given(hnp.arrays(np.int64, (3, 4), elements=st.integers(0, 256**3 - 1)))
def test_colours_and_ids_are_inverse(ids: np.ndarray) -> None:
    picture = stand_in.id2rgb(ids)
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(stand_in.rgb2id(picture), ids)
    assert [stand_in.id2rgb(int(i)) for i in ids[0]] == picture[0].tolist()


def test_ids_of_things_differ_and_stuff_shares_one() -> None:
    generator = stand_in.IdGenerator(
        {
            1: {'color': [9, 0, 0], 'isthing': 1},
            2: {'color': [9, 0, 0], 'isthing': 1},
            # The colour to which the search for the second thing would come first.
            3: {'color': [26, 31, 7], 'isthing': 0},
        }
    )
    things = [generator.get_id(1 + i % 2) for i in range(100)]
    assert len(set(things)) == 100
    assert things[0] == 9
    assert not {stand_in.VOID, stand_in.rgb2id((26, 31, 7))} & set(things)
    assert generator.get_id_and_color(3) == generator.get_id_and_color(3)
    assert generator.get_color(3) == [26, 31, 7]


def test_statistics_by_hand() -> None:
    counts, more = stand_in.PQStat(), stand_in.PQStat()
    counts[7].tp, counts[7].iou, counts[7].fn = 1, 0.8, 1
    more[7].fp = 1
    more[9].fn = 1
    counts += more
    categories = {7: {'isthing': 1}, 8: {'isthing': 1}, 9: {'isthing': 0}}
    mean, per_category = counts.pq_average(categories, isthing=True)
    # Category 7: 0.8 / (1 + 1/2 + 1/2); category 8 does not occur.
    assert mean == pytest.approx({'pq': 0.4, 'sq': 0.8, 'rq': 0.5, 'n': 1})
    assert per_category[8] == {'pq': 0.0, 'sq': 0.0, 'rq': 0.0}
    mean, _ = counts.pq_average(categories, isthing=None)
    assert mean == pytest.approx({'pq': 0.2, 'sq': 0.4, 'rq': 0.25, 'n': 2})
    mean, _ = counts.pq_average(categories, isthing=False)
    assert mean == {'pq': 0.0, 'sq': 0.0, 'rq': 0.0, 'n': 1}


def test_save_json(tmp_path: Path) -> None:
    stand_in.save_json({'a': [1]}, str(tmp_path / 'a.json'))
    assert json.loads((tmp_path / 'a.json').read_text()) == {'a': [1]}


def test_mmdet_loads_a_panoptic_png(tmp_path: Path) -> None:
    """The picture is read as RGB and every segment lands in the right place."""
    stand_in.apply()
    from mmdet.datasets.transforms import LoadPanopticAnnotations

    ids = np.zeros((4, 6), dtype=np.int64)
    ids[:2], ids[2:, :3] = 70_000, 300
    cv2.imwrite(str(tmp_path / 'a.png'), stand_in.id2rgb(ids)[..., ::-1])
    loader = LoadPanopticAnnotations(with_bbox=False, with_label=False)
    segments = [
        {'id': 70_000, 'category': 2, 'is_thing': False},
        {'id': 300, 'category': 0, 'is_thing': True},
    ]
    results = loader.transform(
        {
            'seg_map_path': str(tmp_path / 'a.png'),
            'segments_info': segments,
            'ori_shape': (4, 6),
        }
    )
    seg_map = np.full((4, 6), 255)
    seg_map[:2], seg_map[2:, :3] = 2, 0
    np.testing.assert_array_equal(results['gt_seg_map'], seg_map)
    np.testing.assert_array_equal(results['gt_masks'].masks, [ids == 300])

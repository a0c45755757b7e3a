"""Glyphs: one spec gives the same files, classes differ, drawings vary."""

import pickle
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from paperzoo.data import generated, glyphs
from paperzoo.data.episodes import EpisodeDataset
from paperzoo.data.glyphs import GlyphsSpec, draw_class, draw_glyph, generate_glyphs
from paperzoo.errors import UserError
from paperzoo.utils.plain_pickle import load_plain

SMALL = GlyphsSpec(num_train=8, num_val=5, num_test=6, drawings=6)


@pytest.fixture(scope='module')
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate_glyphs(tmp_path_factory.mktemp('cache') / 'glyphs', SMALL)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def splits(root: Path) -> dict[str, dict]:
    return {name: load_plain(root / f'{name}.pkl') for name in glyphs.SPLITS}


def test_splits_have_the_classes_and_drawings_of_the_spec(root: Path) -> None:
    names: list[str] = []
    for (_, content), count in zip(splits(root).items(), (8, 5, 6), strict=True):
        assert content['data'].shape == (count * 6, 32, 32)
        assert content['data'].dtype == np.uint8
        assert content['labels'] == [i for i in range(count) for _ in range(6)]
        assert list(content['catname2label'].values()) == list(range(count))
        names += content['catname2label']
    assert names == [f'glyph_{number:04d}' for number in range(19)]


def test_every_drawing_is_black_on_white_and_differs(root: Path) -> None:
    drawings = np.concatenate([content['data'] for content in splits(root).values()])
    assert len({one.tobytes() for one in drawings}) == len(drawings)
    ink = (255 - drawings.astype(float)).mean((1, 2)) / 255
    assert (drawings.min((1, 2)) < 60).all()
    assert (drawings.max((1, 2)) == 255).all()
    assert ink.min() > 0.03
    assert ink.max() < 0.5


def test_drawings_of_a_class_are_more_alike_than_those_of_two() -> None:
    rngs = [np.random.default_rng(seed) for seed in range(40)]
    pairs = []
    for rng in rngs:
        strokes = draw_class(rng)
        pairs.append([draw_glyph(strokes, rng, 32).astype(float) for _ in range(2)])
    one, other = np.array(pairs).reshape(40, 2, -1).swapaxes(0, 1)
    distance = np.linalg.norm(one[:, None] - other, axis=-1)
    nearest = (distance.argmin(1) == np.arange(40)).mean()
    # Pixels alone tell far more than chance, and far less than all.
    assert 0.2 < nearest < 0.95


def test_a_class_depends_on_seed_and_number_only(root: Path, tmp_path: Path) -> None:
    more = generate_glyphs(tmp_path / 'more', GlyphsSpec(12, 2, 2, drawings=6))
    first = splits(root)['train']['data']
    np.testing.assert_array_equal(splits(more)['train']['data'][: len(first)], first)
    other = generate_glyphs(tmp_path / 'other', GlyphsSpec(8, 5, 6, drawings=6, seed=1))
    assert (splits(other)['train']['data'] != first).any((1, 2)).all()


def test_same_spec_gives_same_files(root: Path, tmp_path: Path) -> None:
    assert contents(generate_glyphs(tmp_path / 'again', SMALL)) == contents(root)


def test_second_call_writes_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generated, '_write', None)
    assert generate_glyphs(root, SMALL) == root


def test_interruption_leaves_nothing_half_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(glyphs, 'draw_glyph', interrupted)
        with pytest.raises(KeyboardInterrupt):
            generate_glyphs(tmp_path / 'glyphs', SMALL)
    assert {path.name for path in tmp_path.iterdir()} <= {'glyphs.lock'}
    (tmp_path / 'glyphs.unfinished').mkdir()
    (tmp_path / 'glyphs.unfinished' / 'half.pkl').write_bytes(b'half')
    root = generate_glyphs(tmp_path / 'glyphs', SMALL)
    assert not (root / 'half.pkl').exists()
    assert (root / 'train.pkl').exists()


def test_what_is_in_the_way_is_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'seed is 0, wanted 7'):
        generate_glyphs(root, GlyphsSpec(8, 5, 6, drawings=6, seed=7))
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'thesis.tex').write_text('mine')
    with pytest.raises(UserError, match=r'no readable spec\.json'):
        generate_glyphs(tmp_path / 'mine', SMALL)
    (tmp_path / 'file').write_text('a file')
    with pytest.raises(UserError, match=r'cannot be written to .*PAPERZOO_CACHE'):
        generate_glyphs(tmp_path / 'file' / 'glyphs', SMALL)


@pytest.mark.parametrize('wrong', [{'num_val': 0}, {'size': 8}, {'seed': -1}])
def test_impossible_spec_is_refused(wrong: dict[str, int]) -> None:
    key, value = next(iter(wrong.items()))
    with pytest.raises(UserError, match=f'{key}={value}'):
        GlyphsSpec(**wrong)


def test_a_config_names_it_as_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('PAPERZOO_CACHE', str(tmp_path))
    small = partial(glyphs.generate_glyphs, spec=SMALL)
    monkeypatch.setattr(glyphs, 'generate_glyphs', small)
    found = EpisodeDataset(
        'data/glyphs/',
        'val',
        layout='pickle',
        queries=5,
        disjoint_from=['train', 'test'],
    )
    assert (tmp_path / 'glyphs' / 'val.png').exists()
    assert found.metainfo['classes'][0] == 'glyph_0008'
    assert found[0]['query'].shape == (25, 3, 32, 32)
    with (tmp_path / 'glyphs' / 'val.pkl').open('rb') as file:
        content = pickle.load(file)
    assert len(content['data']) == 30

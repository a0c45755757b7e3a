"""Cards of exported files: what is written is read, what cannot be is refused."""

import json
from typing import Any

import pytest
from exported_files import card_text, detection_card

from paperzoo.errors import UserError
from paperzoo.runtime.card import read_card


def test_what_is_written_is_read() -> None:
    card = detection_card(
        palette=((1, 2, 3), (4, 5, 6)),
        scale=(256, 192),
        size=(256, 192),
        batch=1,
        mean=(1.0, 2.0, 3.0),
        std=(1.0, 1.0, 1.0),
        settings={'score_thr': 0.05},
        versions={'torch': '2.13.0'},
    )
    assert read_card(card.to_json(), 'a.onnx') == card


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({'format': 2}, 'another version'),
        ({'task': 'poems'}, 'task=poems'),
        ({'classes': 'cat'}, 'classes=cat'),
        ({'classes': [1]}, 'classes='),
        ({'scale': [0, 5]}, 'scale='),
        ({'scale': [10**9, 5]}, 'scale='),
        ({'size': [5]}, 'size='),
        ({'size': [True, 5]}, 'size='),
        ({'divisor': 0}, 'divisor=0'),
        ({'batch': -1}, 'batch=-1'),
        ({'interpolation': 'magic'}, 'interpolation=magic'),
        ({'keep_ratio': 'yes'}, 'keep_ratio=yes'),
        ({'mean': ['a']}, 'mean='),
        ({'mean': [float('nan')]}, 'mean='),
        ({'std': [float('inf')]}, 'std='),
        ({'std': [True]}, 'std='),
        ({'palette': [[1, 2]]}, 'palette='),
        ({'settings': 3}, 'settings=3'),
        ({'command': 'rm'}, 'unknown keys: command'),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        read_card(card_text(**changes), 'a.onnx')
    assert "'a.onnx'" in str(caught.value)


@pytest.mark.parametrize('text', ['', 'no json', '[1]', '[' * 5000, '1' * (1 << 21)])
def test_what_is_no_card_is_refused(text: str) -> None:
    with pytest.raises(UserError, match='no JSON object'):
        read_card(text, 'a.onnx')


def test_a_missing_key_is_named() -> None:
    text = json.loads(card_text())
    del text['model']
    with pytest.raises(UserError, match='no keys: model'):
        read_card(json.dumps(text), 'a.onnx')

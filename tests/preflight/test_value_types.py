"""Values against annotations: wrong ones are named, those of shipped configs pass."""

import re
from collections.abc import Callable
from inspect import isclass
from typing import Any, Literal

import pytest
from mmengine.config import Config
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner

from paperzoo.apis.config import load_config
from paperzoo.preflight.registered_names import KnownNames
from paperzoo.preflight.spelling import misspelt
from paperzoo.preflight.value_types import fits, in_words, wrong_values


@pytest.mark.parametrize(
    ('value', 'hint', 'fit'),
    [
        *((3, int, True), (8e4, int, True), (2.5, int, False), (True, int, False)),
        *((float('inf'), float, True), (3, float, True), ('1e-3', float, False)),
        *((0, bool, True), ('no', bool, False), ('a', str, True), (3, str, False)),
        *((None, int | None, True), (None, int, False), ('x', Any, True)),
        *(([1, 2], list[int], True), (['a'], list[int], False), ((1,), list, True)),
        *(({'a': 3}, dict[str, int], True), ({'a': 'b'}, dict[str, int], False)),
        *(({'type': 'X'}, Hook, True), (3, Hook, False), ('a', Literal['b'], False)),
        *((print, Callable[[], None], True), (3, Callable[[], None], False)),
    ],
)
def test_fits(value: Any, hint: Any, fit: bool) -> None:
    assert fits(value, hint) is fit


def test_a_default_stands_for_an_annotation() -> None:
    class Part:
        def __init__(self, size=3, name=None, flag=False):
            pass

    Part.__init__.__module__ = 'mmengine'
    given = {'size': 'x', 'name': 3, 'flag': 'no'}
    issues = wrong_values(Config(), 'part', given, Part)
    assert [one.text.partition(' ')[0] for one in issues] == ['part.size', 'part.flag']


def test_in_words() -> None:
    assert in_words(dict[str, Hook | dict]) == 'a dict of (a Hook or a dict)'
    assert in_words(Literal['a', 'b']) == "'a' or 'b'"
    assert in_words(Callable[[int], None]) == 'a Callable'


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('default_hooks.checkpoint.max_keep_ckpts', 'x'),
        ('train_dataloader.sampler.shuffle', 'x'),
        ('train_dataloader.drop_last', 'x'),
        ('randomness.deterministic', 'x'),
        ('log_processor.window_size', 'x'),
        ('optim_wrapper.optimizer.weight_decay', '5e-4'),
        ('param_scheduler.0.begin', 'x'),
        ('custom_hooks', [3]),
        ('default_hooks.timer', 3),
    ],
)
def test_a_wrong_value_of_a_config_is_named(key: str, value: Any) -> None:
    cfg = load_config('fcos_tiny_shapes')
    cfg.merge_from_dict({key: value})
    (issue,) = misspelt(cfg)
    assert issue.text.startswith((f'{key} = {value!r}: ', 'default_hooks = {'))


@pytest.mark.parametrize(
    'given',
    [
        {'default_hooks': {'timer': None}},
        {'log_level': 20},
        {'param_scheduler': {'type': 'OneCycleLR', 'eta_max': [0.1, 0.2]}},
    ],
)
def test_what_mmengine_takes_passes(given: dict[str, Any]) -> None:
    assert misspelt(Config(given)) == []


def test_what_docstrings_of_mmengine_say_is_taken_passes() -> None:
    names = KnownNames('mmengine', set())
    built = {one for found in names.scopes['mmengine'].values() for one in found}
    values = {'int': 3, 'float': 2.5, 'str': 'DEBUG', 'list': [], 'tuple': ()}
    refused, compared = [], 0
    for owner in {Runner, *filter(isclass, built)}:
        if not owner.__module__.startswith('mmengine.'):
            continue
        said = f'{owner.__doc__} {owner.__init__.__doc__}'
        for name, kinds in re.findall(r'^ +(\w+) \(([^)]*)\)', said, re.MULTILINE):
            outer = re.findall(r'\w+', re.sub(r'\[.*| of .*', '', kinds))
            for kind in {*outer} & {*values}:
                refused += wrong_values(Config(), '', {name: values[kind]}, owner)
                compared += 1
    assert compared > 200
    assert [one.text for one in refused] == []


def test_a_hook_as_it_is_given_passes() -> None:
    given = {'interval': 5, 'max_keep_ckpts': -1, 'save_best': ['a'], 'out_dir': None}
    assert wrong_values(Config(), '', given, CheckpointHook) == []

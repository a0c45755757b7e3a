"""Every place that code, configs and tests name is one that the paper has."""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ARXIV = {
    'fcos': '1904.01355',
    'fcos-journal': '2006.09214',
    'knet': '2106.14855',
    'dmf': '2103.13582',
    'can': '1910.07677',
    'feat': '1812.03664',
    'attention': '1706.03762',
    'local-attention': '1906.05909',
}
# What may be cited: few equations, else titles of sections. Who adds one looks it up in
# the paper; a number that is not certain is replaced by the section's title.
PLACES = {
    'fcos': {
        'Eq. 1',
        'Eq. 2',
        'Eq. 3',
        '"Fully Convolutional One-Stage Object Detector"',
        '"Multi-level Prediction with FPN"',
        '"Center-ness"',
    },
    'knet': {
        '"K-Net"',
        '"Group-Aware Kernels"',
        '"Group Feature Assembling"',
        '"Adaptive Kernel Update"',
        '"Kernel Interaction"',
        '"Training Instance Kernels"',
    },
    'dmf': {
        '"Dynamic Sampling"',
        '"Dynamic Meta-filter"',
        '"Adaptive Alignment"',
        '"Meta-classifier"',
        '"Implementation Details"',
    },
    'can': {'"Cross Attention Module"', '"Transductive Inference"'},
    'feat': {
        '"Adapting to Task-Specific Embeddings"',
        '"Embedding Adaptation via Set-to-set Functions"',
        '"Contrastive Learning of Set-to-Set Functions"',
    },
    'attention': {
        'Eq. 1',
        'Eq. 2',
        'Eq. 3',
        '"Encoder and Decoder Stacks"',
        '"Multi-Head Attention"',
        '"Embeddings and Softmax"',
        '"Positional Encoding"',
    },
    'local-attention': {'"Self-Attention"', '"Replacing Spatial Convolutions"'},
}
KEYS = '|'.join(sorted(ARXIV, key=len, reverse=True))
# A number or a title, however it is written.
PLACE = r'Eqs?\b\.?[ ~]*\(?[\w.]+|Equation \(?\w+|(?:Sec|Fig|Tab)\w*\.? [\d.]+|"[^"]*"'
LINE = re.compile(r'^\s*Paper: (.*)$', re.MULTILINE)
MARK = re.compile(r"mark\.paper\('([^']*)'\)")
# Beside a key, in the source of a figure as well as in prose.
BESIDE = re.compile(rf'(?<![\w-])({KEYS})(?: \(arXiv [\d.]+\))?,? ({PLACE})')


def sources(*folders: str) -> Iterator[tuple[Path, str]]:
    for folder in folders:
        for file in sorted((ROOT / folder).rglob('*.py')):
            yield file, file.read_text(encoding='utf-8')


def places_of(line: str) -> tuple[str, list[str]]:
    """Return key and places of a locator; refuse an unknown key or arXiv id."""
    found = re.match(rf'({KEYS})(?: \(arXiv ([\d.]+)\))?(?=$|[\s,])', line)
    assert found, f'no known paper: {line}'
    key, arxiv = found.groups()
    assert arxiv in (None, ARXIV[key]), line
    return key, re.findall(PLACE, line[found.end() :])


def invented(text: str) -> list[str]:
    """Return the locators of a source text that name no place of a paper."""
    named = [places_of(line) for line in locators(text)]
    named += [(key, [place]) for key, place in BESIDE.findall(text)]
    return [
        f'{key} {place}'
        for key, places in named
        for place in places
        if place not in PLACES.get(key, ())
    ]


def locators(text: str) -> list[str]:
    """Return what stands behind `Paper:` and in marks, without what cites no paper."""
    lines = [line for line in LINE.findall(text) if not line.startswith('none')]
    return lines + MARK.findall(text)


def test_no_place_is_invented() -> None:
    checked = 0
    for file, text in sources('paperzoo', 'configs', 'projects', 'tests'):
        if file == Path(__file__):
            continue
        assert invented(text) == [], file
        checked += len(locators(text))
    assert checked > 150


def test_every_equation_and_title_is_in_the_code_and_equations_are_tested() -> None:
    """What the list has is what the repository names; an equation has a test."""
    code: dict[str, set[str]] = defaultdict(set)
    tests: dict[str, set[str]] = defaultdict(set)
    for folders, named in ((('paperzoo', 'configs'), code), (('tests',), tests)):
        for file, text in sources(*folders):
            if file == Path(__file__):
                continue
            for line in locators(text):
                key, places = places_of(line)
                named[key] |= set(places)
    for key, expected in PLACES.items():
        equations = {place for place in expected if place.startswith('Eq.')}
        assert expected == code[key] | tests[key]
        assert equations <= code[key] & tests[key]


@pytest.mark.parametrize(
    ('text', 'wrong'),
    [
        ('    Paper: fcos Eq. 3\n', []),
        ('Paper: fcos (arXiv 1904.01355), "Center-ness"; the authors\' head\n', []),
        ('Paper: none; a question to fcos (arXiv 1904.01355)\n', []),
        ('    Paper: fcos Eq. 4\n', ['fcos Eq. 4']),
        ('    Paper: fcos Eq. (3)\n', ['fcos Eq. (3']),
        ('    Paper: knet Eq. 1 (its mask term)\n', ['knet Eq. 1']),
        ('    Paper: dmf "Center-ness"\n', ['dmf "Center-ness"']),
        ('    Paper: fcos-journal Sec. 3.2\n', ['fcos-journal Sec. 3.2']),
        ("@pytest.mark.paper('attention Eq. 7')\n", ['attention Eq. 7']),
        ("source = 'local-attention Eq. 2'\n", ['local-attention Eq. 2']),
    ],
)
def test_what_is_invented_is_found(text: str, wrong: list[str]) -> None:
    assert sorted(set(invented(text))) == wrong


@pytest.mark.parametrize('line', ['detr Eq. 1', 'fcos (arXiv 1904.01356)', 'fcosEq. 1'])
def test_an_unknown_paper_is_refused(line: str) -> None:
    with pytest.raises(AssertionError):
        places_of(line)

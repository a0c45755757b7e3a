"""The three kinds of output: padding changes nothing, and every config runs."""

import ast
import json
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import init_default_scope
from torch import Tensor
from torch.testing import assert_close

from paperzoo.apis.config import config_folders
from paperzoo.attention.schedule import InverseSqrtLR, warmup_rate
from paperzoo.attention.sequence_models import SequenceModel, masked_mean
from paperzoo.attention.translator import END, SequenceTranslator, shift_right
from paperzoo.data.sequences import IGNORED, pad_collate
from paperzoo.errors import UserError
from paperzoo.registry import DATASETS, METRICS, MODELS

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((config_folders()[0] / 'attention').rglob('*.py'))
by_config = pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)


def load(path: Path) -> Config:
    cfg = Config.fromfile(str(path))
    init_default_scope(cfg.default_scope)
    return cfg


def model_of(cfg: Config) -> SequenceModel:
    torch.manual_seed(0)
    return MODELS.build(cfg.model).double()


def some_items(cfg: Config, count: int = 4) -> list[dict[str, Tensor]]:
    """Items of different lengths, with inputs of the model's own precision."""
    cfg.train_dataloader.dataset.num = count
    items = list(DATASETS.build(cfg.train_dataloader.dataset))
    assert len({len(item['inputs']) for item in items}) > 1
    return [{**item, 'inputs': as_double(item['inputs'])} for item in items]


def as_double(inputs: Tensor) -> Tensor:
    return inputs.double() if inputs.is_floating_point() else inputs


@by_config
def test_a_padded_batch_gives_the_numbers_of_its_sequences(path: Path) -> None:
    """Scores, loss and all gradients, as if each had come alone and unpadded."""
    cfg = load(path)
    model = model_of(cfg)
    items = some_items(cfg)
    batch = pad_collate(items)
    together = model(**batch)
    loss = model(**batch, mode='loss')['loss']
    total = torch.zeros((), dtype=torch.float64)
    labels = [item['target'].numel() for item in items]
    share = torch.tensor(labels, dtype=torch.float64) / sum(labels)
    for item, row, part in zip(items, together, share, strict=True):
        inputs, target = item['inputs'][None], item['target'][None]
        alone = model(inputs, None, target)[0]
        assert_close(row[: len(alone)], alone)
        total = total + model(inputs, None, target, mode='loss')['loss'] * part
    assert_close(loss, total)
    weights = list(model.parameters())
    one, other = (torch.autograd.grad(each, weights) for each in (loss, total))
    assert_close(one, other)


@by_config
def test_what_lies_in_the_padding_does_not_matter(path: Path) -> None:
    cfg = load(path)
    model = model_of(cfg)
    batch = pad_collate(some_items(cfg))
    other = batch['inputs'].clone()
    other[batch['padding']] = 1
    changed = {**batch, 'inputs': other}
    losses = (model(**each, mode='loss')['loss'] for each in (batch, changed))
    assert_close(*losses)
    for one, two in zip(
        model(**batch, mode='predict'), model(**changed, mode='predict'), strict=True
    ):
        assert_close(one, two)


@by_config
def test_a_batch_without_labels_has_no_loss_and_no_gradient(path: Path) -> None:
    """All is padding: nothing is learnt of it, and no weight becomes NaN."""
    cfg = load(path)
    model = model_of(cfg)
    batch = pad_collate(some_items(cfg))
    batch['padding'] = torch.ones_like(batch['padding'])
    batch['target'] = torch.full_like(batch['target'], IGNORED)
    loss = model(**batch, mode='loss')['loss']
    assert loss == 0
    for slope in torch.autograd.grad(loss, list(model.parameters())):
        assert (slope == 0).all()


@by_config
def test_predictions_alone_and_together_are_the_same(path: Path) -> None:
    cfg = load(path)
    model = model_of(cfg)
    items = some_items(cfg)
    found = model.test_step(pad_collate(items))
    for item, sample in zip(items, found, strict=True):
        (alone,) = model(item['inputs'][None], mode='predict')
        assert_close(sample['pred_label'], alone['pred_label'])
        assert_close(sample['gt_label'], item['target'].view(-1))


@by_config
def test_every_parameter_learns(path: Path) -> None:
    cfg = load(path)
    model = model_of(cfg)
    batch = pad_collate(some_items(cfg))
    total, _ = model.parse_losses(model(**batch, mode='loss'))
    total.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@by_config
def test_splits_are_not_confused(path: Path) -> None:
    cfg = load(path)
    for phase in ('train', 'val', 'test'):
        dataset = cfg[f'{phase}_dataloader'].dataset
        assert dataset.split == phase
        assert DATASETS.get(dataset.type.__name__) is dataset.type
    assert METRICS.get('SequenceAccuracy') is cfg.test_evaluator.type
    assert cfg.param_scheduler[1].end == cfg.train_cfg.max_epochs


def test_order_matters_to_the_tagger_and_not_to_the_set() -> None:
    """Without positions, tags move with their tokens; a set's label never changes."""
    tagging, sets, _ = (load(path) for path in named('tagging', 'set', 'translation'))
    order = torch.tensor([2, 0, 3, 1])
    tokens = torch.tensor([[3, 5, 3, 1]])
    tagging.model.positions = None
    model = model_of(tagging)
    assert_close(model(tokens[:, order]), model(tokens)[:, order])
    del tagging.model['positions']
    model = model_of(tagging)
    moved, kept = model(tokens[:, order]), model(tokens)[:, order]
    assert (moved - kept).abs().max() > 1e-3
    model = model_of(sets)
    vectors = torch.randn(1, 4, 13, dtype=torch.float64)
    assert_close(model(vectors[:, order]), model(vectors))


def named(*words: str) -> list[Path]:
    return [
        next(path for path in CONFIGS if path.stem.startswith(f'attention_{word}'))
        for word in words
    ]


@given(st.integers(1, 6), st.integers(0, 4), st.integers(0, 1000))
def test_masked_mean_is_the_mean_of_what_is_there(
    real: int, padded: int, seed: int
) -> None:
    tokens = torch.randn(
        1, real + padded, 3, generator=torch.Generator().manual_seed(seed)
    )
    padding = (torch.arange(real + padded) >= real)[None]
    assert_close(masked_mean(tokens, padding), tokens[:, :real].mean(1))


def test_masked_mean_of_padding_only_is_zero() -> None:
    found = masked_mean(torch.ones(1, 2, 3), torch.ones(1, 2, dtype=torch.bool))
    assert_close(found, torch.zeros(1, 3))


def test_a_decoder_is_given_the_token_before() -> None:
    target = torch.tensor([[4, 7, END], [5, END, IGNORED]])
    expected = torch.tensor([[END, 4, 7], [END, 5, END]])
    assert_close(shift_right(target), expected)


def translator() -> SequenceTranslator:
    (path,) = named('translation')
    return model_of(load(path))


@settings(max_examples=10)
@given(st.integers(1, 5), st.integers(6, 8))
def test_a_decoder_does_not_look_ahead(place: int, new: int) -> None:
    model = translator()
    memory = model.encode(torch.tensor([[0, 4, 1, 5]]), None)
    tokens = torch.tensor([[END, 1, 2, 3, 4, 5]])
    changed = tokens.clone()
    changed[0, place] = new
    one, other = (model.decode(each, memory) for each in (tokens, changed))
    assert_close(one[:, :place], other[:, :place])
    assert (one[:, place] - other[:, place]).abs().max() > 1e-3


def test_greedy_decoding_takes_the_likeliest_and_ends_where_the_model_says() -> None:
    """Each token is the likeliest after those before it; END is the last, or none."""
    model = translator()
    source = torch.tensor([[0, 4, 1, 5], [3, 11, 0, 0]])
    padding = torch.tensor([[False] * 4, [False, False, True, True]])
    for sequence in model.decide(source, padding):
        assert 1 <= len(sequence) <= 18
        assert (sequence[:-1] != END).all()
        assert len(sequence) == 18 or sequence[-1] == END
    found = model.decide(source[:1], None)[0]
    scores = model(source[:1], None, found[None])[0]
    assert_close(scores.argmax(-1), found)


@pytest.mark.parametrize(
    ('always', 'expected'), [(END, [END]), (3, [3] * 18)], ids=['at once', 'never']
)
def test_the_model_alone_decides_when_to_end(always: int, expected: list[int]) -> None:
    model = translator()
    with torch.no_grad():
        model.classifier.weight.zero_()
        model.classifier.bias.zero_()[always] = 1
    (found,) = model.decide(torch.tensor([[3, 4]]), None)
    assert found.tolist() == expected


def test_wrong_modes_are_refused() -> None:
    model = translator()
    source = torch.tensor([[0, 4]])
    with pytest.raises(UserError, match="mode='loss': use loss \\(with target\\)"):
        model(source, mode='loss')
    with pytest.raises(UserError, match="mode='tensor' scores a target"):
        model(source)


@pytest.mark.paper('attention Eq. 3')
def test_the_rate_can_be_checked() -> None:
    """Of 4 channels, warm-up 16: 1/2 at step 1 of 1/64, at step 64 of 1/8."""
    assert warmup_rate(1, 4, 16) == pytest.approx(0.5 / 64)
    assert warmup_rate(16, 4, 16) == pytest.approx(0.5 / 4)
    assert warmup_rate(64, 4, 16) == pytest.approx(0.5 / 8)


@given(st.integers(1, 5000), st.integers(1, 1024), st.integers(1, 5000))
def test_the_rate_is_highest_at_the_end_of_the_warm_up(
    step: int, channels: int, warmup: int
) -> None:
    rate, top = (warmup_rate(each, channels, warmup) for each in (step, warmup))
    assert 0 < rate <= top * (1 + 1e-12)
    assert top == pytest.approx((channels * warmup) ** -0.5)


@pytest.mark.paper('attention Eq. 3')
def test_the_scheduler_gives_the_rate_of_each_step() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    wrapper = OptimWrapper(torch.optim.SGD([weight], lr=0.5))
    scheduler = InverseSqrtLR(wrapper, embed_dims=4, warmup=3)
    for step in range(1, 8):
        rate = 0.5 * warmup_rate(step, 4, 3)
        assert wrapper.get_lr()['lr'] == [pytest.approx(rate)]
        wrapper.update_params((weight * 0).sum())
        scheduler.step()
    with pytest.raises(UserError, match='warmup=0'):
        InverseSqrtLR(wrapper, embed_dims=4, warmup=0)


@by_config
def test_a_few_sequences_are_learnt_by_heart(path: Path) -> None:
    cfg = load(path)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    cfg.train_dataloader.dataset.num = 8
    items = list(DATASETS.build(cfg.train_dataloader.dataset))
    batch = pad_collate(items)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for _ in range(60):
        loss = model(**batch, mode='loss')['loss']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        for sample in model(**batch, mode='predict'):
            assert_close(sample['pred_label'], sample['gt_label'])


@by_config
def test_the_numbers_are_those_of_the_result_file(path: Path) -> None:
    """In the config's header, the README and the metafile."""
    record = json.loads((ROOT / 'benchmarks/results/attention_tasks.json').read_text())
    (task,) = (one for one in record['tasks'] if one['config'] == path.stem)
    for name, numbers in task['summary'].items():
        own = [run[task['metric']] for run in task['runs'] if run['what'] == name]
        assert numbers['mean'] == round(sum(own) / len(own), 2)
    full, without = (numbers['mean'] for numbers in task['summary'].values())
    assert full > 95
    assert without < full - 10
    rows = (ROOT / 'configs/attention/README.md').read_text().splitlines()
    (row,) = (row for row in rows if row.startswith(f'| [`{path.stem}`]'))
    cells = [cell.strip() for cell in row.split('|')]
    assert cells[4].startswith(f'{full:.1f}')
    assert f': {without:.1f}' in cells[5]
    header = ast.get_docstring(ast.parse(path.read_text()))
    assert f'{full:.1f} %' in header
    meta = yaml.safe_load((ROOT / 'configs/attention/metafile.yml').read_text())
    (model,) = (one for one in meta['Models'] if one['Name'] == path.stem)
    assert list(model['Results'][0]['Metrics'].values()) == [full]

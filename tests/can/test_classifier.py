"""CANClassifier against loops, its laws, transduction, static shapes."""

from typing import Any

import pytest
import torch
from references import can as reference
from references.dmf import TINY
from torch import Tensor
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from paperzoo.can import CANClassifier, with_confident_queries
from paperzoo.errors import UserError
from paperzoo.registry import MODELS

WAYS, CHANNELS = 3, 4
LABELS = torch.tensor([2, 0, 1, 1, 2, 0])


def build(**changes: Any) -> CANClassifier:
    torch.manual_seed(0)
    own = dict(feat_channels=CHANNELS, positions=6, reduction=2, temperature=0.3)
    return CANClassifier(TINY, **{**own, **changes}).double().eval()


def maps() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    support, query = torch.randn(6, CHANNELS, 2, 3), torch.randn(5, CHANNELS, 2, 3)
    return support.double(), query.double()


@pytest.mark.paper('can "Cross Attention Module"')
def test_scores_are_those_of_the_loops() -> None:
    model, (support, query) = build(), maps()
    dense, pooled = reference.scores(model, support, LABELS, query, WAYS)
    found, same = model.score_episode(support, LABELS, query, WAYS)
    assert_close(found.flatten(2), dense)
    assert same is query
    batch = support[None], LABELS[None], query[None]
    assert_close(model.predict_from_feats(*batch, WAYS)[0], pooled)


def test_gradients_are_those_of_the_loops() -> None:
    model, (support, query) = build(), maps()
    leaves = [
        support.requires_grad_(),
        query.requires_grad_(),
        *model.fusion.parameters(),
    ]
    dense, pooled = reference.scores(model, support, LABELS, query, WAYS)
    torch.manual_seed(2)
    weight, other = torch.randn_like(dense), torch.randn_like(pooled)
    expected = torch.autograd.grad(
        (dense * weight).sum() + (pooled * other).sum(), leaves
    )
    found = model.score_episode(support, LABELS, query, WAYS)[0].flatten(2)
    mine = model.score_pooled(support, LABELS, query, WAYS)
    total = (found * weight).sum() + (mine * other).sum()
    for one, wanted in zip(torch.autograd.grad(total, leaves), expected, strict=True):
        assert_close(one, wanted)


@pytest.mark.parametrize('rounds', [0, 2])
def test_order_of_supports_classes_and_queries(rounds: int) -> None:
    model, (support, query) = build(transductive_rounds=rounds, candidates=3), maps()

    def scores(support: Tensor, labels: Tensor, query: Tensor) -> Tensor:
        batch = support[None], labels[None], query[None]
        return model.predict_from_feats(*batch, WAYS)[0]

    own = scores(support, LABELS, query)
    order = torch.tensor([4, 2, 0, 5, 1, 3])
    assert_close(scores(support[order], LABELS[order], query), own)
    assert_close(scores(support, LABELS, query.flip(0)), own.flip(0))
    names = torch.tensor([1, 2, 0])
    assert_close(scores(support, names[LABELS], query)[:, names], own)
    # Only with transduction does a query matter to another.
    alone = torch.cat([scores(support, LABELS, one[None]) for one in query])
    assert bool(((alone - own).abs().max() < 1e-9) == (rounds == 0))


@pytest.mark.paper('can "Transductive Inference"')
def test_the_most_confident_queries_join_their_class() -> None:
    support, query = torch.zeros(2, 1, 1, 1), torch.arange(1.0, 4).view(3, 1, 1, 1)
    scores = torch.tensor([[0.7, 0.1], [0.2, 0.3], [0.0, 0.9]])
    more, labels = with_confident_queries(support, torch.arange(2), query, scores, 2)
    assert_close(more.flatten(), torch.tensor([0.0, 0, 3, 1]))
    assert labels.tolist() == [0, 1, 1, 0]
    all_of_them = with_confident_queries(support, torch.arange(2), query, scores, 9)
    assert len(all_of_them[0]) == 5


def test_one_round_is_the_scores_with_more_supports() -> None:
    model, (support, query) = build(transductive_rounds=1, candidates=2), maps()
    first = model.score_pooled(support, LABELS, query, WAYS)
    more, labels = with_confident_queries(support, LABELS, query, first, 2)
    batch = support[None], LABELS[None], query[None]
    found = model.predict_from_feats(*batch, WAYS)[0]
    assert_close(found, model.score_pooled(more, labels, query, WAYS))
    assert (found - first).abs().max() > 1e-3


def test_every_parameter_learns() -> None:
    torch.manual_seed(0)
    config = dict(
        type='paperzoo.CANClassifier',
        backbone=TINY,
        feat_channels=CHANNELS,
        positions=16,
        num_classes=6,
        meta_weight=2.0,
    )
    model = MODELS.build(config).train()
    images, labels = torch.rand(2, 3, 3, 8, 8), torch.arange(3).repeat(2, 1)
    losses = model(images, labels, images, labels, query_class=labels, mode='loss')
    assert set(losses) == {'loss_global', 'loss_meta', 'accuracy'}
    model.parse_losses(losses)[0].backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []
    for found in model.eval()(images, labels, images, labels, mode='predict'):
        assert_close(found['pred_label'], found['gt_label'])


def test_no_map_of_a_pair_is_made() -> None:
    """Neither in training nor in evaluation: the largest tensor shows it."""

    class Largest(TorchDispatchMode):
        numbers = 0

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            out = func(*args, **(kwargs or {}))
            if isinstance(out, Tensor):
                self.numbers = max(self.numbers, out.numel())
            return out

    torch.manual_seed(0)
    channels, queries = 64, 10
    model = CANClassifier(TINY, feat_channels=channels, positions=9, reduction=2)
    support, query = (
        torch.randn(6, channels, 3, 3),
        torch.randn(queries, channels, 3, 3),
    )
    with Largest() as largest, torch.no_grad():
        model.score_episode(support, LABELS, query, WAYS)
        model.score_pooled(support, LABELS, query, WAYS)
    assert largest.numbers < queries * WAYS * channels * 9 / 2


def test_static_shapes() -> None:
    model = build()
    support, query = maps()
    torch._dynamo.reset()
    compiled = torch.compile(model.score_episode, backend='eager', fullgraph=True)
    found = compiled(support, LABELS, query, WAYS)[0]
    assert_close(found, model.score_episode(support, LABELS, query, WAYS)[0])


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(UserError, match='temperature=0'):
        build(temperature=0)
    support, query = maps()
    with pytest.raises(UserError, match='have 2 x 3: set positions=6'):
        build(positions=9).score_episode(support, LABELS, query, WAYS)

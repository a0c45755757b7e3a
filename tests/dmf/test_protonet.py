"""The baselines: distances, losses, and what learns."""

import pytest
import torch
from beartype import beartype
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import jaxtyped
from references.dmf import TINY
from torch.autograd import gradcheck
from torch.nn import functional as F
from torch.testing import assert_close

from paperzoo.dmf import NearestPrototype, ProtoNet, protonet
from paperzoo.errors import UserError
from paperzoo.registry import MODELS

prototype_scores = jaxtyped(typechecker=beartype)(protonet.prototype_scores)
SMALL = dict(backbone=TINY, feat_channels=4)


def test_scores_by_hand() -> None:
    query = torch.tensor([[3.0, 4.0]])
    classes = torch.tensor([[3.0, 4.0], [0.0, 8.0], [-6.0, -8.0]])
    squared = prototype_scores(query, classes, 'euclidean')
    assert_close(squared, torch.tensor([[0.0, -25.0, -225.0]]))
    cosine = prototype_scores(query, classes, 'cosine')
    assert_close(cosine, torch.tensor([[1.0, 0.8, -1.0]]))


@given(st.floats(0.1, 10), st.integers(0, 99))
def test_cosine_knows_no_length_and_distance_no_origin(size: float, seed: int) -> None:
    torch.manual_seed(seed)
    query, classes = torch.randn(3, 4).double(), torch.randn(2, 4).double()
    cosine = prototype_scores(query, classes, 'cosine')
    assert_close(prototype_scores(size * query, classes, 'cosine'), cosine)
    distance = prototype_scores(query, classes, 'euclidean')
    moved = prototype_scores(query + size, classes + size, 'euclidean')
    assert_close(moved, distance)


@pytest.mark.parametrize('distance', ['euclidean', 'cosine'])
def test_gradients(distance: str) -> None:
    torch.manual_seed(0)
    leaves = [torch.randn(n, 3).double().requires_grad_() for n in (2, 4)]
    assert gradcheck(lambda *x: prototype_scores(*x, distance), leaves)


@pytest.mark.parametrize('distance', ['euclidean', 'cosine'])
def test_loss_and_scores_of_an_episode(distance: str) -> None:
    torch.manual_seed(0)
    model = ProtoNet(**SMALL, distance=distance, scale=3.0, meta_weight=2.0)
    support, query = torch.randn(1, 4, 4, 2, 2), torch.randn(1, 5, 4, 2, 2)
    labels, own = torch.tensor([[0, 1, 1, 0]]), torch.tensor([[0, 1, 1, 1, 0]])
    pooled = support[0].mean((2, 3))
    classes = torch.stack([pooled[[0, 3]].mean(0), pooled[[1, 2]].mean(0)])
    expected = 3 * prototype_scores(query[0].mean((2, 3)), classes, distance)
    scores = model.predict_from_feats(support, labels, query, 2)
    assert_close(scores[0], expected)
    losses = model.loss_by_feat(support, labels, query, own, None, 2)
    assert_close(losses['loss_meta'], 2 * F.cross_entropy(expected, own[0]))
    right = expected.argmax(1) == own[0]
    assert_close(losses['accuracy'], right.float().mean())


@pytest.mark.parametrize('name', ['ProtoNet', 'NearestPrototype'])
def test_every_parameter_learns(name: str) -> None:
    config = dict(type=f'paperzoo.{name}', num_classes=6, **SMALL)
    torch.manual_seed(0)
    model = MODELS.build(config).train()
    images, labels = torch.rand(2, 3, 3, 8, 8), torch.arange(3).repeat(2, 1)
    losses = model(images, labels, images, labels, query_class=labels, mode='loss')
    meta = {'loss_meta'} if name == 'ProtoNet' else set()
    assert set(losses) == {'loss_global', 'accuracy'} | meta
    model.parse_losses(losses)[0].backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []
    # A query that is its class's only support is nearest to itself.
    predictions = model.eval()(images, labels, images, labels, mode='predict')
    for found in predictions:
        assert_close(found['pred_label'], found['gt_label'])


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(UserError, match="distance='manhattan'"):
        ProtoNet(**SMALL, distance='manhattan')
    with pytest.raises(UserError, match='NearestPrototype: nothing is learnt'):
        NearestPrototype(**SMALL)

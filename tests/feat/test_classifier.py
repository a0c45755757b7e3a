"""FEATClassifier: scores by hand, laws, losses, static shapes."""

from typing import Any

import pytest
import torch
from references.dmf import TINY
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from paperzoo.dmf import ProtoNet
from paperzoo.errors import UserError
from paperzoo.feat import FEATClassifier
from paperzoo.registry import MODELS

WAYS, CHANNELS = 3, 4
LABELS, OWN = torch.tensor([2, 0, 1, 1, 2, 0]), torch.tensor([0, 1, 2, 2, 1])


def build(**changes: Any) -> FEATClassifier:
    torch.manual_seed(0)
    return FEATClassifier(TINY, feat_channels=CHANNELS, **changes).double().eval()


def maps() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    support, query = torch.randn(6, CHANNELS, 2, 3), torch.randn(5, CHANNELS, 2, 3)
    return support.double(), query.double()


def squares(query: Tensor, centers: Tensor) -> Tensor:
    return torch.stack([-((query - one) ** 2).sum(1) for one in centers], dim=1)


@pytest.mark.paper('feat "Adapting to Task-Specific Embeddings"')
def test_scores_are_distances_from_adapted_prototypes() -> None:
    model, (support, query) = build(scale=0.5), maps()
    means = support.mean((2, 3))
    classes = torch.stack([means[k == LABELS].mean(0) for k in range(WAYS)])
    adapted = model.adaptation(classes[None])[0]
    expected = 0.5 * squares(query.mean((2, 3)), adapted)
    assert_close(model.score_episode(support, LABELS, query, WAYS)[0], expected)


def test_without_attention_it_is_protonet() -> None:
    model, (support, query) = build(), maps()
    torch.nn.init.zeros_(model.adaptation.attention.out_proj.weight)
    twin = ProtoNet(TINY, feat_channels=CHANNELS)
    found, expected = (
        each.score_episode(support, LABELS, query, WAYS)[0] for each in (model, twin)
    )
    assert_close(found, expected)


@pytest.mark.parametrize('distance', ['euclidean', 'cosine'])
def test_order_of_supports_classes_and_queries(distance: str) -> None:
    model, (support, query) = build(distance=distance), maps()

    def scores(support: Tensor, labels: Tensor, query: Tensor) -> Tensor:
        return model.score_episode(support, labels, query, WAYS)[0]

    own = scores(support, LABELS, query)
    order = torch.tensor([4, 2, 0, 5, 1, 3])
    assert_close(scores(support[order], LABELS[order], query), own)
    assert_close(scores(support, LABELS, query.flip(0)), own.flip(0))
    names = torch.tensor([1, 2, 0])
    assert_close(scores(support, names[LABELS], query)[:, names], own)
    # Another class changes the scores of all: prototypes see each other.
    moved = support + 3.0 * (LABELS == 2).double().view(-1, 1, 1, 1)
    assert (scores(moved, LABELS, query) - own)[:, :2].abs().max() > 1e-3


@pytest.mark.paper('feat "Contrastive Learning of Set-to-Set Functions"')
def test_contrastive_loss_by_hand() -> None:
    model, (support, query) = build(contrastive_weight=3.0, scale=0.5), maps()
    members = torch.cat((support, query)).mean((2, 3))
    adapted = model.adaptation(members[None])[0]
    labels = torch.cat((LABELS, OWN))
    centers = torch.stack([adapted[labels == k].mean(0) for k in range(WAYS)])
    scores = 0.5 * squares(query.mean((2, 3)), centers)
    found = model.loss_by_feat(
        support[None], LABELS[None], query[None], OWN[None], None, WAYS
    )
    assert_close(found['loss_contrastive'], 3 * F.cross_entropy(scores, OWN))
    plain = model.score_episode(support, LABELS, query, WAYS)[0]
    assert_close(found['loss_meta'], F.cross_entropy(plain, OWN))
    assert set(found) == {'loss_meta', 'loss_contrastive', 'accuracy'}


@pytest.mark.parametrize('weight', [0.0, 0.1])
def test_every_parameter_learns(weight: float) -> None:
    torch.manual_seed(0)
    config = dict(
        type='paperzoo.FEATClassifier',
        backbone=TINY,
        feat_channels=CHANNELS,
        num_classes=6,
        norm=True,
        contrastive_weight=weight,
    )
    model = MODELS.build(config).train()
    images, labels = torch.rand(2, 3, 3, 8, 8), torch.arange(3).repeat(2, 1)
    losses = model(images, labels, images, labels, query_class=labels, mode='loss')
    assert ('loss_contrastive' in losses) == (weight > 0)
    model.parse_losses(losses)[0].backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []
    assert model.eval()(images, labels, images).shape == (2, 3, 3)


def test_static_shapes() -> None:
    model, (support, query) = build(contrastive_weight=0.1), maps()
    torch._dynamo.reset()
    batch = support[None], LABELS[None], query[None], OWN[None], None, WAYS
    compiled = torch.compile(model.loss_by_feat, backend='eager', fullgraph=True)
    for key, loss in model.loss_by_feat(*batch).items():
        assert_close(compiled(*batch)[key], loss)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(UserError, match="distance='manhattan'"):
        build(distance='manhattan')
    with pytest.raises(UserError, match='num_heads=3 does not divide'):
        build(num_heads=3)

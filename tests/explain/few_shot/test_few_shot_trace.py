"""What counts for a model is recorded from its own methods."""

from typing import Any

import pytest
import torch
from references.dmf import TINY
from torch import Tensor
from torch.testing import assert_close

from paperzoo.can import CANClassifier, correlation
from paperzoo.common.few_shot import EpisodeClassifier, prototypes
from paperzoo.dmf import AdaptiveAlignment, DMFClassifier, DynamicMetaFilter, ProtoNet
from paperzoo.explain.few_shot.trace import RuleView, positions_used, view_episode
from paperzoo.feat import FEATClassifier

WAYS, CHANNELS = 3, 4
LABELS = torch.tensor([2, 0, 1, 1, 2, 0])


def images() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    support, query = torch.randn(6, 3, 6, 8), torch.randn(4, 3, 6, 8)
    return support.double(), query.double()


def view(kind: type[EpisodeClassifier], **changes: Any) -> tuple[Any, RuleView, Tensor]:
    torch.manual_seed(0)
    backbone = TINY | {'widths': (CHANNELS,)}
    model = kind(backbone, feat_channels=CHANNELS, **changes).double().eval()
    support, query = images()
    found = view_episode(model, support, LABELS, query)
    own = model(support[None], LABELS[None], query[None])[0]
    assert_close(found.scores, own)
    return model, found, query


def test_can_weighs_positions_and_no_channels() -> None:
    model, found, query = view(CANClassifier, positions=12, reduction=2)
    support, _ = images()
    maps, queries = model.extract_feat(support), model.extract_feat(query)
    attention = model.attend(prototypes(maps, LABELS, WAYS), queries)
    for own, each in zip(attention, (found.of_class, found.positions), strict=True):
        assert each is not None
        weights = 1 + own
        expected = weights / weights.mean(-1, keepdim=True)
        assert_close(each.flatten(2), expected)
    assert_close(found.channels, torch.ones(4, WAYS, CHANNELS).double())
    assert correlation(maps[:1], queries).shape == (4, 1, 12, 12)


@pytest.mark.parametrize('dynamic', [True, False])
def test_dmf_weighs_both(dynamic: bool) -> None:
    filters = dict(type=DynamicMetaFilter, groups=2, dynamic_sampling=dynamic)
    alignment = dict(type=AdaptiveAlignment, solver='dopri5')
    model, found, query = view(DMFClassifier, meta_filter=filters, alignment=alignment)
    support, _ = images()
    classes = prototypes(model.extract_feat(support), LABELS, WAYS)
    factors = model.alignment.factors(
        model.meta_filter(model.extract_feat(query), classes)
    ).expand(4, -1, -1, -1, -1)
    mean = factors.mean(-1)
    assert_close(found.positions, mean / mean.mean((2, 3), keepdim=True))
    assert_close(found.channels[..., 0], found.channels[..., 1])
    assert (found.channels[..., 0] - found.channels[..., 2]).abs().min() > 0
    assert_close(found.channels.mean(-1), torch.ones(4, WAYS).double())
    assert found.evaluations
    assert min(found.evaluations) > 1


def test_prototypes_of_feat_look_at_each_other() -> None:
    _, found, _ = view(FEATClassifier)
    assert found.taken is not None
    assert_close(found.taken.sum(-1), torch.ones(WAYS).double())
    _, plain, _ = view(ProtoNet)
    assert plain.taken is None
    for each in (found, plain):
        assert each.of_class is None
        assert_close(each.positions, torch.ones_like(each.positions))
        assert_close(each.channels, torch.ones_like(each.channels))


def test_positions_used() -> None:
    one = torch.zeros(2, 3)
    one[1, 2] = 5
    assert positions_used(one) == pytest.approx(1)
    assert positions_used(torch.full((4, 2, 3), 0.1)) == pytest.approx(6)
    assert positions_used(torch.stack((one, one + 1))) > 1

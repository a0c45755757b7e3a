"""DMFClassifier: laws of its scores, blocks, losses, and the authors' checkpoints."""

from typing import Any

import pytest
import torch
from beartype import beartype
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import jaxtyped
from references.dmf import TINY
from torch import Tensor
from torch.autograd import gradcheck
from torch.nn import functional as F
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from paperzoo.common.few_shot import episode_classifier as shared
from paperzoo.dmf import AdaptiveAlignment, DMFClassifier, DynamicMetaFilter
from paperzoo.dmf import classifier as room
from paperzoo.errors import UserError
from paperzoo.registry import MODELS

typecheck = jaxtyped(typechecker=beartype)
class_weights = typecheck(room.class_weights)
meta_scores = typecheck(room.meta_scores)
factored_scores = typecheck(room.factored_scores)
prototypes = typecheck(shared.prototypes)
dense_cross_entropy = typecheck(shared.dense_cross_entropy)
WAYS, SHOTS, QUERIES, CHANNELS, SIDE = 3, 2, 4, 4, 3
Maps = tuple[Tensor, Tensor, Tensor, Tensor]


def build(
    *, solver: str = 'rk4', kernel: int = 1, channels: int = CHANNELS, **kwargs: Any
) -> DMFClassifier:
    torch.manual_seed(0)
    filters = dict(type=DynamicMetaFilter, groups=2, kernel=kernel)
    config = dict(
        backbone=TINY | {'widths': (channels,)},
        meta_filter=filters,
        alignment=dict(type=AdaptiveAlignment, solver=solver),
        feat_channels=channels,
    )
    return DMFClassifier(**config | kwargs).double().eval()


def maps(seed: int = 0, channels: int = CHANNELS) -> Maps:
    """Two episodes: maps and labels of supports, in any order, and of queries."""
    torch.manual_seed(seed)
    size = (channels, SIDE, SIDE)
    support = torch.randn(2, WAYS * SHOTS, *size, dtype=torch.float64)
    label = torch.arange(WAYS).repeat(SHOTS)
    labels = torch.stack([label[torch.randperm(len(label))] for _ in range(2)])
    query = torch.randn(2, QUERIES, *size, dtype=torch.float64)
    return support, labels, query, torch.randint(0, WAYS, (2, QUERIES))


def test_prototypes_and_weights_by_hand() -> None:
    support = torch.tensor([[3.0, 4.0], [1.0, 0.0], [5.0, 2.0]])[..., None, None]
    found = prototypes(support, torch.tensor([1, 0, 1]), 2)
    assert_close(found[..., 0, 0], torch.tensor([[1.0, 0.0], [4.0, 3.0]]))
    assert_close(class_weights(found), torch.tensor([[1.0, 0.0], [0.8, 0.6]]))
    # Each position is normalised before the mean.
    wide = torch.tensor([[[[1.0, 0.0]], [[0.0, 7.0]]]])
    assert_close(class_weights(wide), torch.tensor([[0.5, 0.5]]))


def test_dense_cross_entropy_is_the_mean_of_all_places_that_count() -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, 4, 2, 5)
    spread = torch.tensor([1, 3]).view(2, 1, 1).expand(2, 2, 5)
    expected = F.cross_entropy(logits[:2], spread)
    assert_close(dense_cross_entropy(logits, torch.tensor([1, 3, -1])), expected)
    nothing = dense_cross_entropy(logits, torch.tensor([-1, -1, -1]))
    assert_close(nothing, torch.tensor(0.0))


@pytest.mark.paper('dmf "Meta-classifier"')
@settings(max_examples=15)
@given(st.booleans(), st.sampled_from([1, 2, 4]), st.sampled_from([1, 3]), st.data())
def test_scores_need_no_maps(
    flows: bool, groups: int, rows: int, data: st.DataObject
) -> None:
    torch.manual_seed(data.draw(st.integers(0, 99)))
    query = torch.randn(3, 4, 2, 5, dtype=torch.float64)
    weights = torch.randn(2, 4, dtype=torch.float64)
    filters = torch.rand(rows, 2, 2, 5, groups, 1, dtype=torch.float64)
    alignment = AdaptiveAlignment('midpoint' if flows else 'none')
    expected = meta_scores(alignment(query[:, None], filters), weights)
    found = factored_scores(query, weights, alignment.factors(filters), flows)
    assert_close(found, expected)


def test_gradients() -> None:
    torch.manual_seed(0)
    query = torch.randn(2, 4, 2, 2, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    factors = torch.rand(2, 2, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    assert gradcheck(class_weights, (query,))
    assert gradcheck(lambda q, w: meta_scores(q[:, None], w), (query, weights))
    for flows in (True, False):
        leaves = query, weights, factors
        assert gradcheck(lambda *x, f=flows: factored_scores(*x, f), leaves)


KINDS = [
    dict(solver='none'),
    dict(solver='rk4'),
    dict(solver='dopri5'),
    dict(solver='euler', kernel=3),
    dict(meta_filter=None),
    dict(meta_filter=dict(type=DynamicMetaFilter, groups=4, dynamic_sampling=False)),
]


@pytest.mark.parametrize('kind', KINDS, ids=str)
def test_classes_and_supports_may_come_in_any_order(kind: dict) -> None:
    model = build(**kind)
    support, labels, query, _ = maps()
    scores = model.predict_from_feats(support, labels, query, WAYS)
    order = torch.tensor([2, 0, 1])
    renamed = model.predict_from_feats(support, order[labels], query, WAYS)
    assert_close(renamed[..., order], scores)
    shuffle = torch.randperm(support.size(1))
    mixed = support[:, shuffle], labels[:, shuffle]
    assert_close(model.predict_from_feats(*mixed, query, WAYS), scores)
    back = model.predict_from_feats(support, labels, query.flip(1), WAYS)
    # The queries of an episode share the steps of an adaptive solver.
    assert_close(back.flip(1), scores, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize('kind', KINDS[1:4], ids=str)
def test_blocks_change_nothing(kind: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(**kind, num_classes=5, global_on_aligned=True)
    batch = maps()
    classes = torch.randint(0, 5, (2, QUERIES))
    whole = model.loss_by_feat(*batch, classes, WAYS)
    monkeypatch.setattr(room, '_BLOCK', 1)
    blocks = model.loss_by_feat(*batch, classes, WAYS)
    for key in ('loss_meta', 'loss_global'):
        # Each block chooses its own adaptive steps.
        loose = 1e-2 if kind['solver'] == 'dopri5' else 1e-9
        assert_close(blocks[key], whole[key], rtol=loose, atol=loose)


class Largest(TorchDispatchMode):
    """Notes how many numbers the largest result of any operation has."""

    numbers = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **kwargs or {})
        if isinstance(out, Tensor):
            # Expanded tensors have no memory of their own.
            held = out.untyped_storage().nbytes() // out.element_size()
            self.numbers = max(self.numbers, held)
        return out


def test_no_map_of_a_pair_is_made() -> None:
    channels = 128
    model = build(channels=channels)
    support, labels, _, _ = maps(channels=channels)
    query = torch.randn(2, 60, channels, SIDE, SIDE).double()
    with torch.inference_mode(), Largest() as largest:
        model.predict_from_feats(support, labels, query, WAYS)
    assert largest.numbers < 60 * WAYS * channels * SIDE**2


def test_padding_scales_the_mean_and_joins_the_loss() -> None:
    batch = maps()
    plain, padded = build(), build(zero_pad_score=True)
    scores = plain.predict_from_feats(*batch[:3], WAYS)
    share = SIDE**2 / (SIDE + 2) ** 2
    assert_close(padded.predict_from_feats(*batch[:3], WAYS), share * scores)
    loss = plain.loss_by_feat(*batch, None, WAYS)['loss_meta']
    border = 0.5 * torch.tensor(float(WAYS)).double().log()
    expected = share * loss + (1 - share) * border
    assert_close(padded.loss_by_feat(*batch, None, WAYS)['loss_meta'], expected)


@pytest.mark.parametrize('meta_filter', [None, dict(type=DynamicMetaFilter, groups=2)])
def test_a_scale_is_an_inverse_temperature(meta_filter: dict | None) -> None:
    batch = maps()
    plain = build(meta_filter=meta_filter)
    scaled = build(meta_filter=meta_filter, scale=4.0)
    scores = plain.predict_from_feats(*batch[:3], WAYS)
    assert_close(scaled.predict_from_feats(*batch[:3], WAYS), 4 * scores)
    losses = []
    for support, label, query, query_label in zip(*batch, strict=True):
        found, _ = plain.score_episode(support, label, query, WAYS)
        spread = query_label[:, None, None].expand(-1, *found.shape[-2:])
        losses.append(F.cross_entropy(4 * found, spread))
    expected = 0.5 * torch.stack(losses).mean()
    assert_close(scaled.loss_by_feat(*batch, None, WAYS)['loss_meta'], expected)


@pytest.mark.parametrize('dynamic', [True, False])
def test_the_global_classifier_may_see_aligned_queries(dynamic: bool) -> None:
    filters = dict(type=DynamicMetaFilter, groups=2, dynamic_sampling=dynamic)
    model = build(num_classes=5, global_on_aligned=True, meta_filter=filters)
    support, labels, query, own = maps()
    classes = torch.randint(0, 5, (2, QUERIES))
    found = model.loss_by_feat(support, labels, query, own, classes, WAYS)
    assert model.meta_filter is not None
    assert model.global_classifier is not None
    aligned = []
    for e in range(2):
        every = prototypes(support[e], labels[e], WAYS)
        by_class = model.align(query[e], model.meta_filter(query[e], every))
        aligned += [by_class[q, own[e, q]] for q in range(QUERIES)]
    logits = model.global_classifier(torch.stack(aligned))
    expected = dense_cross_entropy(logits, classes.flatten())
    assert_close(found['loss_global'], expected)


def test_losses_and_what_is_logged_beside_them() -> None:
    model = build(solver='dopri5', num_classes=5, meta_weight=0.25)
    support, labels, query, own = maps()
    classes = torch.randint(0, 5, (2, QUERIES))
    found = model.loss_by_feat(support, labels, query, own, classes, WAYS)
    keys = {'loss_global', 'loss_meta', 'accuracy', 'evaluations'}
    assert set(found) == keys
    dense = model._scores(support, labels, query, WAYS).flatten(0, 1)
    meta = dense_cross_entropy(dense, own.flatten())
    assert_close(found['loss_meta'], 0.25 * meta)
    right = dense.mean((2, 3)).argmax(1) == own.flatten()
    assert_close(found['accuracy'], right.float().mean())
    counts = model.alignment.evaluations[-2:]
    assert_close(found['evaluations'], torch.tensor(counts).float().mean())
    total, logs = model.parse_losses(found)
    assert_close(total, found['loss_global'] + found['loss_meta'])
    assert_close(logs['evaluations'], found['evaluations'])
    assert 'evaluations' not in build().loss_by_feat(*maps(), None, WAYS)


@pytest.mark.parametrize('kind', KINDS, ids=str)
def test_images_to_gradients_and_predictions(kind: dict) -> None:
    model = build(**kind, num_classes=5).float().train()
    batch = {
        'support': torch.randint(0, 256, (2, 6, 3, 8, 8), dtype=torch.uint8),
        'support_label': torch.arange(3).repeat(2, 2),
        'support_class': torch.arange(3).repeat(2, 2),
        'query': torch.randint(0, 256, (2, 4, 3, 8, 8), dtype=torch.uint8),
        'query_label': torch.randint(0, 3, (2, 4)),
        'query_class': torch.randint(0, 5, (2, 4)),
    }
    data = model.data_preprocessor(batch, training=True)
    total, _ = model.parse_losses(model(**data, mode='loss'))
    total.backward()
    without = [name for name, p in model.named_parameters() if p.grad is None]
    assert without == []
    model.eval()
    predictions = model.val_step(batch)
    scores = model(**data)
    assert scores.shape == (2, 4, 3)
    for e, found in enumerate(predictions):
        assert_close(found['pred_label'], scores[e].argmax(-1))
        assert_close(found['gt_label'], batch['query_label'][e])
        assert_close(found['class'], batch['query_class'][e])


def test_cached_maps_give_what_images_give() -> None:
    model = build().float()
    support, query = torch.rand(1, 3, 3, 8, 8), torch.rand(1, 4, 3, 8, 8)
    labels = torch.arange(3)[None]
    feats = [model.extract_feat(x[0])[None] for x in (support, query)]
    cached = model.predict_from_feats(feats[0], labels, feats[1], 3)
    assert_close(cached, model(support, labels, query))


def test_the_authors_checkpoint_loads() -> None:
    model = build(num_classes=5)
    state = model.state_dict()
    theirs = {}
    for key, value in state.items():
        for ours, name in (
            ('backbone.', 'base.'),
            ('global_classifier.', 'global_clasifier.'),
            ('meta_filter.offset_conv.', 'dw_gen.off_conv.'),
            ('meta_filter.filter_conv.', 'dw_gen.kernel_conv.'),
        ):
            if key.startswith(ours):
                theirs[key.replace(ours, name)] = torch.full_like(value, 2)
    assert len(theirs) == len(state)
    model.load_state_dict(theirs, strict=True)
    for value in model.state_dict().values():
        assert_close(value, torch.full_like(value, 2))
    model.load_state_dict(state, strict=True)


def test_what_is_missing_is_named() -> None:
    model = MODELS.build(
        dict(type='paperzoo.DMFClassifier', backbone=TINY, feat_channels=64)
    )
    images, labels = torch.rand(1, 2, 3, 8, 8), torch.arange(2)[None]
    with pytest.raises(UserError, match=r"mode='loss'.*query_label"):
        model(images, labels, images, mode='loss')
    with pytest.raises(UserError, match=r'query_class.*num_classes=None'):
        build(num_classes=5).loss_by_feat(*maps(), None, WAYS)

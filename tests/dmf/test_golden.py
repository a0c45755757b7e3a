"""The room on the authors' arrays: filters, alignment, scores, losses, gradients."""

import pytest
import torch
from references.dmf import DmfGolden, hashed, hashed_state
from references.knet_golden import DTYPES, names
from torch import Tensor

from paperzoo.common.few_shot.resnet12 import (
    DropBlock,
    apply_keep_mask,
    dropblock_gamma,
    keep_mask,
)
from paperzoo.dmf import AdaptiveAlignment, DMFClassifier, ResNet12, prototypes
from paperzoo.dmf.alignment import solve
from paperzoo.dmf.meta_filter import apply_filters, sampling_offsets


def features(golden: DmfGolden, name: str) -> Tensor:
    if f'in:{name}' in golden:
        return golden.leaf(name)
    hyper = golden.meta['hyper']
    images = golden[f'in:y{name[1:]}'].shape[-1]
    shape = (1, images, hyper['C'], *hyper['hw'])
    x = hashed(f'seed1205.{name}', shape).clamp(min=-0.1)
    return x.to(golden.dtype).requires_grad_()


def stored_pairs(
    golden: DmfGolden, model: DMFClassifier, support: Tensor, query: Tensor
) -> dict[str, Tensor]:
    """What is stored of the pairs: those of the first two queries."""
    classes = prototypes(support, golden['in:ytrain'][0], golden.meta['hyper']['K'])
    assert model.meta_filter is not None
    filters = model.meta_filter(query[:2], classes)
    weight = model.meta_filter.offset_conv.weight
    offsets = sampling_offsets(query[:2], classes, weight)
    aligned = model.align(query[:2], filters)
    if model.meta_filter.official_kernel3:
        # What is stored is not yet mixed up.
        model.meta_filter.official_kernel3 = False
        filters = model.meta_filter(query[:2], classes)
        model.meta_filter.official_kernel3 = True
    return {
        'offset': offsets.flatten(0, 1),
        'dynamic_filter': filters.flatten(-2).movedim(-1, 2).flatten(0, 1),
        'aligned': aligned.flatten(0, 1),
    }


@pytest.mark.paper('dmf "Dynamic Meta-filter"')
@pytest.mark.paper('dmf "Meta-classifier"')
@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@pytest.mark.parametrize('name', names('dmf_episode_*'))
def test_episodes(name: str, dtype: torch.dtype) -> None:
    golden = DmfGolden(name, dtype)
    model = golden.classifier()
    support, query = features(golden, 'xtrain'), features(golden, 'xtest')
    labels = [golden[f'in:{key}'] for key in ('ytrain', 'ytest', 'pids')]
    ways = golden.meta['hyper']['K']
    losses = model.loss_by_feat(support, labels[0], query, *labels[1:], ways)
    total = losses['loss_global'] + losses['loss_meta']
    golden.check('loss:global', losses['loss_global'])
    golden.check('loss:meta', losses['loss_meta'] / model.meta_weight)
    golden.check('loss:total', total)
    found = stored_pairs(golden, model, support[0], query[0])
    found['prototypes'] = torch.stack(
        [prototypes(s, y, ways) for s, y in zip(support, labels[0], strict=True)]
    )
    hashed_case = 'in:xtrain' not in golden
    if hashed_case:
        for key in ('prototypes', 'aligned'):
            found[key] = found[key][..., ::40, :, :]
    for key, value in found.items():
        golden.check(f'out:{key}', value)
    dense = model._scores(support, labels[0], query, ways)
    golden.check('out:cls_scores_train', dense)
    logits = model.global_classifier(query.flatten(0, 1))
    golden.check('out:global_pred', logits)
    scores = model.predict_from_feats(support, labels[0], query, ways)
    golden.check('out:eval_scores', scores)
    golden.check('out:eval_pred', scores.argmax(-1).flatten())
    check_gradients(golden, total, support, query)
    golden.all_checked('out:', 'loss:', 'grad:')


def check_gradients(
    golden: DmfGolden, total: Tensor, support: Tensor, query: Tensor
) -> None:
    leaves = {'xtrain': support, 'xtest': query}
    leaves |= {f'w:{key}': value for key, value in golden.params.items()}
    gradients = torch.autograd.grad(total, list(leaves.values()))
    for key, gradient in zip(leaves, gradients, strict=True):
        if f'grad:{key}_sub' in golden:
            part = gradient[:, :, ::40] if key.startswith('x') else gradient
            golden.check(f'grad:{key}_sub', part)
        elif f'grad:{key}' in golden:
            # Of the offsets' kernel every fourth channel is stored.
            part = gradient[:, ::4] if 'off_conv' in key else gradient
            golden.check(f'grad:{key}', part)


@pytest.mark.paper('dmf "Adaptive Alignment"')
@pytest.mark.parametrize('dtype', DTYPES, ids=str)
def test_solvers(dtype: torch.dtype) -> None:
    golden = DmfGolden('dmf_ode_solvers', dtype)
    query = golden['in:query']
    filters = golden['in:dynamic_filter'].movedim(1, -1)[..., None]

    def flow(x: Tensor) -> Tensor:
        return apply_filters(x, filters).relu()

    golden.check('out:derivative_at_query', flow(query))
    golden.check('out:odeblock', AdaptiveAlignment()(query, filters))
    for solver, steps in (
        ('euler', 1),
        ('midpoint', 1),
        ('rk4', 1),
        ('euler', 4),
        ('rk4', 4),
    ):
        key = f'out:{solver}' + ('_4steps' if steps == 4 else '')
        aligned = AdaptiveAlignment(solver, steps=steps)(query, filters)
        golden.check(key, aligned)
        found, evaluations = solve(flow, query, (), solver=solver, steps=steps)
        golden.check(key, found)
        order = {'euler': 1, 'midpoint': 2, 'rk4': 4}[solver]
        assert evaluations == order * steps
    # Where adaptive steps end depends on rounding; that is within their tolerance.
    golden.rtol = 2e-5
    for key, tolerance in (('1e-2', 1e-2), ('1e-6', 1e-6)):
        options = dict(rtol=tolerance, atol=tolerance)
        found, _ = solve(flow, query, (), solver='dopri5', **options)
        golden.check(f'out:dopri5_rtol{key}', found)
    golden.all_checked('out:')


def test_dropblock() -> None:
    golden = DmfGolden('dmf_dropblock', torch.float64)
    x, starts = golden['in:x'], golden['in:mask']
    keep = keep_mask(starts, golden.meta['hyper']['block_size'])
    golden.check('out:block_mask', keep)
    # The scale is counted in single precision.
    golden.rtol = 1e-6
    golden.check('out:y', apply_keep_mask(x, keep))
    drop = DropBlock(0.1, 5, 20 * 2000)
    rows = [
        dropblock_gamma(drop.rate(step), 5, (int(size), int(size)))
        for step, size, _ in golden['out:gamma_table']
    ]
    found = golden['out:gamma_table'].clone()
    found[:, 2] = torch.stack(rows)
    golden.check('out:gamma_table', found)
    golden.all_checked('out:')


@pytest.mark.paper('dmf "Implementation Details"')
@pytest.mark.parametrize('mode', ['eval', 'train0'])
def test_resnet12(mode: str) -> None:
    golden = DmfGolden('dmf_resnet12_84_hashed', torch.float64)
    hyper = golden.meta['hyper']
    tag, side = hyper['tag'] + '.', hyper['hw']
    model = ResNet12(drop_rate=0.0, out_indices=(0, 1, 2, 3))
    hashed_state(model, tag, {})
    theirs = [key.split()[0] for key in golden.meta['state_dict_keys']]
    assert sorted(model.state_dict()) == sorted(theirs)
    first = model.layer1[0].conv1.weight
    golden.check('check:w_layer1.0.conv1', first.flatten()[:8].double())
    model.train(mode == 'train0').double()
    with torch.no_grad():
        outs = model(hashed(f'{tag}x', (hyper['n'], 3, side, side)).double())
    assert list(outs[-1].shape) == golden[f'shape:{mode}'].tolist()
    for i, out in enumerate(outs[:3], 1):
        assert list(out.shape) == golden[f'shape:{mode}.layers'][i - 1].tolist()
        golden.check(f'out:{mode}.layer{i}.mean', out.mean((2, 3)))
        golden.check(f'out:{mode}.layer{i}.sub', out[:, ::20, ::5, ::5])
    maps = outs[-1]
    golden.check(f'out:{mode}.feat.mean', maps.mean((2, 3)))
    golden.check(f'out:{mode}.feat.std', maps.flatten(2).std(-1))
    golden.check(f'out:{mode}.feat.sub', maps[:, ::32])
    state = model.state_dict()
    for key in golden.arrays.files:
        if key.startswith(f'out:{mode}.buf.'):
            golden.check(key, state[key.removeprefix(f'out:{mode}.buf.')])
    golden.all_checked(f'out:{mode}')

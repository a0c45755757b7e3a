"""Three claims about few-shot classifiers, and who wins where objects lie among clutter.

python benchmarks/few_shot_claims.py train --keep work/claims --data glyphs glyphs_cluttered
python benchmarks/few_shot_claims.py test --keep work/claims
python benchmarks/few_shot_claims.py measure --keep work/claims --out benchmarks/results

All may be stopped and begun again: what is trained or measured is kept in the folder. Trainings are equal in
backbone, episodes, schedule and steps, one thread each; all models of a data set are
tested on the same episodes of classes that they have not seen, from maps that are
computed once. Intervals are over these episodes, for one training; what another training
would differ by is said by the seeds.

| claim | what is measured |
| --- | --- |
| CAN weighs all channels alike, DMF does not | how far DMF's factors differ between groups of channels; accuracy if all channels of a position, or all positions of a channel, get their mean; DMF trained with one group |
| matching every position with every position is redundant | accuracy of CAN if each position is compared with the n most similar ones, or with n random ones, and without attention |
| a fixed T fits no task, an adaptive solver does | accuracy of DMF after T repetitions on tasks of other ways and shots, beside the flow by dopri5, and how often that evaluates it |
"""  # noqa: E501

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import numpy as np
import torch
from _shared import commit
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint
from torch import Tensor
from torch.nn import functional as F

import paperzoo
from paperzoo.apis.config import load_config
from paperzoo.can import attended_mean, attention_map, correlation
from paperzoo.common.few_shot import prototypes
from paperzoo.dmf import AdaptiveAlignment, class_weights, factored_scores
from paperzoo.evaluation.few_shot import mean_interval
from paperzoo.registry import DATASETS, MODELS
from paperzoo.utils.files import write_json, write_text
from paperzoo.utils.run_info import run_info

# Config (of a data set) and what is changed in it.
MODELS_OF: dict[str, tuple[str, dict[str, Any]]] = {
    'DMF': ('dmf_tiny_{}', {}),
    'CAN': ('can_tiny_{}', {}),
    'FEAT': ('feat_tiny_{}', {}),
    'ProtoNet': ('protonet_tiny_{}', {}),
    'DMF, one group': ('dmf_tiny_{}', {'model.meta_filter.groups': 1}),
    'DMF, scale 4': ('dmf_tiny_{}', {'model.scale': 4.0}),
}
DATA = {
    'glyphs': 'Glyphs: 200 training and 60 test characters of 20 drawings, 28x28',
    'glyphs_cluttered': 'as many drawings, anywhere among 4 strokes of no class, 40x40',
    'omniglot': 'part of Omniglot: 136 training and 106 test characters, 28x28',
    'cifar_fs': 'part of CIFAR-FS: 64 training classes of 40 photos, 20 test, 32x32',
}
STEPS, BATCH = 360, 1
# Ways, shots, queries of a class, episodes.
TASKS = {
    '5-way 1-shot': (5, 1, 15, 150),
    '5-way 5-shot': (5, 5, 15, 50),
    '20-way 1-shot': (20, 1, 5, 40),
    '20-way 5-shot': (20, 5, 5, 40),
}
# What takes apart single pairs takes fewer.
FEWER = 100
MAIN = '5-way 1-shot'
REPETITIONS = (0, 1, 2, 4, 8)
# The flow until time 1 by so many Euler steps; one of them is T = 1.
EULER = (2, 4)


class Maps(NamedTuple):
    """One episode as feature maps."""

    support: Tensor
    support_label: Tensor
    query: Tensor
    query_label: Tensor
    ways: int


# Of a model, an episode, and what the rules of the model share for it.
Rule = Callable[[Any, Maps, Any], Tensor]
Prepare = Callable[[Any, Maps], Any]


def config_of(what: str, data: str, seed: int) -> Config:
    """Return the config of a training: shorter than the one on the shelf."""
    name, changes = MODELS_OF[what]
    cfg = load_config(name.format(data if data != 'cifar_fs' else 'omniglot'))
    if data == 'cifar_fs':
        use_photos(cfg)
    cfg.merge_from_dict(changes)
    cfg.randomness = {'seed': seed}
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    # All are kept, for `paperzoo explain --history`.
    cfg.default_hooks.checkpoint.update(save_best=None, max_keep_ckpts=-1)
    cfg.train_dataloader.batch_size = BATCH
    epochs = cfg.train_cfg.max_epochs
    cfg.train_dataloader.dataset.episodes = STEPS * BATCH // epochs
    return cfg


def use_photos(cfg: Config) -> None:
    """Train a small model of drawings on photos instead."""
    full = load_config('dmf_resnet12_cifar_fs_lite')
    for split in ('train', 'test'):
        # Episodes as before; no worker processes.
        own, photos = (one[f'{split}_dataloader'].dataset for one in (cfg, full))
        for key in ('data_root', 'layout', 'ann_file', 'img_path', 'pipeline'):
            own[key] = photos.get(key)
        own.in_memory = True
    cfg.model.num_classes = 64
    normal = full.model.data_preprocessor
    cfg.model.data_preprocessor.update(mean=normal.mean, std=normal.std)


def work_of(keep: Path, what: str, data: str, seed: int) -> Path:
    """Return the folder of a training."""
    return keep / f'{data}_{what.replace(", ", "_").replace(" ", "_")}_{seed}'


def train_all(args: argparse.Namespace) -> None:
    """Train what is not trained yet, all models of a seed before the next seed."""
    torch.set_num_threads(1)
    for seed in args.seeds:
        for data in args.data:
            for what in args.models:
                work = work_of(args.keep, what, data, seed)
                if not (work / 'done').exists():
                    cfg = config_of(what, data, seed)
                    paperzoo.train(cfg, work_dir=work, preflight=False)
                    write_text(work / 'done', 'yes')


class TestSet:
    """The test classes of a data set, embedded once for a model.

    Args:
        what: Which model.
        data: Which data set.
        seed: Of its training.
        keep: Where the trainings are.
    """

    def __init__(self, what: str, data: str, seed: int, keep: Path) -> None:
        work = work_of(keep, what, data, seed)
        cfg = config_of(what, data, seed)
        init_default_scope('mmengine')
        self.model = MODELS.build(cfg.model).eval()
        checkpoint = (work / 'last_checkpoint').read_text()
        load_checkpoint(self.model, checkpoint, map_location='cpu')
        self.dataset_cfg = cfg.test_dataloader.dataset
        dataset = DATASETS.build(self.dataset_cfg)
        images = [dataset.image(i) for i in range(len(dataset.source.images))]
        normal = self.model.data_preprocessor.normalize(torch.stack(images))
        with torch.no_grad():
            parts = [self.model.extract_feat(part) for part in normal.split(128)]
        self.maps = torch.cat(parts)

    def episodes(self, task: str, most: int) -> Iterator[Maps]:
        """Yield the episodes of a task, the same for all models."""
        ways, shots, queries, count = TASKS[task]
        changes = {'ways': ways, 'shots': shots, 'queries': queries, 'episodes': count}
        dataset = DATASETS.build({**self.dataset_cfg, **changes})
        for number in range(min(count, most)):
            drawn = dataset.draw(number)
            yield Maps(
                self.maps[drawn.support],
                torch.from_numpy(drawn.support_label),
                self.maps[drawn.query],
                torch.from_numpy(drawn.query_label),
                ways,
            )

    @torch.no_grad()
    def accuracies(
        self,
        task: str,
        rules: Mapping[str, Rule],
        prepare: Prepare = lambda model, maps: None,
        most: int = 10**6,
    ) -> dict[str, np.ndarray]:
        """Return the accuracy of each episode in percent, by each rule."""
        found: dict[str, list[float]] = {name: [] for name in rules}
        for maps in self.episodes(task, most):
            shared = prepare(self.model, maps)
            for name, rule in rules.items():
                scores = rule(self.model, maps, shared)
                right = scores.argmax(-1) == maps.query_label
                found[name].append(100 * float(right.float().mean()))
        return {name: np.array(values) for name, values in found.items()}


def own_rule(model: Any, maps: Maps, shared: Any = None) -> Tensor:
    """Return what the model itself says."""
    batch = maps.support[None], maps.support_label[None], maps.query[None]
    return model.predict_from_feats(*batch, maps.ways)[0]


def transductive(model: Any, maps: Maps, shared: Any = None) -> Tensor:
    """Return what CAN says after two rounds in which confident queries join."""
    model.transductive_rounds = 2
    scores = own_rule(model, maps)
    model.transductive_rounds = 0
    return scores


def rates_of(model: Any, maps: Maps) -> tuple[Tensor, Tensor]:
    """Return DMF's rates, (Q, K, H, W, groups), and the weights of its classes."""
    classes = prototypes(maps.support, maps.support_label, maps.ways)
    rates = model.meta_filter(maps.query, classes).squeeze(-1)
    return rates, class_weights(classes)


def dmf_rule(change: Callable[[Tensor], Tensor]) -> Rule:
    """Return a rule: DMF with what is made of its rates as factors."""

    def rule(model: Any, maps: Maps, shared: Any) -> Tensor:
        rates, weights = shared
        scores = factored_scores(maps.query, weights, change(rates), True)
        return scores.mean(dim=(2, 3))

    return rule


def correlations_of(model: Any, maps: Maps) -> tuple[Tensor, Tensor]:
    """Return CAN's correlations, (Q, K, m, m), and the maps of the classes."""
    classes = prototypes(maps.support, maps.support_label, maps.ways)
    return correlation(classes, maps.query), classes


def can_rule(thin: Callable[[Tensor], Tensor] | None) -> Rule:
    """Return a rule: CAN with its correlations thinned out; None: no attention."""

    def rule(model: Any, maps: Maps, shared: Any) -> Tensor:
        full, classes = shared
        if thin is None:
            even = torch.zeros(full.shape[:-1])
            weights = even, even
        else:
            one, other = thin(full), thin(full.mT)
            weights = (
                attention_map(one, model.fusion(one), model.temperature),
                attention_map(other, model.fusion(other), model.temperature),
            )
        class_means = attended_mean(classes, weights[0], of='class')
        query_means = attended_mean(maps.query, weights[1], of='query')
        return F.cosine_similarity(class_means, query_means, dim=-1)

    return rule


def most_similar(count: int) -> Callable[[Tensor], Tensor]:
    """Return what leaves each row its greatest correlations, and 0 for the others."""

    def thin(correlations: Tensor) -> Tensor:
        least = correlations.topk(count, dim=-1).values[..., -1:]
        return correlations * (correlations >= least)

    return thin


def random_ones(count: int) -> Callable[[Tensor], Tensor]:
    """Return what leaves each row as many correlations, drawn at random."""
    generator = torch.Generator().manual_seed(0)

    def thin(correlations: Tensor) -> Tensor:
        draws = torch.rand(correlations.shape, generator=generator)
        least = draws.topk(count, dim=-1).values[..., -1:]
        return correlations * (draws >= least)

    return thin


def rounded(values: np.ndarray) -> list[float]:
    """Return mean and half the width of the 95 % interval."""
    interval = mean_interval(values)
    return [round(interval.mean, 2), round(interval.normal, 2)]


def channels(data: str, seed: int, keep: Path) -> dict[str, Any]:
    """Measure the first claim: are channels weighed differently, and does it matter?"""
    test = TestSet('DMF', data, seed, keep)
    grow = test.model.alignment.factors
    shares = []
    with torch.no_grad():
        for maps in test.episodes(MAIN, 20):
            factors = grow(rates_of(test.model, maps)[0][..., None]).flatten(0, 3)
            inside = factors.var(dim=1, correction=0).mean()
            shares.append(float(inside / factors.var(correction=0)))
    rules = {
        'as it is': dmf_rule(lambda r: grow(r[..., None])),
        'all channels alike': dmf_rule(
            lambda r: grow(r[..., None]).mean(-1, keepdim=True).expand_as(r)
        ),
        'all positions alike': dmf_rule(
            lambda r: grow(r[..., None]).mean((2, 3), keepdim=True).expand_as(r)
        ),
        'no filter': dmf_rule(torch.ones_like),
        'itself': own_rule,
    }
    found = test.accuracies(MAIN, rules, rates_of, FEWER)
    assert np.allclose(found['as it is'], found.pop('itself'), atol=0.1)
    record: dict[str, Any] = {
        'share_of_variance_between_channels_of_a_position': round(mean(shares), 3),
        'the_same_for_can': 0.0,
        'accuracy': {name: rounded(values) for name, values in found.items()},
        'loss_if_changed': {
            name: rounded(found['as it is'] - values)
            for name, values in found.items()
            if name != 'as it is'
        },
    }
    if (work_of(keep, 'DMF, one group', data, seed) / 'done').exists():
        one = TestSet('DMF, one group', data, seed, keep)
        other = one.accuracies(MAIN, {'own': own_rule}, most=FEWER)['own']
        record['accuracy']['trained with one group'] = rounded(other)
        record['lead_over_one_group'] = rounded(found['as it is'] - other)
    return record


def matches(data: str, seed: int, keep: Path) -> dict[str, Any]:
    """Measure the second claim: how many positions must be compared?"""
    test = TestSet('CAN', data, seed, keep)
    positions = test.model.positions
    counts = [1, 9]
    rules: dict[str, Rule] = {'all': own_rule, 'no attention': can_rule(None)}
    rules |= {f'{n} most similar': can_rule(most_similar(n)) for n in counts}
    rules['9 random'] = can_rule(random_ones(9))
    found = test.accuracies(MAIN, rules, correlations_of, FEWER)
    used = []
    with torch.no_grad():
        for maps in test.episodes(MAIN, 20):
            classes = prototypes(maps.support, maps.support_label, maps.ways)
            of_class, _ = test.model.attend(classes, maps.query)
            entropy = -(of_class * of_class.clamp(min=1e-12).log()).sum(-1)
            used.append(float(entropy.exp().mean()))
    return {
        'positions': positions,
        'positions_that_attention_uses': round(mean(used), 1),
        'positions_that_dmf_samples': 9,
        'accuracy': {name: rounded(values) for name, values in found.items()},
        'loss_if_changed': {
            name: rounded(found['all'] - values)
            for name, values in found.items()
            if name != 'all'
        },
    }


def repeated(rates: Tensor, count: int) -> Tensor:
    """Return by what a positive value grows in so many steps x + rate * x."""
    return (1 + rates) ** count


def flowing(rates: Tensor, steps: int) -> Tensor:
    """Return by what a positive value grows until time 1 in so many Euler steps."""
    return (1 + rates / steps) ** steps


def repetitions(data: str, seed: int, keep: Path) -> dict[str, Any]:
    """Measure the third claim: is there a T for every task?"""
    test = TestSet('DMF', data, seed, keep)
    adaptive = AdaptiveAlignment('dopri5')
    rules = {
        f'T = {count}': dmf_rule(partial(repeated, count=count))
        for count in REPETITIONS
    }
    rules |= {
        f'{steps} Euler steps': dmf_rule(partial(flowing, steps=steps))
        for steps in EULER
    }
    rules['dopri5'] = dmf_rule(lambda rates: adaptive.factors(rates[..., None]))
    tasks = {}
    for task in TASKS:
        adaptive.reset()
        found = test.accuracies(task, rules, rates_of, FEWER)
        fixed = {name: own for name, own in found.items() if name.startswith('T')}
        best = max(fixed, key=lambda name: fixed[name].mean())
        tasks[task] = {
            'accuracy': {name: rounded(values) for name, values in found.items()},
            'best_T': best,
            'loss_of_T_to_best_T': {
                name: rounded(fixed[best] - own) for name, own in fixed.items()
            },
            'lead_of_dopri5_over_best_T': rounded(found['dopri5'] - fixed[best]),
            'evaluations_of_dopri5': [
                min(adaptive.evaluations),
                round(mean(adaptive.evaluations), 2),
                max(adaptive.evaluations),
            ],
        }
    return tasks


def file_of(keep: Path, what: str, data: str, seed: int) -> Path:
    """Return where the test of a model is kept."""
    return keep / f'tested_{work_of(keep, what, data, seed).name}.json'


def tested(what: str, data: str, seed: int, keep: Path) -> dict[str, dict[str, Any]]:
    """Return the accuracy of each episode of two tasks, by the rules of a model."""
    file = file_of(keep, what, data, seed)
    if not file.exists():
        test = TestSet(what, data, seed, keep)
        rules: dict[str, Rule] = {what: own_rule}
        if what == 'CAN' and data != 'glyphs_cluttered':  # there it takes minutes
            rules['CAN, transductive'] = transductive
        tasks = MAIN, '5-way 5-shot'
        found = {task: test.accuracies(task, rules) for task in tasks}
        plain = {
            task: {name: values.tolist() for name, values in own.items()}
            for task, own in found.items()
        }
        write_json(file, plain)
    return json.loads(file.read_text())


def test_all(args: argparse.Namespace) -> None:
    """Test what is trained and not tested yet, as `measure` would."""
    torch.set_num_threads(1)
    for data in args.data:
        for what in args.models:
            for seed in args.seeds:
                if (work_of(args.keep, what, data, seed) / 'done').exists():
                    tested(what, data, seed, args.keep)


def comparison(data: str, seed: int, keep: Path) -> dict[str, Any]:
    """Return the accuracy of all trained models, and their lead over ProtoNet."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for what in MODELS_OF:
        if file_of(keep, what, data, seed).exists():
            for task, own in tested(what, data, seed, keep).items():
                arrays = {name: np.array(values) for name, values in own.items()}
                found.setdefault(task, {}).update(arrays)
    results = {}
    for task, own in found.items():
        # Who was tested on more episodes has these as its first.
        least = min(map(len, own.values()))
        own = {name: values[:least] for name, values in own.items()}
        results[task] = {
            'episodes': least,
            'accuracy': {name: rounded(values) for name, values in own.items()},
            'lead_over_protonet': {
                name: rounded(values - own['ProtoNet'])
                for name, values in own.items()
                if name != 'ProtoNet' and 'ProtoNet' in own
            },
        }
    return results


CLAIMS = {'comparison': comparison, 'channels': channels, 'matches': matches}
CLAIMS['repetitions'] = repetitions
NEEDS = {'comparison': 'ProtoNet', 'channels': 'DMF', 'matches': 'CAN'}
NEEDS['repetitions'] = 'DMF'


def joined(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Return comparisons of a seed, those of models that are tested anew replaced."""
    return {
        task: {
            'episodes': own['episodes'],
            **{
                key: old.get(task, {}).get(key, {}) | own[key]
                for key in ('accuracy', 'lead_over_protonet')
            },
        }
        for task, own in new.items()
    }


def measure(args: argparse.Namespace) -> None:
    """Measure all that is trained; write JSON and tables."""
    torch.set_num_threads(1)
    results: dict[str, dict[str, dict[str, Any]]] = {}
    target, earlier = args.out / 'few_shot_claims.json', []
    if args.add:
        old = json.loads(target.read_text())
        results = old['results']
        earlier = [{key: old[key] for key in ('commit', 'date')}]
        earlier += old.get('earlier', [])
    for claim in args.claims:
        for data in args.data:
            for seed in args.seeds:
                file = args.keep / f'{claim}_{data}_{seed}.json'
                done = work_of(args.keep, NEEDS[claim], data, seed) / 'done'
                # Cheap, and other models may have been tested since.
                anew = claim == 'comparison' or not (file.exists() or args.kept)
                if anew and done.exists():
                    write_json(file, CLAIMS[claim](data, seed, args.keep), replace=True)
                if file.exists():
                    own = results.setdefault(claim, {}).setdefault(data, {})
                    new, seed_name = json.loads(file.read_text()), f'seed {seed}'
                    if claim == 'comparison':
                        new = joined(own.get(seed_name, {}), new)
                    own[seed_name] = new
                    print(claim, data, seed, own[f'seed {seed}'], flush=True)
    record = {
        'what': 'claims about CAN, FEAT and DMF, and a comparison of all with ProtoNet',
        'data': DATA,
        'training': f'{STEPS} steps of {BATCH} episode, 5-way 1-shot, one thread',
        'episodes_of_claims': {
            task: min(FEWER, numbers[3]) for task, numbers in TASKS.items()
        },
        'numbers': 'mean and half the width of its 95 % interval over episodes',
        'results': results,
        'verdicts': verdicts(results),
        'commit': commit(),
        # Of these are the numbers that were not measured anew.
        'earlier': earlier,
        **run_info(),
    }
    print(f'Written: {write_json(target, record, replace=True)}')
    write_text(args.out / 'few_shot_claims.md', tables(record))


def spread(numbers: list[float]) -> str:
    """Return mean and standard deviation of seeds as a text."""
    more = f' ± {stdev(numbers):.1f}' if len(numbers) > 1 else ''
    return f'{mean(numbers):.1f}{more}'


def of_seeds(
    results: Mapping[str, Any], claim: str, data: str, *keys: str
) -> list[list[float]]:
    """Return a number with its interval of each seed that has it."""
    found = []
    for own in results.get(claim, {}).get(data, {}).values():
        for key in keys:
            own = own.get(key, {})
        if own:
            found.append(own)
    return found


def sure(pairs: list[list[float]], sign: int = 1) -> bool:
    """Tell whether a difference has this sign in every seed, its interval without 0."""
    return bool(pairs) and all(sign * value > half for value, half in pairs)


def verdicts(results: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return, by claim and data, what the numbers say."""
    claims = 'comparison', 'channels', 'matches', 'T'
    found: dict[str, dict[str, str]] = {claim: {} for claim in claims}
    for data, seeds in results.get('comparison', {}).items():
        leads: dict[str, list[list[float]]] = {}
        for own in seeds.values():
            for name, lead in own[MAIN]['lead_over_protonet'].items():
                leads.setdefault(name, []).append(lead)
        named = [
            [name for name, pairs in leads.items() if sure(pairs, sign)]
            for sign in (1, -1)
        ]
        better, worse = (', '.join(names) or 'none' for names in named)
        found['comparison'][data] = (
            f'surely better than ProtoNet in every seed: {better}; '
            f'surely worse: {worse}'
        )
    for data in results.get('channels', {}):
        shares = [
            own['share_of_variance_between_channels_of_a_position']
            for own in results['channels'][data].values()
        ]
        alike = of_seeds(
            results, 'channels', data, 'loss_if_changed', 'all channels alike'
        )
        holds = 'matters' if sure(alike) else 'does not surely matter'
        found['channels'][data] = (
            f'DMF weighs channels differently ({mean(shares):.0%} of the variance of '
            f'its factors lies between channels of a position, CAN has none); '
            f'it {holds}: all channels alike costs '
            f'{spread([v for v, _ in alike])} points'
        )
    for data in results.get('matches', {}):
        few = of_seeds(results, 'matches', data, 'loss_if_changed', '9 most similar')
        none = of_seeds(results, 'matches', data, 'loss_if_changed', 'no attention')
        holds = 'holds' if max(v + h for v, h in few) < 1 else 'does not hold'
        used = [
            own['positions_that_attention_uses']
            for own in results['matches'][data].values()
        ]
        of = next(iter(results['matches'][data].values()))['positions']
        matters = 'so attention is worth something'
        if not sure(none):
            matters = 'so here nothing surely depends on attention at all'
        found['matches'][data] = (
            f'{holds}: with 9 positions instead of all CAN loses '
            f'{spread([v for v, _ in few])} points; without attention '
            f'{spread([v for v, _ in none])}, {matters}. Attention lies on '
            f'{mean(used):.1f} of {of} positions'
        )
    for data, seeds in results.get('repetitions', {}).items():
        found['T'][data] = verdict_of_repetitions(list(seeds.values()))
    return found


def verdict_of_repetitions(seeds: list[dict[str, Any]]) -> str:
    """Return whether some T fits all tasks, and whether the adaptive solver does."""
    names = [f'T = {count}' for count in REPETITIONS]
    of_tasks = [own[task] for own in seeds for task in TASKS]
    losses = {
        name: [own['loss_of_T_to_best_T'][name] for own in of_tasks] for name in names
    }
    # It fits where it is nowhere surely worse than the best T of the task.
    fit = [name for name in names if all(v <= half for v, half in losses[name])]
    leads = [own['lead_of_dopri5_over_best_T'] for own in of_tasks]
    adaptive = all(value >= -half for value, half in leads)
    best = '; '.join(
        f'{task}: {", ".join(own[task]["best_T"][4:] for own in seeds)}'
        for task in TASKS
    )
    counts = [own['evaluations_of_dopri5'] for own in of_tasks]
    low, high = min(one[0] for one in counts), max(one[2] for one in counts)
    times = f'{low} times' if low == high else f'{low} to {high} times'
    return (
        f'{"does not hold" if fit else "holds"} for a fixed T: '
        f'{", ".join(fit) or "none"} fits all tasks, nowhere surely worse than the '
        f'best T (seed by seed: {best}); the adaptive solver '
        f'{"fits" if adaptive else "does not fit"} all tasks, its lead over the best '
        f'T is {spread([value for value, _ in leads])} points over tasks and seeds, '
        f'and it evaluates the flow {times}. Trained was with one step of rk4 until '
        'time 1'
    )


def tables(record: Mapping[str, Any]) -> str:
    """Return the comparison and the verdicts in Markdown."""
    lines = [
        '# Few-shot claims',
        '',
        f'{record["training"]}; accuracy in percent, mean and standard deviation of '
        'the seeds; see few_shot_claims.json.',
    ]
    for data, seeds in record['results'].get('comparison', {}).items():
        names = list(
            dict.fromkeys(n for o in seeds.values() for n in o[MAIN]['accuracy'])
        )
        lines += ['', f'## {DATA[data]}', '']
        lines += [
            '| model | seeds | 5-way 1-shot | lead over ProtoNet | 5-way 5-shot |'
        ]
        lines += ['| --- | --- | --- | --- | --- |']
        for name in names:
            cells = [
                [
                    own[task][key][name][0]
                    for own in seeds.values()
                    if name in own[task][key]
                ]
                for task, key in (
                    (MAIN, 'accuracy'),
                    (MAIN, 'lead_over_protonet'),
                    ('5-way 5-shot', 'accuracy'),
                )
            ]
            texts = [spread(own) if own else '-' for own in cells]
            lines.append(f'| {name} | {len(cells[0])} | {" | ".join(texts)} |')
    for claim, own in record['verdicts'].items():
        lines += ['', f'## Claim: {claim}', '']
        lines += [f'- {data}: {text}.' for data, text in own.items()] or [
            'Not measured.'
        ]
    for data, seeds in record['results'].get('repetitions', {}).items():
        lines += table_of_repetitions(data, list(seeds.values()))
    return '\n'.join([*lines, ''])


def table_of_repetitions(data: str, seeds: list[dict[str, Any]]) -> list[str]:
    """Return the sweep of T as lines of Markdown."""
    rules = list(seeds[0][MAIN]['accuracy'])
    said = f'mean and standard deviation of {len(seeds)} seeds'
    if len(seeds) == 1:
        said = 'one seed, with its 95 % interval over the episodes'
    lines = ['', f'T on {data}, {said}:', '']
    lines += [f'| task | {" | ".join(rules)} |', f'| --- |{" --- |" * len(rules)}']
    for task in TASKS:
        own = [[one[task]['accuracy'][rule] for one in seeds] for rule in rules]
        cells = [
            f'{numbers[0][0]:.1f} ± {numbers[0][1]:.1f}'
            if len(numbers) == 1
            else spread([value for value, _ in numbers])
            for numbers in own
        ]
        lines.append(f'| {task} | {" | ".join(cells)} |')
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('do', choices=['train', 'test', 'measure'])
    parser.add_argument('--keep', type=Path, required=True, help='folder of trainings')
    parser.add_argument('--data', nargs='+', choices=DATA, default=list(DATA))
    parser.add_argument('--models', nargs='+', choices=MODELS_OF, default=[*MODELS_OF])
    parser.add_argument('--kept', action='store_true', help='measure nothing anew')
    parser.add_argument(
        '--add', action='store_true', help='keep the results that are in the file'
    )
    parser.add_argument('--claims', nargs='+', choices=CLAIMS, default=list(CLAIMS))
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--out', type=Path, default=Path('.'), help='folder of results')
    args = parser.parse_args()
    {'train': train_all, 'test': test_all, 'measure': measure}[args.do](args)


if __name__ == '__main__':
    main()

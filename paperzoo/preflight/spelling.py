"""Misspelt types and arguments of a config, found before anything is built.

MMEngine builds a config piece by piece and says only which name was not found. Here
the whole config is walked first: each message names the key, the file, and the nearest
right name.
"""

import re
from collections.abc import Callable, Collection, Iterator
from difflib import get_close_matches
from importlib import import_module
from typing import Any

from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE

from paperzoo.preflight.config_lines import place_of
from paperzoo.preflight.issues import Issue, report
from paperzoo.preflight.registered_names import KIND_OF, KnownNames, find_spec_of
from paperzoo.preflight.signatures import accepted_arguments, mentions
from paperzoo.preflight.top_keys import nearest_key
from paperzoo.preflight.value_types import wrong_values

# The keys of a config that the Runner builds from.
_ROOTS = (
    'model',
    *(f'{split}_dataloader' for split in ('train', 'val', 'test')),
    *(f'{split}_evaluator' for split in ('val', 'test')),
    *(f'{split}_cfg' for split in ('train', 'val', 'test')),
    'optim_wrapper',
    'param_scheduler',
    'default_hooks',
    'custom_hooks',
    'visualizer',
    'log_processor',
)
# Dicts whose type is looked up elsewhere, or whose arguments are changed on the way.
_NO_REGISTRY = {'nms', 'mask_nms', 'roi_layer', 'nms_cfg', 'backend_args'}
_OWN_ARGUMENTS = {'norm_cfg', 'conv_cfg', 'act_cfg', 'upsample_cfg', 'init_cfg'}
_CONSUMED = {
    'type',
    '_scope_',
    '_delete_',
    'priority',  # of hooks
    'name',  # of everything that mmengine manages
}
_CONSUMED_AT = {
    'optim_wrapper': {'paramwise_cfg', 'constructor', 'optimizer'},
    'param_scheduler': {'convert_to_iter_based', 'epoch_length'},
}


def check_config(cfg: Config, way_out: str = '') -> None:
    """Refuse a config with misspelt types or arguments.

    Args:
        cfg: The config, complete.
        way_out: How to go on without this check, for the end of the message.

    Raises:
        UserError: If a type or an argument is misspelt; the message has a paragraph for
            each.

    Example:
        >>> from paperzoo.errors import UserError
        >>> cfg = Config(dict(train_dataloader=dict(batchsize=2)))
        >>> try:
        ...     check_config(cfg)
        ... except UserError as error:
        ...     print(str(error).splitlines()[0].partition('. ')[2])
        Did you mean batch_size?
    """
    report(misspelt(cfg), way_out)


def misspelt(cfg: Config) -> list[Issue]:
    """Return an issue for each type that is not known and each such argument.

    What is not understood is passed over: a type without any near match may belong to
    a dict that no registry builds.

    Args:
        cfg: The config, complete.

    Example:
        >>> misspelt(Config(dict(train_dataloader=dict(batch_size=2))))
        []
    """
    issues: list[Issue] = []
    nodes: list[tuple[str, dict]] = []
    for key in _ROOTS:
        if key in cfg._cfg_dict:
            nodes += _typed_dicts(cfg, cfg._cfg_dict, key, issues)
    types = [node['type'] for _, node in nodes]
    scopes = {kind.partition('.')[0] for kind in types if isinstance(kind, str)}
    names = KnownNames(cfg.get('default_scope') or 'mmengine', scopes | {'paperzoo'})
    classes: dict[str, list[Callable]] = {}
    for key, node in nodes:
        kind = node['type']
        found = names.find(kind) if isinstance(kind, str) else [kind]
        if found is None:
            issues += _unknown_type(cfg, key, kind, names)
        else:
            # A name may mean several classes: one of them takes the values.
            wrong = [wrong_values(cfg, key, node, built) for built in found]
            issues += wrong[0] if wrong and all(wrong) else []
            classes[key] = found
            holders = classes.get(_holder(key.rpartition('.')[0], classes), [])
            issues += _unknown_arguments(cfg, key, node, found, holders)
    return issues + _loader_arguments(cfg) + _at_the_top(cfg, names)


def _typed_dicts(
    cfg: Config, owner: Any, key: str | int, issues: list[Issue], prefix: str = ''
) -> Iterator[tuple[str, dict]]:
    """Yield every dict with a type below a key, with its dotted key."""
    place = f'{prefix}{key}'
    try:
        value = owner[key]
    except ImportError as error:
        issues.append(_failed_import(cfg, place, error))
        return
    if isinstance(value, dict):
        try:
            kind = value.get('type')
        except ImportError as error:
            issues.append(_failed_import(cfg, f'{place}.type', error))
            kind = None
        if isinstance(kind, str) or callable(kind):
            yield place, value
        if str(kind).endswith('Albu'):
            return  # what it holds are albumentations' own names
        keys: Any = [one for one in value if one != 'type']
    elif isinstance(value, list | tuple):
        keys = range(len(value))
    else:
        return
    for inner in keys:
        yield from _typed_dicts(cfg, value, inner, issues, f'{place}.')


def _unknown_type(cfg: Config, key: str, name: str, names: KnownNames) -> list[Issue]:
    parts = key.split('.')
    if _NO_REGISTRY & set(parts[-2:]):
        return []
    kind = _kind_of(parts)
    if kind is None and name.islower():
        return []  # 'nms', 'conv': names that a class looks up in a table of its own
    package = name.partition('.')[0] if '.' in name else ''
    missing = bool(package) and find_spec_of(package) is None
    # A package that exists elsewhere has names of its own.
    near = (
        []
        if missing and package in MODULE2PACKAGE
        else nearest(name, names.choices(kind), 0.65 if kind else 0.75)
    )
    if not near and kind is None and not missing:
        return []
    remedy = (
        f"The package '{package}' is not installed."
        if missing
        else 'A class of your own needs custom_imports=dict(imports=[MODULE]).'
    )
    text = (
        f"{key}.type = '{name}' is no known name{did_you_mean(near)}\n"
        f'  in {place_of(cfg, name)}\n  {remedy}'
    )
    return [Issue(text)]


def _kind_of(parts: list[str]) -> str | None:
    """Return the kind of thing that is built at a dotted key, if there is no doubt."""
    named = [part for part in parts if not part.isdigit()]
    last = named[-1]
    if last.endswith('_evaluator'):
        last = 'evaluator'
    elif named[0] == 'default_hooks':
        last = 'default_hooks'
    if parts[0] == 'model' and last in ('sampler', 'optimizer'):
        return None
    return KIND_OF.get(last)


def _holder(key: str, classes: dict[str, list[Callable]]) -> str:
    """Return the key of the dict whose class builds the one at `key`."""
    while key and key not in classes:
        key = key.rpartition('.')[0]
    return key


def _unknown_arguments(
    cfg: Config,
    key: str,
    node: dict,
    found: list[Callable],
    holders: list[Callable],
) -> list[Issue]:
    last = next(part for part in reversed(key.split('.')) if not part.isdigit())
    if last in _OWN_ARGUMENTS | _NO_REGISTRY:
        return []
    takes: set[str] = set()
    for built in found:
        accepted = accepted_arguments(built)
        if accepted is None:
            return []
        takes |= accepted
    consumed = _CONSUMED | _CONSUMED_AT.get(key.split('.')[0], set())
    owner = getattr(found[0], '__name__', str(found[0]))
    return [
        _unknown_argument(cfg, f'{key}.{name}', str(name), owner, takes)
        for name in node
        if name not in takes | consumed
        and not any(mentions(holder, str(name)) for holder in holders)
    ]


def _unknown_argument(
    cfg: Config, key: str, name: str, owner: str, takes: Collection[str]
) -> Issue:
    near = nearest(name, takes, 0.65)
    if not near:
        remedy = (
            f'It takes: {", ".join(sorted(takes))}.\n  If the argument is left over '
            'from a base config whose type was another, write _delete_=True beside '
            'the new type (text configs) or assign the whole dict (pure Python).'
        )
    else:
        remedy = f'Take it out, or spell it {near[0]}.'
    return Issue(
        f"{key}: {owner} takes no argument '{name}'{did_you_mean(near)}\n"
        f'  in {place_of(cfg, name)}\n  {remedy}'
    )


def _loader_arguments(cfg: Config) -> list[Issue]:
    """Return the issues of the loaders, which the Runner builds without a type."""
    from torch.utils.data import DataLoader

    takes = set(accepted_arguments(DataLoader) or ()) | {'num_batch_per_epoch'}
    issues = []
    for root in _ROOTS:
        given = cfg.get(root) if root.endswith('_dataloader') else None
        issues += [
            _unknown_argument(cfg, f'{root}.{name}', name, 'DataLoader', takes)
            for name in given or ()
            if name not in takes
        ]
        if isinstance(given, dict):
            issues += wrong_values(cfg, root, given, DataLoader)
    return issues


def _at_the_top(cfg: Config, names: KnownNames) -> list[Issue]:
    """Return the issues of the keys at the top, which the Runner itself takes."""
    from mmengine.runner import Runner

    issues = [
        Issue(
            f'{key}: nothing reads it. Did you mean {near}?\n  in {place_of(cfg, key)}'
        )
        for key in cfg._cfg_dict
        if (near := nearest_key(key)) and near not in cfg._cfg_dict
    ]
    scope = cfg.get('default_scope') or 'mmengine'
    if scope not in names.scopes and find_spec_of(scope) is None:
        scopes = nearest(scope, set(names.scopes), 0.5)
        issues.append(
            Issue(
                f"default_scope = '{scope}' is no scope of a registry and no package"
                f'{did_you_mean(scopes)}\n  in {place_of(cfg, scope)}'
            )
        )
    if 'runner_type' not in cfg:  # another runner takes other things
        own = accepted_arguments(Runner) or ()
        given = {key: cfg._cfg_dict[key] for key in cfg._cfg_dict if key in own}
        issues += wrong_values(cfg, '', given, Runner)
    seeds = cfg.get('randomness') or {}
    takes = set(accepted_arguments(Runner.set_randomness) or ()) - {'self'}
    return (
        issues
        + wrong_values(cfg, 'randomness', seeds, Runner.set_randomness)
        + [
            _unknown_argument(cfg, f'randomness.{name}', name, 'Runner', takes)
            for name in seeds
            if name not in takes
        ]
    )


def _failed_import(cfg: Config, key: str, error: ImportError) -> Issue:
    """Return the issue of a name that a pure-Python config imports in vain."""
    text = ' '.join(str(error).split())
    found = re.match(r'Failed to import (\w+) from ([\w.]+) in (.+?), line (\d+)', text)
    if found is None:
        return Issue(f'{key}: {text}\n  in {cfg.filename}')
    name, module, file, line = found.groups()
    try:
        near = nearest(name, set(dir(import_module(module))))
    except ImportError:
        near = []
    return Issue(
        f"{key}: {module} has no '{name}'{did_you_mean(near)}\n  in {file}:{line}\n"
        '  Correct the import in the config.'
    )


def nearest(name: str, choices: Collection[str], cutoff: float = 0.75) -> list[str]:
    """Return at most three names that look most like one, best first.

    Capitals do not count; names of the scope before the dot, if one was written, come
    first.

    Args:
        name: What was written.
        choices: What may be written.
        cutoff: How much alike they must be, from 0 to 1.

    Example:
        >>> nearest('mmdet.FCOSHed', {'FCOSHead', 'mmdet.FCOSHead', 'RetinaHead'})
        ['mmdet.FCOSHead', 'FCOSHead']
    """
    folded: dict[str, list[str]] = {}
    for choice in sorted(choices):
        folded.setdefault(choice.lower(), []).append(choice)
        folded.setdefault(choice.rpartition('.')[2].lower(), []).append(choice)
    scope, _, bare = name.rpartition('.')
    keys = get_close_matches(bare.lower(), folded, n=3, cutoff=cutoff)
    keys += get_close_matches(name.lower(), folded, n=3, cutoff=cutoff)
    found = list(dict.fromkeys(choice for key in keys for choice in folded[key]))
    if scope:
        found = sorted(found, key=lambda one: one.rpartition('.')[0] != scope)
    return found[:3]


def did_you_mean(near: list[str]) -> str:
    """Return a hint to put behind a message, or nothing.

    Example:
        >>> did_you_mean(['ResNet', 'ResNeXt'])
        '. Did you mean ResNet or ResNeXt?'
    """
    return f'. Did you mean {" or ".join(near)}?' if near else ''

"""What a look before the training found: errors that stop it, and warnings."""

from dataclasses import dataclass
from typing import Any

from mmengine.config import Config

from paperzoo.preflight.registered_names import KnownNames


@dataclass
class Finding:
    """One thing that is wrong.

    Args:
        text: The message: key, file, what is wrong, remedy.
        stops: Whether a training makes no sense with it.
    """

    text: str
    stops: bool = True


@dataclass
class DataSpec:
    """A data set as the config has it.

    Args:
        key: Its dotted key.
        spec: Its dict.
        built: Its class.
    """

    key: str
    spec: dict[str, Any]
    built: Any

    @property
    def metainfo(self) -> dict[str, Any]:
        """What the class says of its classes, updated by the config."""
        given = self.spec.get('metainfo') or {}
        return {**getattr(self.built, 'METAINFO', {}), **given}

    @property
    def classes(self) -> list[str] | None:
        """The names of the classes, or None where they are not written out."""
        named = self.metainfo.get('classes')
        return None if named is None or isinstance(named, str) else list(named)


def data_sets(cfg: Config, split: str) -> list[DataSpec]:
    """Return the data sets of a split, those inside of wrappers included.

    Args:
        cfg: The config.
        split: `'train'`, `'val'` or `'test'`.
    """
    names = KnownNames(cfg.get('default_scope') or 'mmengine', {'paperzoo'})
    found = []
    for key, spec in data_set_dicts(cfg, split):
        kind = spec.get('type')
        built = names.find(kind) if isinstance(kind, str) else [kind]
        if built and built[0]:
            found.append(DataSpec(key, spec, built[0]))
    return found


def data_set_dicts(cfg: Config, split: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the data sets of a split as dicts, without wrappers, with their keys.

    Args:
        cfg: The config.
        split: `'train'`, `'val'` or `'test'`.

    Example:
        >>> from mmengine.config import Config
        >>> from paperzoo.preflight.issues import data_set_dicts
        >>> repeated = dict(type='RepeatDataset', dataset=dict(type='CocoDataset'))
        >>> cfg = Config(dict(train_dataloader=dict(dataset=repeated)))
        >>> data_set_dicts(cfg, 'train')
        [('train_dataloader.dataset.dataset', {'type': 'CocoDataset'})]
    """
    loader = cfg.get(f'{split}_dataloader') or {}
    return _unwrapped(loader.get('dataset'), f'{split}_dataloader.dataset')


def _unwrapped(spec: Any, key: str) -> list[tuple[str, dict[str, Any]]]:
    if not isinstance(spec, dict):
        return []
    if isinstance(inner := spec.get('dataset'), dict):
        return _unwrapped(inner, f'{key}.dataset')
    if isinstance(several := spec.get('datasets'), list | tuple):
        return [
            one
            for number, each in enumerate(several)
            for one in _unwrapped(each, f'{key}.datasets.{number}')
        ]
    return [(key, spec)]

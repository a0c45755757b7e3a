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
    loader = cfg.get(f'{split}_dataloader') or {}
    names = KnownNames(cfg.get('default_scope') or 'mmengine', {'paperzoo'})
    return _unwrapped(loader.get('dataset'), f'{split}_dataloader.dataset', names)


def _unwrapped(spec: Any, key: str, names: KnownNames) -> list[DataSpec]:
    if not isinstance(spec, dict):
        return []
    if isinstance(inner := spec.get('dataset'), dict):
        return _unwrapped(inner, f'{key}.dataset', names)
    if isinstance(several := spec.get('datasets'), list | tuple):
        return [
            one
            for number, each in enumerate(several)
            for one in _unwrapped(each, f'{key}.datasets.{number}', names)
        ]
    kind = spec.get('type')
    found = names.find(kind) if isinstance(kind, str) else [kind]
    return [DataSpec(key, spec, found[0])] if found and found[0] else []

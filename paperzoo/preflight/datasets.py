"""The data sets of a config, without building them."""

from dataclasses import dataclass
from typing import Any

from mmengine.config import Config

from paperzoo.preflight.registered_names import KnownNames
from paperzoo.utils.wrappers import unwrap_datasets


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
    def arguments(self) -> dict[str, Any]:
        """What the class is built with."""
        return {key: value for key, value in self.spec.items() if key != 'type'}

    def step(self, *kinds: Any) -> dict[str, Any] | None:
        """Return the first step of the pipeline that is of one of some types."""
        for one in self.spec.get('pipeline') or ():
            if isinstance(one, dict) and one.get('type') in kinds:
                return one
        return None

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

    Example:
        >>> from mmengine.config import Config
        >>> inner = dict(type='mmdet.CocoDataset', metainfo=dict(classes=('cat',)))
        >>> loader = dict(dataset=dict(type='RepeatDataset', times=2, dataset=inner))
        >>> (one,) = data_sets(Config(dict(train_dataloader=loader)), 'train')
        >>> one.key, one.classes
        ('train_dataloader.dataset.dataset', ['cat'])
    """
    loader = cfg.get(f'{split}_dataloader') or {}
    names = KnownNames(cfg.get('default_scope') or 'mmengine', {'paperzoo'})
    found = []
    for key, spec in unwrap_datasets(
        loader.get('dataset'), f'{split}_dataloader.dataset'
    ):
        kind = spec.get('type')
        built = names.find(kind) if isinstance(kind, str) else [kind]
        if built and built[0]:
            found.append(DataSpec(key, spec, built[0]))
    return found

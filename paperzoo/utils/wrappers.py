"""What is inside of wrappers: the data sets of a config, the model of a runner."""

from typing import Any


def unwrap_model(model: Any) -> Any:
    """Return a model without the wrapper that distributes it, if there is one.

    Args:
        model: A runner's model.

    Example:
        >>> from torch import nn
        >>> model = nn.Linear(1, 1)
        >>> unwrap_model(model) is model
        True
    """
    from mmengine.model import is_model_wrapper

    return model.module if is_model_wrapper(model) else model


def unwrap_datasets(spec: Any, key: str = 'dataset') -> list[tuple[str, dict]]:
    """Return the data sets of a config that read files, with their dotted keys.

    Wrappers hold a `dataset` (`RepeatDataset`) or several `datasets`
    (`ConcatDataset`), and may hold wrappers again.

    Args:
        spec: The config of a data set, possibly of a wrapper; or None.
        key: Its dotted key.

    Example:
        >>> spec = dict(type='RepeatDataset', dataset=dict(type='CocoDataset'))
        >>> unwrap_datasets(spec)
        [('dataset.dataset', {'type': 'CocoDataset'})]
    """
    if not isinstance(spec, dict):
        return []
    if isinstance(inner := spec.get('dataset'), dict):
        return unwrap_datasets(inner, f'{key}.dataset')
    if isinstance(several := spec.get('datasets'), list | tuple):
        found = []
        for number, each in enumerate(several):
            found += unwrap_datasets(each, f'{key}.datasets.{number}')
        return found
    return [(key, spec)]

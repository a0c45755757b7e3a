"""What is inside of wrappers."""

from mmengine.config import ConfigDict
from torch import nn

from paperzoo.utils.wrappers import unwrap_datasets, unwrap_model


def test_a_model_without_what_distributes_it() -> None:
    model = nn.Linear(1, 1)
    assert unwrap_model(nn.DataParallel(model)) is model
    assert unwrap_model(model) is model
    # `module` may be the name of a part.
    holder = nn.ModuleDict({'module': model})
    assert unwrap_model(holder) is holder


def test_wrappers_in_wrappers() -> None:
    a, b, c = (ConfigDict(type=name) for name in 'abc')
    spec = ConfigDict(
        type='Concat',
        datasets=[a, {'dataset': {'datasets': [b]}}, {'dataset': {'dataset': c}}],
    )
    assert unwrap_datasets(spec, 'train') == [
        ('train.datasets.0', a),
        ('train.datasets.1.dataset.datasets.0', b),
        ('train.datasets.2.dataset.dataset', c),
    ]
    assert unwrap_datasets(None) == []
    # A data set's own argument may have this name.
    assert unwrap_datasets({'type': 'a', 'dataset': 'coco'}) == [
        ('dataset', {'type': 'a', 'dataset': 'coco'})
    ]

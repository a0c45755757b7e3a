"""Files of models that take arrays: episodes of maps, sequences of tokens."""

from collections.abc import Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from paperzoo.apis.build import build_dataset
from paperzoo.apis.config import dataset_config, image_pipeline, type_name
from paperzoo.apis.export_check import Comparison
from paperzoo.errors import UserError
from paperzoo.preflight.common_values import require
from paperzoo.runtime.card import Card
from paperzoo.runtime.sessions import Session

if TYPE_CHECKING:
    from mmengine.config import Config

_WRITERS = ('paperzoo', 'torch', 'onnx', 'onnxscript', 'openvino')
# Of a test pipeline's transforms, the names of `paperzoo.runtime.images.STEPS`.
_STEPS = {'ImageResize': 'short_side', 'ImageCenterCrop': 'middle'}
# Episodes or sequences that file and model are compared on.
_LOOK_AT = 8


class Way(NamedTuple):
    """How a file is written.

    Attributes:
        kind: One of `paperzoo.runtime.card.FORMATS`.
        dynamic: Whether numbers and lengths are free.
        compiled: Whether it is machine code.
    """

    kind: str
    dynamic: bool
    compiled: bool = False


def export_arrays(model: Any, cfg: 'Config', file: Path, way: Way) -> Comparison:
    """Write a few-shot classifier, or a model of sequences.

    A few-shot classifier becomes two files: `file` embeds images, `NAME_episode` beside
    it scores the maps of queries, given those of supports.

    Args:
        model: In evaluation mode, with its weights.
        cfg: Its config, whose test set has what file and model are compared on.
        file: Where to write.
        way: How to write it.

    Returns:
        What the comparison has found.

    Raises:
        UserError: If the model is of another kind, cannot be written, its test set is
            not there, or results differ.

    Example:
        >>> from pathlib import Path
        >>> import torch
        >>> from paperzoo.apis.export_arrays import Way, export_arrays
        >>> export_arrays(torch.nn.Linear(1, 1), None, Path('a'), Way('onnx', False))
        Traceback (most recent call last):
        paperzoo.errors.UserError: model.type is Linear: what can be exported are ...
    """
    from paperzoo.attention.sequence_models import SequenceModel
    from paperzoo.common.few_shot import EpisodeClassifier

    if isinstance(model, EpisodeClassifier):
        return _export_episodes(model, cfg, file, way)
    if isinstance(model, SequenceModel):
        return _export_sequences(model, cfg, file, way)
    raise UserError(
        f'model.type is {type(model).__name__}: what can be exported are detectors and '
        'segmentors, episode classifiers, SequenceTagger and SetClassifier'
    )


def _export_episodes(model: Any, cfg: 'Config', file: Path, way: Way) -> Comparison:
    from paperzoo.deploy.episodes import episode_graphs
    from paperzoo.deploy.formats import publish, session_of, write

    episodes = _items(cfg)
    first = episodes[0]
    ways = int(first['support_label'].max()) + 1
    graphs = episode_graphs(model, first['support'].float(), ways, way.dynamic)
    total = Comparison('episodes of the test set')
    with TemporaryDirectory() as folder:
        files = {
            'embedding': Path(folder, file.name),
            'episode': Path(folder, f'{file.stem}_episode{file.suffix}'),
        }
        runs = {}
        for part, graph in graphs.items():
            card = _card(model, graph.task, {'part': part})
            if part == 'embedding':
                card = _embedding_card(card, cfg, model, graph.inputs['images'])
            write(graph, card, files[part], way.kind, compiled=way.compiled)
            runs[part] = session_of(files[part], way.kind, card, compiled=way.compiled)
        for episode in episodes:
            _add(total, *_episode_scores(model, runs, episode, way.dynamic))
        total.check(str(file))
        publish(Path(folder), file.parent)
    return total


def _episode_scores(
    model: Any, runs: Mapping[str, Session], episode: Mapping[str, Any], dynamic: bool
) -> tuple[Any, Any]:
    """Return the scores of an episode's queries, by the model and by its files."""
    import torch

    each = {key: episode[key] for key in ('support', 'query')}
    if not dynamic:  # as many queries as supports
        each['query'] = each['query'][: len(each['support'])]
    labels = episode['support_label']
    maps = {
        key: runs['embedding'].run({'images': value.float().numpy()})['maps']
        for key, value in each.items()
    }
    found = runs['episode'].run(
        {
            'support': maps['support'],
            'support_label': labels.numpy(),
            'query': maps['query'],
            'classes': np.arange(int(labels.max()) + 1),
        }
    )
    batch = {key: value[None] for key, value in each.items()}
    batch['support_label'] = labels[None]
    with torch.no_grad():
        scores = model(**model.data_preprocessor(batch), mode='tensor')[0]
    return scores.numpy(), found['scores']


def _export_sequences(model: Any, cfg: 'Config', file: Path, way: Way) -> Comparison:
    import torch

    from paperzoo.deploy.formats import publish, session_of, write
    from paperzoo.deploy.sequences import sequence_graph

    items = _items(cfg)
    example = torch.stack([items[0]['inputs'], items[0]['inputs']])
    graph = sequence_graph(model, example, way.dynamic)
    tokens = getattr(model.embedding, 'tokens', None)
    settings = {} if tokens is None else {'num_tokens': tokens.num_embeddings}
    card = _card(model, graph.task, settings)
    total = Comparison('sequences of the test set')
    with TemporaryDirectory() as folder:
        target = Path(folder, file.name)
        made = write(graph, card, target, way.kind, compiled=way.compiled)
        session = session_of(made, way.kind, card, compiled=way.compiled)
        for item in items:
            if way.dynamic or item['inputs'].shape == example.shape[1:]:
                _add(total, *_sequence_scores(model, session, item['inputs']))
        total.check(str(file))
        publish(Path(folder), file.parent)
    return total


def _sequence_scores(model: Any, session: Session, inputs: Any) -> tuple[Any, Any]:
    """Return the scores of a sequence, and of it with padding, by model and file."""
    import torch

    inputs = torch.stack([inputs, inputs])
    padding = torch.zeros(inputs.shape[:2], dtype=torch.bool)
    padding[1, -1] = True
    given = {'inputs': inputs.numpy(), 'padding': padding.numpy()}
    found = session.run(given)['scores']
    with torch.no_grad():
        scores = model(inputs, padding, mode='tensor').numpy()
    if scores.ndim == 3:  # of padding nobody asks
        return scores[~padding.numpy()], found[~padding.numpy()]
    return scores, found


def _items(cfg: 'Config') -> list[Mapping[str, Any]]:
    from paperzoo.preflight.image_files import evenly_spaced

    split = next((one for one in ('test', 'val') if dataset_config(cfg, one)), 'test')
    require(cfg, f'{split}_dataloader', what='the comparison of file and model')
    dataset = build_dataset(cfg, split, cfg[f'{split}_dataloader']['dataset'])
    return [dataset[n] for n in evenly_spaced(range(len(dataset)), _LOOK_AT)]


def _card(model: Any, task: str, settings: Mapping[str, Any]) -> Card:
    return Card(
        task=task,
        model=type(model).__name__,
        classes=(),
        channels='rgb' if task == 'few-shot' else 'bgr',
        settings=dict(settings),
        versions=versions(),
    )


def _embedding_card(card: Card, cfg: 'Config', model: Any, images: Any) -> Card:
    """Return a card that says what becomes of an image before it is embedded."""
    pre = model.data_preprocessor
    return replace(
        card,
        size=(images.size(3), images.size(2)),
        mean=tuple(pre.mean.flatten().tolist()),
        std=tuple(pre.std.flatten().tolist()),
        settings={**card.settings, 'steps': _steps(cfg)},
    )


def _steps(cfg: 'Config') -> list[tuple[str, int]]:
    """Return the test pipeline as an exported file knows it."""
    steps = []
    for step in image_pipeline(cfg):
        name = _STEPS.get(type_name(step['type']))
        if name is None or set(step) != {'type', 'size'}:
            raise UserError(
                f'{cfg.filename}: the test pipeline has a {type_name(step["type"])}; '
                f'what can be exported are {" and ".join(_STEPS)}'
            )
        steps.append((name, int(step['size'])))
    return steps


def _add(total: Comparison, one: np.ndarray, other: np.ndarray) -> None:
    total.images += 1
    total.objects += len(one)
    total.others += len(other)
    total.unmatched += int((one.argmax(-1) != other.argmax(-1)).sum())
    # Scores are no probabilities here: the largest is the measure.
    largest = max(1.0, float(np.abs(one).max()))
    total.score = max(total.score, float(np.abs(one - other).max()) / largest)


def versions() -> dict[str, str]:
    """Return the versions of what writes an exported file.

    Example:
        >>> from paperzoo.apis.export_arrays import versions
        >>> sorted(versions())[-1]
        'torch'
    """
    found = {}
    for name in _WRITERS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found

"""Small ONNX files as paperzoo export writes them, made without a model."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from paperzoo.runtime.card import KEY, Card

BOXES = [[[2.0, 3.0, 20.0, 30.0], [5.0, 5.0, 9.0, 9.0], [0.0, 0.0, 0.0, 0.0]]]
SCORES = [[0.9, 0.2, 0.0]]
LABELS = [[1, 0, 0]]


def detection_card(**changes: Any) -> Card:
    values: dict[str, Any] = dict(
        task='detection', model='FCOS', classes=('cat', 'dog'), divisor=32
    )
    return Card(**{**values, **changes})


def write_detector(
    file: Path, card: Card | None = None, *, text: str | None = None, **changes: Any
) -> Path:
    """Write a file that finds the same objects in every image.

    Args:
        file: Where to write.
        card: What it says of itself.
        text: This instead of the card.
        changes: `images`: the shape of this input; `scores`: other scores.
    """
    shape = changes.get('images', ('batch', 3, 'height', 'width'))
    inputs = [
        helper.make_tensor_value_info('images', TensorProto.UINT8, shape),
        helper.make_tensor_value_info('image_size', TensorProto.INT64, [2]),
        helper.make_tensor_value_info('result_size', TensorProto.INT64, [2]),
    ]
    values: dict[str, Any] = {
        'boxes': np.array(BOXES, np.float32),
        'scores': np.array(changes.get('scores', SCORES), np.float32),
        'labels': np.array(LABELS, np.int64),
    }
    kinds = {'boxes': TensorProto.FLOAT, 'scores': TensorProto.FLOAT}
    outputs, nodes = [], []
    for name, value in values.items():
        kind = kinds.get(name, TensorProto.INT64)
        outputs.append(helper.make_tensor_value_info(name, kind, value.shape))
        constant = numpy_helper.from_array(value)
        nodes.append(helper.make_node('Constant', [], [name], value=constant))
    graph = helper.make_graph(nodes, 'detector', inputs, outputs)
    if text is None:
        text = (card or detection_card()).to_json()
    _save(file, graph, text)
    return file


def card_text(**changes: Any) -> str:
    """Return the text of a card with other values, whether they may be or not."""
    return json.dumps({**json.loads(detection_card().to_json()), **changes})


def write_few_shot(file: Path, *, free: bool = True, **changes: Any) -> Path:
    """Write both files of a few-shot classifier that compares mean colours.

    Args:
        file: Where to write the first; the second lies beside it.
        free: Whether the numbers of images and classes are free.
        changes: Of the card of the first file.
    """
    values: dict[str, Any] = {
        'task': 'few-shot',
        'model': 'ProtoNet',
        'classes': (),
        'channels': 'rgb',
        'size': (28, 28),
        'settings': {'part': 'embedding', 'steps': [('short_side', 28)]},
    }
    card = Card(**{**values, **changes})
    float32, int64 = TensorProto.FLOAT, TensorProto.INT64
    name = 'n' if free else 1
    node = helper.make_node
    graph = helper.make_graph(
        [node('GlobalAveragePool', ['images'], ['maps'])],
        'embedding',
        [helper.make_tensor_value_info('images', float32, (name, 3, 28, 28))],
        [helper.make_tensor_value_info('maps', float32, (name, 3, 1, 1))],
    )
    _save(file, graph, card.to_json())
    sides = [('support', float32, ('s', 3, 1, 1)), ('support_label', int64, ('s',))]
    sides += [('query', float32, ('q', 3, 1, 1)), ('classes', int64, ('k',))]
    axes = numpy_helper.from_array(np.array([1]))
    graph = helper.make_graph(
        [
            node('Constant', [], ['one'], value=axes),
            node('Flatten', ['support'], ['s']),
            node('Flatten', ['query'], ['q']),
            node('LpNormalization', ['s'], ['unit'], axis=1),
            node('Transpose', ['unit'], ['turned'], perm=[1, 0]),
            node('MatMul', ['q', 'turned'], ['near']),
            node('Unsqueeze', ['support_label', 'one'], ['column']),
            node('Equal', ['column', 'classes'], ['member']),
            node('Cast', ['member'], ['number'], to=float32),
            node('MatMul', ['near', 'number'], ['scores']),
        ],
        'episode',
        [helper.make_tensor_value_info(*side) for side in sides],
        [helper.make_tensor_value_info('scores', float32, ('q', 'k'))],
    )
    second = Card(**{**values, 'size': None, 'settings': {'part': 'episode'}})
    _save(file.with_stem(f'{file.stem}_episode'), graph, second.to_json())
    return file


def write_tagger(
    file: Path, *, shape: tuple[int | str, ...] = ('b', 'n'), **settings: Any
) -> Path:
    """Write a tagger of 5 tokens whose likeliest label is the token itself.

    Args:
        file: Where to write.
        shape: Of the inputs.
        settings: Of its card, beside the number of tokens.
    """
    card = Card(
        task='sequence',
        model='SequenceTagger',
        classes=(),
        settings={'num_tokens': 5, **settings},
    )
    float32, int64 = TensorProto.FLOAT, TensorProto.INT64
    constants = {'depth': np.array([5]), 'ends': np.array([0.0, 2.0], np.float32)}
    nodes = [
        helper.make_node('Constant', [], [key], value=numpy_helper.from_array(value))
        for key, value in constants.items()
    ]
    graph = helper.make_graph(
        [
            *nodes,
            helper.make_node('OneHot', ['inputs', 'depth', 'ends'], ['hot']),
            helper.make_node('Identity', ['hot'], ['scores']),
        ],
        'tagger',
        [
            helper.make_tensor_value_info('inputs', int64, shape),
            helper.make_tensor_value_info('padding', TensorProto.BOOL, shape),
        ],
        [helper.make_tensor_value_info('scores', float32, (*shape, 5))],
    )
    _save(file, graph, card.to_json())
    return file


def _save(file: Path, graph: Any, text: str) -> None:
    opset = [helper.make_opsetid('', 20)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    if text:
        helper.set_model_props(model, {KEY: text})
    onnx.save(model, file)

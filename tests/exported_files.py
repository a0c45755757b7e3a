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
    opset = [helper.make_opsetid('', 20)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    if text is None:
        text = (card or detection_card()).to_json()
    if text:
        helper.set_model_props(model, {KEY: text})
    onnx.save(model, file)
    return file


def card_text(**changes: Any) -> str:
    """Return the text of a card with other values, whether they may be or not."""
    return json.dumps({**json.loads(detection_card().to_json()), **changes})

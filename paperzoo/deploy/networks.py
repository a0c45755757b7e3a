"""Which graph a model of images gets, and what its inputs look like."""

from typing import Any

import torch
from torch import nn
from torch.export import Dim

from paperzoo.deploy.graph import Graph
from paperzoo.deploy.inputs import with_mean_pools
from paperzoo.errors import UserError
from paperzoo.runtime.images import padded_side
from paperzoo.utils.families import family


def image_graph(
    model: nn.Module, size: tuple[int, int], divisor: int, dynamic: bool
) -> Graph:
    """Return the graph of a detector or segmentor.

    Args:
        model: In evaluation mode; its adaptive pools are replaced.
        size: Width and height of the example.
        divisor: Sides of images are multiples of it.
        dynamic: Whether the number and the size of images are free.

    Raises:
        UserError: If there is no graph for this model, or not for its settings.

    Example:
        >>> import paperzoo
        >>> from paperzoo.deploy.networks import image_graph
        >>> model = paperzoo.build_model(paperzoo.load_config('fcos_tiny_shapes'))
        >>> made = image_graph(model, (96, 64), divisor=32, dynamic=False)
        >>> made.task, made.inputs['images'].shape
        ('detection', torch.Size([1, 3, 64, 96]))
    """
    task, module = _image_module(model)
    width, height = (padded_side(side, divisor) for side in size)
    generator = torch.Generator().manual_seed(0)
    # An example of one image would make the number of images one for ever.
    shape = (2 if dynamic else 1, 3, height, width)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    sizes = torch.tensor([height, width])
    free = None
    if dynamic:
        step = max(divisor, 1)
        low = -(-64 // step)
        tall = Dim('_height', min=low, max=8192 // step)
        wide = Dim('_width', min=low, max=8192 // step)
        if step > 1:
            tall, wide = step * tall, step * wide
        free = {0: Dim('batch', min=1, max=1024), 2: tall, 3: wide}
    return Graph(
        with_mean_pools(module).eval(),
        task,
        {'images': images, 'image_size': sizes, 'result_size': sizes.clone()},
        {'images': free, 'image_size': None, 'result_size': None},
        OUTPUTS[task],
    )


OUTPUTS = {
    'detection': ('boxes', 'scores', 'labels'),
    'instance': ('boxes', 'scores', 'labels', 'masks'),
    'panoptic': ('panoptic_seg',),
    'semantic': ('sem_seg',),
}


def _image_module(model: Any) -> tuple[str, Any]:
    # A paper's stack is imported for its own models only.
    whose = family(model)
    if whose == 'mmseg':
        from mmseg.models import EncoderDecoder

        from paperzoo.deploy.semantic import SemanticGraph

        if type(model) is EncoderDecoder:
            return 'semantic', SemanticGraph(model)
    if whose == 'mmdet':
        from paperzoo.deploy.fcos import FCOSGraph
        from paperzoo.deploy.knet import KNetInstanceGraph, KNetPanopticGraph
        from paperzoo.fcos.head import FCOSHead
        from paperzoo.knet.detector import KNet

        if isinstance(model, KNet):
            if model.kernel_iter_head.do_panoptic:
                return 'panoptic', KNetPanopticGraph(model)
            return 'instance', KNetInstanceGraph(model)
        if isinstance(getattr(model, 'bbox_head', None), FCOSHead):
            return 'detection', FCOSGraph(model)
    head = type(getattr(model, 'bbox_head', None)).__name__
    raise UserError(
        f'model.type is {type(model).__name__}'
        + (f' with a {head}' if head != 'NoneType' else '')
        + ': what can be exported are detectors with paperzoo.FCOSHead, KNet, '
        "mmseg's EncoderDecoder, episode classifiers, SequenceTagger and SetClassifier"
    )

"""Models of sequences as a graph from tokens to scores of labels."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from paperzoo.attention.sequence_models import SequenceModel
from paperzoo.attention.translator import SequenceTranslator
from paperzoo.deploy.graph import Graph
from paperzoo.errors import UserError


class Scores(nn.Module):
    """The scores of a tagger or of a classifier of sets.

    Args:
        model: The model.

    Raises:
        UserError: If it writes its answer token by token.

    Example:
        >>> import paperzoo, torch
        >>> from paperzoo.deploy.sequences import Scores
        >>> cfg = paperzoo.load_config('attention_tagging')
        >>> graph = Scores(paperzoo.build_model(cfg, 'cpu'))
        >>> tokens, padding = torch.tensor([[1, 2]]), torch.tensor([[False, True]])
        >>> graph(tokens, padding)['scores'].shape
        torch.Size([1, 2, 2])
    """

    def __init__(self, model: SequenceModel) -> None:
        super().__init__()
        if isinstance(model, SequenceTranslator):
            raise UserError(
                'SequenceTranslator writes its answer token by token, and a file has '
                'no such loop: it cannot be exported'
            )
        self.model = model

    def forward(self, inputs: Tensor, padding: Tensor) -> dict[str, Tensor]:
        """Return `scores`: (B, N, K) of a tagger, (B, K) of a classifier of sets.

        Args:
            inputs: Tokens (B, N) or vectors (B, N, D).
            padding: True where an input is padding, (B, N).
        """
        return {'scores': self.model.logits(inputs, padding, None)}


def sequence_graph(model: SequenceModel, inputs: Any, dynamic: bool) -> Graph:
    """Return the graph of a model of sequences.

    Args:
        model: In evaluation mode.
        inputs: An example, (B, N) or (B, N, D).
        dynamic: Whether the number and the length of sequences are free.

    Example:
        >>> import paperzoo, torch
        >>> from paperzoo.deploy.sequences import sequence_graph
        >>> model = paperzoo.build_model(paperzoo.load_config('attention_tagging'))
        >>> made = sequence_graph(model, torch.ones(2, 5).long(), dynamic=False)
        >>> made.inputs['padding'].shape
        torch.Size([2, 5])
    """
    free = None
    if dynamic:
        free = {
            0: Dim('batch', min=1, max=4096),
            1: Dim('length', min=2, max=4096),
        }
    padding = torch.zeros(inputs.shape[:2], dtype=torch.bool)
    padding[0, -1] = True
    return Graph(
        Scores(model).eval(),
        'sequence',
        {'inputs': inputs, 'padding': padding},
        {'inputs': free, 'padding': free},
        ('scores',),
    )

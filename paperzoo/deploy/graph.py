"""What is written down: a network with an example of what goes in."""

from typing import Any, NamedTuple

from torch import Tensor


class Graph(NamedTuple):
    """A network to write down, with an example of its inputs.

    Attributes:
        module: Takes the inputs in this order, returns a dict of tensors.
        task: See `paperzoo.runtime.card.TASKS`.
        inputs: Examples by name.
        free: For each input the sides that are free, or None.
        outputs: Names of what comes out, in the module's order.
    """

    module: Any
    task: str
    inputs: dict[str, Tensor]
    free: dict[str, dict[int, Any] | None]
    outputs: tuple[str, ...]

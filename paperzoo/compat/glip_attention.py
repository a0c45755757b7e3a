"""GLIP trains and predicts with the later releases of transformers 4.

Ailment: mmdet's layer inherits from a class of transformers, whose forward calls parts
with arguments that had other names before 4.57. mmdet's own parts do not know them:
"BertSelfAttention.forward() got an unexpected keyword argument 'past_key_values'".
Upstream thread: none; mmdet/models/utils/vlfuse_helper.py.
Delete when: mmdet's BertAttention has a forward of its own.
"""

from typing import Any

from torch import Tensor

from paperzoo.utils.when_imported import when_imported


def apply() -> None:
    """Give mmdet's layer a forward of its own, once mmdet is imported."""
    when_imported('mmdet.models.utils.vlfuse_helper', _mend)


def _mend(module: Any) -> None:
    if 'forward' not in vars(module.BertAttention):
        module.BertAttention.forward = _forward


def _forward(
    self: Any,
    hidden_states: Tensor,
    attention_mask: Tensor | None = None,
    head_mask: Tensor | None = None,
    output_attentions: bool = False,
    past_key_value: Any = None,
) -> tuple[Any, ...]:
    """Attend, then add the result to what came in.

    Args:
        self: The layer of mmdet.
        hidden_states: Of the words, (images, words, channels).
        attention_mask: Added to the logits, (images, 1, 1, words).
        head_mask: A factor of each head.
        output_attentions: Return the weights of the attention, too.
        past_key_value: Of a decoder.
    """
    found = self.self(
        hidden_states,
        attention_mask,
        head_mask,
        past_key_value=past_key_value,
        output_attentions=output_attentions,
    )
    return self.output(found[0], hidden_states), *found[1:]

"""A model that decides the length of its answer: an encoder and a decoder."""

from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn import functional as F

from paperzoo.attention.functional import causal_mask
from paperzoo.attention.sequence_models import (
    POSITIONS,
    SequenceModel,
    TokenEmbedding,
)
from paperzoo.errors import UserError
from paperzoo.registry import MODELS

# The target token before the first one, and the one behind the last.
END = 0


def shift_right(target: Int[Tensor, 'batch tokens']) -> Int[Tensor, 'batch tokens']:
    """Return what a decoder is given: the token before each one, `END` at first.

    Args:
        target: Tokens; negative ones are padding, at the end.

    Example:
        >>> import torch
        >>> from paperzoo.attention.translator import shift_right
        >>> shift_right(torch.tensor([[5, 7, 0]]))
        tensor([[0, 5, 7]])
    """
    return F.pad(target[:, :-1], (1, 0), value=END).clamp(min=0)


@MODELS.register_module()
class SequenceTranslator(SequenceModel):
    """A sequence for a sequence: an encoder, and a decoder that says when to end.

    Args:
        encoder: Config of the encoder.
        decoder: Config of the decoder, whose layers have `cross_attention`.
        num_tokens: Number of different tokens of the source.
        num_targets: Number of different tokens of the target; 0 is its end.
        embed_dims: Channels.
        max_length: Where a sequence is cut that does not end by itself.
        positions: Config of the positional encoding, None for none.
        **kwargs: As of `SequenceModel`, whose base is MMEngine's BaseModel.

    Example:
        >>> import torch
        >>> from paperzoo.attention import SequenceTranslator, TransformerEncoder
        >>> layers = dict(type=TransformerEncoder, num_layers=1, num_heads=2)
        >>> layers |= dict(feedforward_channels=16)
        >>> sizes = dict(num_tokens=9, num_targets=5, embed_dims=8, max_length=4)
        >>> model = SequenceTranslator(layers, layers, **sizes)
        >>> model(torch.tensor([[3, 1]]), target=torch.tensor([[2, 4, 0]])).shape
        torch.Size([1, 3, 5])

    Paper: attention "Encoder and Decoder Stacks"
    Differs: the two embeddings and the last layer share no weights: source and target
        have different tokens.
    """

    def __init__(
        self,
        encoder: dict[str, Any],
        decoder: dict[str, Any],
        *,
        num_tokens: int,
        num_targets: int,
        embed_dims: int,
        max_length: int,
        positions: dict[str, Any] | None = POSITIONS,
        **kwargs: Any,
    ) -> None:
        super().__init__(encoder, embed_dims=embed_dims, **kwargs)
        self.decoder = MODELS.build(
            {'embed_dims': embed_dims, 'cross_attention': True, **decoder}
        )
        self.embedding = TokenEmbedding(num_tokens, embed_dims, positions)
        self.target_embedding = TokenEmbedding(num_targets, embed_dims, positions)
        self.classifier = nn.Linear(embed_dims, num_targets)
        self.max_length = max_length

    def logits(
        self, inputs: Tensor, padding: Tensor | None, target: Tensor | None
    ) -> Tensor:
        """Return the scores of each target token, given those before it, (B, T, K)."""
        if target is None:
            raise UserError(
                "SequenceTranslator: mode='tensor' scores a target, and there is none: "
                "give target, or use mode='predict'"
            )
        return self.decode(shift_right(target), self.encode(inputs, padding), padding)

    def encode(self, inputs: Tensor, padding: Tensor | None) -> Tensor:
        """Return what the decoder looks at, (B, N, C)."""
        return self.encoder(self.embedding(inputs), key_padding_mask=padding)

    def decode(
        self, tokens: Tensor, memory: Tensor, padding: Tensor | None = None
    ) -> Tensor:
        """Return the scores of the token behind each of these, (B, T, K).

        Args:
            tokens: `END`, and the target tokens so far, (B, T).
            memory: Of `encode`.
            padding: True where the memory is padding, (B, N).
        """
        # No padding mask: what is behind a token is hidden from it anyway.
        decoded = self.decoder(
            self.target_embedding(tokens),
            attn_mask=causal_mask(tokens.size(1), tokens.device),
            memory=memory,
            memory_padding_mask=padding,
        )
        return self.classifier(decoded)

    def decide(self, inputs: Tensor, padding: Tensor | None) -> list[Tensor]:
        """Return the likeliest token after the other, up to the end with it."""
        memory = self.encode(inputs, padding)
        tokens = torch.full_like(inputs[:, :1], END)
        # All steps, even if all have ended: to ask would make a GPU wait.
        for _ in range(self.max_length):
            scores = self.decode(tokens, memory, padding)[:, -1]
            tokens = torch.cat((tokens, scores.argmax(-1, keepdim=True)), dim=1)
        return [_until_end(own) for own in tokens[:, 1:]]


def _until_end(tokens: Tensor) -> Tensor:
    """Return the tokens up to their first end, itself included."""
    ends = (tokens == END).long()
    return tokens[ends.cumsum(0) == ends]

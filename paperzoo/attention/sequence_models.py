"""Small models for a label per token and a label per set; what they share."""

from abc import abstractmethod
from typing import Any

from jaxtyping import Bool, Float
from mmengine.model import BaseModel
from torch import Tensor, nn

from paperzoo.attention.positions import SinePositionalEncoding
from paperzoo.common.losses import mean_cross_entropy
from paperzoo.errors import UserError
from paperzoo.registry import MODELS

POSITIONS: dict[str, Any] = {'type': SinePositionalEncoding}


def masked_mean(
    tokens: Float[Tensor, 'batch tokens channels'],
    padding: Bool[Tensor, 'batch tokens'] | None = None,
) -> Float[Tensor, 'batch channels']:
    """Return the mean of the tokens that are no padding.

    Args:
        tokens: To average.
        padding: True where a token is padding; without it, nowhere.

    Example:
        >>> import torch
        >>> from paperzoo.attention.sequence_models import masked_mean
        >>> tokens = torch.tensor([1.0, 3.0, 9.0]).view(1, 3, 1)
        >>> masked_mean(tokens, torch.tensor([[False, False, True]]))
        tensor([[2.]])
    """
    if padding is None:
        return tokens.mean(1)
    total = tokens.masked_fill(padding[..., None], 0.0).sum(1)
    return total / (~padding).sum(1, keepdim=True).clamp(min=1)


class TokenEmbedding(nn.Module):
    """An embedding of token numbers, to which that of their places is added.

    Args:
        num_tokens: Number of different tokens.
        embed_dims: Channels.
        positions: Config of the positional encoding; None: tokens do not know where
            they are.

    Paper: attention "Embeddings and Softmax"
    Differs: the square root of the channels multiplies the initial weights, not the
        embedding.
    """

    def __init__(
        self, num_tokens: int, embed_dims: int, positions: dict[str, Any] | None
    ) -> None:
        super().__init__()
        self.tokens = nn.Embedding(num_tokens, embed_dims)
        self.positions: nn.Module | None = None
        if positions is not None:
            self.positions = MODELS.build({'num_feats': embed_dims, **positions})

    def forward(self, tokens: Tensor) -> Tensor:
        """Return embeddings (B, N, C) of tokens (B, N); padding is behind the others.

        Args:
            tokens: Their numbers.
        """
        embedded = self.tokens(tokens)
        if self.positions is None:
            return embedded
        return embedded + self.positions(None, embedded).to(embedded)


class SequenceModel(BaseModel):
    """What all models of sequences share: an encoder, cross-entropy, the modes.

    Args:
        encoder: Config of the encoder.
        embed_dims: Its channels.
        data_preprocessor: As in MMEngine; by default batches are moved to the device.
        init_cfg: As in every MMEngine module.
    """

    def __init__(
        self,
        encoder: dict[str, Any],
        *,
        embed_dims: int,
        data_preprocessor: dict[str, Any] | nn.Module | None = None,
        init_cfg: Any = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        self.encoder = MODELS.build({'embed_dims': embed_dims, **encoder})

    @abstractmethod
    def logits(
        self, inputs: Tensor, padding: Tensor | None, target: Tensor | None
    ) -> Tensor:
        """Return the scores of the classes for all labels, (B, K) or (B, N, K).

        Args:
            inputs: (B, N) or (B, N, D).
            padding: True where an input is padding, (B, N).
            target: Of the batch.
        """

    @abstractmethod
    def decide(self, inputs: Tensor, padding: Tensor | None) -> list[Tensor]:
        """Return the labels of each sequence.

        Args:
            inputs: (B, N) or (B, N, D).
            padding: True where an input is padding, (B, N).
        """

    def forward(
        self,
        inputs: Tensor,
        padding: Tensor | None = None,
        target: Tensor | None = None,
        mode: str = 'tensor',
    ) -> Any:
        """Return losses, predictions or scores of a batch.

        Args:
            inputs: Token numbers (B, N) or vectors (B, N, D).
            padding: True where an input is padding, (B, N); without it, nowhere.
            target: Labels, (B) or (B, T), -100 where there is padding.
            mode: `'loss'`, `'predict'` or `'tensor'` (the scores).

        Raises:
            UserError: If `mode` is unknown, or `'loss'` without `target`.
        """
        if mode == 'loss' and target is not None:
            return self.loss(inputs, padding, target)
        if mode == 'predict':
            return self.predict(inputs, padding, target)
        if mode == 'tensor':
            return self.logits(inputs, padding, target)
        raise UserError(
            f'{type(self).__name__}: mode={mode!r}: use loss (with target), predict or '
            'tensor'
        )

    def loss(
        self, inputs: Tensor, padding: Tensor | None, target: Tensor
    ) -> dict[str, Tensor]:
        """Return the mean cross-entropy of all labels; the arguments are as above."""
        logits = self.logits(inputs, padding, target)
        # Padding has the label that torch leaves out.
        return {'loss': mean_cross_entropy(logits.flatten(0, -2), target.flatten())}

    def predict(
        self, inputs: Tensor, padding: Tensor | None, target: Tensor | None = None
    ) -> list[dict[str, Tensor]]:
        """Return `pred_label` and, if known, `gt_label` of each sequence."""
        found = [{'pred_label': labels} for labels in self.decide(inputs, padding)]
        if target is not None:
            for sample, own in zip(found, target, strict=True):
                sample['gt_label'] = own[own >= 0]
        return found


@MODELS.register_module()
class SequenceTagger(SequenceModel):
    """A label for each token of a sequence.

    Args:
        encoder: Config of the encoder.
        num_tokens: Number of different tokens.
        num_classes: Number of labels.
        embed_dims: Channels.
        positions: Config of the positional encoding, None for none.
        **kwargs: As of `SequenceModel`, whose base is MMEngine's BaseModel.

    Example:
        >>> import torch
        >>> from paperzoo.attention import SequenceTagger, TransformerEncoder
        >>> encoder = dict(type=TransformerEncoder, num_layers=1, num_heads=2)
        >>> encoder |= dict(feedforward_channels=16)
        >>> sizes = dict(num_tokens=26, num_classes=2, embed_dims=8)
        >>> SequenceTagger(encoder, **sizes)(torch.tensor([[3, 1, 3]])).shape
        torch.Size([1, 3, 2])

    Paper: attention "Encoder and Decoder Stacks"
    """

    def __init__(
        self,
        encoder: dict[str, Any],
        *,
        num_tokens: int,
        num_classes: int,
        embed_dims: int,
        positions: dict[str, Any] | None = POSITIONS,
        **kwargs: Any,
    ) -> None:
        super().__init__(encoder, embed_dims=embed_dims, **kwargs)
        self.embedding = TokenEmbedding(num_tokens, embed_dims, positions)
        self.classifier = nn.Linear(embed_dims, num_classes)

    def logits(
        self, inputs: Tensor, padding: Tensor | None, target: Tensor | None = None
    ) -> Tensor:
        """Return the scores of the labels of each token, (B, N, K)."""
        tokens = self.encoder(self.embedding(inputs), key_padding_mask=padding)
        return self.classifier(tokens)

    def decide(self, inputs: Tensor, padding: Tensor | None) -> list[Tensor]:
        """Return the labels of each sequence without its padding."""
        labels = self.logits(inputs, padding).argmax(-1)
        if padding is None:
            return list(labels)
        return [own[~gone] for own, gone in zip(labels, padding, strict=True)]


@MODELS.register_module()
class SetClassifier(SequenceModel):
    """One label for a set of vectors, whatever their order.

    Args:
        encoder: Config of the encoder; one without layers leaves the mean of embeddings
            that do not know of each other.
        in_channels: Channels of the vectors.
        num_classes: Number of labels.
        embed_dims: Channels.
        **kwargs: As of `SequenceModel`, whose base is MMEngine's BaseModel.

    Example:
        >>> import torch
        >>> from paperzoo.attention import SetClassifier, TransformerEncoder
        >>> encoder = dict(type=TransformerEncoder, num_layers=1, num_heads=2)
        >>> encoder |= dict(feedforward_channels=16)
        >>> sizes = dict(in_channels=3, num_classes=5, embed_dims=8)
        >>> SetClassifier(encoder, **sizes)(torch.rand(2, 7, 3)).shape
        torch.Size([2, 5])

    Paper: attention "Encoder and Decoder Stacks"
    """

    def __init__(
        self,
        encoder: dict[str, Any],
        *,
        in_channels: int,
        num_classes: int,
        embed_dims: int,
        **kwargs: Any,
    ) -> None:
        super().__init__(encoder, embed_dims=embed_dims, **kwargs)
        self.embedding = _two_layers(in_channels, embed_dims, embed_dims)
        self.classifier = _two_layers(embed_dims, embed_dims, num_classes)

    def logits(
        self, inputs: Tensor, padding: Tensor | None, target: Tensor | None = None
    ) -> Tensor:
        """Return the scores of the labels of each set, (B, K)."""
        tokens = self.encoder(self.embedding(inputs), key_padding_mask=padding)
        return self.classifier(masked_mean(tokens, padding))

    def decide(self, inputs: Tensor, padding: Tensor | None) -> list[Tensor]:
        """Return the label of each set, in a tensor of one."""
        return list(self.logits(inputs, padding).argmax(-1, keepdim=True))


def _two_layers(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs)
    )

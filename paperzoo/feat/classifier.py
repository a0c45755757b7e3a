"""FEAT: the nearest prototype, after the prototypes have looked at each other."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from paperzoo.common.few_shot.episode_classifier import (
    BACKBONE,
    EpisodeClassifier,
    dense_cross_entropy,
    prototype_scores,
    prototypes,
)
from paperzoo.errors import check_choice
from paperzoo.feat.adaptation import SetToSet
from paperzoo.registry import MODELS


@MODELS.register_module()
class FEATClassifier(EpisodeClassifier):
    """Few-shot classification by prototypes that are adapted to the episode.

    Args:
        backbone: Config of the backbone.
        feat_channels: Channels of the backbone's map.
        num_heads: Of the attention.
        dropout: Share of what attention adds that is zeroed in training.
        norm: Normalise adapted features.
        distance: `'euclidean'` (squared) or `'cosine'`.
        scale: What multiplies the scores, an inverse temperature.
        contrastive_weight: Weight of the contrastive loss; 0 leaves it out.
        **kwargs: As of `EpisodeClassifier`, whose base is MMEngine's BaseModel.

    Raises:
        UserError: If the distance is unknown, or the heads do not divide the channels.

    Example:
        >>> import torch
        >>> from paperzoo.common.few_shot import ResNet12
        >>> from paperzoo.feat import FEATClassifier
        >>> backbone = dict(type=ResNet12, widths=(2, 2, 4, 8))
        >>> model = FEATClassifier(backbone, feat_channels=8).eval()
        >>> images, labels = torch.rand(1, 5, 3, 32, 32), torch.arange(5)[None]
        >>> model(images, labels, images).shape  # episodes, queries, classes
        torch.Size([1, 5, 5])

    Paper: feat "Adapting to Task-Specific Embeddings"
    """

    def __init__(
        self,
        backbone: dict[str, Any] = BACKBONE,
        *,
        feat_channels: int = 640,
        num_heads: int = 1,
        dropout: float = 0.0,
        norm: bool = False,
        distance: str = 'euclidean',
        scale: float = 1.0,
        contrastive_weight: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(backbone, feat_channels=feat_channels, **kwargs)
        check_choice('FEATClassifier', 'distance', distance, ('euclidean', 'cosine'))
        self.adaptation = SetToSet(
            feat_channels, num_heads=num_heads, dropout=dropout, norm=norm
        )
        self.distance = distance
        self.scale = scale
        self.contrastive_weight = contrastive_weight

    def score_episode(
        self,
        support: Float[Tensor, 'supports channels height width'],
        support_label: Int[Tensor, ' supports'],
        query: Float[Tensor, 'queries channels height width'],
        ways: int,
        query_label: Int[Tensor, ' queries'] | None = None,
    ) -> tuple[
        Float[Tensor, 'queries {ways}'], Float[Tensor, 'queries channels height width']
    ]:
        """Return the scores of one episode, and the maps as they are."""
        classes = prototypes(support, support_label, ways).mean(dim=(2, 3))
        adapted = self.adaptation(classes[None])[0]
        scores = prototype_scores(query.mean(dim=(2, 3)), adapted, self.distance)
        return self.scale * scores, query

    def loss_by_feat(
        self,
        support: Tensor,
        support_label: Tensor,
        query: Tensor,
        query_label: Tensor,
        query_class: Tensor | None,
        ways: int,
    ) -> dict[str, Tensor]:
        """Return the losses of a batch of episodes, and the accuracy beside them."""
        losses = super().loss_by_feat(
            support, support_label, query, query_label, query_class, ways
        )
        if self.contrastive_weight > 0:
            scores = [
                self.contrastive_scores(*each, ways)
                for each in zip(support, support_label, query, query_label, strict=True)
            ]
            loss = dense_cross_entropy(torch.cat(scores), query_label.flatten())
            losses['loss_contrastive'] = self.contrastive_weight * loss
        return losses

    def contrastive_scores(
        self,
        support: Float[Tensor, 'supports channels height width'],
        support_label: Int[Tensor, ' supports'],
        query: Float[Tensor, 'queries channels height width'],
        query_label: Int[Tensor, ' queries'],
        ways: int,
    ) -> Float[Tensor, 'queries {ways}']:
        """Return how near queries are to centres that know supports and queries.

        Args:
            support: The supports' feature maps.
            support_label: From 0 to `ways - 1`.
            query: The queries' feature maps.
            query_label: Likewise.
            ways: Number of classes.

        Paper: feat "Contrastive Learning of Set-to-Set Functions"
        """
        queries = query.mean(dim=(2, 3))
        members = torch.cat((support.mean(dim=(2, 3)), queries))
        labels = torch.cat((support_label, query_label))
        centers = prototypes(self.adaptation(members[None])[0], labels, ways)
        return self.scale * prototype_scores(queries, centers, self.distance)

"""CAN: the nearest class, once class and query have looked at each other."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from paperzoo.can.cross_attention import (
    MetaFusion,
    attended_mean,
    attention_map,
    correlation,
    position_scores,
)
from paperzoo.common.few_shot.episode_classifier import (
    BACKBONE,
    EpisodeClassifier,
    prototypes,
)
from paperzoo.errors import UserError
from paperzoo.registry import MODELS


def with_confident_queries(
    support: Float[Tensor, 'supports channels height width'],
    support_label: Int[Tensor, ' supports'],
    query: Float[Tensor, 'queries channels height width'],
    scores: Float[Tensor, 'queries classes'],
    count: int,
) -> tuple[
    Float[Tensor, 'more channels height width'],
    Int[Tensor, ' more'],
]:
    """Return the supports and, behind them, the queries with the highest scores.

    Args:
        support: The supports' feature maps.
        support_label: From 0 to the number of classes - 1.
        query: The queries' feature maps.
        scores: Of the queries; the best class becomes a query's label.
        count: How many queries, or all if there are fewer.

    Returns:
        Maps and labels.

    Example:
        >>> import torch
        >>> from paperzoo.can import with_confident_queries
        >>> support, query = torch.zeros(2, 1, 1, 1), torch.ones(2, 1, 1, 1)
        >>> scores = torch.tensor([[0.5, 0.4], [0.1, 0.9]])
        >>> with_confident_queries(support, torch.arange(2), query, scores, 1)[1]
        tensor([0, 1, 1])

    Paper: can "Transductive Inference"
    """
    best, label = scores.max(-1)
    chosen = best.topk(min(count, len(best))).indices
    return (
        torch.cat((support, query[chosen])),
        torch.cat((support_label, label[chosen].to(support_label))),
    )


@MODELS.register_module()
class CANClassifier(EpisodeClassifier):
    """Few-shot classification by cross attention between class and query.

    Args:
        backbone: Config of the backbone.
        feat_channels: Channels of the backbone's map.
        positions: Positions of that map, height times width.
        reduction: By what the layer of the meta-learner is smaller.
        temperature: Of the attention; the smaller, the fewer positions count.
        scale: What multiplies the cosines, an inverse temperature of the scores.
        meta_weight: Weight of the nearest neighbours' loss; the global loss has 1.
        transductive_rounds: How often, in evaluation, confident queries join the
            supports; then the score of a query depends on the other queries.
        candidates: How many queries join in a round.
        **kwargs: As of `EpisodeClassifier`, whose base is MMEngine's BaseModel.

    Raises:
        UserError: If `temperature` is not positive, or a feature map has another number
            of positions.

    Example:
        >>> import torch
        >>> from paperzoo.can import CANClassifier
        >>> from paperzoo.common.few_shot import ResNet12
        >>> backbone = dict(type=ResNet12, widths=(2, 2, 4, 8))
        >>> model = CANClassifier(backbone, feat_channels=8, positions=16)
        >>> images, labels = torch.rand(1, 5, 3, 32, 32), torch.arange(5)[None]
        >>> model.eval()(images, labels, images).shape  # episodes, queries, classes
        torch.Size([1, 5, 5])

    Paper: can "Cross Attention Module"
    """

    def __init__(
        self,
        backbone: dict[str, Any] = BACKBONE,
        *,
        feat_channels: int = 640,
        positions: int = 121,
        reduction: int = 6,
        temperature: float = 0.025,
        scale: float = 10.0,
        meta_weight: float = 0.5,
        transductive_rounds: int = 0,
        candidates: int = 35,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            backbone, feat_channels=feat_channels, meta_weight=meta_weight, **kwargs
        )
        if temperature <= 0:
            raise UserError(
                f'CANClassifier: temperature={temperature}: use a positive number'
            )
        self.fusion = MetaFusion(positions, reduction=reduction)
        self.positions = positions
        self.temperature = temperature
        self.scale = scale
        self.transductive_rounds = transductive_rounds
        self.candidates = candidates

    def attend(
        self,
        classes: Float[Tensor, 'classes channels height width'],
        query: Float[Tensor, 'queries channels height width'],
    ) -> tuple[
        Float[Tensor, 'queries classes positions'],
        Float[Tensor, 'queries classes positions'],
    ]:
        """Return how much each position of a pair counts: of the class, of the query.

        Args:
            classes: The classes' feature maps.
            query: The queries' feature maps.

        Raises:
            UserError: If the maps have another number of positions than `positions`.
        """
        height, width = query.shape[-2:]
        if height * width != self.positions:
            raise UserError(
                f'CANClassifier: positions={self.positions}, but the feature maps have '
                f'{height} x {width}: set positions={height * width}'
            )
        of_class = correlation(classes, query)
        of_query = of_class.mT
        first, second = (
            attention_map(each, self.fusion(each), self.temperature)
            for each in (of_class, of_query)
        )
        return first, second

    def score_episode(
        self,
        support: Float[Tensor, 'supports channels height width'],
        support_label: Int[Tensor, ' supports'],
        query: Float[Tensor, 'queries channels height width'],
        ways: int,
        query_label: Int[Tensor, ' queries'] | None = None,
    ) -> tuple[
        Float[Tensor, 'queries {ways} height width'],
        Float[Tensor, 'queries channels height width'],
    ]:
        """Return the scores at all positions, and the maps as they are."""
        classes = prototypes(support, support_label, ways)
        of_class, _ = self.attend(classes, query)
        means = attended_mean(classes, of_class, of='class')
        return self.scale * position_scores(query, means), query

    def score_pooled(
        self,
        support: Float[Tensor, 'supports channels height width'],
        support_label: Int[Tensor, ' supports'],
        query: Float[Tensor, 'queries channels height width'],
        ways: int,
    ) -> Float[Tensor, 'queries {ways}']:
        """Return the scores of evaluation: cosines of the means of attended maps.

        Args:
            support: The supports' feature maps.
            support_label: From 0 to `ways - 1`.
            query: The queries' feature maps.
            ways: Number of classes.
        """
        classes = prototypes(support, support_label, ways)
        of_class, of_query = self.attend(classes, query)
        one = attended_mean(classes, of_class, of='class')
        other = attended_mean(query, of_query, of='query')
        return self.scale * F.cosine_similarity(one, other, dim=-1)

    def predict_from_feats(
        self,
        support_feats: Float[Tensor, 'episodes supports channels height width'],
        support_label: Int[Tensor, 'episodes supports'],
        query_feats: Float[Tensor, 'episodes queries channels height width'],
        ways: int,
    ) -> Float[Tensor, 'episodes queries {ways}']:
        """Return the scores of the queries, after the rounds of transduction.

        Args:
            support_feats: Maps of `extract_feat`.
            support_label: From 0 to `ways - 1`.
            query_feats: Likewise maps of `extract_feat`.
            ways: Number of classes.

        Paper: can "Transductive Inference"
        """
        found = []
        for support, label, query in zip(
            support_feats, support_label, query_feats, strict=True
        ):
            scores = self.score_pooled(support, label, query, ways)
            for _ in range(self.transductive_rounds):
                more = with_confident_queries(
                    support, label, query, scores, self.candidates
                )
                scores = self.score_pooled(*more, query, ways)
            found.append(scores)
        return torch.stack(found)

"""DMF: the query is aligned to every class, then compared with it."""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from paperzoo.common import rename_on_load
from paperzoo.common.few_shot.episode_classifier import (
    BACKBONE,
    EpisodeClassifier,
    prototypes,
)
from paperzoo.dmf.alignment import AdaptiveAlignment
from paperzoo.dmf.checkpoints import AUTHORS_NAMES
from paperzoo.dmf.meta_filter import DynamicMetaFilter
from paperzoo.registry import MODELS

META_FILTER: dict[str, Any] = {'type': DynamicMetaFilter}
ALIGNMENT: dict[str, Any] = {'type': AdaptiveAlignment}
# How many numbers the filters or the aligned maps of one block of queries may have.
_BLOCK = 2**23


def class_weights(
    support: Float[Tensor, 'classes channels height width'],
) -> Float[Tensor, 'classes channels']:
    """Return the 1x1 filters that recognise the classes in an aligned map.

    Args:
        support: The classes' feature maps.

    Example:
        >>> import torch
        >>> from paperzoo.dmf import class_weights
        >>> class_weights(torch.tensor([[3.0], [4.0]]).view(1, 2, 1, 1))
        tensor([[0.6000, 0.8000]])

    Paper: dmf "Meta-classifier"
    """
    return F.normalize(support, dim=1).mean(dim=(2, 3))


def meta_scores(
    aligned: Float[Tensor, 'queries #classes channels height width'],
    weights: Float[Tensor, 'classes channels'],
) -> Float[Tensor, 'queries classes height width']:
    """Return how far each position of each query belongs to each class.

    Args:
        aligned: The queries, aligned to each class.
        weights: Of `class_weights`.

    Example:
        >>> import torch
        >>> from paperzoo.dmf import meta_scores
        >>> aligned = torch.ones(4, 5, 8, 3, 3)  # 4 queries, each aligned to 5 classes
        >>> meta_scores(aligned, torch.ones(5, 8)).shape
        torch.Size([4, 5, 3, 3])

    Paper: dmf "Meta-classifier"
    """
    # One term per class, so that classes may share one map without copies of it.
    by_class = aligned.expand(-1, len(weights), -1, -1, -1).unbind(1)
    scores = [
        torch.einsum('qchw,c->qhw', maps, weight)
        for maps, weight in zip(by_class, weights, strict=True)
    ]
    return torch.stack(scores, dim=1)


def factored_scores(
    query: Float[Tensor, 'queries channels height width'],
    weights: Float[Tensor, 'classes channels'],
    factors: Float[Tensor, '#queries classes height width groups'],
    positive_only: bool,
) -> Float[Tensor, 'queries classes height width']:
    """Return `meta_scores` of queries multiplied by factors, without their maps.

    Sums over the channels of a group come first, because the group shares a factor. A
    pair then costs as many numbers as there are groups, not channels.

    Args:
        query: The queries' maps.
        weights: Of `class_weights`.
        factors: What multiplies each group of neighbouring channels.
        positive_only: Only positive values are multiplied, all others stay.

    Example:
        >>> import torch
        >>> from paperzoo.dmf import factored_scores
        >>> query = torch.tensor([2.0, -1.0]).view(1, 2, 1, 1)
        >>> weights, factors = torch.ones(1, 2), torch.full((1, 1, 1, 1, 1), 3.0)
        >>> factored_scores(query, weights, factors, positive_only=True).item()
        5.0

    Paper: dmf "Meta-classifier"
    """
    # <w, f x> = sum over groups of f_g <w_g, x_g>: the inner products know no class's
    # factors. With positive_only, x = relu(x) + min(x, 0) and the second term stays.
    groups = factors.size(-1)
    moving = query.relu() if positive_only else query
    by_group = torch.einsum(
        'qgchw,kgc->qkhwg',
        moving.unflatten(1, (groups, -1)),
        weights.unflatten(1, (groups, -1)),
    )
    scores = (by_group * factors).sum(-1)
    if positive_only:
        scores = scores + torch.einsum('qchw,kc->qkhw', query.clamp(max=0), weights)
    return scores


@MODELS.register_module()
class DMFClassifier(EpisodeClassifier):
    """Few-shot classification by a dynamic meta-filter and adaptive alignment.

    Args:
        backbone: Config of the backbone.
        meta_filter: Config of the dynamic meta-filter; None: queries are compared as
            they are.
        alignment: Config of the alignment.
        feat_channels: Channels of the backbone's map.
        num_classes: Classes of the training set; None for no global classifier.
        meta_weight: Weight of the meta-classifier's loss; the global loss has 1.
        scale: What multiplies the scores, an inverse temperature; the authors' 1 leaves
            it to the features' length how sharp the softmax is. It changes the training
            and no ranking.
        zero_pad_score: Surround the map of scores by zeros, which take part in loss
            and mean, as in the authors' code. It scales both and changes no ranking.
        global_on_aligned: The global classifier sees queries aligned to their own
            class, as in the paper's figure; the authors' code does not align them.
        **kwargs: As of `EpisodeClassifier`, whose base is MMEngine's BaseModel.

    Example:
        >>> import torch
        >>> from paperzoo.dmf import DMFClassifier, DynamicMetaFilter, ResNet12
        >>> backbone = dict(type=ResNet12, widths=(2, 2, 4, 8))
        >>> filters = dict(type=DynamicMetaFilter, groups=2)
        >>> model = DMFClassifier(backbone, meta_filter=filters, feat_channels=8)
        >>> images, labels = torch.rand(1, 5, 3, 32, 32), torch.arange(5)[None]
        >>> model.eval()(images, labels, images).shape  # episodes, queries, classes
        torch.Size([1, 5, 5])

    Paper: dmf "Meta-classifier"
    """

    def __init__(
        self,
        backbone: dict[str, Any] = BACKBONE,
        *,
        meta_filter: dict[str, Any] | None = META_FILTER,
        alignment: dict[str, Any] = ALIGNMENT,
        feat_channels: int = 640,
        num_classes: int | None = None,
        meta_weight: float = 0.5,
        scale: float = 1.0,
        zero_pad_score: bool = False,
        global_on_aligned: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            backbone,
            feat_channels=feat_channels,
            num_classes=num_classes,
            meta_weight=meta_weight,
            **kwargs,
        )
        rename_on_load(self, AUTHORS_NAMES)
        self.meta_filter: DynamicMetaFilter | None = None
        if meta_filter is not None:
            self.meta_filter = MODELS.build(
                {'in_channels': feat_channels, **meta_filter}
            )
        self.alignment: AdaptiveAlignment = MODELS.build(alignment)
        self.scale = scale
        self.zero_pad_score = zero_pad_score
        self.global_on_aligned = global_on_aligned

    def loss_by_feat(
        self,
        support: Tensor,
        support_label: Tensor,
        query: Tensor,
        query_label: Tensor,
        query_class: Tensor | None,
        ways: int,
    ) -> dict[str, Tensor]:
        """Return the losses of a batch of episodes.

        Beside them are the accuracy and, with an adaptive solver, the mean number of
        evaluations of the flow, `evaluations`.
        """
        self.alignment.reset()
        losses = super().loss_by_feat(
            support, support_label, query, query_label, query_class, ways
        )
        if self.alignment.adaptive and self.meta_filter is not None:
            counts = torch.tensor(self.alignment.evaluations, dtype=torch.float32)
            losses['evaluations'] = counts.mean()
        return losses

    def predict_from_feats(
        self,
        support_feats: Tensor,
        support_label: Tensor,
        query_feats: Tensor,
        ways: int,
    ) -> Tensor:
        """Return the mean score of all positions, (E, Q, K); see the base class.

        `alignment.evaluations` then tells how often an adaptive solver evaluated the
        flow of each episode (of each block of its queries, if there were several).
        """
        self.alignment.reset()
        return super().predict_from_feats(
            support_feats, support_label, query_feats, ways
        )

    def align(
        self,
        query: Float[Tensor, 'queries channels height width'],
        filters: Float[Tensor, '#queries classes height width groups taps'],
    ) -> Float[Tensor, 'queries classes channels height width']:
        """Return queries aligned to all classes.

        Args:
            query: The queries' feature maps.
            filters: Of the meta-filter.
        """
        return self.alignment(query[:, None], filters)

    def score_episode(
        self,
        support: Float[Tensor, 'supports channels height width'],
        support_label: Int[Tensor, ' supports'],
        query: Float[Tensor, 'queries channels height width'],
        ways: int,
        query_label: Int[Tensor, ' queries'] | None = None,
    ) -> tuple[
        Float[Tensor, 'queries {ways} score_height score_width'],
        Float[Tensor, 'queries channels height width'],
    ]:
        """Return the scores at all positions, and the maps for the global classifier.

        Args:
            support: The supports' feature maps.
            support_label: From 0 to `ways - 1`.
            query: The queries' feature maps.
            ways: Number of classes.
            query_label: The queries' own classes, for `global_on_aligned`.
        """
        classes = prototypes(support, support_label, ways)
        weights = class_weights(classes)
        if self.meta_filter is None:
            return self._scaled(meta_scores(query[:, None], weights)), query
        parts, maps = [], []
        for block in self.query_blocks(query, ways):
            filters = self.meta_filter(query[block], classes)
            parts.append(self.score_block(query[block], weights, filters))
            if self.global_on_aligned and query_label is not None:
                own = query_label[block]
                # Without dynamic sampling all queries share one row of filters.
                row = torch.arange(len(own), device=own.device)
                row = row.clamp(max=len(filters) - 1)
                maps.append(self.alignment(query[block], filters[row, own]))
        return self._scaled(torch.cat(parts)), torch.cat(maps) if maps else query

    def score_block(
        self,
        query: Float[Tensor, 'queries channels height width'],
        weights: Float[Tensor, 'classes channels'],
        filters: Float[Tensor, '#queries classes height width groups taps'],
    ) -> Float[Tensor, 'queries classes height width']:
        """Return the scores at all positions of some of the queries.

        Args:
            query: Their feature maps.
            weights: Of `class_weights`.
            filters: Of the meta-filter.
        """
        if filters.size(-1) > 1:
            return meta_scores(self.align(query, filters), weights)
        factors = self.alignment.factors(filters)
        return factored_scores(query, weights, factors, self.alignment.flows)

    def query_blocks(self, query: Tensor, ways: int) -> Iterator[slice]:
        """Yield slices of the queries whose pairs are computed at once."""
        assert self.meta_filter is not None
        if torch.compiler.is_exporting():  # no loop whose length only a run knows
            yield slice(None)
            return
        channels = self.meta_filter.groups
        if self.meta_filter.kernel > 1:
            channels = max(query.size(1), channels * self.meta_filter.kernel**2)
        pair = channels * query.shape[-2:].numel()
        step = max(1, _BLOCK // (ways * pair))
        for first in range(0, len(query), step):
            yield slice(first, first + step)

    def _scaled(self, scores: Tensor) -> Tensor:
        scores = scores if self.scale == 1 else self.scale * scores
        return F.pad(scores, (1, 1, 1, 1)) if self.zero_pad_score else scores

"""What the classifiers of few-shot episodes share: embedding, prototypes, losses."""

from abc import abstractmethod
from typing import Any

import torch
from jaxtyping import Float, Int
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.nn import functional as F

from paperzoo.common.few_shot.preprocessor import EpisodeDataPreprocessor, count_ways
from paperzoo.common.few_shot.resnet12 import ResNet12
from paperzoo.common.losses import mean_cross_entropy
from paperzoo.errors import UserError
from paperzoo.registry import MODELS

BACKBONE: dict[str, Any] = {'type': ResNet12}
DATA_PREPROCESSOR: dict[str, Any] = {'type': EpisodeDataPreprocessor}


def prototypes(
    support: Float[Tensor, 'supports channels *places'],
    labels: Int[Tensor, ' supports'],
    ways: int,
) -> Float[Tensor, '{ways} channels *places']:
    """Return the mean features of each class.

    Args:
        support: The supports' features or feature maps, in any order.
        labels: Their classes, from 0 to `ways - 1`; each has a support.
        ways: Number of classes.

    Example:
        >>> import torch
        >>> from paperzoo.common.few_shot import prototypes
        >>> support = torch.tensor([1.0, 3.0, 8.0]).view(3, 1, 1, 1)
        >>> prototypes(support, torch.tensor([0, 0, 1]), 2).flatten()
        tensor([2., 8.])

    Paper: dmf "Meta-classifier"
    """
    # A matrix product, not a loop over classes: supports come in any order. And no
    # one_hot, which would fix the number of classes in an exported file.
    member = labels[:, None] == torch.arange(ways, device=labels.device)
    member = member.to(support.dtype)
    return torch.einsum('sk,sc...->kc...', member / member.sum(0), support)


def prototype_scores(
    query: Float[Tensor, 'queries channels'],
    prototype: Float[Tensor, 'classes channels'],
    distance: str,
) -> Float[Tensor, 'queries classes']:
    """Return how near each query is to each prototype.

    Args:
        query: The queries' features.
        prototype: The classes' mean features.
        distance: `'euclidean'`: minus the squared distance; `'cosine'`: the cosine.

    Example:
        >>> import torch
        >>> from paperzoo.common.few_shot import prototype_scores
        >>> query, prototype = torch.tensor([[3.0, 4.0]]), torch.eye(2)
        >>> prototype_scores(query, prototype, 'cosine')
        tensor([[0.6000, 0.8000]])
    """
    if distance == 'cosine':
        return F.normalize(query, dim=1) @ F.normalize(prototype, dim=1).mT
    return -(query[:, None] - prototype).square().sum(-1)


def mean_of_places(
    scores: Float[Tensor, 'queries classes *places'],
) -> Float[Tensor, 'queries classes']:
    """Return the mean score of all places; scores without places as they are.

    Args:
        scores: Of each query for each class.

    Example:
        >>> import torch
        >>> from paperzoo.common.few_shot import mean_of_places
        >>> mean_of_places(torch.tensor([[[1.0, 3.0]], [[0.0, 8.0]]]))
        tensor([[2.],
                [4.]])
    """
    return scores.flatten(2).mean(-1) if scores.dim() > 2 else scores


def dense_cross_entropy(
    logits: Float[Tensor, 'maps classes *places'], labels: Int[Tensor, ' maps']
) -> Float[Tensor, '']:
    """Return the mean cross-entropy of all places of maps, each with one label.

    Args:
        logits: Class scores of every place.
        labels: The map's class; -1 for a map that does not count.

    Example:
        >>> import torch
        >>> from paperzoo.common.few_shot import dense_cross_entropy
        >>> logits = torch.zeros(2, 4, 3, 3)  # four classes, all equally likely
        >>> dense_cross_entropy(logits, torch.tensor([1, -1]))
        tensor(1.3863)
    """
    places = logits.shape[2:]
    targets = labels.view(-1, *(1 for _ in places)).expand(len(labels), *places)
    return mean_cross_entropy(logits, targets, ignore_index=-1)


class EpisodeClassifier(BaseModel):
    """Embeds the images of episodes and scores each query for each class.

    A subclass says how: losses and predictions both come from its `score_episode`.

    Args:
        backbone: Config of the backbone; the last map that it returns is used.
        feat_channels: Channels of that map.
        num_classes: Classes of the training set that the global classifier tells
            apart, in training only; None for no global classifier.
        meta_weight: Weight of the episodes' loss; the global loss has 1. With 0 only
            the global classifier learns.
        data_preprocessor: Config of what normalises the images.
        init_cfg: As in every MMEngine module.

    Example:
        >>> import torch
        >>> from paperzoo.common.few_shot import EpisodeClassifier, ResNet12, prototypes
        >>> class Nearest(EpisodeClassifier):
        ...     def score_episode(self, support, label, query, ways, query_label=None):
        ...         difference = query[:, None] - prototypes(support, label, ways)
        ...         return -difference.square().sum(2), query
        >>> model = Nearest(dict(type=ResNet12, widths=(2, 2, 4, 8))).eval()
        >>> images = torch.rand(1, 5, 3, 32, 32)  # one episode of five classes
        >>> model(images, torch.arange(5)[None], images).argmax(-1)
        tensor([[0, 1, 2, 3, 4]])
    """

    def __init__(
        self,
        backbone: dict[str, Any] = BACKBONE,
        *,
        feat_channels: int = 640,
        num_classes: int | None = None,
        meta_weight: float = 1.0,
        data_preprocessor: dict[str, Any] | nn.Module | None = DATA_PREPROCESSOR,
        init_cfg: Any = None,
    ) -> None:
        if isinstance(data_preprocessor, dict):
            data_preprocessor = MODELS.build(data_preprocessor)
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = MODELS.build(backbone)
        self.global_classifier: nn.Module | None = None
        if num_classes is not None:
            self.global_classifier = nn.Conv2d(feat_channels, num_classes, 1)
        self.meta_weight = meta_weight

    @abstractmethod
    def score_episode(
        self,
        support: Float[Tensor, 'supports channels height width'],
        support_label: Int[Tensor, ' supports'],
        query: Float[Tensor, 'queries channels height width'],
        ways: int,
        query_label: Int[Tensor, ' queries'] | None = None,
    ) -> tuple[
        Float[Tensor, 'queries {ways} *places'],
        Float[Tensor, 'queries channels height width'],
    ]:
        """Return the scores of one episode, and the maps for the global classifier.

        Args:
            support: The supports' feature maps.
            support_label: From 0 to `ways - 1`.
            query: The queries' feature maps.
            ways: Number of classes.
            query_label: In training, the queries' own classes, should the maps depend
                on them.
        """

    def loss_by_feat(
        self,
        support: Tensor,
        support_label: Tensor,
        query: Tensor,
        query_label: Tensor,
        query_class: Tensor | None,
        ways: int,
    ) -> dict[str, Tensor]:
        """Return the losses of a batch of episodes, and the accuracy beside them.

        Args:
            support: Feature maps, (E, K * S, C, H, W).
            support_label: (E, K * S).
            query: Feature maps, (E, Q, C, H, W).
            query_label: (E, Q), from 0 to K - 1.
            query_class: (E, Q), the classes among those of the training set.
            ways: Number of classes, K.
        """
        episodes = zip(support, support_label, query, query_label, strict=True)
        results = [self.score_episode(*each[:3], ways, each[3]) for each in episodes]
        scores, maps = (torch.cat(parts) for parts in zip(*results, strict=True))
        labels = query_label.flatten()
        losses = self._global_loss(maps, query_class)
        if self.meta_weight > 0:
            loss = dense_cross_entropy(scores, labels)
            losses['loss_meta'] = self.meta_weight * loss
        right = mean_of_places(scores.detach()).argmax(-1) == labels
        return {**losses, 'accuracy': right.float().mean()}

    def forward(
        self,
        support: Tensor,
        support_label: Tensor,
        query: Tensor,
        query_label: Tensor | None = None,
        *,
        support_class: Tensor | None = None,
        query_class: Tensor | None = None,
        ways: int | None = None,
        mode: str = 'tensor',
    ) -> Any:
        """Return losses, predictions or scores of episodes.

        Args:
            support: Images, (E, K * S, C, H, W).
            support_label: (E, K * S), from 0 to K - 1.
            query: Images, (E, Q, C, H, W).
            query_label: (E, Q), from 0 to K - 1.
            support_class: (E, K * S); not used.
            query_class: (E, Q), the classes among those of the training set.
            ways: Number of classes, K; by default counted in the labels.
            mode: `'loss'`, `'predict'` or `'tensor'` (scores, (E, Q, K)).

        Raises:
            UserError: If `mode` is unknown, or `'loss'` without `query_label`.
        """
        ways = ways or count_ways(support_label)
        episodes = support, support_label, query
        if mode == 'loss' and query_label is not None:
            return self.loss(*episodes, query_label, query_class, ways=ways)
        if mode == 'predict':
            return self.predict(*episodes, query_label, query_class, ways=ways)
        if mode == 'tensor':
            return self.predict_from_feats(*self._embed(*episodes), ways)
        raise UserError(
            f'{type(self).__name__}: mode={mode!r}: use loss (with query_label), '
            'predict or tensor'
        )

    def loss(
        self,
        support: Tensor,
        support_label: Tensor,
        query: Tensor,
        query_label: Tensor,
        query_class: Tensor | None = None,
        *,
        ways: int,
    ) -> dict[str, Tensor]:
        """Return the losses of a batch of episodes; the arguments are as in forward."""
        feats = self._embed(support, support_label, query)
        return self.loss_by_feat(*feats, query_label, query_class, ways)

    def predict(
        self,
        support: Tensor,
        support_label: Tensor,
        query: Tensor,
        query_label: Tensor | None = None,
        query_class: Tensor | None = None,
        *,
        ways: int,
    ) -> list[dict[str, Tensor]]:
        """Return `pred_label`, `gt_label` and `class` of the queries, per episode."""
        feats = self._embed(support, support_label, query)
        pred_label = self.predict_from_feats(*feats, ways).argmax(-1)
        fields = {
            'pred_label': pred_label,
            'gt_label': query_label,
            'class': query_class,
        }
        known = {key: value for key, value in fields.items() if value is not None}
        return [
            {key: value[i] for key, value in known.items()}
            for i in range(len(pred_label))
        ]

    def extract_feat(
        self, images: Float[Tensor, 'images rgb image_height image_width']
    ) -> Float[Tensor, 'images channels height width']:
        """Return the feature maps of normalised images."""
        feats = self.backbone(images)
        return feats[-1] if isinstance(feats, (tuple, list)) else feats

    def predict_from_feats(
        self,
        support_feats: Float[Tensor, 'episodes supports channels height width'],
        support_label: Int[Tensor, 'episodes supports'],
        query_feats: Float[Tensor, 'episodes queries channels height width'],
        ways: int,
    ) -> Float[Tensor, 'episodes queries {ways}']:
        """Return the scores of the queries: the means of `score_episode`'s maps.

        Args:
            support_feats: Maps of `extract_feat`.
            support_label: From 0 to `ways - 1`.
            query_feats: Likewise maps of `extract_feat`.
            ways: Number of classes.
        """
        scores = self._scores(support_feats, support_label, query_feats, ways)
        return mean_of_places(scores.flatten(0, 1)).unflatten(0, scores.shape[:2])

    def _scores(
        self, support: Tensor, support_label: Tensor, query: Tensor, ways: int
    ) -> Tensor:
        episodes = zip(support, support_label, query, strict=True)
        return torch.stack([self.score_episode(*each, ways)[0] for each in episodes])

    def _embed(
        self, support: Tensor, support_label: Tensor, query: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the maps of support and query, embedded as one batch."""
        supports = support.size(1)
        images = torch.cat((support, query), dim=1)
        feats = self.extract_feat(images.flatten(0, 1))
        feats = feats.unflatten(0, images.shape[:2])
        return feats[:, :supports], support_label, feats[:, supports:]

    def _global_loss(
        self, maps: Tensor, query_class: Tensor | None
    ) -> dict[str, Tensor]:
        """Return the loss of the global classifier on the queries' maps, if any.

        Raises:
            UserError: If the model has a global classifier, but the batch no
                `query_class`.
        """
        if self.global_classifier is None:
            return {}
        if query_class is None:
            raise UserError(
                f'{type(self).__name__}: the global classifier needs query_class in '
                'the batch, the classes of the queries among those of the training '
                'set: let the data set give it, or set num_classes=None'
            )
        logits = self.global_classifier(maps)
        return {'loss_global': dense_cross_entropy(logits, query_class.flatten())}

"""What every few-shot classifier of episodes shares, and what it computes with."""

from abc import abstractmethod
from typing import Any

import torch
from jaxtyping import Float, Int
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.nn import functional as F

from paperzoo.common import rename_on_load
from paperzoo.dmf.preprocessor import EpisodeDataPreprocessor, count_ways
from paperzoo.dmf.resnet12 import ResNet12
from paperzoo.registry import MODELS
from paperzoo.utils.errors import UserError

BACKBONE: dict[str, Any] = {'type': ResNet12}
DATA_PREPROCESSOR: dict[str, Any] = {'type': EpisodeDataPreprocessor}
AUTHORS_NAMES = {
    'base': 'backbone',
    'global_clasifier': 'global_classifier',
    'dw_gen.off_conv': 'meta_filter.offset_conv',
    'dw_gen.kernel_conv': 'meta_filter.filter_conv',
}


def prototypes(
    support: Float[Tensor, 'supports channels height width'],
    labels: Int[Tensor, ' supports'],
    ways: int,
) -> Float[Tensor, 'classes channels height width']:
    """Return the mean feature map of each class.

    Args:
        support: The supports' feature maps, in any order.
        labels: Their classes, from 0 to `ways - 1`; each has a support.
        ways: Number of classes.

    Paper: dmf "Meta-classifier"
    """
    member = F.one_hot(labels, ways).to(support.dtype)
    return torch.einsum('sk,schw->kchw', member / member.sum(0), support)


def dense_cross_entropy(
    logits: Float[Tensor, 'maps classes *places'], labels: Int[Tensor, ' maps']
) -> Float[Tensor, '']:
    """Return the mean cross-entropy of all places of maps, each with one label.

    Args:
        logits: Class scores of every place.
        labels: The map's class; -1 for a map that does not count.
    """
    places = logits.shape[2:]
    spread = labels.view(-1, *(1 for _ in places)).expand(len(labels), *places)
    total = F.cross_entropy(logits, spread, ignore_index=-1, reduction='sum')
    return total / ((labels >= 0).sum() * places.numel()).clamp(min=1)


class EpisodeClassifier(BaseModel):
    """Embeds the images of episodes and scores each query for each class.

    Args:
        backbone: Config of the backbone; the last map that it returns is used.
        feat_channels: Channels of that map.
        num_classes: Classes of the training set that the global classifier tells
            apart, in training only; None for no global classifier.
        data_preprocessor: Config of what normalises the images.
        init_cfg: As in every MMEngine module.
    """

    def __init__(
        self,
        backbone: dict[str, Any] = BACKBONE,
        *,
        feat_channels: int = 640,
        num_classes: int | None = None,
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
        rename_on_load(self, AUTHORS_NAMES)

    @abstractmethod
    def scores_by_feat(
        self, support: Tensor, support_label: Tensor, query: Tensor, ways: int
    ) -> Tensor:
        """Return the scores of one episode, (Q, K) or (Q, K, H, W).

        Args:
            support: (K * S, C, H, W).
            support_label: (K * S).
            query: (Q, C, H, W).
            ways: Number of classes, K.
        """

    @abstractmethod
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

        Args:
            support: (E, K * S, C, H, W).
            support_label: (E, K * S).
            query: (E, Q, C, H, W).
            query_label: (E, Q), from 0 to K - 1.
            query_class: (E, Q), the classes among those of the training set.
            ways: Number of classes, K.
        """

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

    def extract_feat(self, images: Tensor) -> Tensor:
        """Return the feature maps (N, C, h, w) of normalised images (N, C, H, W)."""
        feats = self.backbone(images)
        return feats[-1] if isinstance(feats, (tuple, list)) else feats

    def predict_from_feats(
        self,
        support_feats: Tensor,
        support_label: Tensor,
        query_feats: Tensor,
        ways: int,
    ) -> Tensor:
        """Return the scores of the queries, (E, Q, K).

        Args:
            support_feats: Maps of `extract_feat`, (E, K * S, C, h, w).
            support_label: (E, K * S), from 0 to K - 1.
            query_feats: (E, Q, C, h, w).
            ways: Number of classes, K.
        """
        scores = self._scores(support_feats, support_label, query_feats, ways)
        return scores.flatten(3).mean(-1) if scores.dim() > 3 else scores

    def _scores(
        self, support: Tensor, support_label: Tensor, query: Tensor, ways: int
    ) -> Tensor:
        episodes = zip(support, support_label, query, strict=True)
        return torch.stack([self.scores_by_feat(*each, ways) for each in episodes])

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
        """Return the loss of the global classifier on the queries' maps, if any."""
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

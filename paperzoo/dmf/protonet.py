"""The baselines: prototypes without any alignment, on the same backbone and episodes.

Prototypical Networks, arXiv 1703.05175; and the nearest prototype of a backbone that
has only learnt to tell the training classes apart.
"""

from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from paperzoo.common import rename_on_load
from paperzoo.common.few_shot.episode_classifier import (
    BACKBONE,
    EpisodeClassifier,
    prototype_scores,
    prototypes,
)
from paperzoo.dmf.checkpoints import AUTHORS_NAMES
from paperzoo.errors import UserError, check_choice
from paperzoo.registry import MODELS


@MODELS.register_module()
class ProtoNet(EpisodeClassifier):
    """Prototypical Networks: the nearest mean of the supports' features wins.

    Args:
        backbone: Config of the backbone.
        distance: `'euclidean'` (squared) or `'cosine'`.
        scale: What multiplies the scores in the loss.
        meta_weight: Weight of the episodes' loss; the global loss has 1. With 0 only
            the global classifier learns.
        **kwargs: As of `EpisodeClassifier`, whose base is MMEngine's BaseModel.

    Raises:
        UserError: If the distance is unknown, or nothing would be learnt.

    Example:
        >>> import torch
        >>> from paperzoo.dmf import ProtoNet, ResNet12
        >>> model = ProtoNet(dict(type=ResNet12, widths=(2, 2, 4, 8))).eval()
        >>> images = torch.rand(1, 5, 3, 32, 32)  # one episode of five classes
        >>> model(images, torch.arange(5)[None], images).argmax(-1)
        tensor([[0, 1, 2, 3, 4]])
    """

    def __init__(
        self,
        backbone: dict[str, Any] = BACKBONE,
        *,
        distance: str = 'euclidean',
        scale: float = 1.0,
        meta_weight: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(backbone, meta_weight=meta_weight, **kwargs)
        rename_on_load(self, AUTHORS_NAMES)
        name = type(self).__name__
        check_choice(name, 'distance', distance, ('euclidean', 'cosine'))
        if meta_weight == 0 and self.global_classifier is None:
            raise UserError(
                f'{name}: nothing is learnt without an episode loss and a global '
                'classifier: set num_classes to the number of training classes'
            )
        self.distance = distance
        self.scale = scale

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
        scores = prototype_scores(query.mean(dim=(2, 3)), classes, self.distance)
        return self.scale * scores, query


@MODELS.register_module()
class NearestPrototype(ProtoNet):
    """The nearest prototype by cosine; only a global classifier trains the backbone.

    Args:
        backbone: Config of the backbone.
        num_classes: Classes of the training set.
        **kwargs: As of `EpisodeClassifier`, whose base is MMEngine's BaseModel.

    Example:
        >>> from paperzoo.dmf import NearestPrototype
        >>> NearestPrototype(num_classes=64).distance
        'cosine'
    """

    def __init__(
        self,
        backbone: dict[str, Any] = BACKBONE,
        *,
        num_classes: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            backbone,
            distance='cosine',
            meta_weight=0.0,
            num_classes=num_classes,
            **kwargs,
        )

"""Few-shot classifiers as two graphs: images to maps, and an episode of maps."""

import torch
from torch import Tensor, nn
from torch.export import Dim

from paperzoo.common.few_shot import EpisodeClassifier
from paperzoo.deploy.graph import Graph


class Embedding(nn.Module):
    """The feature maps of images.

    Args:
        model: Whose backbone and preprocessor they go through.

    Example:
        >>> import paperzoo, torch
        >>> from paperzoo.deploy.episodes import Embedding
        >>> cfg = paperzoo.load_config('dmf_tiny_glyphs')
        >>> graph = Embedding(paperzoo.build_model(cfg, 'cpu'))
        >>> graph(torch.zeros(2, 3, 28, 28))['maps'].shape
        torch.Size([2, 64, 7, 7])
    """

    def __init__(self, model: EpisodeClassifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return `maps` (N, C, h, w).

        Args:
            images: (N, 3, H, W), as the data set gives them, before normalisation.
        """
        pixels = self.model.data_preprocessor.normalize(images)
        return {'maps': self.model.extract_feat(pixels)}


class Episode(nn.Module):
    """The scores of queries among the classes of an episode.

    Args:
        model: The classifier.

    Example:
        >>> import paperzoo, torch
        >>> from paperzoo.deploy.episodes import Episode
        >>> cfg = paperzoo.load_config('dmf_tiny_glyphs')
        >>> graph = Episode(paperzoo.build_model(cfg, 'cpu'))
        >>> maps, classes = torch.rand(2, 64, 7, 7), torch.arange(2)
        >>> graph(maps, classes, maps, classes)['scores'].shape
        torch.Size([2, 2])
    """

    def __init__(self, model: EpisodeClassifier) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, support: Tensor, support_label: Tensor, query: Tensor, classes: Tensor
    ) -> dict[str, Tensor]:
        """Return `scores` (Q, K).

        Args:
            support: Maps of the supports, (S, C, h, w).
            support_label: Their classes, from 0 to K - 1, (S,).
            query: Maps of the queries, (Q, C, h, w).
            classes: The numbers from 0 to K - 1, (K,); only how many they are counts.
        """
        (scores,) = self.model.predict_from_feats(
            support[None], support_label[None], query[None], classes.size(0)
        )
        return {'scores': scores}


def episode_graphs(
    model: EpisodeClassifier, images: Tensor, ways: int, dynamic: bool
) -> dict[str, Graph]:
    """Return the graphs `embedding` and `episode`.

    Args:
        model: In evaluation mode.
        images: An example, (N, 3, H, W), of `ways` images or more.
        ways: Classes of an episode.
        dynamic: Whether the numbers of images, supports, queries and classes are free.

    Example:
        >>> import paperzoo, torch
        >>> from paperzoo.deploy.episodes import episode_graphs
        >>> model = paperzoo.build_model(paperzoo.load_config('dmf_tiny_glyphs'), 'cpu')
        >>> made = episode_graphs(model, torch.zeros(4, 3, 28, 28), 2, dynamic=True)
        >>> made['episode'].inputs['support'].shape
        torch.Size([4, 64, 7, 7])
    """
    embedding = Embedding(model)
    with torch.no_grad():
        maps = embedding(images)['maps']
    labels = torch.arange(len(maps)) % ways
    count, supports, queries, classes = (
        ({0: Dim(name, min=1, max=4096)} if dynamic else None)
        for name in ('images', 'supports', 'queries', 'classes')
    )
    given = {'support': maps, 'support_label': labels, 'query': maps.clone()}
    given['classes'] = torch.arange(ways)
    free = {'support': supports, 'support_label': supports, 'query': queries}
    free['classes'] = classes
    return {
        'embedding': Graph(
            embedding.eval(),
            'few-shot',
            {'images': images},
            {'images': count},
            ('maps',),
        ),
        'episode': Graph(Episode(model).eval(), 'few-shot', given, free, ('scores',)),
    }

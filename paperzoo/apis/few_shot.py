"""Few-shot classifiers that learn classes from a few images of a user."""

import os
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from paperzoo.apis.build import default_scope
from paperzoo.apis.config import image_pipeline
from paperzoo.apis.image_model import ImageModel
from paperzoo.apis.images import check_image_file, file_of, pixels_of
from paperzoo.apis.predictor import Predictor
from paperzoo.apis.results import Result, as_numpy
from paperzoo.errors import UserError
from paperzoo.utils.masks import Record

if TYPE_CHECKING:
    from mmengine.config import Config
    from torch import Tensor, nn


NO_CLASSES = (
    'the model knows no classes yet: model.fit(FOLDER), with a folder of images for '
    'each class (paperzoo predict: --support FOLDER)'
)


class FewShotResult(Result):
    """The class of an image, among those that a few-shot model was fitted to.

    `labels`, `names` and `scores` have one entry, the likeliest class; `probabilities`
    one for each of `classes`.
    """

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """How likely each class is (K,): the softmax of the model's scores."""
        return as_numpy(self.sample.pred_score)

    @property
    def labels(self) -> NDArray[np.int64]:
        """Index of the likeliest class (1,), in `classes`."""
        return self.probabilities.argmax(0, keepdims=True)

    @property
    def scores(self) -> NDArray[np.float32]:
        """How likely that class is (1,), from 0 to 1."""
        return self.probabilities.max(0, keepdims=True)

    def to_coco(self) -> list[Record]:
        """Return one record: `category_id`, `category`, `score`, `probabilities`."""
        label = int(self.labels[0])
        return [
            {
                'category_id': label,
                'category': self.classes[label],
                'score': round(float(self.scores[0]), 5),
                'probabilities': [round(float(one), 5) for one in self.probabilities],
            }
        ]

    def drawn_bgr(self) -> NDArray[np.uint8]:
        """Return the image below a line with its class, as OpenCV writes it."""
        from paperzoo.visualization.overlays import titled

        (found,) = self.to_coco()
        pixels = self._pixels()
        title = f'{found["category"]} {found["score"]:.2f}'
        return titled(pixels, title, max(pixels.shape[1], 160))


class Learnt(NamedTuple):
    """What a few-shot model keeps of the images that it was fitted to.

    Attributes:
        maps: Of the images, (S, C, h, w); tensors or arrays.
        labels: Index of each image's class (S,).
        classes: Their names.
    """

    maps: Any
    labels: Any
    classes: tuple[str, ...]


class TakesSupport(ImageModel):
    """What learns classes from a few images, before it is called."""

    needs_support = True
    classes: tuple[str, ...] = ()
    palette = None
    _learnt: Learnt | None = None

    def fit(self, support: Any) -> 'TakesSupport':
        """Learn classes from a few images; what was learnt before is forgotten.

        Calls that other threads have begun end with the classes from before.

        Args:
            support: A folder with a folder of images for each class, or with a table
                (a CSV file with the columns filename and label); or a dict with the
                images of each class by its name, each as in a call.

        Returns:
            The model itself.

        Raises:
            UserError: If the folder cannot be read, there are fewer than two classes, a
                class has no image, or one of the images cannot be read or has not the
                shape that the model takes.
        """
        given = support_of(support)
        maps, labels = [], []
        for label, images in enumerate(given.values()):
            maps += [self._map_of(one) for one in images]
            labels += [label] * len(images)
        check_same_size([tuple(one.shape[-2:]) for one in maps])
        self._learnt = Learnt(*self._joined(maps, labels), tuple(given))
        self.classes = self._learnt.classes
        return self

    def learnt(self) -> Learnt:
        """Return what `fit` has kept, for a whole call.

        Raises:
            UserError: If it was not fitted yet.
        """
        if self._learnt is None:
            raise UserError(NO_CLASSES)
        return self._learnt

    @abstractmethod
    def _map_of(self, image: Any) -> Any:
        """Return the map of an image (1, C, h, w)."""

    @abstractmethod
    def _joined(self, maps: list[Any], labels: list[int]) -> tuple[Any, Any]:
        """Return maps and labels of the supports, each as one."""


class FewShotPredictor(TakesSupport, Predictor):
    """A few-shot model with the pipeline of its images; `load` makes one.

    After `fit` it is called with images, as every `Predictor`.

    Args:
        model: A classifier of episodes, in evaluation mode, with its weights.
        cfg: Its config.
        score: Kept for the sake of `Predictor`; every image gets a class.
        precision: As of `load`.
        fuse: As of `load`.

    Raises:
        UserError: If the device has no such precision, or the config no test pipeline.

    Example:
        >>> import numpy as np, paperzoo
        >>> from paperzoo.apis.inference import predictor_of
        >>> cfg = paperzoo.load_config('protonet_tiny_glyphs')
        >>> model = predictor_of(paperzoo.build_model(cfg, 'cpu'), cfg, {})
        >>> black, white = (np.full((32, 32, 3), v, np.uint8) for v in (0, 255))
        >>> model.fit({'black': [black], 'white': [white]})(white).names
        ['white']
    """

    def __init__(
        self,
        model: 'nn.Module',
        cfg: 'Config',
        *,
        score: float = 0.3,
        precision: str = 'float32',
        fuse: bool = False,
    ) -> None:
        from mmengine.dataset import Compose

        self._prepare(model, cfg, score, precision, fuse)
        with default_scope(cfg):
            self.pipeline = Compose(image_pipeline(cfg))

    def _map_of(self, image: Any) -> 'Tensor':
        return self._embedded([self._prepared(image)[1]])

    def _joined(self, maps: list[Any], labels: list[int]) -> 'tuple[Tensor, Tensor]':
        import torch

        return torch.cat(maps), torch.tensor(labels, device=maps[0].device)

    def _prepared(self, image: Any) -> tuple[Path | NDArray[np.uint8], dict[str, Any]]:
        import torch

        from paperzoo.data.few_shot_sources import LabelledImages

        labels = np.zeros(1, np.int64)
        file = file_of(image)
        if file is None:
            pixels = pixels_of(image)
        else:
            check_image_file(file)
            # As the data sets of episodes read it.
            pixels = LabelledImages((), labels, [file]).read(0)[..., ::-1]
        # Its transforms see RGB, as the data sets of episodes give it.
        made = self.pipeline(
            {
                'img': np.ascontiguousarray(pixels[..., ::-1]),
                'rng': np.random.default_rng(0),
            }
        )
        inputs = torch.from_numpy(np.array(made['img'])).permute(2, 0, 1).contiguous()
        return file or pixels, {'inputs': inputs, 'ori_shape': pixels.shape[:2]}

    def inputs_of(self, image: Any) -> 'Tensor':
        """Return what the pipeline makes of an image, (3, H, W), RGB.

        Args:
            image: As of a call.

        Raises:
            UserError: If the image cannot be read.
        """
        return self._prepared(image)[1]['inputs']

    def _embedded(self, data: Sequence[dict[str, Any]]) -> 'Tensor':
        import torch

        with torch.no_grad(), self._numbers():
            images = torch.stack([one['inputs'] for one in data])
            return self.model.extract_feat(
                self.model.data_preprocessor.normalize(images)
            ).float()

    def _run(self, data: list[dict[str, Any]]) -> list[Any]:
        import torch
        from mmengine.structures import BaseDataElement

        feats, labels, classes = self.learnt()
        queries = self._embedded(data)
        check_same_size([tuple(one.shape[-2:]) for one in (feats, queries)])
        with torch.no_grad(), self._numbers():
            (scores,) = self.model.predict_from_feats(
                feats[None], labels[None], queries[None], len(classes)
            )
        return [
            BaseDataElement(
                metainfo={'ori_shape': one['ori_shape'], 'classes': classes},
                pred_score=each.float().softmax(-1),
            )
            for one, each in zip(data, scores, strict=True)
        ]

    def _result(self, sample: Any, shown: Any, score: float) -> FewShotResult:
        return FewShotResult(sample, sample.classes, shown, score)


def support_of(support: Any) -> dict[str, list[Any]]:
    """Return the images of each class that a model is to be fitted to.

    Args:
        support: As of `FewShotPredictor.fit`.

    Raises:
        UserError: If it is neither a folder nor a dict, the folder cannot be read,
            there are fewer than two classes, two of one name, or a class has no image.

    Example:
        >>> from paperzoo.apis.few_shot import support_of
        >>> support_of({'cat': 'a.png', 'dog': ['b.png', 'c.png']})
        {'cat': ['a.png'], 'dog': ['b.png', 'c.png']}
    """
    if not isinstance(support, str | Path | Mapping):
        raise UserError(
            f'support: {type(support).__name__} is neither a folder nor a dict with '
            'the images of each class by its name'
        )
    given = support if isinstance(support, Mapping) else support_images(support)
    names = list(map(str, given))
    if twice := next((one for one in names if names.count(one) > 1), None):
        raise UserError(f'support: two classes have the name {twice!r}')
    if len(given) < 2:
        raise UserError(
            f'support: {len(given)} class: {", ".join(map(str, given)) or "none"}. '
            'A model chooses among classes: give two or more'
        )
    found = {str(name): _several(images) for name, images in given.items()}
    for name, images in found.items():
        if not images:
            raise UserError(f'support: class {name!r} has no image')
    return found


def check_same_size(sizes: Sequence[tuple[int, ...]]) -> None:
    """Refuse feature maps of different sizes: their places are compared.

    Args:
        sizes: Of the maps.

    Raises:
        UserError: If they differ.

    Example:
        >>> from paperzoo.apis.few_shot import check_same_size
        >>> check_same_size([(7, 7), (7, 7)])
    """
    if len(found := sorted(set(sizes))) > 1:
        raise UserError(
            f'the images have different shapes: {found[0]} and {found[1]} places '
            '(height, width) cannot be compared. Cut the images square, or let the '
            'test pipeline do it: ImageCenterCrop'
        )


def support_images(folder: str | Path) -> dict[str, list[Path]]:
    """Return the images of each class in a folder, by name of the class.

    Args:
        folder: With a folder for each class, or with tables.

    Raises:
        UserError: If there is no such folder, or none of its images has a class.

    Example:
        >>> import pathlib, tempfile
        >>> from PIL import Image
        >>> from paperzoo.apis.few_shot import support_images
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> for name in ('cat', 'dog'):
        ...     (root / name).mkdir()
        ...     Image.new('L', (20, 10)).save(root / name / 'a.png')
        >>> {name: len(images) for name, images in support_images(root).items()}
        {'cat': 1, 'dog': 1}
    """
    from paperzoo.data.formats.class_folders import read_class_folders
    from paperzoo.data.formats.folder import Folder

    root = Path(os.path.expanduser(folder))
    if not root.is_dir():
        raise UserError(
            f"support: '{folder}' is no folder. It has a folder of images for each "
            'class, or a CSV file with the columns filename and label'
        )
    found = read_class_folders(Folder(root))
    images: dict[str, list[Path]] = {name: [] for name in found.classes}
    for one in found.images:
        images[one.name].append(Path(one.path))
    return images


def _several(images: Any) -> list[Any]:
    alone = isinstance(images, str | Path | np.ndarray) or not isinstance(
        images, Iterable
    )
    return [images] if alone else list(images)

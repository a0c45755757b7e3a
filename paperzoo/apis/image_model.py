"""What all models that are called with images have in common."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, overload

from paperzoo.apis.images import Image, Tokens
from paperzoo.apis.results import Result
from paperzoo.errors import UserError
from paperzoo.utils.colours import Colour


class ImageModel(ABC):
    """A model that takes images and gives results; `paperzoo.load` makes one.

    Attributes:
        classes: Their names.
        palette: Their colours, RGB, or None.
        score: Objects that score lower are left out of the results.
        needs_support: Whether it knows no classes before `fit`.
    """

    needs_support = False
    classes: tuple[str, ...]
    palette: Sequence[Colour] | None
    score: float

    @overload  # A text is a name first, a sequence last.
    def __call__(  # type: ignore[overload-overlap]
        self,
        image: Image | Tokens,
        *,
        score: float | None = None,
        batch_size: int = 1,
    ) -> Result: ...
    @overload
    def __call__(
        self,
        image: Sequence[Image | Tokens],
        *,
        score: float | None = None,
        batch_size: int = 1,
    ) -> list[Result]: ...
    @overload
    def __call__(
        self,
        image: Iterator[Image | Tokens],
        *,
        score: float | None = None,
        batch_size: int = 1,
    ) -> Iterator[Result]: ...
    def __call__(
        self, image: Any, *, score: float | None = None, batch_size: int = 1
    ) -> Result | list[Result] | Iterator[Result]:
        """Return what the model finds in an image, or in each of several.

        Args:
            image: A file, a URL, a PIL image, or an array (H, W, 3) of uint8 in BGR, as
                OpenCV reads it; a list of those gives a list, a generator a generator.
            score: Objects that score lower are left out; by default the model's.
            batch_size: How many images go through the model at once, where they have
                one size; the results are the same up to rounding.

        Raises:
            UserError: If a file is not there or damaged, an address gives no image, or
                an array is not uint8 (H, W, 3).
        """
        if isinstance(image, list | tuple):
            return list(self._each(image, score, batch_size))
        if isinstance(image, Iterator):
            return self._each(image, score, batch_size)
        return next(self._each([image], score, 1))

    def _each(
        self, images: Iterable[Any], score: float | None, batch_size: int
    ) -> Iterator[Result]:
        rest = iter(images)
        while some := list(islice(rest, max(1, batch_size))):
            for result in self.attempt(some, score=score):
                if isinstance(result, Exception):
                    raise result
                yield result

    @abstractmethod
    def attempt(
        self, images: Sequence[Any], *, score: float | None = None
    ) -> list[Result | Exception]:
        """Return for each image the result, or why there is none.

        Args:
            images: As of a call.
            score: Objects that score lower are left out; by default the model's.
        """

    def fit(self, support: Any) -> 'ImageModel':
        """Learn classes from a few images: of few-shot models only.

        Args:
            support: A folder with a folder for each class, or images by class name.

        Raises:
            UserError: If the model is no few-shot classifier.
        """
        raise UserError(
            f'{self!r} learns its classes in a training: '
            'paperzoo train; only few-shot models are fitted to a few images'
        )


def attempted(function: Callable[[Any], Any], images: Iterable[Any]) -> list[Any]:
    """Return for each image what a function makes of it, or the error it raises.

    Whatever is wrong with one image, the others go on.

    Args:
        function: Of one image.
        images: As of a call.

    Example:
        >>> from paperzoo.apis.image_model import attempted
        >>> attempted(len, ['a.jpg', 3])
        [5, TypeError("object of type 'int' has no len()")]
    """
    found = []
    for image in images:
        try:
            found.append(function(image))
        except Exception as error:
            found.append(error)
    return found

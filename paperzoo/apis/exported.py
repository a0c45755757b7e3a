"""Exported files as models: images in, the same results out, without torch."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from paperzoo.apis.results import Result
from paperzoo.errors import UserError
from paperzoo.runtime.images import prepare
from paperzoo.runtime.sample import OUTPUTS, sample_of
from paperzoo.runtime.sessions import Session

Image = str | Path | NDArray[np.uint8]


class ExportedModel:
    """An exported file, to be called like the model that it was made of.

    Several threads may call it at a time.

    Args:
        session: The file, opened.
        read: Returns the pixels (H, W, 3), BGR, of what is given as an image.
        score: Objects that score lower are left out of the results.

    Raises:
        UserError: If the file is not for images.
    """

    def __init__(
        self,
        session: Session,
        read: Callable[[Any], NDArray[np.uint8]],
        *,
        score: float = 0.3,
    ) -> None:
        if session.card.task not in OUTPUTS:
            raise UserError(
                f"'{session.file}' is for {session.card.task}, and takes arrays: "
                'paperzoo.runtime.sessions.open_session(FILE).run({...})'
            )
        self.session = session
        self.read = read
        self.card = session.card
        self.classes = session.card.classes
        self.score = score

    @overload  # A text is a name first, a sequence last.
    def __call__(  # type: ignore[overload-overlap]
        self, image: Image, *, score: float | None = None
    ) -> Result: ...
    @overload
    def __call__(
        self, image: Sequence[Image], *, score: float | None = None
    ) -> list[Result]: ...
    def __call__(
        self, image: Any, *, score: float | None = None
    ) -> Result | list[Result]:
        """Return what the model finds in an image, or in each of a list.

        Args:
            image: A file, or an array (H, W, 3) of uint8 in BGR, as OpenCV reads it; or
                a list of those.
            score: Objects that score lower are left out; by default the model's.

        Raises:
            UserError: If a file is not there or damaged, an array is not uint8 (H, W,
                3), or the file cannot take it.
        """
        if isinstance(image, list | tuple):
            return [self(one, score=score) for one in image]
        (found,) = self.attempt([image], score=score)
        if isinstance(found, Exception):
            raise found
        return found

    def attempt(
        self, images: Sequence[Any], *, score: float | None = None
    ) -> list[Result | Exception]:
        """Return for each image the result, or why there is none.

        Args:
            images: As of a call.
            score: Objects that score lower are left out; by default the model's.
        """
        found: list[Result | Exception] = []
        for image in images:
            # Whatever is wrong with one image, the others go on.
            try:
                found.append(self._one(image, self.score if score is None else score))
            except Exception as error:
                found.append(error)
        return found

    def _one(self, image: Any, score: float) -> Result:
        pixels = self.read(image)
        outputs = self.session.run(prepare(pixels, self.card)._asdict())
        height, width = pixels.shape[:2]
        sample = sample_of(outputs, self.card, (height, width), self.session.file)
        file = Path(image) if isinstance(image, str | Path) else pixels
        return Result(sample, self.classes, file, score)

    def __repr__(self) -> str:
        """Return the file, the model that it was and the number of its classes."""
        return (
            f'ExportedModel({self.session.file}, {self.card.model}, '
            f'{len(self.classes)} classes)'
        )

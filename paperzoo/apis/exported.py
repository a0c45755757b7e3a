"""Exported files as models: images in, the same results out, without torch."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from paperzoo.apis.results import Result
from paperzoo.errors import UserError
from paperzoo.runtime.images import prepare
from paperzoo.runtime.sample import sample_of
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
        if session.card.task in ('few-shot', 'sequence'):
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
        pixels = self.read(image)
        ready = prepare(pixels, self.card)
        outputs = self.session.run(ready._asdict())
        height, width = pixels.shape[:2]
        sample = sample_of(outputs, self.card, (height, width), self.session.file)
        threshold = self.score if score is None else score
        shown = image if isinstance(image, np.ndarray) else Path(image)
        return Result(sample, self.classes, shown, threshold)

    def __repr__(self) -> str:
        """Return the file, the model that it was and the number of its classes."""
        return (
            f'ExportedModel({self.session.file}, {self.card.model}, '
            f'{len(self.classes)} classes)'
        )

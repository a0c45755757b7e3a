"""Exported files as models: images in, the same results out, without torch."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from paperzoo.apis.image_model import ImageModel, attempted
from paperzoo.apis.images import file_of, pixels_of
from paperzoo.apis.results import Result
from paperzoo.errors import UserError
from paperzoo.runtime.images import prepare
from paperzoo.runtime.sample import OUTPUTS, sample_of
from paperzoo.runtime.sessions import Session


class ExportedModel(ImageModel):
    """An exported file, to be called like the model that it was made of.

    Several threads may call it at a time.

    Args:
        session: The file, opened.
        score: Objects that score lower are left out of the results.

    Raises:
        UserError: If the file is not for images.
    """

    def __init__(self, session: Session, *, score: float = 0.3) -> None:
        if session.card.task not in OUTPUTS:
            raise UserError(
                f"'{session.file}' is for {session.card.task}, and takes arrays: "
                'paperzoo.runtime.sessions.open_session(FILE).run({...})'
            )
        self.session = session
        self.card = session.card
        self.classes = session.card.classes
        self.score = score
        self.palette = session.card.palette or None

    def attempt(
        self, images: Sequence[Any], *, score: float | None = None
    ) -> list[Result | Exception]:
        """Return for each image the result, or why there is none.

        Args:
            images: As of a call.
            score: Objects that score lower are left out; by default the model's.
        """
        return attempted(partial(self._one, score=score), images)

    def _one(self, image: Any, score: float | None) -> Result:
        pixels = pixels_of(image)
        outputs = self.session.run(prepare(pixels, self.card)._asdict())
        height, width = pixels.shape[:2]
        sample = sample_of(outputs, self.card, (height, width), self.session.file)
        threshold = self.score if score is None else score
        shown = file_of(image) or pixels
        return Result(sample, self.classes, shown, threshold, palette=self.palette)

    def __repr__(self) -> str:
        """Return the file, the model that it was and the number of its classes."""
        return (
            f'ExportedModel({self.session.file}, {self.card.model}, '
            f'{len(self.classes)} classes)'
        )

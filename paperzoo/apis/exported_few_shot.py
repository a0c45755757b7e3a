"""Exported few-shot classifiers: fitted to a few images, then called, without torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paperzoo.apis.few_shot import (
    NO_CLASSES,
    FewShotResult,
    check_same_size,
    support_of,
)
from paperzoo.apis.image_model import ImageModel
from paperzoo.apis.images import file_of, pixels_of
from paperzoo.apis.results import Result
from paperzoo.errors import UserError
from paperzoo.runtime.images import STEPS, embedded_pixels
from paperzoo.runtime.sample import Fields
from paperzoo.runtime.sessions import Session, open_session


class ExportedFewShot(ImageModel):
    """The two files of a few-shot classifier, to be fitted and called like the model.

    Several threads may call it at a time.

    Args:
        embedding: The first file, opened; the second lies beside it.

    Raises:
        UserError: If one of the files is missing or was written for something else, or
            they take a fixed number of images.
    """

    needs_support = True

    def __init__(self, embedding: Session) -> None:
        self.embedding, self.episode = embedding, _beside(embedding)
        _check(self.embedding, self.episode)
        self.card = embedding.card
        self.classes = ()
        self.palette = None
        self.score = 0.0  # every image gets a class
        self._support: tuple[NDArray, NDArray] | None = None

    def fit(self, support: Any) -> 'ExportedFewShot':
        """Learn classes from a few images; what was learnt before is forgotten.

        Args:
            support: A folder with a folder of images for each class, or with a table
                (a CSV file with the columns filename and label); or a dict with the
                images of each class by its name, each as in a call.

        Returns:
            The model itself.

        Raises:
            UserError: If the folder cannot be read, there are fewer than two classes, a
                class has no image, or one of the images cannot be read or has not the
                shape that the file takes.
        """
        given = support_of(support)
        images = [image for own in given.values() for image in own]
        maps = [self._embedded(pixels_of(one)) for one in images]
        labels = [number for number, own in enumerate(given.values()) for _ in own]
        check_same_size([one.shape[-2:] for one in maps])
        # At once, for a call in another thread.
        self._support = np.concatenate(maps), np.array(labels, np.int64)
        self.classes = tuple(given)
        return self

    def attempt(
        self, images: Sequence[Any], *, score: float | None = None
    ) -> list[Result | Exception]:
        """Return for each image its class, or why there is none.

        Args:
            images: As of a call.
            score: Not used: every image gets a class.
        """
        found: list[Result | Exception] = []
        for image in images:
            # Whatever is wrong with one image, the others go on.
            try:
                found.append(self._one(image))
            except Exception as error:
                found.append(error)
        return found

    def _one(self, image: Any) -> Result:
        if self._support is None:
            raise UserError(NO_CLASSES)
        support, labels = self._support
        pixels = pixels_of(image)
        given = {
            'support': support,
            'support_label': labels,
            'query': self._embedded(pixels),
            'classes': np.arange(len(self.classes), dtype=np.int64),
        }
        scores = self.episode.run(given)['scores'][0]
        shares = np.exp(scores - scores.max())
        sample = Fields(ori_shape=pixels.shape[:2], pred_score=shares / shares.sum())
        return FewShotResult(sample, self.classes, file_of(image) or pixels)

    def _embedded(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        given = embedded_pixels(pixels, self.card)[None]
        return self.embedding.run({'images': given})['maps']

    def __repr__(self) -> str:
        """Return the file, the model that it was and the number of its classes."""
        return (
            f'ExportedFewShot({self.embedding.file}, {self.card.model}, '
            f'{len(self.classes)} classes)'
        )


def _beside(embedding: Session) -> Session:
    """Return the second file, which scores the maps of the first."""
    path = Path(embedding.file)
    if embedding.card.settings.get('part') == 'episode':
        first = path.with_stem(path.stem.removesuffix('_episode'))
        raise UserError(
            f"'{path}' is the second file of a few-shot classifier: give the first, "
            f"'{first}'"
        )
    return open_session(path.with_stem(f'{path.stem}_episode'))


def _check(embedding: Session, episode: Session) -> None:
    wanted = (
        (embedding, 'embedding', ('images',), ('maps',)),
        (
            episode,
            'episode',
            ('support', 'support_label', 'query', 'classes'),
            ('scores',),
        ),
    )
    for session, part, inputs, outputs in wanted:
        card, file = session.card, session.file
        names = [
            {port.name for port in ports} for ports in (session.inputs, session.outputs)
        ]
        if card.settings.get('part') != part or names != [set(inputs), set(outputs)]:
            raise UserError(
                f"'{file}' is no {part} of a few-shot classifier, with the inputs "
                f'{", ".join(inputs)}: export it again'
            )
        if card.model != embedding.card.model:
            raise UserError(
                f"'{file}' is of a {card.model}, '{embedding.file}' of a "
                f'{embedding.card.model}: export both again'
            )
        if any(isinstance(port.shape[0], int) for port in session.inputs):
            raise UserError(
                f"'{file}' takes a fixed number of images: fit and calls need one "
                'that was exported with --dynamic'
            )
    steps = embedding.card.settings.get('steps')
    if not isinstance(steps, list) or not all(map(_is_step, steps)):
        raise UserError(f"'{embedding.file}': its metadata has no steps: export again")


def _is_step(step: Any) -> bool:
    return (
        isinstance(step, list)
        and len(step) == 2
        and step[0] in STEPS
        and type(step[1]) is int
        and 1 <= step[1] <= 1 << 15
    )

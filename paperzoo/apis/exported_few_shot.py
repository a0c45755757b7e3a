"""Exported few-shot classifiers: fitted to a few images, then called, without torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paperzoo.apis.few_shot import FewShotResult, TakesSupport
from paperzoo.apis.image_model import attempted
from paperzoo.apis.images import file_of, pixels_of
from paperzoo.apis.results import Result
from paperzoo.errors import UserError
from paperzoo.runtime.images import STEPS, embedded_pixels
from paperzoo.runtime.sample import Fields
from paperzoo.runtime.sessions import Session, open_session


class ExportedFewShot(TakesSupport):
    """The two files of a few-shot classifier, to be fitted and called like the model.

    Several threads may call it at a time.

    Args:
        embedding: The first file, opened; the second lies beside it.

    Raises:
        UserError: If one of the files is missing or was written for something else, or
            they take a fixed number of images.
    """

    def __init__(self, embedding: Session) -> None:
        self.embedding, self.episode = embedding, _beside(embedding)
        _check(self.embedding, self.episode)
        self.card = embedding.card
        self.score = 0.0  # every image gets a class

    def attempt(
        self, images: Sequence[Any], *, score: float | None = None
    ) -> list[Result | Exception]:
        """Return for each image its class, or why there is none.

        Args:
            images: As of a call.
            score: Not used: every image gets a class.
        """
        return attempted(self._one, images)

    def _one(self, image: Any) -> Result:
        learnt = self.learnt()
        pixels = pixels_of(image)
        given = {
            'support': learnt.maps,
            'support_label': learnt.labels,
            'query': self._embedded(pixels),
            'classes': np.arange(len(learnt.classes), dtype=np.int64),
        }
        scores = self.episode.run(given)['scores'][0]
        shares = np.exp(scores - scores.max())
        sample = Fields(ori_shape=pixels.shape[:2], pred_score=shares / shares.sum())
        return FewShotResult(sample, learnt.classes, file_of(image) or pixels)

    def _map_of(self, image: Any) -> NDArray[np.float32]:
        return self._embedded(pixels_of(image))

    def _joined(self, maps: list[Any], labels: list[int]) -> tuple[NDArray, NDArray]:
        return np.concatenate(maps), np.array(labels, np.int64)

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

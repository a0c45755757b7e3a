"""What the page says of an uploaded image: a result, or why there is none."""

import sys
import time
import traceback
from collections import Counter, deque
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

import numpy as np

from paperzoo.apis.image_model import ImageModel
from paperzoo.apis.images import reason_of
from paperzoo.apis.prediction import as_written
from paperzoo.apis.results import Result
from paperzoo.errors import UserError
from paperzoo.serve.uploads import check_upload
from paperzoo.utils.files import write_json, write_text
from paperzoo.visualization.overlays import write_picture

# Moving the threshold asks for the same image again.
_RESULTS = 4
_FOLDERS = 64
_Row = list[Any]


@dataclass(frozen=True)
class Answer:
    """What the page says of an image.

    Attributes:
        said: One line: what was found, or why nothing could be.
        picture: The image with everything found drawn over it; None if that failed.
        columns: Of the table.
        rows: One for each object, segment or class.
        records: The file that `paperzoo predict` would write.
    """

    said: str
    picture: Path | None = None
    columns: list[str] = field(default_factory=list)
    rows: list[_Row] = field(default_factory=list)
    records: Path | None = None


@dataclass(frozen=True)
class Explanation:
    """The page of `paperzoo explain` for an image.

    Attributes:
        said: Why there is none; empty if there is one.
        html: The page.
        file: The page as a file.
    """

    said: str = ''
    html: str = ''
    file: Path | None = None


class Answers:
    """Looks at uploads with a model.

    A few results are kept for the next threshold; of the files that it writes, those
    of the newest answers. Calls must not overlap.

    Args:
        model: As `paperzoo.load` gives it; a few-shot model knows its classes.
        folder: Where the files go.
        info: What else the files of records say of the model.
        support: Of a few-shot model: what it was fitted to, for its explanations.

    Raises:
        UserError: If the model cannot look at images.

    Example:
        >>> import paperzoo, tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from paperzoo.apis.inference import predictor_of
        >>> from paperzoo.serve.answers import Answers
        >>> cfg = paperzoo.load_config('fcos_tiny_shapes')
        >>> model = predictor_of(paperzoo.build_model(cfg, 'cpu'), cfg, {})
        >>> folder = Path(tempfile.mkdtemp())
        >>> Image.new('RGB', (80, 60)).save(folder / 'a.png')
        >>> answers = Answers(model, folder)
        >>> answers.look(folder / 'a.png', 1.0).said
        'nothing that scores 1.00 or more (80 x 60 pixels)'
        >>> answers.look(folder / 'b.png', 1.0).said
        'b.png: it is no JPEG, PNG, BMP, TIFF or WEBP image'
    """

    def __init__(
        self,
        model: ImageModel,
        folder: Path,
        info: Mapping[str, Any] | None = None,
        support: str | None = None,
    ) -> None:
        self.model = model
        self.folder = folder
        self.info = dict(info or {})
        self._folders: deque[Path] = deque()
        self._found = lru_cache(_RESULTS)(self._find)
        self.support = support
        #: Whether what is found has scores that a threshold can be compared with.
        self.scored = False
        if not model.needs_support:
            # Says early what cannot work, and the first visitor does not wait for it.
            tried = model(np.zeros((64, 64, 3), np.uint8), score=0.0)
            self.scored = tried.scores is not None
        #: Why no image can be explained; empty if that works.
        self.unexplained = _unexplained(model, support)

    def look(self, upload: Path, score: float) -> Answer:
        """Return what the model finds in an upload, or why it finds nothing.

        Args:
            upload: The file.
            score: Objects that score lower are left out.
        """
        # Whatever is wrong with one image, the page goes on.
        try:
            return self._answer(upload, score)
        except Exception as error:
            return Answer(_refusal(upload, error))

    def explain(self, upload: Path, score: float) -> Explanation:
        """Return the page of `paperzoo explain` for an upload, or why there is none.

        Args:
            upload: The file.
            score: Objects that score lower are left out of its pictures.
        """
        try:
            check_upload(upload)
            # The most of it is needed by nobody who only looks at results.
            from paperzoo.explain.api import explain
            from paperzoo.explain.html.render import render

            own: Any = self.model
            report = explain(
                own.model, upload, support=self.support, cfg=own.cfg, score_thr=score
            )
            html = render(report.title, report.sections)
            file = self._new_folder() / f'{upload.stem}_explained.html'
            write_text(file, html)
        except Exception as error:
            return Explanation(_refusal(upload, error))
        return Explanation(html=html, file=file)

    def _answer(self, upload: Path, score: float) -> Answer:
        found, seconds = self._found(upload)
        result = copy(found)
        result.score = score
        info = {'score': score, **self.info, 'seconds': seconds}
        written = as_written(self.model, upload.name, result, info)
        folder = self._new_folder()
        columns, rows = _table(written['annotations'], result)
        return Answer(
            said=_summary(written['annotations'], result),
            picture=write_picture(folder / f'{upload.stem}.jpg', result.drawn_bgr()),
            columns=columns,
            rows=rows,
            records=write_json(
                folder / f'{upload.stem}.json', written, one_a_line=True
            ),
        )

    def _find(self, upload: Path) -> tuple[Result, float]:
        check_upload(upload)
        start = time.perf_counter()
        result = self.model(upload, score=0.0)
        return result, round(time.perf_counter() - start, 3)

    def _new_folder(self) -> Path:
        while len(self._folders) >= _FOLDERS:
            rmtree(self._folders.popleft(), ignore_errors=True)
        self._folders.append(Path(mkdtemp(dir=self.folder)))
        return self._folders[-1]


def _table(records: list[Any], result: Result) -> tuple[list[str], list[_Row]]:
    """Return columns and rows that tell people what was found, the surest first."""
    if result.probabilities is not None:
        named = zip(result.classes, result.probabilities.tolist(), strict=True)
        likely = sorted(named, key=lambda one: -one[1])
        return ['class', 'probability'], [[name, round(p, 3)] for name, p in likely]
    if all('score' in one for one in records):
        rows: list[_Row] = [
            [one['category'], round(one['score'], 3), *map(round, one['bbox'])]
            for one in sorted(records, key=lambda one: -one['score'])
        ]
        return ['class', 'score', 'left', 'top', 'width', 'height'], rows
    pixels = result.width * result.height
    return ['class', 'share of the image'], [
        [one['category'], f'{one["area"] / pixels:.1%}'.replace('%', ' %')]
        for one in sorted(records, key=lambda one: -one['area'])
    ]


def _summary(records: list[Any], result: Result) -> str:
    if result.probabilities is not None:
        (found,) = records
        return f'{found["category"]}: probability {found["score"]:.2f}'
    size = f'({result.width} x {result.height} pixels)'
    counts = Counter(one['category'] for one in records).most_common()
    if not counts:
        return f'nothing that scores {result.score:.2f} or more {size}'
    return f'{", ".join(f"{count} {name}" for name, count in counts)} {size}'


def _refusal(upload: Path, error: Exception) -> str:
    """Return one line for the page; a fault of ours is told on the terminal, too."""
    if not isinstance(error, UserError):
        traceback.print_exception(error, file=sys.stderr)
    return f'{upload.name}: {reason_of(error)}'


def _unexplained(model: ImageModel, support: str | None) -> str:
    network = getattr(model, 'model', None)
    if network is None:
        return 'an exported file has no page: paperzoo serve the checkpoint for one'
    from paperzoo.explain.pages import ITEM_PAGES, page_of

    try:
        page = page_of(network)
    except UserError as error:
        return str(error)
    if page in ITEM_PAGES:
        return '' if support else 'the images of its classes are not known'
    # The names that the results have, where explain looks for them.
    network.dataset_meta = {'classes': model.classes}
    return ''

"""Images of a user: everything found in them as one file, and drawn over them."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paperzoo.apis.image_model import ImageModel, attempted
from paperzoo.apis.images import ImageError, reason_of
from paperzoo.apis.results import Result
from paperzoo.apis.sequences import TakesSequences
from paperzoo.apis.tiling import predict_tiled
from paperzoo.apis.video import Video, is_video, video_file
from paperzoo.errors import UserError
from paperzoo.evaluation.results import categories
from paperzoo.utils.files import free_path, new_folder, write_json
from paperzoo.utils.masks import Record
from paperzoo.utils.progress import track
from paperzoo.utils.run_info import run_info

# As of `ImageModel.attempt`.
Attempt = Callable[[Sequence[Any]], list[Result | Exception]]


def predict_files(
    model: ImageModel,
    files: Sequence[str | Path],
    *,
    out: str | Path = 'predictions',
    overlays: bool = True,
    recorded: Mapping[str, Any] | None = None,
    batch_size: int = 1,
    tile: tuple[int, int] | None = None,
    overlap: float = 0.2,
) -> tuple[dict[str, Any], Path]:
    """Write what a model finds in images: one JSON file in COCO's layout, and overlays.

    It can be trained on: annotations have area and `iscrowd`, images their size. A
    frame of a video is an image with the number of the `frame`, from 0. An image that
    cannot be read, or that pipeline or model cannot take, is left out, with a line on
    stderr and its reason in the file. Ctrl-C ends the work, not what is done: it is
    written, and the interrupt raised again.

    Args:
        model: As `load` gives it.
        files: Images, videos and addresses.
        out: A new folder: another one if there is one of this name.
        overlays: Whether to draw what is found, a picture for each image and a video
            for each video.
        recorded: What else the file says of the run, such as the checkpoint.
        batch_size: How many images of one size go through the model at once.
        tile: Width and height of the pieces in which large images are looked at; see
            `paperzoo.apis.tiling`.
        overlap: Share of a tile that the next one repeats.

    Returns:
        What was written, and the file.

    Raises:
        UserError: If the model takes no images, or the JSON file or an overlay cannot
            be written.
        KeyboardInterrupt: If it was interrupted, with what was written.

    Example:
        >>> import paperzoo
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from paperzoo.apis.inference import predictor_of
        >>> from paperzoo.apis.prediction import predict_files
        >>> cfg = paperzoo.load_config('fcos_tiny_shapes')
        >>> model = predictor_of(paperzoo.build_model(cfg, 'cpu'), cfg, {})
        >>> with TemporaryDirectory() as folder:
        ...     found, file = predict_files(model, [Path('missing.jpg')], out=folder)
        >>> found['failed']
        [{'file_name': 'missing.jpg', 'error': 'there is no such file'}]
    """
    if isinstance(model, TakesSequences):
        raise UserError(
            f'{model!r} takes sequences, not images: in Python, '
            'paperzoo.load(CHECKPOINT)([3, 1, 3])'
        )
    folder = new_folder(Path(out))
    start = time.time()
    found = _Found(model, folder, overlays)
    results: Attempt = model.attempt
    if tile is not None:
        one = partial(predict_tiled, model, tile=tile, overlap=overlap)
        results = partial(attempted, partial(one, batch_size=batch_size))
    stopped = False
    try:
        _look_at(files, results, found, max(1, batch_size))
    except KeyboardInterrupt:
        stopped = True
    written = found.written
    written['info'] = {
        'score': model.score,
        **(recorded or {}),
        'seconds': round(time.time() - start, 1),
        **run_info(),
    }
    file = write_json(folder / 'predictions.json', written, one_a_line=True)
    if stopped:
        done = len(written['images']) + len(written['failed'])
        raise KeyboardInterrupt(f'{done} images of {len(files)} files are in {file}')
    return written, file


def as_written(
    model: ImageModel, name: str, result: Result, info: Mapping[str, Any]
) -> dict[str, Any]:
    """Return of one image what `predict_files` writes, without a file.

    Args:
        model: What has looked at it.
        name: The image's `file_name`.
        result: What it has found.
        info: What else is said of the run.

    Example:
        >>> import numpy as np, paperzoo
        >>> from paperzoo.apis.inference import predictor_of
        >>> from paperzoo.apis.prediction import as_written
        >>> cfg = paperzoo.load_config('fcos_tiny_shapes')
        >>> model = predictor_of(paperzoo.build_model(cfg, 'cpu'), cfg, {})
        >>> result = model(np.zeros((60, 80, 3), np.uint8))
        >>> as_written(model, 'a.jpg', result, {'score': 0.3})['images']
        [{'id': 1, 'file_name': 'a.jpg', 'width': 80, 'height': 60}]
    """
    found = _Found(model, Path(), overlays=False)
    found.keep(name, result, result.to_coco())
    return {**found.written, 'info': dict(info)}


def _look_at(
    files: Sequence[str | Path], results: Attempt, found: '_Found', batch_size: int
) -> None:
    """Add what is found in images, then in videos."""
    images = [one for one in files if not is_video(one)]
    shown = iter(track(images, 'images')) if images else iter(())
    while some := list(islice(shown, batch_size)):
        for image, result in zip(some, results(some), strict=True):
            found.add(image, result)
    for video in filter(is_video, files):
        found.add_video(Path(video), results, batch_size)


class _Found:
    """What is written, growing image by image."""

    def __init__(self, model: ImageModel, folder: Path, overlays: bool) -> None:
        self.folder, self.overlays = folder, overlays
        self.written: dict[str, Any] = {
            'images': [],
            'categories': categories(model.classes),
            'annotations': [],
            'failed': [],
        }

    def add(
        self, image: str | Path, result: Result | Exception, **more: Any
    ) -> NDArray[np.uint8] | None:
        """Keep a result; return what was drawn of a frame of a video."""
        # Whatever is wrong with one image, the others go on.
        try:
            if isinstance(result, Exception):
                raise result
            records = result.to_coco()
            drawn = result.drawn_bgr() if self.overlays else None
        except Exception as error:
            self.fail(image, error, **more)
            return None
        # An image that is kept has its overlay, also after an interrupt.
        if drawn is not None and not more:
            overlay = _overlay(image, drawn, self.folder / 'overlays')
            more = {'overlay': overlay.relative_to(self.folder).as_posix()}
        self.keep(image, result, records, **more)
        return drawn

    def keep(
        self, image: str | Path, result: Result, records: Sequence[Record], **more: Any
    ) -> None:
        """Keep the records of an image, and what else is said of it."""
        own = {'id': len(self.written['images']) + 1, 'file_name': str(image), **more}
        own |= {'width': result.width, 'height': result.height}
        self.written['images'].append(own)
        for record in records:
            self.written['annotations'].append(
                {
                    'id': len(self.written['annotations']) + 1,
                    'image_id': own['id'],
                    **record,
                }
            )

    def fail(self, image: str | Path, error: Exception, **more: Any) -> None:
        """Say and keep why an image is left out."""
        reason = reason_of(error)
        frame = f', frame {more["frame"]}' if more else ''
        print(f'paperzoo: {image}{frame} is left out: {reason}', file=sys.stderr)
        row = {'file_name': str(image), **more, 'error': reason}
        self.written['failed'].append(row)

    def add_video(self, file: Path, results: Attempt, batch_size: int) -> None:
        """Keep what is found in the frames of a video."""
        try:
            video = Video(file)
        except UserError as error:
            self.fail(file, error)
            return
        target = free_path(self.folder / 'overlays' / f'{file.stem}.mp4')
        frames = enumerate(track(video, f'frames of {file.name}', video.count))
        before = len(self.written['images'])
        with video_file(target, video.rate) as drawn_video:
            while some := list(islice(frames, batch_size)):
                found = results([frame for _, frame in some])
                for (number, frame), result in zip(some, found, strict=True):
                    drawn = self.add(file, result, frame=number)
                    if self.overlays:
                        drawn_video.add(frame if drawn is None else drawn)
        if len(self.written['images']) == before:
            self.fail(file, ImageError(file, 'no frame of it gave a result'))


def _overlay(image: str | Path, drawn: NDArray[np.uint8], folder: Path) -> Path:
    from paperzoo.visualization.overlays import write_picture

    # An address may end in anything.
    stem = Path(str(image).partition('?')[0]).stem or 'image'
    # Images of two folders may have one name.
    return write_picture(free_path(folder / f'{stem}.jpg'), drawn)

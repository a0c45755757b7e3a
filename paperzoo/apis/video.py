"""Videos, frame by frame, with OpenCV."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paperzoo.apis.images import VIDEOS, ImageError, file_of
from paperzoo.errors import UserError


def is_video(image: Any) -> bool:
    """Return whether the name of a file is that of a video.

    Example:
        >>> from paperzoo.apis.video import is_video
        >>> is_video('a.MP4'), is_video('a.jpg')
        (True, False)
    """
    file = file_of(image)
    return file is not None and file.suffix.lower() in VIDEOS


class Video:
    """The frames of a video.

    Args:
        file: The video.

    Raises:
        ImageError: If the file is not there, or OpenCV cannot read it.

    Example:
        >>> from paperzoo.apis.video import Video
        >>> Video('no_such.mp4')
        Traceback (most recent call last):
        paperzoo.apis.images.ImageError: 'no_such.mp4': there is no such file
    """

    def __init__(self, file: str | Path) -> None:
        import cv2

        self.file = Path(file)
        if not os.path.lexists(self.file):
            raise ImageError(file, 'there is no such file')
        if not self.file.is_file():
            raise ImageError(file, 'it is no regular file')
        self._capture = cv2.VideoCapture(str(self.file))
        if not self._capture.isOpened():
            raise ImageError(file, 'OpenCV cannot read this video')
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = float(rate) if 0 < rate < 1000 else 25.0
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        # What the file says; some say nothing.
        self.count = count if count > 0 else None

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """Yield the frames, (H, W, 3) in BGR."""
        try:
            while True:
                read, frame = self._capture.read()
                if not read:
                    return
                yield frame.astype(np.uint8, copy=False)
        finally:
            self._capture.release()


class VideoFile:
    """A video that is being written; `video_file` opens one.

    Args:
        file: Where to write.
        rate: Frames in a second.
    """

    def __init__(self, file: Path, rate: float) -> None:
        self.file, self.rate = file, rate
        self._writer: Any = None

    def add(self, frame: NDArray[np.uint8]) -> None:
        """Write a frame, (H, W, 3) in BGR, of the size of the first.

        Raises:
            UserError: If this OpenCV cannot write videos.
        """
        import cv2

        if self._writer is None:
            size = frame.shape[1], frame.shape[0]
            code = cv2.VideoWriter.fourcc(*'mp4v')
            self._writer = cv2.VideoWriter(str(self.file), code, self.rate, size)
            if not self._writer.isOpened():
                raise UserError(
                    f"'{self.file}': this OpenCV cannot write videos. Without the "
                    'drawn video: --no-overlays'
                )
        self._writer.write(frame)

    def close(self) -> None:
        """End the video."""
        if self._writer is not None:
            self._writer.release()


@contextmanager
def video_file(file: Path, rate: float) -> Iterator[VideoFile]:
    """Write a video: under its name there is a whole one, or none.

    Args:
        file: Where to write, an `.mp4`.
        rate: Frames in a second.

    Raises:
        UserError: If the folder cannot be written.

    Example:
        >>> import numpy as np
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from paperzoo.apis.video import Video, video_file
        >>> with TemporaryDirectory() as folder:
        ...     with video_file(Path(folder, 'a.mp4'), 25) as video:
        ...         for _ in range(3):
        ...             video.add(np.zeros((48, 64, 3), np.uint8))
        ...     len(list(Video(Path(folder, 'a.mp4'))))
        3
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.mkdtemp(prefix='.video_', dir=file.parent)
    except OSError as error:
        raise UserError(f"'{file}' cannot be written: {error}") from error
    part = Path(folder, file.name)
    video = VideoFile(part, rate)
    try:
        yield video
        video.close()
        if part.exists():
            part.replace(file)
    finally:
        video.close()
        part.unlink(missing_ok=True)
        Path(folder).rmdir()
